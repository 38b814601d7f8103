"""The objects of a backfill become the snapshot of the Iceberg tables: converted in batches, and shown by one swap."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from dynalake.convert.batch import BatchResult, read_result
from dynalake.convert.finish import delete_plan
from dynalake.convert.plan import Batch, ConvertLimits, Due, TablePlan, put_plan
from dynalake.days import SNAPSHOT_DAY
from dynalake.errors import LedgerError, NotReadyError
from dynalake.lake.catalog.table import Table
from dynalake.lake.current.snapshot import Swapped, swap_snapshot
from dynalake.lake.current.view_entries import write_views
from dynalake.lake.files.folders import FolderManifest
from dynalake.lake.files.raw_days import list_raw
from dynalake.lake.working.workers import HERE, Workers

MOST_BATCHES = 1000
"""The most tasks that Airflow maps; a larger backfill has larger batches."""


def plan_snapshot(table: Table, prefix: str, now: datetime, limits: ConvertLimits | None = None) -> TablePlan:
    """Return the batches in which the raw objects below `prefix` are converted, kept in the state prefix."""
    limits = limits or ConvertLimits()
    objects = tuple(list_raw(table.store, prefix))
    size_mb = sum(o.size for o in objects) // MOST_BATCHES >> 20
    count = -(-len(objects) // MOST_BATCHES)
    wide = ConvertLimits(
        batch_mb=max(limits.batch_mb, 2 * size_mb), batch_objects=max(limits.batch_objects, 2 * count), batches=10**6
    )
    due = [Due(SNAPSHOT_DAY, objects)] if objects else []
    return put_plan(table, table.changes(), due, (), wide, now)


def show_snapshot(table: Table, run: int, plan: str, numbers: Collection[int], *, workers: Workers = HERE) -> Swapped:
    """Make the converted batches of a plan the snapshot number `run`. Another call, or one after a kill, does the same.

    Raises `NotReadyError` where a batch has not been converted, `ConflictError` where its files are gone or too old,
    `LedgerError` where objects of the backfill were deleted before they were converted.
    """
    results = [_result(table, plan, number) for number in sorted(numbers)]
    _check(table, results)
    swapped = swap_snapshot(table, run, [_manifest(result, run) for result in results], workers=workers)
    write_views(table)
    if plan:
        delete_plan(table, plan)
    return swapped


def _result(table: Table, plan: str, number: int) -> BatchResult:
    result = read_result(table, plan, number)
    if result is None:
        raise NotReadyError(
            f"Batch {number} of the snapshot of {table.names.table} is not converted",
            action="clear its task, and run this one again afterwards",
            table=table.names.table,
        )
    return result


def _check(table: Table, results: Iterable[BatchResult]) -> None:
    """Raise `LedgerError` if an object of the snapshot is missing, because it replaces the previous snapshot."""
    missing = sorted(key for result in results for key in result.rejected.deleted)
    if missing:
        raise LedgerError(
            f"{len(missing):,} objects of the backfill of {table.names.table} were deleted before they were converted, "
            f"the first one {missing[0]}",
            allowed="the backfill's objects as it wrote them",
            action="restore them and clear plan_snapshot, or run dynalake_backfill again; the previous snapshot stays",
            table=table.names.table,
        )


def _manifest(result: BatchResult, run: int) -> FolderManifest:
    batch: Batch = result.batch
    (folder,) = result.folders
    return FolderManifest(
        folder.folder, folder.day, batch.made_at, batch.inputs, folder.parts, result.sums, result.misfits, run
    )
