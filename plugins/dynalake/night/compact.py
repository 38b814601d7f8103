"""One table's nightly compaction, from Parquet to Parquet: unfinished work, days, types, projections.

    finish       a change of types that an earlier run has begun
    days         those that are over become one sorted folder each, the oldest first
    types        columns become able to hold what has waited in `__other`
    projections  the views, `{t}_parquet`, `{t}_json` and `{t}_orc`: compared with the tables, written where they differ

The steps are independent: where a step or a day fails, the others go on, and the report says what has failed. Folding
the state and collecting garbage are steps of their own (`lake/fold.py`, `lake/collect.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from dynalake.days import check_known
from dynalake.errors import CatalogError
from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.metadata_note import noted_metadata
from dynalake.lake.catalog.table import Table
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.compaction.day import CompactedDay, DayPlan, compact_days, order_of, plan_compaction
from dynalake.lake.compaction.widen import HELD_TOO_LONG, Widened, finish_widening, held_for, widen_table
from dynalake.lake.compaction.widen_plan import count_widening
from dynalake.lake.current.view_entries import write_views
from dynalake.lake.files.read import count_deleted
from dynalake.lake.hive.json_table import project_json
from dynalake.lake.hive.orc import copy_days
from dynalake.lake.hive.parquet_table import Projected, project_parquet
from dynalake.lake.tables.grow import schema_of
from dynalake.lake.working.findings import Finding
from dynalake.lake.working.steps import Fault, Steps
from dynalake.lake.working.workers import HERE, Outcome, Workers

_NO_DAYS: list[tuple[str, Outcome[CompactedDay]]] = []
_NO_FINDINGS: tuple[Finding, ...] = ()
_NO_NAMES: tuple[str, ...] = ()


@dataclass(frozen=True)
class CompactReport:
    """The result of one run for one table. `waiting`: how many due days had no room in the budget.

    `projected`: by the name of the Glue table. `views`: the names of those that were written.
    """

    table: str
    finished: bool = False
    days: tuple[CompactedDay, ...] = ()
    waiting: int = 0
    widened: Widened = field(default_factory=Widened)
    projected: Mapping[str, Projected] = field(default_factory=dict)
    views: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    faults: tuple[Fault, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compact_table(
    table: Table,
    options: CompactOptions,
    now: Callable[[], datetime],
    *,
    days: Collection[str] = (),
    check: bool = False,
    allow: bool = False,
    work_directory: Path | None = None,
    workers: Workers = HERE,
) -> CompactReport:
    """Do all of a night's compaction that is due. After a kill, or next to other runs, it goes on from there.

    `days` are compacted even while they are open. `check`: also list every folder behind `{t}_parquet`. `allow`:
    closed columns change, too. Spills to `work_directory` (default: the system's temporary directory). `workers` write
    the files. Failures are in the
    report's `faults`. Raises `CatalogError` where the table is missing.
    """
    steps = Steps()
    names, begun = table.names, table.changes()
    findings = steps.run("findings", lambda: _find(begun, now()), _NO_FINDINGS)
    finish = partial(finish_widening, table, begun, options, now, work_directory, workers)
    finished = steps.run("finish", finish, None)
    changes = table.changes() if finished is None else finished
    plan = steps.run("plan", lambda: plan_days(table, changes, options, now(), days), DuePlan())
    done = []
    due = [day.day for day in plan.days]
    compact = partial(compact_days, table, changes, due, options, now, work_directory, workers)
    for day, outcome in steps.run("days", lambda: list(compact()), _NO_DAYS):
        compacted = steps.run(f"dt={day}", outcome.get, CompactedDay(day))
        if compacted.replaced:
            done.append(compacted)
    widen = partial(widen_table, table, options, now, work_directory, workers, allow=allow)
    widened = steps.run("types", widen, Widened())
    views = steps.run("views", lambda: write_views(table), _NO_NAMES)
    projections: dict[str, Callable[[], Projected]] = {
        names.parquet_table: lambda: project_parquet(table, options, now, check=check),
        names.json_table: lambda: project_json(table, now),
    }
    if options.orc_copy:
        projections[names.orc_table] = lambda: copy_days(table, options, now, work_directory)
    projected = {name: steps.run(name, step, Projected()) for name, step in projections.items()}
    return CompactReport(
        names.table,
        finished not in (None, begun),
        tuple(done),
        plan.waiting,
        widened,
        projected,
        views,
        findings,
        tuple(steps.faults),
    )


def check_days(tables: Iterable[Table], days: Collection[str]) -> None:
    """Raise `SettingsError` for named days of which no table has rows, unless a table cannot be read."""
    known: set[str] = set()
    for table in tables:
        if known.issuperset(days):
            return
        try:
            known |= {file.partition for file in table.changes().files()}
        except CatalogError:
            if noted_metadata(table, table.names.changes_table) is not None:
                return
    check_known(days, known, "rows")


def count_due(table: Table, options: CompactOptions, now: datetime, days: Iterable[str] = ()) -> int:
    """Return how many bytes of files a run would write again for days and types if it had no budgets."""
    changes = table.changes()
    days_due = _planner(table, changes, options, now, days)(bounded=False)
    return sum(plan.size for plan in days_due) + count_widening(table, changes, table.items())


@dataclass(frozen=True)
class DuePlan:
    """The days to compact, and how many more are due but have no room in the budget."""

    days: tuple[DayPlan, ...] = ()
    waiting: int = 0


def plan_days(table: Table, changes: Head, options: CompactOptions, now: datetime, days: Iterable[str]) -> DuePlan:
    """Return the days to compact; `days` are named in the run."""
    plan = _planner(table, changes, options, now, days)
    chosen, due = plan(bounded=True), plan(bounded=False)
    return DuePlan(chosen, len(due) - len(chosen))


def _planner(
    table: Table, head: Head, options: CompactOptions, now: datetime, days: Iterable[str]
) -> Callable[..., tuple[DayPlan, ...]]:
    word = order_of(schema_of(head), options.sort_by).word
    zone, deleted, named = table.names.lake.zone, count_deleted(head), frozenset(days)
    return partial(plan_compaction, head.files(), now, zone, options, word, days=named, deleted=deleted)


def _find(changes: Head, now: datetime) -> tuple[Finding, ...]:
    """Return findings: what should not be so when a run begins."""
    held = held_for(changes, now)
    if held is None or held <= HELD_TOO_LONG:
        return ()
    what = f"A change of types began {held} ago and has not finished: the views still show the tables as they were then"
    return (Finding("held-views", changes.name, what, "this run finishes it"),)
