"""A night's work on the tables of one DynamoDB table, in independent steps.

    entries   restore entries that Glue has lost
    snapshot  finish the swap of a backfill's snapshot that was begun
    history   drop folded days that are older than the user wants
    compact   turn days that are over into one sorted folder; widen types; update views and Hive tables
    fold      merge the newest changes into the state, if that is due
    raw       delete raw objects, and backfills, that nothing needs any more
    collect   expire snapshots, and delete unreferenced files
    scrub     compare everything of the table, once a week or on request

The next night finds the work that this one has not done, so a fault costs a day at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dynalake.backfill.commit.replaced import ReplacedRuns, delete_replaced_runs
from dynalake.convert.finish import finish_swap
from dynalake.days import milliseconds
from dynalake.errors import counted
from dynalake.lake.catalog.table import Table
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.current.fold import LAG, Folded, FoldOptions, FoldPlan, fold, plan_fold
from dynalake.lake.tables.repair import repair_entries
from dynalake.lake.upkeep.collect import Collected, collect
from dynalake.lake.upkeep.history import Dropped, drop_history
from dynalake.lake.upkeep.retention import RawDeleted, delete_raw
from dynalake.lake.upkeep.scrub import Scrubbed, read_scrub, scrub
from dynalake.lake.working.findings import Finding
from dynalake.lake.working.steps import Fault, Steps
from dynalake.lake.working.workers import HERE, Workers
from dynalake.night.compact import CompactReport, compact_table, count_due
from dynalake.options.settings import TableSettings

SCRUB_EVERY = timedelta(days=7)

MANY = 20
"""Factor for the bytes that a night may write with many workers (`compact_gb`, `widen_budget_gb`)."""

Say = Callable[[str], None]
"""A function that reports a line to people while the work goes on."""


@dataclass(frozen=True)
class Requests:
    """Requests to a night beyond what is due: open days to compact, a fold, a scrub, a change of closed columns."""

    days: tuple[str, ...] = ()
    fold: bool = False
    scrub: bool = False
    allow_schema_changes: bool = False


def work(
    table: Table,
    settings: TableSettings,
    now: Callable[[], datetime],
    say: Say,
    requests: Requests | None = None,
    *,
    raw_retention_days: int = 0,
    workers: Workers = HERE,
) -> tuple[Fault, ...]:
    """Do all work that is due, and return the faults. It can be called again after a kill, and next to other runs.

    `now` returns aware times. `raw_retention_days`: the lake's option, 0 to keep raw objects. `workers` write the
    files.
    """
    requests = requests or Requests()
    options = CompactOptions.of_settings(settings)
    if workers.at_once > 1:
        gb, widen_gb = MANY * options.compact_gb, MANY * options.widen_budget_gb
        options = replace(options, compact_gb=gb, widen_budget_gb=widen_gb)
    steps = Steps()
    _say_findings(say, steps.run("entries", lambda: repair_entries(table), ()))
    _say_findings(say, steps.run("snapshot", lambda: finish_swap(table, table.changes(), table.items(), workers), ()))
    _say_dropped(say, steps.run("history", lambda: drop_history(table, now(), settings.history_days), Dropped()))
    report = steps.run(
        "compact",
        lambda: compact_table(
            table,
            options,
            now,
            days=requests.days,
            check=requests.scrub,
            allow=requests.allow_schema_changes,
            workers=workers,
        ),
        CompactReport(""),
    )
    _say_compacted(say, report)
    steps.run("fold", lambda: _fold(table, settings, now(), say, requests, workers), None)
    raw = steps.run("raw", lambda: delete_raw(table, now(), raw_retention_days), RawDeleted(""))
    if raw.objects:
        objects, days = counted(raw.objects, "raw object"), counted(len(raw.days), "day")
        say(f"Deleted {objects} of {days}: live rows hold their changes")
    runs = steps.run("backfills", lambda: delete_replaced_runs(table, now()), ReplacedRuns())
    if runs.runs:
        say(f"Deleted backfills that are no longer the snapshot: {', '.join(runs.runs)}")
    collected = steps.run(
        "collect", lambda: collect(table, now, snapshot_days=settings.snapshot_days), Collected(table.names.table)
    )
    if collected.deleted or collected.waiting:
        say(f"Deleted {counted(collected.deleted, 'unreferenced file')}; left to another night: {collected.waiting:,}")
    _say_findings(say, collected.findings)
    steps.run("scrub", lambda: _scrub(table, options, now, say, requested=requests.scrub), None)
    return (*report.faults, *steps.faults)


def count_work(table: Table, settings: TableSettings, now: datetime, requests: Requests) -> int:
    """Return about how many bytes of files a night without budgets would rewrite: days, types, and the fold."""
    size = count_due(table, CompactOptions.of_settings(settings), now, requests.days)
    due = plan_due_fold(table, settings, now, requests)
    return size if due is None else size + due.bytes + sum(f.size for f in table.items().files())


def plan_due_fold(table: Table, settings: TableSettings, now: datetime, requests: Requests) -> FoldPlan | None:
    """Return the fold that a night would do; None where none is due."""
    up_to = milliseconds(now if requests.fold else now - LAG)
    options = FoldOptions.of_settings(settings)
    return plan_fold(table.changes(), table.items(), table.names.lake, up_to, options, requested=requests.fold)


def _fold(
    table: Table, settings: TableSettings, now: datetime, say: Say, requests: Requests, workers: Workers
) -> Folded | None:
    due = plan_due_fold(table, settings, now, requests)
    if due is None:
        return None
    folded = fold(table, due.bound, workers=workers)
    say(f"Folded the state, {due.reason}: {counted(folded.merged.won, 'item')} changed in it")
    return folded


def scrub_is_due(table: Table, now: datetime) -> bool:
    """Return whether the last scrub was a week ago, or there was none."""
    last = read_scrub(table)
    return last is None or milliseconds(now - SCRUB_EVERY) >= last.at


def _scrub(
    table: Table, options: CompactOptions, now: Callable[[], datetime], say: Say, *, requested: bool
) -> Scrubbed | None:
    if not requested and not scrub_is_due(table, now()):
        return None
    scrubbed = scrub(table, now, options)
    say(f"Compared {counted(scrubbed.days, 'day')}: {counted(len(scrubbed.findings), 'finding')}")
    _say_findings(say, scrubbed.findings)
    return scrubbed


def _say_findings(say: Say, findings: Iterable[Finding]) -> None:
    for finding in findings:
        say(f"{finding.kind}: {finding.what}; {finding.plan}")


def _say_dropped(say: Say, dropped: Dropped) -> None:
    if dropped.days:
        days, rows = counted(len(dropped.days), "day"), counted(dropped.rows, "row")
        say(f"Dropped {days} before dt={dropped.history_from}, with {rows}")


def _say_compacted(say: Say, report: CompactReport) -> None:
    for day in report.days:
        say(f"dt={day.day}: {counted(day.replaced, 'file')} became {day.files:,} with {counted(day.rows, 'row')}")
    if report.waiting:
        say(f"Left to the next run, because they are many: {counted(report.waiting, 'day')}")
    if report.widened.columns:
        say(f"Columns with new types: {', '.join(report.widened.columns)}")
    for name, projected in report.projected.items():
        if projected.written or projected.removed:
            say(f"{name}: {counted(len(projected.written), 'partition')} written, {len(projected.removed):,} removed")
    _say_findings(say, report.findings)
