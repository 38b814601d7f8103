"""The tasks of `dynalake_watch`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from airflow.sdk import get_current_context, task

from dynalake.operators.task import limits
from dynalake.operators.task.session import clients, guarded, lake, parameters, say, table_list


@task
@guarded
def tables() -> list[str]:
    """The tables this run is about."""
    from dynalake.errors import SettingsError

    asked = parameters()
    if asked["repaired"] and not asked["tables"]:
        raise SettingsError(
            "repaired is set, and tables is empty",
            allowed="the tables whose lost changes were brought back",
            action="name them: what another table has lost must not be forgotten",
        )
    return table_list(clients())


@task(map_index_template="{{ table_label }}", execution_timeout=limits.LOOK)
@guarded
def look(table: str) -> str:
    """Looks at one table, keeps what was found, and fails where somebody is needed now. Returns the table's state."""
    from dynalake.capture.lake.registry import load_settings
    from dynalake.days import milliseconds
    from dynalake.watch.gather import gather
    from dynalake.watch.judge import Targets
    from dynalake.watch.status import TableStatus, check_alarms, load_status, save_status

    context = get_current_context()
    context["table_label"] = table  # type: ignore[typeddict-unknown-key]
    asked = parameters()
    found = clients()
    names = lake(found).table(table)
    settings = load_settings(found, names)
    targets = Targets(
        freshness_minutes=asked["freshness_minutes"] or settings.freshness_alarm_minutes,
        expiring_hours=asked["expiring_hours"],
        conversion_minutes=asked["conversion_minutes"],
        waiting_hours=asked["waiting_hours"],
    )
    before = load_status(found, names)
    previous = None if before is None else before.readings
    if previous is not None and asked["repaired"]:
        previous = replace(previous, lost_at=None, repaired_at=milliseconds(datetime.now(UTC)))
    readings = gather(
        found, names, settings, targets, datetime.now(UTC), previous=previous, items=asked["compared_items"]
    )
    status = TableStatus.of(table, readings, targets)
    save_status(found, names, status)
    context["table_label"] = f"{table}: {status.state}"  # type: ignore[typeddict-unknown-key]
    for line in status.lines():
        say(line)
    check_alarms([status])
    return status.state


# An alarm of one table must not hide the others.
@task(trigger_rule="all_done")
@guarded
def report(tables: list[str] | None) -> dict[str, int]:
    """Puts all tables together for the page; fails where one of them needs somebody now, or was not looked at."""
    from dynalake.capture.lake.registry import find_lake, list_tables
    from dynalake.days import milliseconds
    from dynalake.watch.status import check_alarms, check_seen, save_overview

    found = clients()
    where = find_lake(found, str(parameters()["environment"]))
    if where is None:
        return {}
    now = datetime.now(UTC)
    overview = save_overview(found, where, list_tables(found, where), now)
    counts: dict[str, int] = {}
    for status in overview.tables:
        state = "not looked at" if status.is_stale(now) else status.state
        counts[state] = counts.get(state, 0) + 1
        say(f"{status.table}: {state}")
    check_alarms(overview.tables)
    begun = datetime.fromisoformat(str(get_current_context()["dag_run"].run_after))
    check_seen(overview.tables, tables, milliseconds(begun))
    return counts
