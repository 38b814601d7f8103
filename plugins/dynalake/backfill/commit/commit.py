"""Ends a run: checks its sums against the objects in S3, and shows its changes, if it has any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dynalake.backfill.commit.ledger import Ledger, check_finished, check_sums, strays
from dynalake.backfill.export.manifest import load_groups
from dynalake.backfill.plan.run import load_plan, run_name
from dynalake.backfill.segment.checkpoint import load_checkpoint
from dynalake.backfill.source.source import describe
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames


@dataclass(frozen=True)
class Committed:
    """A committed run: its ledger, and the location of its data."""

    ledger: Ledger
    location: str

    def to_json(self) -> dict[str, Any]:
        """Return totals and locations, small enough for an XCom."""
        return {**self.ledger.counts(), "location": self.location}


def ledger_key(names: TableNames, run: str) -> str:
    """Return `{prefix}-state/{TABLE}/backfill/{run}/ledger.json`"""
    return f"{names.backfill_state(run)}ledger.json"


def load_ledger(table: Table, run: str) -> Ledger:
    """Return the ledger of the run (its name) from its current checkpoints."""
    plan = load_plan(table, run)
    groups = load_groups(table, run) if plan.method == "export" else None
    count = plan.segments if groups is None else len(groups.groups)
    return Ledger(plan, tuple(load_checkpoint(table, run, n)[0] for n in range(count)), groups)


def commit_backfill(table: Table, *, run: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Committed:
    """Check the run's ledger and delete strays. A second call changes nothing.

    `run` is the Airflow run id. An incremental run's changes are put next to those of the day `now`. A table without
    items gives a snapshot without objects.

    Raises `NotReadyError` if a segment is unfinished, `LedgerError` if a sum does not hold, and `SourceError` if the
    table is no longer the planned one: some items may be from another table.
    """
    ledger = load_ledger(table, run_name(run))
    check_finished(ledger)
    describe(table, ledger.plan.table_id)
    check_written(table, ledger)
    shown = ledger.plan.prefix(table.names) if ledger.plan.window is None else show_changes(table, ledger, now())
    return Committed(ledger, table.names.uri(shown))


def check_written(table: Table, ledger: Ledger) -> None:
    """Check the sums against the objects in S3, delete strays, and store the ledger."""
    listed = tuple(table.store.list(ledger.plan.prefix(table.names)))
    check_sums(ledger, listed)
    table.store.delete_all(strays(ledger, listed))
    table.store.write_json(ledger_key(table.names, ledger.plan.run), ledger.to_json())


def show_changes(table: Table, ledger: Ledger, now: datetime) -> str:
    """Copy the changes of an incremental run into the raw zone, to the day of its first commit. Return its prefix.

    The day of its plan would not do: `dynalake_convert` may no longer list it. A kill leaves some changes there: each
    is complete by itself, and the retry, which has the same day, copies the others.
    """
    names = table.names
    key = f"{names.backfill_state(ledger.plan.run)}day.json"
    chosen = str(table.store.create_json(key, {"day": names.lake.day_of(now)}).value["day"])
    day = names.raw_day(chosen)
    copied = {entry.key for entry in table.store.list(f"{day}import-{ledger.plan.run}-")}
    for part in ledger.parts:
        name = part.key.removeprefix(ledger.plan.prefix(names)).replace("/", "-")
        key = f"{day}import-{ledger.plan.run}-{name}"
        if key not in copied:
            source = {"Bucket": names.lake.bucket, "Key": part.key}
            table.clients.s3.copy_object(Bucket=names.lake.bucket, Key=key, CopySource=source)  # type: ignore[arg-type]
    return day
