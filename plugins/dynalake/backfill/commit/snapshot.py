"""The backfill that the lake shows as its snapshot, and whether that is recent enough."""

from __future__ import annotations

from datetime import UTC, datetime

from dynalake.backfill.plan.run import BackfillPlan, plan_key
from dynalake.lake.catalog.table import Table
from dynalake.lake.current.snapshot import shown_run


def snapshot_since(table: Table, moment: datetime) -> str | None:
    """Return the run of the snapshot that the lake shows, if it read the table at `moment` or later; else None.

    A snapshot that is older than the hand-off would leave a gap: changes between the two are in neither. Raises
    `CatalogError` where the tables are missing or damaged.
    """
    run = shown_run(table, table.changes())
    if run is None:
        return None
    stored = table.store.read_json(plan_key(table.names, run))
    if stored is None:
        return None
    read_at = datetime.fromtimestamp(BackfillPlan.from_json(stored.value).read_at_ms / 1000, UTC)
    return run if read_at >= moment else None
