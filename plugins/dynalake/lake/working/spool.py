"""Tables in memory, and on local disk beyond a limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

HELD = 64 << 20
"""Bytes of rows that are held in memory, if the caller names no other number."""

_CHUNK = 1 << 16  # rows that are read from disk at once, at most


class Spool:
    """Tables of one schema, which can be read any number of times.

    `path`: where those beyond `held` bytes are, and how their files' names begin.
    """

    def __init__(self, path: Path, held: int | None = None) -> None:
        self._path, self._most = path, HELD if held is None else held
        self._held: list[pa.Table] = []
        self._held_bytes = 0
        self._pieces: list[list[int]] = []  # of each file: the number of rows up to the end of each of its batches
        self.rows = self.size = 0

    def add(self, table: pa.Table) -> None:
        if not table.num_rows:
            return
        self._held.append(table)
        self._held_bytes += table.nbytes
        self.size += table.nbytes
        self.rows += table.num_rows
        if self._held_bytes > self._most:
            self._spill()

    def __iter__(self) -> Iterator[pa.Table]:
        return self.between(0, self.rows)

    def between(self, start: int, end: int) -> Iterator[pa.Table]:
        """Yield the rows at these places, from the first to before the second. Threads may read at the same time."""
        if start >= end:
            return
        first = 0
        for piece, ends in enumerate(self._pieces):
            if first < end and start < ends[-1]:
                with pa.OSFile(str(self._file(piece)), "rb") as file:
                    reader = pa.ipc.open_file(file)
                    starts = [first, *ends]
                    wanted = [n for n, last in enumerate(ends) if starts[n] < end and start < last]
                    tables = (pa.Table.from_batches([reader.get_batch(number)]) for number in wanted)
                    yield from _between(tables, starts[wanted[0]], start, end)
            first = ends[-1]
        yield from _between(self._held, first, start, end)

    def discard(self) -> None:
        """Free all that it holds, in memory and on disk."""
        for piece in range(len(self._pieces)):
            self._file(piece).unlink()
        self._held, self._pieces = [], []

    def _spill(self) -> None:
        # With threads each buffer is a task of its own, which takes longer than its few KB.
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        schema = self._held[0].schema
        first, ends = self._pieces[-1][-1] if self._pieces else 0, list[int]()
        with (
            pa.OSFile(str(self._file(len(self._pieces))), "wb") as file,
            pa.ipc.new_file(file, schema, options=options) as writer,
        ):
            for table in self._held:
                for batch in table.to_batches(max_chunksize=_CHUNK):
                    writer.write_batch(batch)
                    first += batch.num_rows
                    ends.append(first)
        self._pieces.append(ends)
        self._held, self._held_bytes = [], 0

    def _file(self, piece: int) -> Path:
        return self._path.with_name(f"{self._path.name}-{piece:05d}")


def _between(tables: Iterable[pa.Table], first: int, start: int, end: int) -> Iterator[pa.Table]:
    """Yield the rows from `start` to before `end` of tables whose first row is at the place `first`."""
    for table in tables:
        some = table.slice(max(0, start - first), max(0, min(end - first, table.num_rows) - max(0, start - first)))
        if some.num_rows:
            yield some
        first += table.num_rows
