"""Versions that no partition shows are deleted after a grace period. Nothing else here ever deletes.

Two kinds of them: those that a partition has left, which a query that began before still reads; and conversions that
were never published, because they were killed or something newer was. A note stands for each, put before the version is
written and again before a partition leaves it; its age is what counts, not that of the files. The notes lie together
and say all in their keys, so that finding what is due is one listing however many days the table has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from dynalake.catalog.lease import changing
from dynalake.catalog.partitions import list_partitions
from dynalake.clients import Clients
from dynalake.convert.options import CompactOptions
from dynalake.convert.read.raw import list_objects
from dynalake.errors import AccessError
from dynalake.names import TableNames

# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_BATCH = 1000


@dataclass(frozen=True)
class Note:
    """A version of a day that no partition showed at `since`, in seconds since the epoch; `key` is the note's own."""

    key: str
    day: str
    version: str
    since: float


def note_version(clients: Clients, names: TableNames, day: str, version: str) -> None:
    """Note that nobody shows this version from now on. A kill afterwards leaves a note too many, which is harmless,
    never a version that nobody knows of."""
    prefix = names.parquet_version(day, version)
    body = f"{prefix} is deleted some time after this was written, unless a partition shows it then\n"
    clients.s3.put_object(Bucket=names.lake.bucket, Key=names.superseded_note(day, version), Body=body.encode())


def list_notes(clients: Clients, names: TableNames) -> tuple[Note, ...]:
    """Every note of the table: one call per thousand."""
    found = []
    for o in list_objects(clients, names.lake.bucket, names.superseded_notes):
        if (match := re.fullmatch(r"(\d{8})-([0-9a-f]+)\.json", o.key.rpartition("/")[2])) is not None:
            found.append(Note(o.key, match[1], match[2], o.modified))
    return tuple(found)


def plan_superseded(
    notes: Iterable[Note], shown: Mapping[str, str], now: datetime, after_hours: int
) -> tuple[tuple[Note, ...], tuple[Note, ...]]:
    """Which versions are due to be deleted, and which notes say nothing any more. `shown`: day → version.

    The note of a version that is shown goes; should a partition leave it, there will be another.
    """
    limit = now.timestamp() - after_hours * 3600
    settled = tuple(note for note in notes if shown.get(note.day) == note.version)
    due = tuple(note for note in notes if note not in settled and note.since <= limit)
    return due, settled


def delete_superseded(clients: Clients, names: TableNames, options: CompactOptions, now: datetime) -> tuple[str, ...]:
    """Delete what no partition has shown for longer than the grace period. Returns the prefixes that are gone."""
    bucket = names.lake.bucket
    if not list_notes(clients, names):
        return ()
    # Nobody may begin to show a version between the look and the deletion.
    with changing(clients, names) as lease:
        notes = list_notes(clients, names)
        since = min((note.day for note in notes), default="")
        shown = {
            day: partition.location.rstrip("/").rpartition("v=")[2]
            for day, partition in list_partitions(clients, names, names.typed_table, since).items()
        }
        due, settled = plan_superseded(notes, shown, now, options.superseded_after_hours)
        deleted = []
        for note in due:
            lease.check()
            prefix = names.parquet_version(note.day, note.version)
            delete_keys(clients, bucket, [o.key for o in list_objects(clients, bucket, prefix)])
            deleted.append(prefix)
        delete_keys(clients, bucket, [note.key for note in (*due, *settled)])
    return tuple(deleted)


def delete_keys(clients: Clients, bucket: str, keys: list[str]) -> None:
    """Delete these objects, a thousand per call. Again: nothing happens."""
    for start in range(0, len(keys), _BATCH):
        answer = clients.s3.delete_objects(
            Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys[start : start + _BATCH]], "Quiet": True}
        )
        for refused in answer.get("Errors", []):
            raise AccessError(
                f"S3 did not delete {refused.get('Key')}: {refused.get('Code')} {refused.get('Message')}",
                action="let the role of the AWS connection delete it (s3:DeleteObject), and look for an object lock",
                key=str(refused.get("Key")),
            )
