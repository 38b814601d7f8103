"""The snapshot that is committed now, and which run made it."""

from __future__ import annotations

from datetime import UTC, datetime

from dynalake.backfill import state
from dynalake.backfill.run import BackfillPlan, plan_key
from dynalake.catalog.partitions import snapshot_location
from dynalake.clients import Clients
from dynalake.days import SNAPSHOT_DAY
from dynalake.names import TableNames


def shown_run(clients: Clients, names: TableNames) -> str | None:
    """The run that is the snapshot now, or None where there is no snapshot."""
    location = snapshot_location(clients, names)
    return None if location is None else location.removeprefix(names.uri(names.raw_day(SNAPSHOT_DAY))).strip("/")


def snapshot_since(clients: Clients, names: TableNames, moment: datetime) -> str | None:
    """The run of the committed snapshot, if it read the table at `moment` or later; else None.

    A snapshot that is older than the hand-off would leave a gap: what was written between the two is in neither.
    """
    run = shown_run(clients, names)
    if run is None:
        return None
    stored = state.read(clients, names, plan_key(names, run))
    if stored is None:
        return None
    read_at = datetime.fromtimestamp(BackfillPlan.from_json(stored.value).read_at_ms / 1000, UTC)
    return run if read_at >= moment else None
