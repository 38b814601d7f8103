"""A change that came again on a later day is kept on the day on which it came first, and dropped on the others.

Stragglers are looked for, by item key and sequence number, in the Parquet of the days that `look` names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynalake.clients import Clients
from dynalake.compact.look import Look
from dynalake.compact.manifest import Manifest, Part
from dynalake.compact.restore import reader
from dynalake.convert.rows.minutes import MINUTE
from dynalake.convert.rows.write import S3File
from dynalake.lake.schema import Column, TableSchema
from dynalake.lake.types import Number
from dynalake.names import TableNames
from dynalake.record.change import EVENT_TIME, SEQUENCE_NUMBER

HELD = 64 << 20
"""Bytes of earlier rows that are held while a day is written. More of them are read again as they are needed."""

_pa: Any = pa  # its stubs take types only as literals; here they are data
_exact = Context(prec=1000, Emax=MAX_EMAX, Emin=MIN_EMIN)


class Repeats:
    """Drops the repeats from rows of one day on their way into its files, and counts them.

    Of earlier days only key, sequence number and time are read, only of row groups that may have a straggler's, and of
    these only rows that were made in the same minutes are held.
    """

    def __init__(self, clients: Clients, names: TableNames, schema: TableSchema, look: Look) -> None:
        self.dropped = 0
        self._keys = schema.key_columns
        self._look = look
        minutes, room = np.array(look.minutes), HELD // max(1, len(look.earlier))
        self._days = [_Day(clients, names.lake.bucket, m, minutes, room) for m in look.earlier]
        self._held: list[tuple[pa.Table, Sequence[Column]]] | None = None
        self._too_many = False

    def drop(self, groups: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The groups without the repeats; a group of which nothing is left is left out."""
        for group in groups:
            kept = self._without(group) if self._days else group
            self.dropped += group.num_rows - kept.num_rows
            if kept.num_rows:
                yield kept

    def _without(self, group: pa.Table) -> pa.Table:
        places = np.flatnonzero(np.asarray(group[EVENT_TIME]) < self._look.until)
        if not len(places):
            return group
        mine = group.select([*(c.name for c in self._keys), SEQUENCE_NUMBER]).take(_pa.array(places))
        keep = np.ones(group.num_rows, bool)
        for theirs, keys in self._near(mine):
            keep[places[_found(mine, self._keys, theirs, keys)]] = False
        return group if keep.all() else group.filter(_pa.array(keep))

    def _near(self, mine: pa.Table) -> Iterator[tuple[pa.Table, Sequence[Column]]]:
        """Rows of earlier days among which the repeats in `mine` are, with their key's columns."""
        if self._held is None and not self._too_many:
            self._held = self._hold()
            self._too_many = self._held is None
        if self._held is not None:
            yield from self._held
            return
        bounds = _bounds(mine[self._keys[0].name], self._keys[0])
        for day in self._days:
            for rows in day.rows(bounds):
                yield rows, day.keys

    def _hold(self) -> list[tuple[pa.Table, Sequence[Column]]] | None:
        """All rows of earlier days that were made in these minutes; None where they are too many to be held."""
        held: list[tuple[pa.Table, Sequence[Column]]] = []
        size = 0
        for day in self._days:
            rows = []
            for some in day.rows(None):
                size += some.nbytes
                if size > HELD:
                    return None
                rows.append(some)
            if rows:
                held.append((pa.concat_tables(rows).combine_chunks(), day.keys))
        return held


Bounds = tuple[Any, Any]


@dataclass(frozen=True)
class _Group:
    """A row group: where it is, and the range of its keys (None: not known)."""

    part: Part
    number: int
    keys: Bounds | None


