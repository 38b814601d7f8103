"""Lines of raw objects that are not change records: counted, and kept with object, line and reason. No run stops here.

Under the error prefix each object has a file of its own, named after its key and ETag: every reader of the object, in
any batch, puts the same file, and only if it is not there yet.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from dynalake.convert.read.records import DELETED, SHOWN, kind_of
from dynalake.days import parse_day
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.folders import Input
from dynalake.names import STAGE_CONVERT, TableNames

KB_PER_LINE = 1
"""KB of an unreadable object that count as one line: it is compressed, so they held about one."""


@dataclass(frozen=True)
class RejectedLines:
    """The rejected lines of some objects.

    `lines`: their number, plus one for each object that broke off; `reasons`: the number of each kind. `lost_bytes`:
    the unread bytes of objects that broke off, as stored in S3. `objects`: how many have rejected lines or broke off.
    `deleted`: keys of objects that were gone before they were read, of which nothing is known.
    """

    lines: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    lost_bytes: int = 0
    objects: int = 0
    deleted: tuple[str, ...] = ()

    @property
    def weight(self) -> int:
        """Number of lines, plus about as many as the lost bytes held (`KB_PER_LINE`)."""
        return self.lines + (self.lost_bytes >> 10) // KB_PER_LINE


class Quarantine:
    """Takes the rejected lines of objects, one object after the other, and their lines in order.

    Of each object `limit` lines are kept, of each line `SHOWN` characters; all are counted.
    """

    def __init__(self, table: Table, objects: Sequence[Input], limit: int) -> None:
        self._table, self._limit = table, limit
        self._etags = {o.key: o.etag for o in objects}
        self._key = ""
        self._held: list[dict[str, Any]] = []
        self._count = self._lost = self._objects = 0
        self._lines = 0
        self._reasons: Counter[str] = Counter()
        self._deleted: list[str] = []

    def add(self, key: str, number: int, reason: str, line: bytes = b"", lost: int = 0) -> None:
        """Take a rejected line of an object, or the number of its bytes that are lost."""
        self._lines += 1
        self._reasons[kind_of(reason)] += 1
        self._lost += lost
        if reason == DELETED:
            self._deleted.append(key)
            return
        if key != self._key:
            self._put()
            self._key = key
            self._objects += 1
        self._count += 1
        if self._count <= self._limit:
            shown = line.decode(errors="backslashreplace")[:SHOWN]
            entry = {"object": key, "line": number, "reason": reason, "text": shown}
            self._held.append({**entry, "lost_bytes": lost} if lost else entry)

    def close(self) -> RejectedLines:
        """Put what is held, and return the sums. No more will come."""
        self._put()
        return RejectedLines(self._lines, dict(self._reasons), self._lost, self._objects, tuple(self._deleted))

    def _put(self) -> None:
        held, count, self._held, self._count = self._held, self._count, [], 0
        if not held:
            return
        if count > len(held):
            rest = f"{count - len(held)} further lines were rejected and are not kept here"
            held.append({"object": self._key, "line": held[-1]["line"] + 1, "reason": rest, "text": ""})
        body = "\n".join([*(json.dumps(entry, ensure_ascii=True, sort_keys=True) for entry in held), ""])
        key = quarantine_key(self._table.names, self._key, self._etags[self._key])
        self._table.store.create(key, body.encode())


def quarantine_key(names: TableNames, key: str, etag: str) -> str:
    """Return `{prefix}-errors/convert/{TABLE}/dt=YYYYMMDD/{digest of a raw object's key and ETag}.jsonl`"""
    digest = sha256(f"{key}\n{etag}".encode()).hexdigest()[:32]
    return f"{names.rejected(STAGE_CONVERT)}dt={parse_day(key) or '00000000'}/{digest}.jsonl"
