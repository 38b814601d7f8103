"""A change that came again on a later day is kept on the day on which it came first, and dropped on the others.

Only a *straggler* can be such a repeat: a record that was made before its own day began. Stragglers are looked for, by
item key and sequence number, in the Parquet of the days before, from the day of the oldest of them on.

A manifest says what was looked at, and an earlier day that comes to be made from something else lets the day be
converted again. What an earlier day has dropped itself is on a day before it, which is looked at as well: so it does
not matter in which order, or how often, days are converted (`docs/adr/0008-repeats-on-a-later-day.md`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynalake.catalog.partitions import Partition, list_partitions
from dynalake.catalog.raw import RawObject
from dynalake.catalog.schema import Column, TableSchema
from dynalake.catalog.types import Number
from dynalake.catalog.views import Watermark
from dynalake.clients import Clients
from dynalake.compact.manifest import Manifest, Part, read_manifest
from dynalake.compact.plan import INPUTS, MANIFEST
from dynalake.compact.restore import reader
from dynalake.compact.write import S3File
from dynalake.days import MARGIN, SNAPSHOT_DAY, day_of, made_before
from dynalake.names import Lake, TableNames
from dynalake.record.change import EVENT_TIME, SEQUENCE_NUMBER

LOOKED = "dynalake.looked"
"""The parameter of a published partition with the days that it was compared with, and what these were made from."""

ORIGIN = "dynalake.origin"
"""The parameter that holds what its changes follow from: `Manifest.origin`."""

VERSION = "dynalake.version"
"""The parameter that holds the version's digest."""

MINUTE = 60_000
"""Milliseconds: so exactly are the times of stragglers remembered, by which rows of earlier days are chosen."""

HELD = 64 << 20
"""Bytes of earlier rows that are held while a day is written. More of them are read again as they are needed."""

_pa: Any = pa  # its stubs take types only as literals; here they are data
_exact = Context(prec=1000, Emax=MAX_EMAX, Emin=MIN_EMIN)


@dataclass(frozen=True)
class Look:
    """Where a day's stragglers are looked for: those made before `until` (milliseconds), in these `minutes`."""

    since: str = ""
    until: int = 0
    minutes: tuple[int, ...] = ()
    earlier: tuple[Manifest, ...] = ()

    @property
    def looked(self) -> dict[str, str]:
        """Day → what its changes follow from."""
        return {m.day: m.origin for m in self.earlier}


def plan_look(lake: Lake, day: str, minutes: Iterable[int]) -> Look:
    """What the minutes in which a day's records were made ask for; the snapshot has no stragglers."""
    until = 0 if day == SNAPSHOT_DAY else made_before(day, lake.zone)
    made = tuple(sorted(minute for minute in minutes if minute * MINUTE < until))
    if not made:
        return Look()
    oldest = datetime.fromtimestamp(max(0, made[0] * MINUTE) / 1000, UTC) - MARGIN
    return Look(day_of(oldest, lake.zone), until, made)


def origin(shown: Partition | None, inputs: str, names: TableNames, day: str, objects: Sequence[RawObject]) -> str:
    """What a day's changes follow from: the digest of its raw objects, or where they were restored that of the first.

    `shown`: the day as it is published.
    """
    if shown is None:
        return inputs
    prefix = names.restored(day, shown.parameters.get(VERSION, ""))
    restored = len(objects) > 0 and all(o.key.startswith(prefix) for o in objects)
    return _origin(shown) if restored or shown.parameters.get(INPUTS) == inputs else inputs


def plan_outdated(manifests: Mapping[str, Manifest], published: Mapping[str, Partition]) -> tuple[str, ...]:
    """The days that were compared with other changes than will be shown once these conversions are published."""
    origins = {day: _origin(partition) for day, partition in published.items()}
    origins |= {day: m.origin for day, m in manifests.items()}
    looks = {day: json.loads(p.parameters[LOOKED]) for day, p in published.items() if LOOKED in p.parameters}
    looks |= {day: [m.since, m.looked] for day, m in manifests.items()}
    return tuple(
        sorted(
            day
            for day, (since, looked) in looks.items()
            if since and any(looked.get(e) != found for e, found in origins.items() if since <= e < day)
        )
    )


def plan_together(moving: Mapping[str, Manifest], mark: Watermark) -> tuple[str, ...]:
    """The days that readers read from Parquet and must see change at once: a change may move from one to another."""
    shown = [day for day in sorted(moving) if day != SNAPSHOT_DAY and mark.covers(day)]
    pairs = [(e, day) for day in shown for e in shown if moving[day].since and moving[day].since <= e < day]
    return tuple(sorted({day for pair in pairs for day in pair}))


def _origin(shown: Partition) -> str:
    return shown.parameters.get(ORIGIN) or shown.parameters.get(INPUTS, "")


# -- the edge ------------------------------------------------------------------------------------------------------


def look_back(
    clients: Clients, names: TableNames, day: str, minutes: Iterable[int], beside: Iterable[Manifest]
) -> Look:
    """`plan_look`, and the earlier days as they are published, or will be together with this one (`beside`)."""
    look = plan_look(names.lake, day, minutes)
    if not look.since:
        return look
    found = {m.day: m for m in beside}
    for earlier, shown in list_partitions(clients, names, names.parquet_table, look.since).items():
        if earlier < day and earlier not in found and MANIFEST in shown.parameters:
            found[earlier] = read_manifest(clients, names, shown.parameters[MANIFEST])
    return replace(look, earlier=tuple(m for e, m in sorted(found.items()) if look.since <= e < day))


def looks_up_to_date(clients: Clients, names: TableNames, manifest: Manifest, beside: Iterable[Manifest]) -> bool:
    """Whether a conversion was compared with what it would be compared with now."""
    if not manifest.since:
        return True
    published = list_partitions(clients, names, names.parquet_table, manifest.since)
    now = {day: _origin(shown) for day, shown in published.items()} | {m.day: m.origin for m in beside}
    return {e: found for e, found in now.items() if manifest.since <= e < manifest.day} == manifest.looked


def minutes_of(table: pa.Table) -> set[int]:
    """The minutes in which the rows' changes were made."""
    return set(np.unique(np.asarray(table[EVENT_TIME]) // MINUTE).tolist())


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
