"""Runs that the snapshot has left, and runs that came to nothing, are deleted with their state after a grace period.

As with Parquet (`compact/supersede.py`), a note is put before the snapshot leaves a run, and its age is what counts.
A run without one was never the snapshot: it is given up after two weeks in which nothing of it was written. The
snapshot itself is never deleted, and where there is none nothing is. A commit holds the table's lease like this does,
so a run is either the snapshot before anything of it is looked at, or its commit finds what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from dynalake.backfill import state
from dynalake.backfill.export import exports_key
from dynalake.backfill.manifest import groups_key
from dynalake.backfill.objects import ListedObject, delete_objects, list_objects
from dynalake.backfill.run import BackfillPlan, plan_key
from dynalake.backfill.snapshot import shown_run
from dynalake.catalog.lease import changing
from dynalake.clients import Clients
from dynalake.names import TableNames

GIVEN_UP_AFTER_HOURS = 14 * 24
"""A run waits for its export for two days at most, and a scan writes a checkpoint every few minutes."""


@dataclass(frozen=True)
class Left:
    """A run that is not the snapshot: its objects, and its note where it was once."""

    run: str
    objects: tuple[ListedObject, ...]
    note: ListedObject | None = None

    def is_due(self, now: datetime, after_hours: int) -> bool:
        """Whether it may go: nothing of it was written for so long, nor did the snapshot leave it since (pure)."""
        hours = after_hours if self.note is not None else max(after_hours, GIVEN_UP_AFTER_HOURS)
        touched = [found.modified for found in (*self.objects, *([self.note] if self.note else []))]
        return max(touched, default=0.0) <= now.timestamp() - hours * 3600


def note_superseded(clients: Clients, names: TableNames, run: str) -> None:
    """Note that the snapshot leaves this run now. A kill afterwards leaves a note too many, which is harmless."""
    body = f"{names.snapshot_run(run)} is deleted some time after this was written, unless it is the snapshot then\n"
    clients.s3.put_object(Bucket=names.lake.bucket, Key=names.superseded_run(run), Body=body.encode())


def delete_runs(clients: Clients, names: TableNames, after_hours: int, now: datetime) -> tuple[str, ...]:
    """Delete what no snapshot has been for longer than the grace period, and what was given up. Returns the runs."""
    if not _due(clients, names, after_hours, now):
        return ()
    # No commit may make one of them the snapshot between the look and the deletion.
    with changing(clients, names) as lease:
        due = _due(clients, names, after_hours, now)
        for left in due:
            for keys in _in_order(clients, names, left):
                lease.check()
                delete_objects(clients, names, keys)
    return tuple(left.run for left in due)


def _due(clients: Clients, names: TableNames, after_hours: int, now: datetime) -> list[Left]:
    shown = shown_run(clients, names)
    if shown is None:
        return []
    notes = {
        found.key.removeprefix(names.superseded_runs).removesuffix(".txt"): found
        for found in list_objects(clients, names, names.superseded_runs)
    }
    runs = sorted({*_list_runs(clients, names), *notes} - {shown})
    found = [
        Left(
            run,
            (
                *list_objects(clients, names, names.backfill_state(run)),
                *list_objects(clients, names, names.snapshot_run(run)),
            ),
            notes.get(run),
        )
        for run in runs
    ]
    # Of one whose export is to be kept nothing more may be left to delete.
    return [left for left in found if left.is_due(now, after_hours) and any(_in_order(clients, names, left))]


def _list_runs(clients: Clients, names: TableNames) -> Iterator[str]:
    pages = clients.s3.get_paginator("list_objects_v2").paginate(
        Bucket=names.lake.bucket, Prefix=names.backfill_states, Delimiter="/"
    )
    for page in pages:
        for found in page.get("CommonPrefixes", ()):
            yield found["Prefix"].removeprefix(names.backfill_states).rstrip("/")


def _in_order(clients: Clients, names: TableNames, left: Left) -> Iterator[list[str]]:
    """What is deleted one after the other: checkpoints before what they list, and the plan last.

    Whoever runs the old run again meanwhile reads what has no checkpoint anew, or is told what is missing.
    """
    stored = state.read(clients, names, plan_key(names, left.run))
    kept = stored is not None and BackfillPlan.from_json(stored.value).keep_export
    keys = [found.key for found in left.objects]
    export = [key for key in keys if key.startswith(names.export_prefix(left.run))]
    requested = [key for key in keys if key in (exports_key(names, left.run), plan_key(names, left.run))]
    raw = [key for key in keys if key.startswith(names.snapshot_run(left.run))]
    groups = [key for key in keys if key == groups_key(names, left.run)]
    yield [key for key in keys if key not in {*export, *requested, *raw, *groups}]
    yield raw
    yield groups
    if not kept:
        yield export
        yield requested
    yield [left.note.key] if left.note else []
