"""What all runs ask: which lake, by which AWS connection, and which of its tables."""

from __future__ import annotations

import os
import re
from dataclasses import MISSING, dataclass
from typing import Any

from dynalake.errors import SettingsError
from dynalake.names import ENVIRONMENT_PATTERN, TABLE_PATTERN
from dynalake.options.option import Options, option

WHERE = "Lake and connection"

ENVIRONMENTS = "DYNALAKE_ENVIRONMENTS"
CONNECTION, CONNECTIONS = "DYNALAKE_AWS_CONN_ID", "DYNALAKE_AWS_CONN_IDS"


def default_environment() -> str:
    """Return the lake of scheduled runs, and of the page."""
    return os.environ.get("DYNALAKE_ENVIRONMENT", "dev")


def offered_environments() -> tuple[str, ...]:
    """Return the lakes between which the page lets a reader choose, that of scheduled runs first."""
    listed = (os.environ.get(ENVIRONMENTS) or "").split(",")
    return tuple(dict.fromkeys((default_environment(), *(name for text in listed if (name := text.strip())))))


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


def table_option() -> Any:
    return option(
        MISSING,
        "DynamoDB table",
        f"The table's name as DynamoDB shows it: `{TABLE_PATTERN}`.",
        examples=("RECEIPTS",),
    )


@dataclass(frozen=True)
class OneTable(Options):
    """The table of a run for one table."""

    table: str = table_option()


@dataclass(frozen=True)
class NewTables(Options):
    """The tables of a run that sets them up."""

    table: str = option(
        MISSING,
        "DynamoDB table",
        "The table's name as DynamoDB shows it. Or several, separated by commas: names, patterns such as "
        '"orders_*", and tags such as "datalake=yes". Several tables get one run each.',
        examples=("RECEIPTS", "orders_*", "datalake=yes"),
    )


def names_several(text: str) -> bool:
    """Return whether the text of `NewTables.table` is more than one table's name: a list, a pattern or a tag (pure)."""
    return bool(re.search(r"[*?=,\n]", text))


@dataclass(frozen=True)
class Tables(Options):
    """The tables of a run for several."""

    tables: tuple[str, ...] = option((), "Tables", "DynamoDB tables, one per line. Empty: every table of the lake.")


@dataclass(frozen=True)
class Where(Options):
    """The lake of a run, and its AWS connection."""

    # The pattern is not in the form's schema: the first task checks it, and its message says what to do.
    environment: str = option(
        default_environment,
        "Environment",
        f"One lake per environment, account and region: `{ENVIRONMENT_PATTERN}`. The default comes from "
        "`DYNALAKE_ENVIRONMENT`, if Airflow's DAG processor has it.",
        section=WHERE,
        examples=("dev", "staging", "prod"),
    )
    aws_conn_id: str = option(
        lambda: allowed_connections()[0],
        "AWS connection",
        "The Airflow connection whose account, region and role are used. The environment variable "
        f"`{CONNECTIONS}` lists the allowed ones, and `{CONNECTION}` names the default.",
        section=WHERE,
        choices=allowed_connections,
    )
