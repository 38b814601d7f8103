"""Garbage collection: only files that nothing names any more are deleted.

A file is deleted only if all of this holds, in this order:

1. It was listed, and was then older than `GRACE`. A file being written, or waiting for its commit, is younger: a commit
   of files that are older than half of it is refused.
2. After the listing both tables got a new version (`COLLECTED_AT`). A commit that was sent before, and was under way
   for longer than the grace, is refused by Glue from then on; the next step sees one that landed.
3. Then nothing names it: no snapshot that is kept, no tag, no metadata of the last hundred commits, no Glue partition.
4. An earlier run, at least `WAIT` before, found the same. So a table put back to an older state by mistake can
   be repaired before the files of its later commits are gone.

Ages are by S3's clock where it is behind the machine's.
"""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from dynalake.aws.s3 import StoredObject, Version
from dynalake.days import milliseconds
from dynalake.errors import CatalogError
from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.iceberg import Change, Head, News
from dynalake.lake.catalog.metadata_note import leads_to, note_metadata, read_note
from dynalake.lake.catalog.table import COLLECTED_AT, GRACE, Table
from dynalake.lake.files.references import (
    References,
    find_partition_references,
    find_references,
    partitioned_tables,
)
from dynalake.lake.upkeep.expire import SNAPSHOT_DAYS, plan_expiry
from dynalake.lake.working.findings import Finding

WAIT = timedelta(days=1)
"""How long a file must have been known as garbage before it is deleted."""

MUCH = 0.2
"""Part of all files; a run that deletes more is reported."""

_MUCH_AT_LEAST = 100  # of a few files a fifth is nothing to report

_MERGES = 10  # commits that merge manifests in one run, at most


@dataclass(frozen=True)
class Collected:
    """The result of a run. `bytes` of the objects deleted; `waiting`: files that later runs will delete."""

    table: str
    deleted: int = 0
    bytes: int = 0
    waiting: int = 0
    findings: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "findings": [f.to_dict() for f in self.findings]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Collected:
        return cls(**{**values, "findings": tuple(Finding.from_dict(f) for f in values["findings"])})


@dataclass(frozen=True)
class Garbage:
    """Garbage that earlier runs have found: key → since when (milliseconds), of the tables with these ids."""

    uuids: tuple[str, ...] = ()
    since: Mapping[str, int] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        return gzip.compress(json.dumps(asdict(self)).encode(), mtime=0)

    @classmethod
    def from_bytes(cls, body: bytes) -> Garbage:
        values = json.loads(gzip.decompress(body))
        return cls(tuple(values["uuids"]), values["since"])


def plan_garbage(
    listed: Iterable[StoredObject], is_named: Callable[[str], bool], known: Mapping[str, int], before: int, seen: int
) -> tuple[tuple[StoredObject, ...], dict[str, int]]:
    """Return which of the listed objects go, and since when each of the others is known as garbage.

    Those go that were known `before` (milliseconds). New garbage is known since it was `seen` that nothing names it; an
    object that is named again in between waits from the beginning.
    """
    due, waiting = [], {}
    for file in listed:
        if is_named(file.key):
            continue
        since = min(known.get(file.key, seen), seen)
        if since <= before:
            due.append(file)
        else:
            waiting[file.key] = since
    return tuple(due), waiting


def collect(
    table: Table,
    clock: Callable[[], datetime],
    *,
    snapshot_days: int = SNAPSHOT_DAYS,
    pause: Callable[[float], None] = time.sleep,
) -> Collected:
    """Let snapshots expire, merge manifests, and delete what nothing names. `clock` returns aware times.

    Two runs at once, and one that is killed anywhere, do no harm. Nothing is deleted, and a finding says why, where a
    table cannot be loaded, is not the one that earlier runs have seen, or has lost commits. Raises `ConflictError`
    where other commits came first ten times, `AccessError` where S3 does not let an object go.
    """
    names, store = table.names, table.store
    now = store.clock(clock())
    try:
        heads = _load(table)
        total, listed = _list(table, heads, milliseconds(now - GRACE))
        kept = store.read(names.garbage)
        for head in heads:
            _renew(table, head, now, snapshot_days, pause)
        heads = _load(Table(table.clients, names))  # reads each manifest again: none may have been lost
        due, garbage = _plan(table, heads, listed, kept, now - WAIT, lambda: store.clock(clock()))
    except (CatalogError, _NotTrusted) as error:
        return Collected(names.table, findings=(_not_collected(table, str(error)),))
    deleted = store.delete_listed(due)
    _write(table, garbage, kept)
    much = len(due) > max(MUCH * total, _MUCH_AT_LEAST)
    findings = (_much_garbage(table, len(due), total),) if much else ()
    return Collected(names.table, deleted.objects, deleted.bytes, len(garbage.since), findings)


