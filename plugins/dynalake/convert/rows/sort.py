"""Records in the order of key and sequence number, within a bounded memory.

Records that do not fit are sorted in runs on local disk, and the runs are merged. The whole partition is then in one
order, so its parts cover key ranges that do not overlap, and a hot key does not matter.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from dynalake.convert.read.records import Record, RecordParser

PARSED = 12
"""Bytes of memory per byte of JSON, for a parsed record and its line: measured on nested items, rounded up."""

_OBJECT, _LIST = 20, 6
"""Bytes of JSON that take as much memory as an object, and as a list: `[{},{}]` takes more than its text suggests."""

SHARE = 2
"""Part of the memory that holds parsed records; the rest is for the rows that are made of them."""

MERGED = 64
"""Runs that are merged at once: as many open files."""


class Sorter:
    """Takes records in any order and gives them back in order, once. The caller removes `directory`."""

    def __init__(self, parse: RecordParser, directory: Path, memory_mb: int) -> None:
        self._parse = parse
        self._directory = directory
        self._limit = memory_mb * (1 << 20) // SHARE // PARSED
        self._held: list[Record] = []
        self._size = 0
        self._runs: list[Path] = []
        self._made = 0

    def add(self, record: Record) -> None:
        self._held.append(record)
        line = record.line
        self._size += len(line) + _OBJECT * line.count(b"{") + _LIST * line.count(b"[")
        if self._size > self._limit:
            self._held.sort(key=_order)
            self._spill(iter(self._held))
            self._held, self._size = [], 0

    def discard(self) -> None:
        """Release all that is held, in memory and on disk."""
        for path in self._runs:
            path.unlink()
        self._held, self._runs, self._size = [], [], 0

    def __iter__(self) -> Iterator[Record]:
        self._held.sort(key=_order)
        while len(self._runs) >= MERGED:
            oldest, self._runs = self._runs[:MERGED], self._runs[MERGED:]
            self._spill(heapq.merge(*map(self._read, oldest), key=_order))
            for path in oldest:
                path.unlink()
        if not self._runs:
            return iter(self._held)
        return heapq.merge(*map(self._read, self._runs), self._held, key=_order)

    def _spill(self, records: Iterator[Record]) -> None:
        path = self._directory / f"run-{self._made:05d}"
        self._made += 1
        with path.open("wb") as run:
            run.writelines(record.line + b"\n" for record in records)
        self._runs.append(path)

    def _read(self, path: Path) -> Iterator[Record]:
        run: IO[bytes]
        with path.open("rb") as run:
            for line in run:
                record = self._parse(line.removesuffix(b"\n"))
                assert record is not None  # canaries are not added
                yield record


def deduplicate(records: Iterator[Record]) -> Iterator[Record]:
    """Yield, of records in order, the last of each key and sequence number."""
    held: Record | None = None
    for record in records:
        if held is not None and held.identity != record.identity:
            yield held
        held = record
    if held is not None:
        yield held


def _order(record: Record) -> tuple[object, ...]:
    return record.order
