"""Each change once: a batch's rows that live files, or another batch, hold too are found in bounded memory.

A change is identified by its item's key and its sequence number. Files are chosen by their bounds on `__event_time`,
which is the same wherever a change comes again. Their rows are chosen by a sieve over the sequence numbers, which lets
few others pass. These rows are compared value by value.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.files.read import Within, read_rows
from dynalake.lake.working.spool import Spool
from dynalake.record.change import EVENT_TIME, SEQUENCE_DIGITS, SEQUENCE_NUMBER

_pa: Any = pa  # its stubs take types only as literals; here they are data

_FEW = 50_000  # rows whose items are held

_SLOTS = 26  # bits: 64 MB, of which the system allocates only the pages in use
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 by the golden ratio: https://en.wikipedia.org/wiki/Hash_function
_DIGITS = 18  # the last digits of a sequence number: as many as an int64 holds
_ALWAYS = (-(1 << 63), (1 << 63) - 1)
_FILE, _PLACE = "file place", "row place"  # columns have no blank in their names


class Sieve:
    """Finds changes that are surely not among those that were added."""

    def __init__(self) -> None:
        self._slots = np.zeros(1 << _SLOTS, bool)

    def add(self, rows: pa.Table) -> None:
        self._slots[self._places(rows)] = True

    def may_hold(self, rows: pa.Table) -> Any:
        """Return a mask: True for rows that may be among those that were added."""
        return self._slots[self._places(rows)]

    @staticmethod
    def _places(rows: pa.Table) -> Any:
        return (_last_digits(rows[SEQUENCE_NUMBER]) * _SPREAD) >> np.uint64(64 - _SLOTS)


def _last_digits(numbers: Any) -> Any:
    """Return the last digits of sequence numbers; 0 for those that dynalake did not write."""
    digits = pc.utf8_slice_codeunits(numbers, SEQUENCE_DIGITS - _DIGITS, SEQUENCE_DIGITS)
    try:
        values: Any = pc.cast(digits, pa.int64())
    except pa.ArrowInvalid:
        valid: Any = pc.match_substring_regex(digits, rf"^[0-9]{{{_DIGITS}}}$")
        values = pc.cast(pc.if_else(valid, digits, "0"), pa.int64())
    return np.asarray(pc.fill_null(values, 0)).astype(np.uint64)


class Changes:
    """Traces of rows by which they are found elsewhere: a sieve, their times, and the items if the rows are few."""

    def __init__(self, identity: Sequence[str]) -> None:
        self.first: int | None = None
        self.last: int | None = None
        self.rows = 0
        self._sieve = Sieve()
        self._item = identity[0]
        self._items: list[str] | None = []

    def add(self, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        ends: Any = pc.min_max(rows[EVENT_TIME]).as_py()
        self.first = ends["min"] if self.first is None else min(self.first, ends["min"])
        self.last = ends["max"] if self.last is None else max(self.last, ends["max"])
        self.rows += rows.num_rows
        self._sieve.add(rows)
        if self._items is not None and self.rows > _FEW:
            self._items = None
        elif self._items is not None:
            self._items = sorted({*self._items, *map(str, rows[self._item].to_pylist())})

    def may_hold(self, rows: pa.Table) -> Any:
        """Return a mask: True for rows that may be among these."""
        return self._sieve.may_hold(rows)

    def meets(self, file: DataFile) -> bool:
        """Return whether a file may have one of these changes, by their times."""
        if self.first is None or self.last is None or not file.rows:
            return False
        bounds = file.bounds(EVENT_TIME)
        return bounds is None or (bounds[0] <= self.last and self.first <= bounds[1])

    def within(self, file: DataFile) -> Within | None:
        """Return where in the file's order these items may be, {} if anywhere; None where they are not in it."""
        if self._items is None:
            return {}
        low, high = file.bounds(self._item) or (self._items[0], self._items[-1])
        start, end = bisect_left(self._items, low), bisect_right(self._items, high)
        return {self._item: (self._items[start], self._items[end - 1])} if start < end else None


