"""What all runs ask: which lake, and which of its tables."""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass
from typing import Any

from dynalake.names import TABLE_PATTERN
from dynalake.options.lakes import LAKES, default_environment, environments
from dynalake.options.option import Options, option


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
    """The lake of a run."""

    environment: str = option(
        default_environment,
        "Environment",
        f"One of this Airflow's lakes. The environment variable `{LAKES}` says which there are, and through which AWS "
        "connection and region runs reach them.",
        choices=environments,
    )
