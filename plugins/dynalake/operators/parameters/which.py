"""What every form asks: which lake, and which of its tables."""

from __future__ import annotations

import os

from airflow.sdk import Param

from dynalake.names import ENVIRONMENT_PATTERN, TABLE_PATTERN

RUN = "This run"
"""The section of what is asked of one run."""

WHERE = "Where"


def default_environment() -> str:
    """The lake that scheduled runs, and the page, are about."""
    return os.environ.get("DYNALAKE_ENVIRONMENT", "dev")


def where_parameters() -> dict[str, Param]:
    """Which lake, through which connection."""
    return {
        # The pattern is not in the form's schema: the first task checks it, with a message that says what to do.
        "environment": Param(
            default_environment(),
            type="string",
            title="Environment",
            description_md=f"One lake per environment, account and region: `{ENVIRONMENT_PATTERN}`. "
            "The default comes from `DYNALAKE_ENVIRONMENT` where Airflow's DAG processor has it.",
            examples=["dev", "staging", "prod"],
            section=WHERE,
        ),
        "aws_conn_id": Param(
            os.environ.get("DYNALAKE_AWS_CONN_ID", "aws_default"),
            type="string",
            title="AWS connection",
            description_md="The Airflow connection whose account, region and role are used.",
            section=WHERE,
        ),
    }


def table_parameter() -> dict[str, Param]:
    return {
        "table": Param(
            type="string",
            title="DynamoDB table",
            description_md=f"The table's name as DynamoDB shows it: `{TABLE_PATTERN}`.",
            examples=["RECEIPTS"],
        )
    }


def tables_parameter() -> dict[str, Param]:
    return {
        "tables": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Tables",
            description_md="DynamoDB tables, one per line. Empty: every table of the lake.",
            section=RUN,
        )
    }
