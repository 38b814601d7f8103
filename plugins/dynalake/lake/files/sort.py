"""Rows in order, in any number, in bounded memory.

Rows gather in memory. Beyond a limit they are sorted and written to local disk as a run, and the runs are merged, a
piece of each at a time. Rows that are in order already, such as those of a day that was compacted before, need no run:
they are merged as they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_pa: Any = pa  # its stubs take types only as literals; here they are data

SHARE = 6
"""Part of the memory that holds the rows of one run before they are sorted, which takes as much again."""

MERGED = 64
"""Runs that are merged at once, and so the number of open files."""

_PIECES = 64  # pieces of a run that fills its share of the memory
_TOGETHER = 16  # pieces of all runs that a merge holds


class UnorderedError(Exception):
    """Rows that should be in order are not."""


class Order:
    """The order of some columns, ascending, one after the other; nulls come last.

    Comparisons do not handle nulls, so a column that may hold some is two here: whether it is null, and its value
    without nulls. The names of added columns hold a blank, which no column of a table has.
    """

    def __init__(self, schema: pa.Schema, columns: Sequence[str], nullable: Sequence[str] = ()) -> None:
        self._split = tuple(nullable)
        places: list[str] = []
        for name in columns:
            places += [f"null {name}", f"value {name}"] if name in self._split else [name]
        self.places = tuple(places)
        self._names = schema.names

    def add_places(self, rows: pa.Table) -> pa.Table:
        """Return the rows with the columns that are compared."""
        for name in self._split:
            rows = rows.append_column(f"null {name}", pc.is_null(rows[name]))
            rows = rows.append_column(f"value {name}", _without_nulls(rows[name]))
        return rows

    def drop_places(self, rows: pa.Table) -> pa.Table:
        """Return the rows as they were."""
        return rows.select(self._names) if self._split else rows

    def sort(self, rows: pa.Table) -> pa.Table:
        """Return rows that have their places, in order."""
        keys = rows.select(list(self.places)).combine_chunks()
        if self.is_sorted(keys):
            return rows
        return rows.take(pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in self.places]))

    def is_sorted(self, rows: pa.Table) -> bool:
        """Return whether rows that have their places are in order."""
        if rows.num_rows < 2:
            return True
        columns = [rows[name].combine_chunks() for name in self.places]
        before = [column.slice(0, rows.num_rows - 1) for column in columns]
        after = [column.slice(1) for column in columns]
        return not bool(pc.any(_beyond(before, after)).as_py())

    def count_to(self, rows: pa.Table, last: Sequence[Any]) -> int:
        """Return how many of these ordered rows are not beyond a row with these places."""
        beyond = _beyond([rows[name] for name in self.places], last)
        return rows.num_rows - int(pc.sum(beyond).as_py() or 0)

    def least_last(self, tables: Iterable[pa.Table]) -> list[Any]:
        """Return the places of the least among the last rows of these tables."""
        last = pa.concat_tables([t.select(list(self.places)).slice(t.num_rows - 1) for t in tables]).combine_chunks()
        first = pc.sort_indices(last, sort_keys=[(name, "ascending") for name in self.places])[0].as_py()
        return [last[name][first] for name in self.places]


def sort_rows(
    unordered: Iterable[pa.Table],
    ordered: Sequence[Iterable[pa.Table]],
    order: Order,
    directory: Path,
    memory_mb: int,
) -> Iterator[pa.Table]:
    """Yield all these rows in order, in tables of bounded size. All tables have one schema.

    `ordered`: streams whose rows are in order already; at most a few, since a table of each is held. Spills below
    `directory`, which the caller removes. Raises `UnorderedError` where an ordered stream is not in order.
    """
    limit = memory_mb * (1 << 20) // SHARE
    runs: list[Path] = []
    made = 0

    def spill(tables: Iterator[pa.Table]) -> None:
        nonlocal made
        path = directory / f"run-{made:05d}"
        made += 1
        if _write(path, tables, limit):
            runs.append(path)

    held: list[pa.Table] = []
    size = 0
    for rows in unordered:
        if not rows.num_rows:
            continue
        rows = order.add_places(rows)
        held.append(rows)
        size += rows.nbytes
        if size > limit:
            spill(iter([order.sort(_together(held))]))
            size = 0
    while len(runs) > MERGED:
        oldest, runs[:] = runs[:MERGED], runs[MERGED:]
        with ExitStack() as open_files:
            spill(_merge([_read(path, len(oldest), open_files) for path in oldest], order))
        for path in oldest:
            path.unlink()
    with ExitStack() as open_files:
        streams = [_read(path, len(runs), open_files) for path in runs]
        streams += [_checked(stream, order) for stream in ordered]
        if held:
            streams.append(_slices(order.sort(_together(held)), limit))
        for rows in _merge(streams, order):
            yield order.drop_places(rows)
    for path in runs:
        path.unlink()


def _merge(streams: list[Iterator[pa.Table]], order: Order) -> Iterator[pa.Table]:
    """Yield rows up to the least of the last rows held of each stream: all of them are there, and can be sorted."""
    held = [next(stream, None) for stream in streams]
    while any(rows is not None for rows in held):
        last = order.least_last(rows for rows in held if rows is not None)
        ready = []
        for i, rows in enumerate(held):
            if rows is None:
                continue
            count = order.count_to(rows, last)
            ready.append(rows.slice(0, count))
            held[i] = rows.slice(count) if count < rows.num_rows else next(streams[i], None)
        ready = [rows for rows in ready if rows.num_rows]
        yield ready[0] if len(ready) == 1 else order.sort(_together(ready))


def _checked(stream: Iterable[pa.Table], order: Order) -> Iterator[pa.Table]:
    before: pa.Table | None = None
    for rows in stream:
        if not rows.num_rows:
            continue
        rows = order.add_places(rows)
        keys = rows.select(list(order.places)).combine_chunks()
        met = keys if before is None else pa.concat_tables([before, keys.slice(0, 1)]).combine_chunks()
        if not order.is_sorted(keys) or not order.is_sorted(met):
            raise UnorderedError
        before = keys.slice(keys.num_rows - 1)
        yield rows


def _beyond(rows: Sequence[Any], others: Sequence[Any]) -> Any:
    """Return a mask: where the rows come after the others: the same number of rows, or one."""
    beyond: Any = pc.greater(rows[-1], others[-1])
    for column, other in zip(rows[-2::-1], others[-2::-1], strict=True):
        beyond = pc.or_(pc.greater(column, other), pc.and_(pc.equal(column, other), beyond))
    return beyond


def _together(tables: list[pa.Table]) -> pa.Table:
    """Return one table of these. Take them from the list, a column at a time, so that no row is there twice."""
    names = tables[0].column_names
    columns: list[Any] = list(pa.concat_tables(tables).columns)
    tables.clear()
    for i, column in enumerate(columns):
        columns[i] = column.combine_chunks()
    return pa.table(columns, names=names)


def _slices(rows: pa.Table, limit: int) -> Iterator[pa.Table]:
    pieces = min(_PIECES, 1 + rows.nbytes * _PIECES // max(1, limit))
    step = max(1, -(-rows.num_rows // pieces))
    for start in range(0, rows.num_rows, step):
        yield rows.slice(start, step)


def _write(path: Path, tables: Iterator[pa.Table], limit: int) -> bool:
    """Write a run, in pieces. Return whether there were rows."""
    first = next(tables, None)
    if first is None:
        return False
    # With threads each buffer is a task of its own, which takes longer than its few KB.
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, first.schema, options=options) as writer:
        table: pa.Table | None = first
        while table is not None:
            pieces = max(1, table.nbytes * _PIECES // max(1, limit))
            writer.write_table(table, max(1, table.num_rows // pieces))
            table = next(tables, None)
    pa.default_memory_pool().release_unused()
    return True


def _read(path: Path, runs: int, open_files: ExitStack) -> Iterator[pa.Table]:
    file = open_files.enter_context(pa.OSFile(str(path), "rb"))
    reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(use_threads=False))
    pieces = max(1, _TOGETHER // runs)
    for start in range(0, reader.num_record_batches, pieces):
        numbers = range(start, min(start + pieces, reader.num_record_batches))
        table = pa.Table.from_batches([reader.get_batch(i) for i in numbers])
        if table.num_rows:
            yield table


def _without_nulls(values: Any) -> Any:
    # A cast integer does not do: Arrow needs room for 19 digits before a decimal's point.
    zero = Decimal(0) if pa.types.is_decimal(values.type) else {pa.string(): "", pa.bool_(): False}.get(values.type, 0)
    return pc.fill_null(values, _pa.scalar(zero, values.type))
