"""Makes a finished run the snapshot: everything is checked first, and one catalog call comes last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dynalake.backfill import state
from dynalake.backfill.checkpoint import load_checkpoint
from dynalake.backfill.ledger import Ledger, check_finished, check_sums, strays
from dynalake.backfill.manifest import load_groups
from dynalake.backfill.objects import delete_objects, list_objects
from dynalake.backfill.run import load_plan, run_name
from dynalake.backfill.snapshot import shown_run
from dynalake.backfill.supersede import note_superseded
from dynalake.catalog.lease import changing
from dynalake.catalog.partitions import point_snapshot, register_days
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


def load_ledger(clients: Clients, names: TableNames, run: str) -> Ledger:
    """The ledger of the run (its name) as its checkpoints stand."""
    plan = load_plan(clients, names, run)
    groups = load_groups(clients, names, run) if plan.method == "export" else None
    count = plan.segments if groups is None else len(groups.groups)
    return Ledger(plan, tuple(load_checkpoint(clients, names, run, n)[0] for n in range(count)), groups)


def commit_backfill(clients: Clients, names: TableNames, *, run: str) -> Committed:
    """Check the run's ledger, delete strays, and point the snapshot's partition at the run, in that order.

    `run` is the Airflow run id. Doing it twice changes nothing. Whatever fails before the last call leaves the
    previous snapshot as it was; its objects stay for the grace period. An incremental run leaves the snapshot alone,
    and puts its changes beside those of its day. A table without items gives a snapshot without objects.

    Raises `NotReadyError` if a segment is unfinished and `LedgerError` if a sum does not hold.
    """
    run = run_name(run)
    ledger = load_ledger(clients, names, run)
    check_finished(ledger)
    if ledger.plan.window is not None:
        check_written(clients, names, ledger)
        return Committed(ledger, names.uri(show_changes(clients, names, ledger)), None)
    prefix = ledger.plan.prefix(names)
    # Nobody may delete a run that is no snapshot while it becomes one.
    with changing(clients, names) as lease:
        check_written(clients, names, ledger)
        before = shown_run(clients, names)
        if before is not None and before != run:
            note_superseded(clients, names, before)
        lease.check()
        previous = point_snapshot(clients, names, prefix)
    return Committed(ledger, names.uri(prefix), previous)


def check_written(clients: Clients, names: TableNames, ledger: Ledger) -> None:
    """Check the sums against what lies in S3, delete strays, and store the ledger."""
    listed = list_objects(clients, names, ledger.plan.prefix(names))
    check_sums(ledger, listed)
    delete_objects(clients, names, strays(ledger, listed))
    state.overwrite(clients, names, ledger_key(names, ledger.plan.run), ledger.to_json())


def show_changes(clients: Clients, names: TableNames, ledger: Ledger) -> str:
    """Copy the changes of an incremental run into the raw zone, to the day of the run; that day's prefix.

    A kill leaves some of them there: each is complete by itself, and the retry copies the others.
    """
    day = names.raw_day(ledger.plan.day(names))
    there = {found.key for found in list_objects(clients, names, f"{day}import-{ledger.plan.run}-")}
    register_days(clients, names, [ledger.plan.day(names)])
    for part in ledger.parts:
        name = part.key.removeprefix(ledger.plan.prefix(names)).replace("/", "-")
        key = f"{day}import-{ledger.plan.run}-{name}"
        if key not in there:
            source = {"Bucket": names.lake.bucket, "Key": part.key}
            clients.s3.copy_object(Bucket=names.lake.bucket, Key=key, CopySource=source)  # type: ignore[arg-type]
    return day
