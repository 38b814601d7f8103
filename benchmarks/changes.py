"""A day of one table as change records in gzipped objects, and the expected rows."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from benchmarks.hard_numbers import hard_numbers
from benchmarks.harness import BenchmarkError
from dynalake.names import Lake, TableNames
from dynalake.record.change import SEQUENCE_NUMBER, encode_change
from dynalake.record.key import ItemKey, KeyAttribute
from infra.local.demo.receipts import KEY, Item, generate_line, receipt

pc: Any = pyarrow.compute  # its stubs take no chunked arrays where it does

OBJECTS = 20
HARD_PARTS = 4
"""Parts of the hard numbers: a table has 500 columns at most, so they are also written in parts that fit."""
_FIRST_SEQUENCE = 4_421_584_500_000_000_017_450_439_091
_MIDNIGHT_MS = 1_558_742_400_000


@dataclass(frozen=True)
class Shape:
    """A table's items. `item` makes the one of a number, and its parts at random; the key is text.

    `usual`: the number of changes, if `CHANGES` does not say another. `compared`: columns compared with the input; of a
    list, its length is. `too_much`: attributes that the easier input leaves out; without any there is no such input.
    """

    table: str
    key: ItemKey
    usual: int
    item: Callable[[int, Random], Item]
    compared: tuple[str, ...]
    too_much: tuple[str, ...] = ()
    hard: bool = False

    @property
    def changes(self) -> int:
        return int(os.environ.get("CHANGES", self.usual))

    @property
    def names(self) -> TableNames:
        return Lake("bench", "123456789012", "us-east-1").table(self.table)

    @property
    def order(self) -> tuple[str, str]:
        """The keys of a change record by which rows are in order."""
        return self.key.partition.name, SEQUENCE_NUMBER

    @contextmanager
    def prepare(self, scratch: Path) -> Iterator[Mapping[str, str]]:
        """Write the objects; the same without values that pandas cannot read; hard numbers; and the expected rows."""
        random = Random(7)
        for folder in ("raw", "easy") if self.too_much else ("raw",):
            (scratch / folder).mkdir()
        key, sequence, number = self.key.partition.name, _FIRST_SEQUENCE, 0
        expected: list[tuple[Any, ...]] = []
        for part in range(OBJECTS):
            raw, easy = [], []
            for _ in range(self.changes // OBJECTS):
                item = self.item(number, random)
                # One item in three changes again, and one change in fifty arrives twice.
                item[key] = {"S": f"R-{random.randrange(self.changes * 2 // 3):08d}"}
                sequence += random.randrange(1, 1 << 40)
                change: dict[str, Any] = {
                    "operation": random.choice(("INSERT", "MODIFY")),
                    "sequence_number": str(sequence),
                    "event_time": _MIDNIGHT_MS + 86_400_000 * number // self.changes,
                }
                times = 1 + (random.randrange(50) == 0)
                raw += [encode_change(item, **change)] * times
                compared = (_plain(item.get(name)) for name in self.compared)
                expected.append((item[key]["S"], f"{sequence:040d}", *compared))
                if self.too_much:
                    simple = {name: value for name, value in item.items() if name not in self.too_much}
                    easy += [encode_change(simple, **change)] * times
                number += 1
            _write(scratch / "raw" / f"{part:02d}.json.gz", raw, compresslevel=6)
            if easy:
                _write(scratch / "easy" / f"{part:02d}.json.gz", easy, compresslevel=1)
        columns = zip(*sorted(expected, key=lambda row: row[:2]), strict=True)
        names = [name.lower() for name in (*self.order, *self.compared)]
        rows = pa.table({n: list(c) for n, c in zip(names, columns, strict=True)})
        pq.write_table(rows, scratch / "expected.parquet")
        if self.hard:
            numbers = list(hard_columns().items())
            _write_hard(scratch / "hard", numbers)
            for part in range(HARD_PARTS):
                _write_hard(scratch / f"hard-{part}", numbers[part::HARD_PARTS])
        yield {}


def _plain(value: Mapping[str, Any] | None) -> Any:
    """Return an attribute value as a column has it; of a list its length."""
    match value:
        case None:
            return None
        case {"N": text}:
            return float(text)
        case {"L": values}:
            return len(values)
    return next(iter(value.values()))


def _receipt(number: int, random: Random) -> Item:
    item = receipt(number)
    item["lines"]["L"] += [generate_line(random) for _ in range(random.randrange(14))]
    return item


RECEIPTS = Shape(
    "RECEIPTS",
    KEY,
    500_000,
    _receipt,
    compared=("total", "paid", "lines"),
    too_much=("exact", "ledgerId", "loyalty", "updatedAt"),
    hard=True,
)


def text_key(name: str) -> ItemKey:
    return ItemKey(KeyAttribute(name, "S"))


def _write(path: Path, lines: list[str], compresslevel: int) -> None:
    with gzip.open(path, "wb", compresslevel=compresslevel) as file:
        file.writelines(line.encode() + b"\n" for line in lines)


def _write_hard(folder: Path, numbers: list[tuple[str, str]]) -> None:
    item = {"receiptId": {"S": "R"}, **{name: {"N": number} for name, number in numbers}}
    line = encode_change(item, operation="INSERT", sequence_number="1", event_time=_MIDNIGHT_MS)
    folder.mkdir()
    (folder / "00.json.gz").write_bytes(gzip.compress(line.encode() + b"\n"))


def hard_columns() -> dict[str, str]:
    """Return the hard numbers, each as an attribute of its own, so that a type may fit it."""
    return {f"n{i:03d}": number for i, number in enumerate(hard_numbers())}


def check_rows(scratch: Path, paths: list[Path], *, unique: bool) -> int:
    """Count the rows of the files: each expected one once and in order, or (not `unique`) at least once."""
    expected = pq.read_table(scratch / "expected.parquet")
    parts = []
    for path in paths:
        file = pq.ParquetFile(path)
        by_name = {name.lower(): name for name in reversed(file.schema_arrow.names)}
        found = file.read([by_name[name] for name in expected.column_names])
        columns = [pc.list_value_length(c) if _is_list(c.type) else c for c in found.columns]
        parts.append(pa.table(columns, names=expected.column_names).cast(expected.schema))
    table = pa.concat_tables(parts)
    rows = table.num_rows
    if not unique:
        table = table.group_by(table.column_names).aggregate([]).sort_by([(n, "ascending") for n in table.column_names])
    if not table.equals(expected):
        raise BenchmarkError(f"{rows:,} rows came out; of {expected.num_rows:,} expected some are missing or differ")
    return rows


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def as_texts(row: Mapping[str, Any]) -> list[str]:
    """Return the JSON text of each hard number in a row; empty where it is missing."""
    texts = []
    for name in hard_columns():
        value = row.get(name)
        if value is None:
            texts.append("")
        else:
            texts.append(json.dumps(value) if isinstance(value, str | float | int) else str(value))
    return texts
