"""Makes a finished run the snapshot: everything is checked first, and one catalog call comes last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dynalake.backfill import state
from dynalake.backfill.checkpoint import load_checkpoint
from dynalake.backfill.ledger import Ledger, check_finished, check_sums, strays
from dynalake.backfill.manifest import load_groups
from dynalake.backfill.objects import delete_objects, list_objects
from dynalake.backfill.run import BackfillPlan, load_plan, plan_key, run_name
from dynalake.backfill.snapshot import shown_run
from dynalake.backfill.supersede import note_superseded
from dynalake.catalog.lease import changing
from dynalake.catalog.partitions import point_snapshot, register_days
from dynalake.clients import Clients
from dynalake.errors import SettingsError
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


def commit_backfill(
    clients: Clients, names: TableNames, *, run: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Committed:
    """Check the run's ledger, delete strays, and point the snapshot's partition at the run, in that order.

    `run` is the Airflow run id. Doing it twice changes nothing. Whatever fails before the last call leaves the
    previous snapshot as it was; its objects stay for the grace period. An incremental run leaves the snapshot alone,
    and puts its changes beside those of the day `now`. A table without items gives a snapshot without objects.

    Raises `NotReadyError` if a segment is unfinished, `LedgerError` if a sum does not hold, and `SettingsError` if a
    run that was planned later is the snapshot already.
    """
    run = run_name(run)
    ledger = load_ledger(clients, names, run)
    check_finished(ledger)
    if ledger.plan.window is not None:
        check_written(clients, names, ledger)
        return Committed(ledger, names.uri(show_changes(clients, names, ledger, now())), None)
    prefix = ledger.plan.prefix(names)
    # Nobody may delete a run that is no snapshot while it becomes one.
    with changing(clients, names) as lease:
        check_written(clients, names, ledger)
        before = shown_run(clients, names)
        if before is not None and before != run:
            check_newer(clients, names, ledger, before)
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


def check_newer(clients: Clients, names: TableNames, ledger: Ledger, shown: str) -> None:
    """A run that was cleared, or that took long, must not replace one that was planned after it.

    It keeps what was written before its own, earlier hand-off: what was written between the two is in no stream.
    """
    stored = state.read(clients, names, plan_key(names, shown))
    if stored is not None and BackfillPlan.from_json(stored.value).read_at_ms > ledger.plan.read_at_ms:
        raise SettingsError(
            f"The snapshot of table {names.table!r} is of the run {shown!r}, which was planned after this one",
            allowed="a run that was planned later than the one whose snapshot is shown",
            action="trigger dynalake_backfill anew, if the snapshot is to be replaced",
            table=names.table,
        )


def show_changes(clients: Clients, names: TableNames, ledger: Ledger, now: datetime) -> str:
    """Copy the changes of an incremental run into the raw zone, to the day of its first commit; that day's prefix.

    Not to the day of its plan, which may be compacted meanwhile. A kill leaves some of them there: each is complete by
    itself, and the retry, which has the same day, copies the others.
    """
    key = f"{names.backfill_state(ledger.plan.run)}day.json"
    chosen = str(state.create(clients, names, key, {"day": names.lake.day_of(now)}).value["day"])
    day = names.raw_day(chosen)
    there = {found.key for found in list_objects(clients, names, f"{day}import-{ledger.plan.run}-")}
    register_days(clients, names, [chosen])
    for part in ledger.parts:
        name = part.key.removeprefix(ledger.plan.prefix(names)).replace("/", "-")
        key = f"{day}import-{ledger.plan.run}-{name}"
        if key not in there:
            source = {"Bucket": names.lake.bucket, "Key": part.key}
            clients.s3.copy_object(Bucket=names.lake.bucket, Key=key, CopySource=source)  # type: ignore[arg-type]
    return day