def find_garbage(
    table: Table, heads: Sequence[Head], clock: Callable[[], datetime]
) -> tuple[tuple[StoredObject, ...], int]:
    """Return the files that `collect` would delete, and how many others nothing names; commit and delete nothing.

    `heads`: the table of changes, and that of items.
    """
    now = table.store.clock(clock())
    _, listed = _list(table, heads, milliseconds(now - GRACE))
    due, garbage = _plan(table, heads, listed, table.store.read(table.names.garbage), now - WAIT, lambda: now)
    return due, len(garbage.since)


class _NotTrusted(Exception):
    """It is not certain that a table has all its commits."""


def _load(table: Table) -> tuple[Head, ...]:
    """Load both tables. Raise where one may lack commits: their files would be deleted.

    The note is read first: each commit is noted after it has landed.
    """
    heads = []
    for name in (table.names.changes_table, table.names.state_table):
        note = read_note(table, name)
        head = table.catalog.load(name)
        if note is None:
            note_metadata(table, head)
        elif not leads_to(note, head):
            raise _NotTrusted(
                f"The Glue table {name} is at {head.metadata_location}, which does not follow {note.metadata_location}"
            )
        if not re.fullmatch(re.escape(table.names.uri(table.names.parquet_prefix)) + r"[^/]+", head.location):
            raise _NotTrusted(f"The Glue table {name} is stored in {head.location}, where other files may be")
        heads.append(head)
    return tuple(heads)


def _list(table: Table, heads: Iterable[Head], before: int) -> tuple[int, list[StoredObject]]:
    """Return how many objects there are, and those that were written before a time (milliseconds).

    A slash ends each prefix: another table's location may begin with the same letters.
    """
    names = table.names
    locations = (head.location.removeprefix(names.uri("")) for head in heads)
    prefixes = (*(f"{location}/" for location in locations), names.folder_manifests, names.conversions)
    total = 0
    old = []
    for file in chain.from_iterable(table.store.list(prefix) for prefix in prefixes):
        total += 1
        if file.modified < before:
            old.append(file)
    return total, old


def _plan(
    table: Table,
    heads: Sequence[Head],
    listed: Iterable[StoredObject],
    kept: Version | None,
    before: datetime,
    clock: Callable[[], datetime],
) -> tuple[tuple[StoredObject, ...], Garbage]:
    """Return which of the listed files go, and the garbage that the next run must know. `kept`: what this one knows."""
    known = Garbage() if kept is None else Garbage.from_bytes(kept.body)
    named = find_partition_references(table.clients, table.names.lake.database, partitioned_tables(table.names))
    for head in heads:
        named |= find_references(head)
    uuids = tuple(head.uuid for head in heads)
    since = known.since if known.uuids == uuids else {}
    due, waiting = plan_garbage(
        listed, lambda key: _is_named(table, named, key), since, milliseconds(before), milliseconds(clock())
    )
    return due, Garbage(uuids, waiting)


def _renew(table: Table, head: Head, now: datetime, snapshot_days: int, pause: Callable[[float], None]) -> None:
    """Commit the upkeep that is due to a table, so that it has a new version in any case."""

    def build(head: Head, news: News) -> Change:
        expired = plan_expiry(head, now, snapshot_days)
        return Change(
            properties={COLLECTED_AT: str(milliseconds(now))},
            expire=expired.snapshots,
            drop_schemas=expired.schemas,
            merge=head.plan_merge(),
            note={"dynalake": "upkeep"},
        )

    landed = commit_on(table.catalog, table.names, head, build, pause=pause)
    for _ in range(_MERGES):
        if landed is None or not landed.plan_merge():
            break
        landed = commit_on(table.catalog, table.names, landed, _merge, pause=pause)


def _merge(head: Head, news: News) -> Change | None:
    merge = head.plan_merge()
    return Change(merge=merge, note={"dynalake": "upkeep"}) if merge else None


def _is_named(table: Table, named: References, key: str) -> bool:
    names = table.names
    if key.startswith(names.folder_manifests):
        return key.removeprefix(names.folder_manifests).removesuffix(".json") in named.folders
    if key.startswith(names.conversions):
        return False  # plans and results of a run that is over, or was killed
    return named.names(names.uri(key))


def _write(table: Table, garbage: Garbage, before: Version | None) -> None:
    """Keep the garbage for the next run; where another run has kept its own, that one counts."""
    if before is None:
        table.store.create(table.names.garbage, garbage.to_bytes())
    else:
        table.store.replace(table.names.garbage, garbage.to_bytes(), before.etag)


def _not_collected(table: Table, why: str) -> Finding:
    return Finding(
        "not-collected",
        table.names.table,
        f"No file was deleted: {why}",
        "nothing is deleted until the Glue tables match what the lake has noted; the next dynalake_compact restores "
        "lost entries",
    )


def _much_garbage(table: Table, due: int, total: int) -> Finding:
    return Finding(
        "much-garbage",
        table.names.table,
        f"{due} of {total} files were deleted, because nothing had named them for a day",
        "nothing; if you did not expect this, restore them (the bucket keeps versions) before the versions expire",
        count=due,
    )
