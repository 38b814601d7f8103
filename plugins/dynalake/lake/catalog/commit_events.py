"""What the commits of both tables mean to those who read them: events, each taken by one task to be passed on.

Iceberg's own list of snapshots is the log, so no event is lost with the task that made the commit: after a kill or a
failure, the next task that succeeds takes it. A note says up to which snapshots events were taken, and by which run. A
retry within that run takes the same events once more, because the first answer may have been lost.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pyiceberg.table.snapshots import Snapshot

from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.table import Table

MADE_BY = "dynalake"
"""Key in the summary of a snapshot: the work that made it."""

DAYS = "dynalake.day"
"""Key in the summary of a snapshot: the days (`dt`) of the files that it added, separated by commas."""

MERGED = "dynalake.merged"
"""Key in the summary of a fold: the JSON of its `Merged`. Its commits before have written the files."""

_OF_CHANGES = {"convert": "commit", "compact": "day", "snapshot": "snapshot"}
_OF_STATE = {"fold": "fold"}


@dataclass(frozen=True)
class CommitEvent:
    """Commits of one kind: `commit` (new rows), `day` (compacted), `snapshot` (of a backfill), `fold` (of the state).

    `rows`, `bytes` and `files`: what was written.
    `snapshot_id`: of the last commit, in `{t}_state` for a fold, else in `{t}`. `new_columns`: of that table.
    """

    kind: str
    days: tuple[str, ...]
    rows: int
    bytes: int
    files: int
    snapshot_id: int
    new_columns: tuple[str, ...] = ()

    def to_extra(self) -> dict[str, str | int]:
        """Return flat JSON values: Airflow 3.1 takes no lists. Neither days nor names of columns have commas."""
        return {
            "kind": self.kind,
            "days": ",".join(self.days),
            "rows": self.rows,
            "bytes": self.bytes,
            "files": self.files,
            # Text: it is larger than the numbers that JavaScript, and so Airflow's page, shows exactly.
            "snapshot_id": str(self.snapshot_id),
            "new_columns": ",".join(self.new_columns),
        }


def take_events(table: Table, run: str, *, known: bool = False) -> tuple[CommitEvent, ...]:
    """Return the events of all commits that no other run has taken. `run`: the same for each try of a task.

    Call it where nothing else can fail: no other run gets these events. `known`: both tables as this process has read
    or committed them last; the next run takes what others have committed since.
    """
    stored = table.store.read_json(table.names.events_note)
    note = {} if stored is None else stored.value
    taken = dict(note.get("before" if note.get("run") == run else "after", {}))
    load = table.catalog.latest if known else table.catalog.load
    changes, state = load(table.names.changes_table), load(table.names.state_table)
    events = (
        *read_events(changes, taken.get(changes.uuid, 0), _OF_CHANGES),
        *read_events(state, taken.get(state.uuid, 0), _OF_STATE),
    )
    if events:
        now = {head.uuid: max(_newest(head), taken.get(head.uuid, 0)) for head in (changes, state)}
        table.store.write_json(table.names.events_note, {"run": run, "before": taken, "after": now})
    return events


def _newest(head: Head) -> int:
    """Return the sequence number of the table's newest commit; 0 if there is none."""
    snapshot = head.iceberg.metadata.current_snapshot()
    return (snapshot and snapshot.sequence_number) or 0


def read_events(head: Head, after: int, kinds: Mapping[str, str]) -> Iterator[CommitEvent]:
    """Yield an event for each kind of commit after a sequence number, as far as the table still has its snapshots."""
    metadata = head.iceberg.metadata
    fresh: list[Snapshot] = []
    at = metadata.current_snapshot()
    while at is not None and (at.sequence_number or 0) > after:
        fresh.append(at)
        at = None if at.parent_snapshot_id is None else metadata.snapshot_by_id(at.parent_snapshot_id)
    by_kind: dict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in reversed(fresh):
        if kind := kinds.get(_read(snapshot, MADE_BY)):
            by_kind[kind].append(snapshot)
    if not by_kind:
        return
    before = {field.name for field in head.schema_at((at or fresh[-1]).snapshot_id).fields}
    new = tuple(field.name for field in head.schema.fields if field.name not in before)
    for kind, snapshots in by_kind.items():
        days = {day for snapshot in snapshots for day in _read(snapshot, DAYS).split(",") if day}
        rows, size, files = map(sum, zip(*map(_written, snapshots), strict=True))
        yield CommitEvent(kind, tuple(sorted(days)), rows, size, files, snapshots[-1].snapshot_id, new)


def _written(snapshot: Snapshot) -> tuple[int, int, int]:
    """Return the rows, the bytes and the number of the files that the work of a snapshot has written."""
    if merged := json.loads(_read(snapshot, MERGED) or "{}"):
        return merged["written_rows"], merged["written"], merged["files"]
    rows, size, files = (int(_read(snapshot, f"added-{of}") or 0) for of in ("records", "files-size", "data-files"))
    return rows, size, files


def _read(snapshot: Snapshot, key: str) -> str:
    return "" if snapshot.summary is None else str(snapshot.summary.additional_properties.get(key, ""))