class LiveRows:
    """Rows of live files that may be in a batch. Drops those from the batch's rows, and reports their places.

    `identity`: the columns that identify an item. Spills below `directory`, which the caller removes.
    """

    def __init__(self, identity: Sequence[str], directory: Path) -> None:
        self._columns = [*identity, SEQUENCE_NUMBER]
        self._elsewhere = Spool(directory / "elsewhere")
        self._replaceable = Spool(directory / "replaceable")
        self._paths: list[str] = []
        self._replaced: list[tuple[Any, Any]] = []  # places in `_paths`, places of rows
        self.dropped = 0

    def gather(self, head: Head, files: Iterable[DataFile], changes: Changes, replace: str = "") -> None:
        """Read the files, row group by row group. Rows of the day `replace` give way to the batch's."""
        for file in files:
            if not changes.meets(file):
                continue
            gives_way = file.partition == replace
            # The places of rows that give way are counted, so no row may be left out.
            within = {} if gives_way else changes.within(file)
            if within is None:
                continue
            number, first = len(self._paths), 0
            self._paths.append(file.path)
            for rows in read_rows(head, [file], self._columns, within=within):
                places = np.arange(first, first + rows.num_rows)
                first += rows.num_rows
                rows = rows.append_column(_PLACE, _pa.array(places))
                rows = rows.append_column(_FILE, _pa.array(np.full(len(places), number)))
                rows = rows.filter(_pa.array(changes.may_hold(rows)))
                (self._replaceable if gives_way else self._elsewhere).add(rows)

    def __bool__(self) -> bool:
        return bool(self._elsewhere.rows or self._replaceable.rows)

    def drop(self, rows: pa.Table) -> pa.Table:
        """Return the batch's rows without those that are in a live file, unless they replace them there."""
        dropped = np.zeros(rows.num_rows, bool)
        for others in self._elsewhere:
            places, _ = find_same(rows, others, self._columns)
            dropped[places] = True
        kept = rows.filter(_pa.array(~dropped)) if dropped.any() else rows
        self.dropped += int(dropped.sum())
        for others in self._replaceable:
            _, replaced = find_same(kept, others, self._columns)
            self._replaced.append((np.asarray(others[_FILE])[replaced], np.asarray(others[_PLACE])[replaced]))
        return kept

    @property
    def replaced(self) -> dict[str, Any]:
        """File → places of the rows that give way, as an array, in the order of `read_rows`."""
        if not self._replaced:
            return {}
        files, places = (np.concatenate(arrays) for arrays in zip(*self._replaced, strict=True))
        return {self._paths[number]: np.sort(places[files == number]) for number in np.unique(files)}


def find_same(rows: pa.Table, others: pa.Table, columns: Sequence[str]) -> tuple[Any, Any]:
    """Return the places, in each table, of the rows that both have."""
    if not rows.num_rows or not others.num_rows:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing
    row_places, other_places = (_among(a, b) for a, b in ((rows, others), (others, rows)))
    if not len(row_places) or not len(other_places):
        return row_places[:0], other_places[:0]
    left = rows.select(list(columns)).take(_pa.array(row_places)).append_column("left place", _pa.array(row_places))
    right = (
        others.select(list(columns)).take(_pa.array(other_places)).append_column("right place", _pa.array(other_places))
    )
    same = left.join(right, keys=list(columns), join_type="inner", use_threads=False)
    return np.asarray(same["left place"]), np.asarray(same["right place"])


def _among(rows: pa.Table, others: pa.Table) -> Any:
    """Return the places of rows with a sequence number of the others: nearly always the same change, and soon found."""
    return np.flatnonzero(
        np.asarray(pc.is_in(rows[SEQUENCE_NUMBER], value_set=others[SEQUENCE_NUMBER].combine_chunks()))
    )


def find_waiting(
    head: Head, batches: Sequence[Sequence[DataFile]], identity: Sequence[str], directory: Path
) -> dict[int, int]:
    """Return the batches, given by their files, with a change of an earlier one: place of the later → of the earlier.

    A batch that waits is not compared with those behind it. Only rows from the times that two batches share are read.
    Spills below `directory`.
    """
    columns = [*identity, SEQUENCE_NUMBER]
    spans = [_span(files) for files in batches]
    sieve = Sieve()
    spools: dict[int, Spool] = {}
    waiting: dict[int, int] = {}
    for place, files in enumerate(batches):
        common = [span for other in range(len(batches)) if other != place and (span := _meet(spans, place, other))]
        if not common:
            continue
        rows_in_common = Spool(directory / f"common-{place:05d}")
        suspects = Spool(directory / f"suspects-{place:05d}")
        for rows in read_rows(head, files, [*columns, EVENT_TIME]):
            times = np.asarray(rows[EVENT_TIME])
            chosen = np.zeros(len(times), bool)
            for first, last in common:
                chosen |= (first <= times) & (times <= last)
            rows = rows.filter(_pa.array(chosen)).select(columns)
            rows_in_common.add(rows)
            suspects.add(rows.filter(_pa.array(sieve.may_hold(rows))))
        earlier = _find_earlier(suspects, spools, columns) if suspects.rows else None
        if earlier is not None:
            waiting[place] = earlier
            continue
        spools[place] = rows_in_common
        for rows in rows_in_common:
            sieve.add(rows)
    return waiting


def _find_earlier(suspects: Spool, spools: Mapping[int, Spool], columns: Sequence[str]) -> int | None:
    for place, spool in spools.items():
        for others in spool:
            if any(len(find_same(rows, others, columns)[0]) for rows in suspects):
                return place
    return None


def _span(files: Iterable[DataFile]) -> tuple[int, int] | None:
    """Return the first and last time of these files' rows; None where there are none."""
    bounds = [f.bounds(EVENT_TIME) or _ALWAYS for f in files if f.rows]
    return (min(low for low, _ in bounds), max(high for _, high in bounds)) if bounds else None


def _meet(spans: Sequence[tuple[int, int] | None], one: int, other: int) -> tuple[int, int] | None:
    span, other_span = spans[one], spans[other]
    if span is None or other_span is None:
        return None
    first, last = max(span[0], other_span[0]), min(span[1], other_span[1])
    return (first, last) if first <= last else None
