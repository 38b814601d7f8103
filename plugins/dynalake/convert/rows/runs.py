"""Rows in the order of key and sequence number, each once, within a bounded memory.

Rows gather in memory. Beyond a limit they are sorted and written to local disk as a run, and the runs are merged, a
piece of each at a time. The whole partition is then in one order, so its parts cover key ranges that do not overlap,
and a hot key does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynalake.convert.rows.fit import carried, fit, fits
from dynalake.convert.rows.words import words_of
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.types.union import Type
from dynalake.record.change import EVENT_TIME, SEQUENCE_NUMBER

_pa: Any = pa  # its stubs take types only as literals; here they are data

SHARE = 8
"""Part of the memory that holds the rows of one run, while those of the one before are sorted and written."""

MERGED = 64
"""Runs that are merged at once: as many open files."""

PIECES = 64
"""Pieces in which a run is read if it fills its share of the memory."""

_TOGETHER = 16  # pieces that a merge holds, if there are not more runs

_ARRAY = 1 << 10  # bytes that an array takes in addition to its values


_Held = list[tuple[pa.Table, TableSchema]]


class Unfit(Exception):
    """The rows cannot be built from these runs: they have to be read again, with the types known now."""


class Ambiguous(Exception):
    """Two different records have one key, sequence number and time: only their lines decide which one stays."""


class Runs:
    """Takes rows in any order and gives them back in order. The caller removes `directory`.

    `own`: the columns that hold no attribute. Rows have values for all columns of their schema, so no later one may
    lack them.
    """

    def __init__(self, schema: TableSchema, directory: Path, memory_mb: int, own: Mapping[str, Type]) -> None:
        self._order = [*schema.identity, SEQUENCE_NUMBER, EVENT_TIME]
        self._own, self._fits = own, carried
        self._directory = directory
        self._limit = memory_mb * (1 << 20) // SHARE
        self._held: _Held = []
        self._size = self._rows = 0
        self._words: dict[str, int] = {}  # of each column that one of the tables has
        self._runs: list[tuple[Path, TableSchema]] = []
        self._made = 0
        self._pool = ThreadPoolExecutor(1)
        self._spilling: Future[None] | None = None
        self.duplicates = 0

    def add(self, table: pa.Table, schema: TableSchema, latest: TableSchema) -> None:
        """Take rows. `latest`: a schema that holds `schema` and all earlier ones. Raise `Unfit`, `Ambiguous`."""
        present = {*table.column_names}
        schema = replace(schema, columns=tuple(c for c in schema.columns if c.name in present))
        words = {c.name: words_of(c.type) for c in schema.columns}
        # Together, tables have all the columns that one of them has: a few wide rows make all others as wide.
        wide = 8 * sum((self._words | words).values()) * (self._rows + table.num_rows)
        if self._held and wide > max(self._limit, 2 * (self._size + table.nbytes)):
            self._start_spill(latest)
        self._held.append((table, schema))
        self._size += table.nbytes + _ARRAY * table.num_columns
        self._rows += table.num_rows
        self._words |= words
        if self._size > self._limit:
            self._start_spill(latest)

    def _start_spill(self, latest: TableSchema) -> None:
        self._wait()
        self._spilling = self._pool.submit(self._spill, self._let_go(), latest)

    def settle(self) -> None:
        """Wait until all that was added is written, or has failed: no more rows will come."""
        self._pool.shutdown()

    def discard(self) -> None:
        """Release all that is held, in memory and on disk."""
        for path, _ in self._runs:
            path.unlink()
        self._let_go()
        self._runs = []

    def fits(self, schema: TableSchema) -> bool:
        """Return whether `tables(schema)` works."""
        try:
            self._wait()
        except Unfit:
            return False
        return all(self._fits(old, schema) for _, old in [*self._held, *self._runs])

    def tables(self, schema: TableSchema) -> Iterator[pa.Table]:
        """Yield all rows in order, in tables of bounded size with `schema`'s columns. Raise `Unfit`, `Ambiguous`."""
        self._wait()
        self._fits = fits  # no row has a value in the columns that are left out
        words = sum(words_of(c.type) for c in schema.columns)
        if not self._runs:
            if self._held:
                rows = self._sorted(self._let_go(), schema)
                for start in range(0, rows.num_rows, step := max(1, self._limit // (8 * words))):
                    yield self._fit(rows.slice(start, step), schema, schema)
            return
        if self._held:
            self._spill(self._let_go(), schema)
        while len(self._runs) > MERGED:
            oldest, self._runs = self._runs[:MERGED], self._runs[MERGED:]
            self._write(schema, self._merge(oldest, schema))
            for path, _ in oldest:
                path.unlink()
        for piece in self._merge(self._runs, schema):
            yield self._fit(piece, schema, schema)
        for path, _ in self._runs:
            path.unlink()

    def _fit(self, table: pa.Table, old: TableSchema, schema: TableSchema, *, everything: bool = True) -> pa.Table:
        return fit(table, old, schema, everything=everything, own=self._own)

    def _wait(self) -> None:
        spilling, self._spilling = self._spilling, None
        if spilling is not None:
            spilling.result()

    def _let_go(self) -> _Held:
        held, self._held, self._size, self._rows, self._words = self._held, [], 0, 0, {}
        return held

    def _spill(self, held: _Held, schema: TableSchema) -> None:
        self._write(schema, iter([self._sorted(held, schema)]))
        pa.default_memory_pool().release_unused()

    def _write(self, schema: TableSchema, tables: Iterator[pa.Table]) -> None:
        path = self._directory / f"run-{self._made:05d}"
        self._made += 1
        first = next(tables)
        # With threads each buffer is a task of its own, which takes longer than its few KB.
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, first.schema, options=options) as writer:
            for table in chain((first,), tables):
                pieces = max(1, table.nbytes * PIECES // self._limit)
                writer.write_table(table, max(1, table.num_rows // pieces))
        present = set(first.column_names)
        columns = tuple(c for c in schema.columns if c.name in present)
        self._runs.append((path, replace(schema, columns=columns)))

    def _sorted(self, held: _Held, schema: TableSchema) -> pa.Table:
        """Return these rows in order. Take them from the list column by column, so that none is in memory twice."""
        if not all(self._fits(old, schema) for _, old in held):
            raise Unfit
        tables = [self._fit(table, old, schema, everything=False) for table, old in held]
        held.clear()
        rows = pa.concat_tables(tables, promote_options="default")
        del tables
        order, pairs = self._sort(rows)
        names = rows.column_names
        columns: list[Any] = list(rows.columns)
        del rows
        for i, column in enumerate(columns):
            columns[i] = column = column.combine_chunks()  # nothing holds its chunks any more
            if not _alike(column, pairs):
                raise Ambiguous
            columns[i] = column.take(order)
        return pa.table(columns, names=names)

    def _sort(self, table: pa.Table) -> tuple[Any, Any]:
        """Return the rows' places in order, the last of each key and sequence number; and pairs that must be alike."""
        keys = table.select(self._order).combine_chunks()
        order: Any = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in self._order])
        keys = keys.take(order)
        alike: Any = np.ones(max(0, len(order) - 1), bool)
        for name in self._order[:-1]:
            alike &= np.asarray(pc.equal(keys[name][:-1], keys[name][1:]))
        if not alike.any():
            return order, ()
        moments = np.asarray(keys[EVENT_TIME])
        doubtful = np.flatnonzero(alike & (moments[:-1] == moments[1:]))
        self.duplicates += int(alike.sum())
        pairs = order.take(_pa.array(doubtful)), order.take(_pa.array(doubtful + 1))
        return order.filter(_pa.array(np.append(~alike, True))), pairs

    def _merge(self, runs: list[tuple[Path, TableSchema]], schema: TableSchema) -> Iterator[pa.Table]:
        """Yield rows up to the least of the last ones held of each run: all of them are held, and can be sorted."""
        if not all(self._fits(old, schema) for _, old in runs):
            raise Unfit
        present = {c.attribute for _, old in runs for c in old.columns}
        schema = replace(schema, columns=tuple(c for c in schema.columns if c.attribute in present))
        pieces = max(1, _TOGETHER // len(runs))
        readers = [self._read(path, old, schema, pieces) for path, old in runs]
        held = [next(reader, None) for reader in readers]
        while any(table is not None for table in held):
            last = _together([t.select(self._order).slice(t.num_rows - 1) for t in held if t is not None])
            first = pc.sort_indices(last, sort_keys=[(name, "ascending") for name in self._order[:-1]])[0].as_py()
            pivot = [last[name][first] for name in self._order[:-1]]
            ready = []
            for i, table in enumerate(held):
                if table is None:
                    continue
                count = self._count(table, pivot)
                ready.append(table.slice(0, count))
                held[i] = table.slice(count) if count < table.num_rows else next(readers[i], None)
            together = _together(ready)
            order, pairs = self._sort(together)
            if not _alike(together, pairs):
                raise Ambiguous
            yield together.take(order)

    def _read(self, path: Path, old: TableSchema, schema: TableSchema, pieces: int) -> Iterator[pa.Table]:
        words = sum(words_of(c.type) for c in schema.columns)
        most = max(1, self._limit * pieces // PIECES // (8 * max(1, words)))
        with pa.OSFile(str(path), "rb") as file:
            reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(use_threads=False))
            for start in range(0, reader.num_record_batches, pieces):
                numbers = range(start, min(start + pieces, reader.num_record_batches))
                table = pa.Table.from_batches([reader.get_batch(i) for i in numbers])
                for at in range(0, table.num_rows, most):
                    yield self._fit(table.slice(at, most), old, schema)

    def _count(self, table: pa.Table, pivot: list[Any]) -> int:
        """Return how many rows, the first of an ordered table, have a key and sequence number not beyond `pivot`."""
        beyond: Any = pc.greater(table[self._order[-2]], pivot[-1])
        for name, value in zip(self._order[-3::-1], pivot[-2::-1], strict=True):
            same = pc.and_(pc.equal(table[name], value), beyond)
            beyond = pc.or_(pc.greater(table[name], value), same)
        return table.num_rows - int(pc.sum(beyond).as_py())


def _alike(rows: Any, pairs: Any) -> bool:
    return not pairs or bool(rows.take(pairs[0]).equals(rows.take(pairs[1])))


def _together(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="default").combine_chunks()
