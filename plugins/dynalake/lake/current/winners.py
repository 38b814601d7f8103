"""The change of each item that counts: the highest sequence number; of two snapshots the later backfill's.

Rows come in the order of the identity here, so one table of them at a time is enough for any number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from dynalake.lake.columns.column import DELETED
from dynalake.lake.current.key_ranges import Key, KeyFile, Keys, starts_of
from dynalake.lake.current.state_schema import RUN
from dynalake.lake.files.sort import Order
from dynalake.lake.working.spool import Spool
from dynalake.record.change import EVENT_TIME, SEQUENCE_NUMBER

_pa: Any = pa  # its stubs take types only as literals; here they are data
pc: Any = pyarrow.compute

RANK = (SEQUENCE_NUMBER, RUN, EVENT_TIME)
"""Columns by which the greater of two changes of one item counts. Snapshots' sequence numbers are all zeros."""

GROUP_ROWS = 2_000_000
"""Most rows of a group: their keys are held in memory."""

GROUP_BYTES = 1 << 30
"""Bytes of a group's rows, as in memory; they are on disk. It is about a file of the state."""

_HELD = 32 << 20  # bytes of a group's rows that are held in memory


def state_order(target: pa.Schema, identity: Sequence[str]) -> Order:
    """Return the order of rows in the state's files, and of several rows of one item: the one that counts comes last.

    The run does not matter: rows that are sorted together are of one backfill, or come from files that hold each item
    once.
    """
    return Order(target, [*identity, SEQUENCE_NUMBER, EVENT_TIME])


def keep_last(tables: Iterable[pa.Table], identity: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the last row of each item, from rows in order."""
    held: pa.Table | None = None
    for table in tables:
        if not table.num_rows:
            continue
        rows = table if held is None else pa.concat_tables([held, table])
        columns = [rows[name].combine_chunks() for name in identity]
        last: Any = np.zeros(rows.num_rows, dtype=bool)
        for column in columns:
            last[:-1] |= np.asarray(pc.not_equal(column.slice(1), column.slice(0, len(column) - 1)))
        some = rows.filter(_pa.array(last))
        held = rows.slice(rows.num_rows - 1)
        if some.num_rows:
            yield some
    if held is not None:
        yield held


def beats(changes: pa.Table, rows: pa.Table) -> Any:
    """Return, for each pair of a change and a row of the same item, whether the change counts."""
    wins: Any = np.zeros(rows.num_rows, dtype=bool)
    equal: Any = np.ones(rows.num_rows, dtype=bool)
    for name in RANK:
        change, row = changes[name].combine_chunks(), rows[name].combine_chunks()
        if name == RUN:
            change, row = pc.fill_null(change, 0), pc.fill_null(row, 0)
        wins |= equal & np.asarray(pc.greater(change, row))
        equal &= np.asarray(pc.equal(change, row))
    return wins


class Group:
    """Winners with neighbouring keys, to be merged into the state by one commit. `rows`: all of them, in order."""

    def __init__(self, path: Path, identity: Sequence[str]) -> None:
        self._identity = tuple(identity)
        self._keys: list[pa.Table] = []
        self.rows = Spool(path, _HELD)

    def add(self, rows: pa.Table) -> None:
        self.rows.add(rows)
        self._keys.append(rows.select([*self._identity, *RANK, DELETED]))

    @property
    def keys(self) -> pa.Table:
        """Identity and rank columns of all rows, and whether the item is gone."""
        self._keys = [pa.concat_tables(self._keys).combine_chunks()]
        return self._keys[0]

    def discard(self) -> None:
        """Free all that it holds, in memory and on disk."""
        self.rows.discard()
        self._keys = []


def cut_groups(
    winners: Iterable[pa.Table], identity: Sequence[str], files: Sequence[KeyFile], group_bytes: int, directory: Path
) -> Iterator[Group]:
    """Yield winners in groups, each of which touches about `group_bytes` of the state's live `files`.

    The caller must be done with a group before it takes the next one.
    """
    ranges = [f for f in files if f.low is not None]
    starts = starts_of(ranges)
    sizes = [f.file.size for f in ranges]
    made, touched, at = 0, 0, -1
    group = Group(directory / "group-00000", identity)
    for table in winners:
        for place, rows in _by_file(table, identity, starts):
            size = 0 if place in (at, -1) else sizes[place]
            over = touched + size > group_bytes and place != at  # a group ends where another file begins
            at, touched = place, touched + size
            while rows.num_rows:
                held = group.rows
                if held.rows and (over or held.rows >= GROUP_ROWS or held.size >= GROUP_BYTES):
                    yield group
                    group.discard()
                    made, touched = made + 1, 0 if place < 0 else sizes[place]
                    group = Group(directory / f"group-{made:05d}", identity)
                over = False
                weight = max(1, rows.nbytes // rows.num_rows)
                room = max(1, min(GROUP_ROWS - group.rows.rows, (GROUP_BYTES - group.rows.size) // weight))
                some, rows = rows.slice(0, room), rows.slice(room)
                group.add(some)
    if group.rows.rows:
        yield group
    group.discard()


def _by_file(table: pa.Table, identity: Sequence[str], starts: Sequence[Key]) -> Iterator[tuple[int, pa.Table]]:
    """Yield the rows in pieces, each with the place of the file whose range holds them; -1 where there is none."""
    if not starts:
        yield -1, table
        return
    keys = Keys(table, identity)
    begin = 0
    place = 0
    while begin < table.num_rows:
        key = keys.key(begin)
        while place + 1 < len(starts) and starts[place + 1] <= key:
            place += 1
        end = table.num_rows if place + 1 == len(starts) else keys.count_below(starts[place + 1])
        end = max(end, begin + 1)
        yield place, table.slice(begin, end - begin)
        begin = end
