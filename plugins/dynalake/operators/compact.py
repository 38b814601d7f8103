"""The tasks of `dynalake_compact`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task

from dynalake.operators.limits import DATA
from dynalake.operators.session import clients, guarded, lake, parameters, say, table_list

if TYPE_CHECKING:
    from dynalake.names import Lake
    from dynalake.night import Asked


@task
@guarded
def tables() -> list[str]:
    """The tables this run is about."""
    return table_list(clients())


@task(map_index_template="{{ table_label }}", execution_timeout=DATA)
@guarded
def compact(table: str) -> dict[str, Any]:
    """Does a night's work on one table; fails, once all of it was tried, if a step has."""
    from dynalake.capture.lake import load_settings, raw_retention_days
    from dynalake.errors import TerminalError, TransientError
    from dynalake.lake.metadata_note import noted_metadata
    from dynalake.lake.table import Table
    from dynalake.night import work

    get_current_context()["table_label"] = table  # type: ignore[typeddict-unknown-key]
    found = clients()
    where = lake(found)
    names = where.table(table)
    settings = load_settings(found, names)
    if noted_metadata(found, names, names.changes_table) is None:
        say(f"{table} has no tables in Glue yet: dynalake_setup makes them")
        return {"table": table, "faults": []}
    asked, retention = _asked(where), raw_retention_days(found, where)
    faults = work(Table(found, names), settings, _now, say, asked, raw_retention_days=retention)
    if faults:
        kind = TransientError if all(f.transient for f in faults) else TerminalError
        failed = "; ".join(f"{f.what}: {f.error}" for f in faults)
        raise kind(f"{table}: {failed}", action="the other steps are done; repair what it says, and run it again")
    return {"table": table, "faults": []}


def _now() -> datetime:
    return datetime.now(UTC)


def _asked(where: Lake) -> Asked:
    """What the run's parameters ask for. A run of `airflow backfill` is about the day before its logical date."""
    from datetime import timedelta

    from dynalake.days import check_day
    from dynalake.night import Asked

    run, asked = get_current_context()["dag_run"], parameters()
    days = [check_day(day) for day in asked["days"]]
    if run.run_type == "backfill" and run.logical_date is not None:
        days.append(where.day_of(datetime.fromisoformat(str(run.logical_date)) - timedelta(days=1)))
    return Asked(tuple(days), fold=asked["fold"], scrub=asked["scrub"])
