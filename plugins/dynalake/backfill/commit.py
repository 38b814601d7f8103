"""Makes a finished run the snapshot: everything is checked first, and one catalog call comes last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dynalake.backfill import state
from dynalake.backfill.checkpoint import load_checkpoint
from dynalake.backfill.ledger import Ledger, check_finished, check_sums, strays
from dynalake.backfill.objects import delete_objects, list_objects
from dynalake.backfill.run import load_plan, run_name
from dynalake.catalog.partitions import point_snapshot
from dynalake.clients import Clients
from dynalake.names import TableNames


@dataclass(frozen=True)
class Committed:
    """A committed run: its ledger, where the snapshot is now, and where it was before (None: there was none)."""

    ledger: Ledger
    location: str
    previous: str | None

    def to_json(self) -> dict[str, Any]:
        """Totals and locations, small enough for an XCom."""
        return {**self.ledger.counts(), "location": self.location, "previous": self.previous}


def ledger_key(names: TableNames, run: str) -> str:
    """`{prefix}-state/{TABLE}/backfill/{run}/ledger.json`"""
    return f"{names.backfill_state(run)}ledger.json"


def commit_backfill(clients: Clients, names: TableNames, *, run: str) -> Committed:
    """Check the run's ledger, delete strays, and point the snapshot's partition at the run, in that order.

    `run` is the Airflow run id. Doing it twice changes nothing. Whatever fails before the last call leaves the
    previous snapshot as it was; its objects stay. A table without items gives a snapshot without objects.

    Raises `NotReadyError` if a segment is unfinished and `LedgerError` if a sum does not hold.
    """
    run = run_name(run)
    plan = load_plan(clients, names, run)
    ledger = Ledger(plan, tuple(load_checkpoint(clients, names, run, n)[0] for n in range(plan.segments)))
    check_finished(ledger)
    prefix = names.snapshot_run(run)
    listed = list_objects(clients, names, prefix)
    check_sums(ledger, listed)
    delete_objects(clients, names, strays(ledger, listed))
    state.overwrite(clients, names, ledger_key(names, run), ledger.to_json())
    previous = point_snapshot(clients, names, prefix)
    return Committed(ledger, names.uri(prefix), previous)
