"""What a night would do, planned as the night plans it. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from dynalake.backfill.commit.replaced import find_replaced_runs
from dynalake.errors import counted
from dynalake.lake.catalog.table import Table
from dynalake.lake.compaction.compact_options import GB, CompactOptions
from dynalake.lake.compaction.widen_plan import plan_types
from dynalake.lake.upkeep.collect import find_garbage
from dynalake.lake.upkeep.expire import plan_expiry
from dynalake.lake.upkeep.history import find_history
from dynalake.lake.upkeep.retention import find_raw
from dynalake.lake.working.steps import Fault, Steps
from dynalake.night.compact import plan_days
from dynalake.night.night import Requests, Say, plan_due_fold, scrub_is_due
from dynalake.options.settings import TableSettings


def preview(
    table: Table,
    settings: TableSettings,
    now: Callable[[], datetime],
    say: Say,
    requests: Requests | None = None,
    *,
    raw_retention_days: int = 0,
) -> tuple[Fault, ...]:
    """Say what `night.work` would do, step by step, and return the faults of steps that cannot be planned.

    A step is planned on the tables as they are now: what an earlier step of the night changes is not in its plan.
    """
    requests, at = requests or Requests(), now()
    lines: dict[str, Callable[[], list[str]]] = {
        "history": lambda: _history(table, settings, at),
        "days": lambda: _days(table, settings, at, requests),
        "types": lambda: _types(table, settings, requests),
        "fold": lambda: _fold(table, settings, at, requests),
        "raw": lambda: _raw(table, at, raw_retention_days),
        "backfills": lambda: _backfills(table, at),
        "collect": lambda: _garbage(table, settings, now),
        "scrub": lambda: ["Compare everything"] if requests.scrub or scrub_is_due(table, at) else [],
    }
    steps, nothing = Steps(), list[str]()
    planned = [line for what, plan in lines.items() for line in steps.run(what, plan, nothing)]
    for line in planned or (nothing if steps.faults else ["Nothing is due"]):
        say(line)
    return tuple(steps.faults)


def _history(table: Table, settings: TableSettings, now: datetime) -> list[str]:
    dropped = find_history(table, now, settings.history_days)
    if not dropped.days:
        return []
    days, rows = counted(len(dropped.days), "day"), counted(dropped.rows, "row")
    return [f"Drop {days} before dt={dropped.history_from}, with {rows}"]


def _days(table: Table, settings: TableSettings, now: datetime, requests: Requests) -> list[str]:
    plan = plan_days(table, table.changes(), CompactOptions.of_settings(settings), now, requests.days)
    lines = [
        f"Compact dt={due.day} ({due.reason}): {counted(due.files, 'file')}, {counted(due.size, 'byte')}"
        for due in plan.days
    ]
    return (
        [*lines, f"Left to the next run, because they are many: {counted(plan.waiting, 'day')}"]
        if plan.waiting
        else lines
    )


def _types(table: Table, settings: TableSettings, requests: Requests) -> list[str]:
    allow = requests.allow_schema_changes
    plan = plan_types(table, table.changes(), table.items(), settings.widen_budget_gb * GB, allow=allow)
    lines = []
    if plan.changed:
        lines.append(f"Widen columns: {', '.join(plan.changed)}")
    if plan.lifts:
        lines.append(f"Move values from __other into columns: {', '.join(sorted(plan.lifts))}")
    if plan.size:
        lines.append(f"Write {counted(plan.size, 'byte')} of files again for that")
    if plan.left:
        lines.append(f"Above widen_budget_gb, so they wait: {', '.join(sorted(plan.left))}")
    return lines


def _fold(table: Table, settings: TableSettings, now: datetime, requests: Requests) -> list[str]:
    due = plan_due_fold(table, settings, now, requests)
    return [] if due is None else [f"Fold about {counted(due.bytes, 'byte')} of changes into the state, {due.reason}"]


def _raw(table: Table, now: datetime, raw_retention_days: int) -> list[str]:
    due = [objects for _, objects, _ in find_raw(table, now, raw_retention_days) if objects]
    count, size = sum(map(len, due)), sum(o.size for objects in due for o in objects)
    return (
        [f"Delete {counted(count, 'raw object')} of {counted(len(due), 'day')}, {counted(size, 'byte')}"] if due else []
    )


def _backfills(table: Table, now: datetime) -> list[str]:
    return [
        f"Delete the backfill {run}: {counted(len(objects), 'object')}, {counted(sum(o.size for o in objects), 'byte')}"
        for run, objects in find_replaced_runs(table, now).items()
    ]


def _garbage(table: Table, settings: TableSettings, now: Callable[[], datetime]) -> list[str]:
    heads = (table.changes(), table.items())
    expired = sum(len(plan_expiry(head, now(), settings.snapshot_days).snapshots) for head in heads)
    due, waiting = find_garbage(table, heads, now)
    lines = []
    if expired:
        lines.append(f"Let {counted(expired, 'snapshot')} expire, older than {counted(settings.snapshot_days, 'day')}")
    if due:
        lines.append(f"Delete {counted(len(due), 'unreferenced file')}, {counted(sum(o.size for o in due), 'byte')}")
    if waiting:
        lines.append(f"Delete another night: {counted(waiting, 'unreferenced file')}")
    return lines
