"""Backfills that are no longer the snapshot, and failed ones, are deleted after two weeks.

The tables say which one is the snapshot. A backfill that went on in the meantime is younger; one that is run again
afterwards reads everything without a checkpoint again, or fails with an error that says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from dynalake.aws.s3 import StoredObject
from dynalake.backfill.export.export import exports_key
from dynalake.backfill.export.manifest import groups_key
from dynalake.backfill.plan.run import BackfillPlan, plan_key
from dynalake.days import SNAPSHOT_DAY, milliseconds
from dynalake.lake.catalog.table import Table
from dynalake.lake.upkeep.retention import find_replaced

REPLACED_AFTER = timedelta(days=14)
"""Age at which it is deleted. A backfill waits for its export for two days at most, and a scan writes a checkpoint
every few minutes.
"""


@dataclass(frozen=True)
class ReplacedRuns:
    """The backfills that were deleted, and their objects."""

    runs: tuple[str, ...] = ()
    objects: int = 0
    bytes: int = 0


def delete_replaced_runs(table: Table, now: datetime, after: timedelta = REPLACED_AFTER) -> ReplacedRuns:
    """Delete the raw objects and the state of backfills that nothing needs, `after` they were last written to.

    Exports that the user keeps stay. After a kill, the next call goes on from there. Nothing is deleted while there is
    no snapshot, or another one is being swapped in.
    """
    report = ReplacedRuns()
    for run, objects in find_replaced_runs(table, now, after).items():
        deleted = [table.store.delete_listed(group) for group in _in_order(table, run, objects)]
        count = sum(d.objects for d in deleted)
        if count:
            report = ReplacedRuns(
                (*report.runs, run), report.objects + count, report.bytes + sum(d.bytes for d in deleted)
            )
    return report


def find_replaced_runs(
    table: Table, now: datetime, after: timedelta = REPLACED_AFTER
) -> dict[str, tuple[StoredObject, ...]]:
    """Return the backfills that nothing needs, and their objects."""
    before = milliseconds(table.store.clock(now) - after)
    objects = {run: _objects(table, run) for run in _list_runs(table)}
    written = {run: max((o.modified for o in stored), default=0) for run, stored in objects.items()}
    return {run: objects[run] for run in find_replaced(table, written, before)}


def _list_runs(table: Table) -> list[str]:
    """Return every backfill that has an object."""
    prefixes = (table.names.backfill_states, table.names.raw_day(SNAPSHOT_DAY))
    return sorted({run for prefix in prefixes for run in table.store.folders(prefix)})


def _objects(table: Table, run: str) -> tuple[StoredObject, ...]:
    names = table.names
    prefixes = (names.backfill_state(run), names.export_prefix(run), names.snapshot_run(run))
    return tuple(o for prefix in prefixes for o in table.store.list(prefix))


def _in_order(table: Table, run: str, objects: tuple[StoredObject, ...]) -> Iterator[list[StoredObject]]:
    """Yield groups in the order of deletion: checkpoints before the objects that they list, and the plan last."""
    names = table.names
    stored = table.store.read_json(plan_key(names, run))
    kept = stored is not None and BackfillPlan.from_json(stored.value).keep_export
    export = {o.key for o in objects if o.key.startswith(names.export_prefix(run))}
    requested = {exports_key(names, run), plan_key(names, run)}
    raw = {o.key for o in objects if o.key.startswith(names.snapshot_run(run))}
    groups = {groups_key(names, run)}
    last = {*export, *requested, *raw, *groups}
    yield [o for o in objects if o.key not in last]
    yield [o for o in objects if o.key in raw]
    yield [o for o in objects if o.key in groups]
    if not kept:
        yield [o for o in objects if o.key in export]
        yield [o for o in objects if o.key in requested]
