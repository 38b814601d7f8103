"""The form of `dynalake_compact`, and when it runs."""

from __future__ import annotations

import os

from airflow.sdk import Param

from dynalake.operators.parameters.engine import engine_parameters
from dynalake.operators.parameters.which import RUN, tables_parameter, where_parameters

SCHEDULE = "DYNALAKE_COMPACT_SCHEDULE"


def compact_schedule() -> str:
    """Return when the DAG runs, as a cron expression, which must be known when the DAG is parsed."""
    return os.environ.get(SCHEDULE) or "0 2 * * *"


def compact_parameters() -> dict[str, Param]:
    return {
        **tables_parameter(),
        "days": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Compact these days now",
            description_md="**YYYYMMDD**, or **00000000** for the snapshot, one per line, even while a day is open. "
            "Empty: every day that is over and is not one sorted folder yet.",
            section=RUN,
        ),
        "fold": Param(
            False,
            type="boolean",
            title="Fold now",
            description_md="Folds all changes into **{t}_state**, up to the newest one, even if that is not due.",
            section=RUN,
        ),
        "scrub": Param(
            False,
            type="boolean",
            title="Compare everything now",
            description_md="Compares raw objects, files, manifests, partitions and rows of all days, which otherwise "
            "happens once a week.",
            section=RUN,
        ),
        **engine_parameters("files to write again"),
        **where_parameters(),
    }
