"""The tasks of `dynalake_watch`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow.sdk import get_current_context

from dynalake.operators.task import limits
from dynalake.operators.task.note_text import name_tables
from dynalake.operators.task.session import (
    clients,
    conclude,
    named_table,
    parameters,
    requested,
    run_lake,
    run_table,
    say,
    table_list,
    tell,
)
from dynalake.operators.task.step import LABEL, label, step
from dynalake.options.lakes import name_dags
from dynalake.options.runs import WatchOptions
from dynalake.options.where import Tables

if TYPE_CHECKING:
    from dynalake.lake.catalog.table import Table
    from dynalake.watch.status import TableStatus


@step
def tables() -> list[str]:
    """Returns the tables of this run."""
    from dynalake.errors import SettingsError

    if requested(WatchOptions).repaired and not requested(Tables).tables:
        raise SettingsError(
            "repaired is set, and tables is empty",
            allowed="the tables whose lost changes are restored",
            action="name only these tables: the losses of other tables must stay known",
        )
    return table_list(clients())


@step(map_index_template=LABEL, execution_timeout=limits.LOOK)
def look(name: str) -> str:
    """Checks one table, stores the result, and fails if someone must act now. Returns the table's state."""
    from dynalake.capture.lake.registry import load_settings
    from dynalake.days import milliseconds
    from dynalake.watch.gather import gather
    from dynalake.watch.judge import Targets
    from dynalake.watch.status import TableStatus, check_alarms, load_status, save_status

    label(name)
    options = requested(WatchOptions)
    table = named_table(name)
    settings = load_settings(table)
    targets = Targets(
        freshness_minutes=options.freshness_minutes or settings.freshness_alarm_minutes,
        expiring_hours=options.expiring_hours,
        conversion_minutes=options.conversion_minutes,
        waiting_hours=options.waiting_hours,
    )
    before = load_status(table)
    previous = None if before is None else before.readings
    if previous is not None and options.repaired:
        previous = replace(previous, lost_at=None, repaired_at=milliseconds(datetime.now(UTC)))
    readings = gather(
        table,
        settings,
        targets,
        datetime.now(UTC),
        previous=previous,
        items=options.compared_items,
        convert_every_minutes=run_lake().convert_every_minutes,
    )
    status = TableStatus.of(name, readings, targets, before)
    save_status(table, status)
    label(f"{name}: {status.state}")
    _say_status(status, table)
    check_alarms([status])
    return status.state


# An alarm of one table must not hide the others.
@step(trigger_rule="all_done")
def report(tables: list[str] | None) -> dict[str, int]:
    """Gathers all tables for the page, and publishes what has changed.

    Fails if someone must act now on a table, or a table was not checked.
    """
    from dynalake.capture.lake.registry import find_lake, list_tables
    from dynalake.capture.source.choose import not_set_up
    from dynalake.days import milliseconds
    from dynalake.watch.alerts import publish_alert
    from dynalake.watch.judge import OK
    from dynalake.watch.status import check_alarms, check_seen, save_overview

    aws = clients()
    where = find_lake(aws, str(parameters()["environment"]))
    if where is None:
        check_seen((), tables, 0)
        return {}
    now = datetime.now(UTC)
    set_up = list_tables(aws, where)
    overview = save_overview(aws, where, set_up, now)
    counts: dict[str, int] = {}
    for status in overview.tables:
        state = "not checked" if status.is_stale(now) else status.state
        counts[state] = counts.get(state, 0) + 1
        say(f"{status.table}: {state}")
    if overview.tables:
        names = name_tables([status.table for status in overview.tables])
        conclude(f"{names}: {', '.join(f'{count:,} {state}' for state, count in counts.items())}")
    lines = [line for status in overview.tables if status.state != OK for line in status.lines()]
    unpublished = publish_alert(aws, where, overview.tables, now)
    if new := not_set_up(aws, tag, set_up) if (tag := run_lake().tag) else ():
        lines.append(
            f"Tables with the tag {tag} that are not set up: {', '.join(new)}. Run dynalake_setup with table={tag}."
        )
    tell("\n".join(lines))
    check_alarms(overview.tables)
    begun = datetime.fromisoformat(str(get_current_context()["dag_run"].run_after))
    check_seen(overview.tables, tables, milliseconds(begun))
    if unpublished:
        raise unpublished
    return counts


@step(execution_timeout=limits.LOOK, retries=0)
def show() -> None:
    """Shows the run's table on the page "dynalake" as it is now, instead of at the watch's next run."""
    from dynalake.capture.lake.registry import list_tables
    from dynalake.watch.status import save_overview

    table = run_table()
    leave_reading(table)
    lake = table.names.lake
    save_overview(table.clients, lake, list_tables(table.clients, lake), datetime.now(UTC))


def leave_reading(table: Table) -> None:
    """Store how the table stands now, for its page. What the watch would alarm about fails nothing here."""
    from dynalake.aws.refusals import AWS_ERRORS
    from dynalake.capture.lake.registry import load_settings
    from dynalake.errors import DynalakeError
    from dynalake.watch.gather import gather
    from dynalake.watch.judge import Targets
    from dynalake.watch.status import TableStatus, load_status, save_status

    try:
        settings, before = load_settings(table), load_status(table)
        targets = Targets(freshness_minutes=settings.freshness_alarm_minutes)
        previous = None if before is None else before.readings
        readings = gather(table, settings, targets, datetime.now(UTC), previous=previous, items=0)
        status = TableStatus.of(table.names.table, readings, targets, before)
        # A look of the watch in the meantime knows more: what it compared, and what a user reported as repaired.
        if load_status(table) == before:
            save_status(table, status)
    except (DynalakeError, *AWS_ERRORS) as error:
        say(f"The page shows the table as it was, until dynalake_watch runs: {error}")
        return
    _say_status(status, table)


def _say_status(status: TableStatus, table: Table) -> None:
    say(name_dags("\n".join(status.lines()), table.names.lake.environment))
