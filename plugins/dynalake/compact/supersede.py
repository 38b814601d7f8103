"""Versions that no reader is on any more are deleted after a grace period. Nothing else here ever deletes.

A query that began before a partition moved still reads its former version, so what counts is when the partition moved,
not how old the files are. A note says so for each version; the notes lie together, so that finding them is one listing
however many days the table has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from dynalake.catalog.partitions import read_partition
from dynalake.catalog.raw import list_objects
from dynalake.clients import Clients
from dynalake.compact.options import CompactOptions
from dynalake.names import TableNames

# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_BATCH = 1000


@dataclass(frozen=True)
class Superseded:
    """A version (`{prefix}/parquet/…/v=…/`) that a partition has left; `since` in seconds since the epoch."""

    day: str
    prefix: str
    since: float


def note_superseded(clients: Clients, names: TableNames, day: str, location: str, now: datetime) -> None:
    """Note that a partition is about to leave `location` (`s3://…/`). Comes before the move: a kill leaves a note too
    many, which is harmless, never a version that nobody knows of."""
    found = Superseded(day, location.removeprefix(names.uri("")), now.timestamp())
    body = json.dumps(asdict(found), indent=2).encode()
    clients.s3.put_object(Bucket=names.lake.bucket, Key=_note_key(names, found), Body=body)


def plan_superseded(
    notes: Mapping[str, Superseded], shown: Mapping[str, str], now: datetime, after_hours: int
) -> tuple[str, ...]:
    """The keys of the notes that are due. `shown`: day → the prefix that its partition shows.

    A version that is shown again is no longer superseded; its note is due, but its objects stay (the caller looks).
    """
    limit = now.timestamp() - after_hours * 3600
    return tuple(
        sorted(key for key, note in notes.items() if shown.get(note.day) == note.prefix or note.since <= limit)
    )


def delete_superseded(clients: Clients, names: TableNames, options: CompactOptions, now: datetime) -> tuple[str, ...]:
    """Delete what has been superseded for longer than the grace period. Returns the prefixes that are gone."""
    bucket = names.lake.bucket
    notes: dict[str, Superseded] = {}
    for found in list_objects(clients, bucket, names.superseded_notes):
        body = clients.s3.get_object(Bucket=bucket, Key=found.key)["Body"].read()
        notes[found.key] = Superseded(**json.loads(body))
    shown = {}
    for day in {note.day for note in notes.values()}:
        partition = read_partition(clients, names, names.parquet_table, day)
        if partition is not None:
            shown[day] = partition.location.removeprefix(names.uri(""))
    deleted = []
    for key in plan_superseded(notes, shown, now, options.superseded_after_hours):
        note = notes[key]
        if shown.get(note.day) != note.prefix:
            _delete_below(clients, bucket, note.prefix)
            deleted.append(note.prefix)
        clients.s3.delete_object(Bucket=bucket, Key=key)
    return tuple(deleted)


def _delete_below(clients: Clients, bucket: str, prefix: str) -> None:
    keys = [found.key for found in list_objects(clients, bucket, prefix)]
    for start in range(0, len(keys), _BATCH):
        chunk = [{"Key": key} for key in keys[start : start + _BATCH]]
        clients.s3.delete_objects(Bucket=bucket, Delete={"Objects": chunk, "Quiet": True})  # type: ignore[typeddict-item]


def _note_key(names: TableNames, found: Superseded) -> str:
    version = found.prefix.rstrip("/").rpartition("v=")[2]
    return f"{names.superseded_notes}{found.day}-{version}.json"