class _Day:
    """An earlier day's version, read by row groups."""

    def __init__(self, clients: Clients, bucket: str, manifest: Manifest, minutes: Any, room: int) -> None:
        self.keys = manifest.schema.key_columns
        self._clients, self._bucket, self._manifest, self._minutes = clients, bucket, manifest, minutes
        self._groups: list[_Group] | None = None
        self._room = room
        self._last: tuple[_Group | None, pa.Table] = (None, pa.table({}))
        self._open: tuple[str, Any] = ("", None)

    def rows(self, bounds: Bounds | None) -> Iterator[pa.Table]:
        """Key and sequence number of the rows of these minutes, from the groups that may have keys within `bounds`."""
        if self._groups is None:
            self._groups = [group for part in self._manifest.parts if part.rows for group in self._list(part)]
        for group in self._groups:
            if bounds and group.keys and (bounds[1] < group.keys[0] or group.keys[1] < bounds[0]):
                continue
            # Rows come in the order of their keys, mostly as here: the next ones are often in the same group.
            table = self._last[1] if group is self._last[0] else self._read(group)
            if table.nbytes <= self._room:
                self._last = group, table
            if table.num_rows:
                yield table

    def _read(self, group: _Group) -> pa.Table:
        columns = [EVENT_TIME, SEQUENCE_NUMBER, *(c.name for c in self.keys)]
        file = self._file(group.part)
        if self._manifest.format == "orc":
            table = pa.Table.from_batches([file.read_stripe(group.number, columns)])
        else:
            table = file.read_row_group(group.number, columns)
        chosen = np.isin(np.asarray(table[EVENT_TIME]) // MINUTE, self._minutes)
        return table.filter(_pa.array(chosen)).drop_columns(EVENT_TIME)

    def _list(self, part: Part) -> Iterator[_Group]:
        """The row groups of a part that may have rows of these minutes; ORC does not say."""
        file = self._file(part)
        if self._manifest.format == "orc":
            yield from (_Group(part, number, None) for number in range(file.nstripes))
            return
        places = {column.path: place for place, column in enumerate(file.metadata.schema)}
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            moments, keys = (group.column(places[n]).statistics for n in (EVENT_TIME, self.keys[0].name))
            if moments is not None and moments.has_min_max:
                at = np.searchsorted(self._minutes, moments.min // MINUTE)
                if at == len(self._minutes) or self._minutes[at] > moments.max // MINUTE:
                    continue
            known = keys is not None and keys.has_min_max
            yield _Group(part, number, _bounds(_pa.array([keys.min, keys.max]), self.keys[0]) if known else None)

    def _file(self, part: Part) -> Any:
        if self._open[0] != part.key:
            source = pa.PythonFile(S3File(self._clients, self._bucket, part.key, part.size), mode="r")
            if self._manifest.format == "orc":
                from pyarrow import orc

                self._open = part.key, orc.ORCFile(source)
            else:
                import pyarrow.parquet as pq

                self._open = part.key, pq.ParquetFile(source, pre_buffer=True)
        return self._open[1]


def _bounds(values: Any, column: Column) -> Bounds | None:
    """The least and the greatest value, comparable whatever type holds them; None where files do not order them so."""
    if isinstance(column.type, Number) and column.type.kind == "text":
        return None
    ends: Any = pc.min_max(values).as_py()
    read = reader(column.type)
    return read(ends["min"]), read(ends["max"])


def _found(mine: pa.Table, my_keys: Sequence[Column], theirs: pa.Table, their_keys: Sequence[Column]) -> Any:
    """The places in `mine` of rows that are in `theirs` as well."""
    theirs = theirs.filter(_among(theirs, mine))
    places = np.flatnonzero(np.asarray(_among(mine, theirs)))
    if not len(places):
        return places
    mine = mine.take(_pa.array(places))
    ours = _comparable(mine, my_keys).append_column("place", _pa.array(places))
    joined = ours.join(_comparable(theirs, their_keys), keys=ours.column_names[:-1], join_type="left semi")
    return np.asarray(joined["place"])


def _among(rows: pa.Table, others: pa.Table) -> Any:
    """Which rows have a sequence number of the others: nearly always the same change, and sooner told."""
    return pc.is_in(rows[SEQUENCE_NUMBER], value_set=others[SEQUENCE_NUMBER].combine_chunks())


def _comparable(table: pa.Table, keys: Sequence[Column]) -> pa.Table:
    """Sequence number and key, numbers as their digits: a key's type may have been another when a day was written."""
    arrays = {SEQUENCE_NUMBER: table[SEQUENCE_NUMBER]}
    for number, column in enumerate(keys):
        values = table[column.name]
        if isinstance(column.type, Number):
            read = reader(column.type)
            values = _pa.array([str(_exact.normalize(Decimal(read(v)))) for v in values.to_pylist()], pa.string())
        arrays[f"key {number}"] = values
    return _pa.table(arrays)  # type: ignore[no-any-return]
