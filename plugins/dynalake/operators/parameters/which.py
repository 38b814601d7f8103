"""The parameters of every form: which lake, and which of its tables."""

from __future__ import annotations

import os

from airflow.sdk import Param

from dynalake.errors import SettingsError
from dynalake.names import ENVIRONMENT_PATTERN, TABLE_PATTERN

RUN = "This run"
"""The section with the parameters of one run."""

WHERE = "Where"

CONNECTION, CONNECTIONS = "DYNALAKE_AWS_CONN_ID", "DYNALAKE_AWS_CONN_IDS"


def default_environment() -> str:
    """Return the lake of scheduled runs, and of the page."""
    return os.environ.get("DYNALAKE_ENVIRONMENT", "dev")


def allowed_connections() -> tuple[str, ...]:
    """Return the AWS connections that runs and the page may use, the default first.

    The run does not decide, because a user who may trigger a DAG need not be allowed to use every Airflow connection.
    Raises `SettingsError` if the default is not in the list.
    """
    default = os.environ.get(CONNECTION) or ""
    listed = [name for text in (os.environ.get(CONNECTIONS) or "").split(",") if (name := text.strip())]
    if not listed:
        return (default or "aws_default",)
    if default and default not in listed:
        raise SettingsError(
            f"The environment variable {CONNECTION} is {default!r}, and {CONNECTIONS} is {', '.join(listed)!r}",
            allowed=f"a default that {CONNECTIONS} lists",
            action="correct one of them for all of Airflow's components",
        )
    return tuple(dict.fromkeys((default or listed[0], *listed)))


def check_connection(connection: str) -> None:
    """Raise `SettingsError` for a connection that runs may not use."""
    allowed = allowed_connections()
    if connection not in allowed:
        raise SettingsError(
            f"The run asks for the AWS connection {connection!r}",
            allowed=" or ".join(allowed),
            action=f"keep the default of 'aws_conn_id', or add it to {CONNECTIONS} for all of Airflow's components",
            connection=connection,
        )


def where_parameters() -> dict[str, Param]:
    """Return the parameters for the lake and the connection."""
    return {
        # The pattern is not in the form's schema: the first task checks it, and its message says what to do.
        "environment": Param(
            default_environment(),
            type="string",
            title="Environment",
            description_md=f"One lake per environment, account and region: **{ENVIRONMENT_PATTERN}**. "
            "The default comes from **DYNALAKE_ENVIRONMENT**, if Airflow's DAG processor has it.",
            examples=["dev", "staging", "prod"],
            section=WHERE,
        ),
        "aws_conn_id": Param(
            allowed_connections()[0],
            enum=list(allowed_connections()),
            type="string",
            title="AWS connection",
            description_md="The Airflow connection whose account, region and role are used. The environment variable "
            f"**{CONNECTIONS}** lists the allowed ones.",
            section=WHERE,
        ),
    }


def table_parameter() -> dict[str, Param]:
    return {
        "table": Param(
            type="string",
            title="DynamoDB table",
            description_md=f"The table's name as DynamoDB shows it: **{TABLE_PATTERN}**.",
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
