"""Peak memory of reading a batch: `python -m tests.unit.convert.reading_memory CASE READER TIMES`.

Prints the megabytes of the process before reading and at the peak, the rows, and the values without a column.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from dynalake.aws.clients import Clients
from dynalake.convert.options import ReadOptions
from dynalake.convert.read.raw_batch import read_batch
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.files.folders import Input
from dynalake.lake.types.arrow import json_text
from tests.unit.convert.batches import DAY, NAMES, TEXT_KEY, change

Item = Mapping[str, Any]
OBJECT = 1000
"""Lines in one object."""


def nested(number: int) -> Item:
    """Return an item of 60 KB with 100 × 100 fields of its own, so that each item has another type."""
    g, h = divmod(number, 100)
    fields = {f"k{a}": {f"k{b}": 1 for b in range(100)} for a in range(100)}
    return {"meta": {f"h{g}": {f"g{h}": fields}}}


def dense(number: int) -> Item:
    """Return one item with a list of wide structs, and others with lists of 100,000 empty ones: 300 KB."""
    wide = {f"k{i}": {f"k{j}": 1 for j in range(15)} for i in range(15)}
    return {"meta": [wide]} if number % 50 == 0 else {"meta": [{}] * 100_000}


def half_dense(number: int) -> Item:
    """Return lists that must still be in their columns: each takes 2 MB there, and 3 KB as JSON."""
    return {"meta": [{f"k{i}": 1 for i in range(90)}] if number % 500 == 0 else [{}] * 1_000}


def wide(number: int) -> Item:
    """Return 450 own attributes for one item in a thousand, two for all others."""
    return {"a": number, "b": "x"} | ({f"c{i}": Decimal("1.5") for i in range(450)} if number % 1000 == 500 else {})


def names(number: int) -> Item:
    """Return one item's 3,600 attributes, with names that no other item has."""
    return {f"{number}-{i}": i for i in range(3_600)}


def long_names(number: int) -> Item:
    """Return names of 60,000 characters, of attributes and nested ones."""
    return {f"{number}" + "n" * 60_000: 1, "m": {f"{number}" + "m" * 60_000: {"n" * 60_000: [1]}}}


def large(number: int) -> Item:
    """Return 400 KB of text."""
    return {"t": f"{number:06d}" * 66_000}


def brackets(number: int) -> Item:
    """Return 400 KB of empty lists, in a column with room for each: Python needs 20 times as much memory."""
    return {"t": "\u00e4\\" * 10, "l": [[]] * 130_000}


CASES: dict[str, Callable[[int], Item]] = {
    f.__name__: f for f in (nested, dense, half_dense, wide, names, long_names, large, brackets)
}


class Made:
    """S3 that generates its objects as they are read; a key ends in the number of its first line."""

    def __init__(self, make: Callable[[int], Item]) -> None:
        self._make = make

    def get_object(self, *, Bucket: str, Key: str, IfMatch: str) -> dict[str, Any]:
        first, count = map(int, Key.rsplit("/", 1)[1].split("-"))
        return {"Body": Body(self._lines(first, count))}

    def _lines(self, first: int, count: int) -> Iterator[bytes]:
        for number in range(first, first + count):
            record = change({"id": f"item {number:08d}", **self._make(number)}, number)
            yield json_text(dict(record.items())).encode() + b"\n"


class Body:
    """A stream of lines."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines, self._rest = lines, b""

    def read(self, amount: int = 1 << 62) -> bytes:
        pieces = [self._rest]
        size = len(self._rest)
        while size < amount and (line := next(self._lines, b"")):
            pieces.append(line)
            size += len(line)
        text = b"".join(pieces)
        self._rest = text[amount:]
        return text[:amount]

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        self._rest = b""


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    case, reader, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
    store = Made(CASES[case])
    objects = [
        Input(f"{NAMES.raw_day(DAY)}{first}-{min(OBJECT, times - first)}", "etag", 8 << 20)
        for first in range(0, times, OBJECT)
    ]
    options = ReadOptions(compiled_from_mb=0 if reader == "compiled" else 1 << 40)
    if reader == "compiled":
        import dynalake.convert.read.compiled.compiled  # noqa: F401
    before = peak()
    clients = Clients(lambda service: store)
    with tempfile.TemporaryDirectory() as directory:
        batch = read_batch(Table(clients, NAMES), objects, TableSchema.of_new_table(TEXT_KEY), options, Path(directory))
        rows = sum(table.num_rows for table in batch.tables())
    print(before, peak(), rows, batch.without_column + sum(m["count"] for m in batch.misfits.values()))


if __name__ == "__main__":
    main()
