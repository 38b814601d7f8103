"""The task of `dynalake_compact` for the Iceberg tables of one DynamoDB table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task

from dynalake.operators.limits import DATA
from dynalake.operators.session import clients, guarded, lake, parameters, say

if TYPE_CHECKING:
    from dynalake.lake.compact import CompactReport
    from dynalake.lake.table import Table


SCRUB_EVERY = timedelta(days=7)


def _now() -> datetime:
    return datetime.now(UTC)


@task(map_index_template="{{ table_label }}", execution_timeout=DATA)
@guarded
def compact_lake(table: str) -> dict[str, Any]:
    """Compacts days, widens types, folds the state, collects garbage, scrubs weekly; fails if any of these has."""
    from dynalake.errors import TerminalError, TransientError
    from dynalake.lake.compact import compact_table
    from dynalake.lake.compact_options import CompactOptions
    from dynalake.lake.json_table import shown_prefix
    from dynalake.lake.metadata_note import noted_metadata
    from dynalake.lake.repair import repair_entries
    from dynalake.lake.table import Table

    get_current_context()["table_label"] = table  # type: ignore[typeddict-unknown-key]
    asked = parameters()
    found = clients()
    of = Table(found, lake(found).table(table))
    if noted_metadata(found, of.names, of.names.changes_table) is None:
        say(f"{table} has no Iceberg tables yet: dynalake_setup makes them")
        return {}
    for finding in repair_entries(of):
        say(f"{finding.kind}: {finding.what}; {finding.plan}")
    options = CompactOptions(codec=asked["codec"], part_mb=asked["part_mb"], sort_by=tuple(asked["sort_by"]))
    days = [day for day in asked["days"] if day != "00000000"]
    report = compact_table(of, options, _now, days=days, snapshot=shown_prefix(of))
    _say(report)
    failed = [*(f"{fault.what}: {fault.error}" for fault in report.faults), *_fold(of), *_collect(of), *_scrub(of)]
    if failed:
        kind = TransientError if all(f.transient for f in report.faults) else TerminalError
        raise kind(
            f"{table}: {'; '.join(failed)}", action="the other steps are done; repair what it says, and run it again"
        )
    return {"table": table, "days": [d.day for d in report.days], "waiting": report.waiting}


def _say(report: CompactReport) -> None:
    for day in report.days:
        say(f"dt={day.day}: {day.replaced:,} files became {day.files:,} with {day.rows:,} rows")
    if report.waiting:
        say(f"{report.waiting:,} more days are due, and are left to the next run")
    for finding in report.findings:
        say(f"{finding.kind}: {finding.what}; {finding.plan}")


def _fold(of: Table) -> list[str]:
    """Fold the state where that is due. Returns what has failed."""
    from dynalake.errors import DynalakeError
    from dynalake.lake.fold import LAG, fold, plan_fold
    from dynalake.lake.folders import milliseconds

    try:
        due = plan_fold(of.changes(), of.items(), of.names.lake, milliseconds(_now() - LAG))
        if due is not None:
            say(f"The state is folded: {due.reason}")
            folded = fold(of, due.bound)
            say(f"{folded.merged.won:,} items of the state have changed")
    except DynalakeError as error:
        return [f"fold: {error}"]
    return []


def _scrub(of: Table) -> list[str]:
    """Compare all that there is of the table, once a week. Returns what has failed."""
    from dynalake.errors import DynalakeError
    from dynalake.lake.folders import milliseconds
    from dynalake.lake.scrub import read_scrub, scrub

    try:
        last = read_scrub(of)
        if last is not None and milliseconds(_now() - SCRUB_EVERY) < last.at:
            return []
        found = scrub(of, _now)
        say(f"{len(found.findings):,} findings in all days of the table")
        for finding in found.findings:
            say(f"{finding.kind}: {finding.what}; {finding.plan}")
    except DynalakeError as error:
        return [f"scrub: {error}"]
    return []


def _collect(of: Table) -> list[str]:
    """Let snapshots expire and delete what nothing names. Returns what has failed."""
    from dynalake.errors import DynalakeError
    from dynalake.lake.collect import collect

    try:
        collected = collect(of, _now)
        say(f"{collected.deleted:,} objects that nothing names are deleted, {collected.waiting:,} wait for that")
        for finding in collected.findings:
            say(f"{finding.kind}: {finding.what}; {finding.plan}")
    except DynalakeError as error:
        return [f"collect: {error}"]
    return []
