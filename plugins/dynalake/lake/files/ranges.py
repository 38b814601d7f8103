"""Rows are cut by the values of one column, so that each range of them can be handled alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute

from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.files.read import Within, read_rows

pc: Any = pyarrow.compute  # its stubs take no chunked arrays where it does

_FILES = 32  # files that are sampled
_VALUES = 256  # values taken of each table of rows


@dataclass(frozen=True)
class Range:
    """Rows whose value in `column` is at least `low` and below `high`; None where there is no end.

    Nulls come last, so they are in the range without `high`. `number`: the range's place among all, from 0 on.
    """

    column: str
    low: Any = None
    high: Any = None
    number: int = 0

    @property
    def is_all(self) -> bool:
        return self.low is None and self.high is None

    @property
    def within(self) -> Within:
        """Row groups that may have such rows."""
        return {} if self.is_all else {self.column: (self.low, self.high)}

    def rows(self, table: pa.Table) -> pa.Table:
        """Return the rows that are in the range."""
        if self.is_all:
            return table
        values = table[self.column]
        chosen: Any = True
        if self.low is not None:
            chosen = pc.fill_null(pc.greater_equal(values, self.low), True)
        if self.high is not None:
            chosen = pc.and_(chosen, pc.fill_null(pc.less(values, self.high), False))
        return table.filter(chosen)


def cut_ranges(head: Head, files: Sequence[DataFile], column: str, count: int) -> tuple[Range, ...]:
    """Cut the rows of these files into about `count` ranges of equal size, by values of some of the files.

    One range where `count` is 1. Rows of one value are never cut, so there may be fewer, and larger ones.
    """
    if count <= 1:
        return (Range(column),)
    chosen = files[:: max(1, len(files) // _FILES)]
    samples: list[Any] = []
    for rows in read_rows(head, chosen, [column]):
        step = max(1, rows.num_rows // _VALUES)
        samples += [v for i in range(0, rows.num_rows, step) if (v := rows[column][i].as_py()) is not None]
    samples.sort()
    places = [len(samples) * i // count for i in range(1, count)] if samples else []
    bounds = sorted({samples[place] for place in places})
    if bounds and bounds[0] == samples[0]:
        del bounds[0]  # nothing is below it
    ends = [None, *bounds, None]
    return tuple(Range(column, low, high, number) for number, (low, high) in enumerate(pairwise(ends)))
