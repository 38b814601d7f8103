"""A day of RECEIPTS as change records in gzipped objects, and the expected rows."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.hard_numbers import hard_numbers
from benchmarks.harness import BenchmarkError
from benchmarks.meter import MEGABYTE
from dynalake.record.change import encode_change
from infra.local.demo.receipts import generate_line, generate_receipts

CHANGES = int(os.environ.get("CHANGES", "500000"))
OBJECTS = 20
HARD_PARTS = 4
"""Parts of the hard numbers: a table has 500 columns at most, so they are also written in parts that fit."""
_FIRST_SEQUENCE = 4_421_584_500_000_000_017_450_439_091
_MIDNIGHT_MS = 1_558_742_400_000
_TOO_MUCH = ("exact", "ledgerId", "loyalty", "updatedAt")


@contextmanager
def prepare(scratch: Path) -> Iterator[Mapping[str, str]]:
    """Write the objects; the same without values that pandas cannot read; hard numbers; and the expected rows."""
    random = Random(7)
    for folder in ("raw", "easy"):
        (scratch / folder).mkdir()
    expected: list[tuple[str, str, float, bool]] = []
    size, sequence = 0, _FIRST_SEQUENCE
    items = generate_receipts(CHANGES)
    for number in range(OBJECTS):
        with (
            gzip.open(scratch / "raw" / f"{number:02d}.json.gz", "wb", compresslevel=6) as raw,
            gzip.open(scratch / "easy" / f"{number:02d}.json.gz", "wb", compresslevel=1) as easy,
        ):
            for _ in range(CHANGES // OBJECTS):
                item = next(items)
                # One receipt in three changes again, and one change in fifty arrives twice.
                item["receiptId"]["S"] = f"R-{random.randrange(CHANGES * 2 // 3):08d}"
                item["lines"]["L"] += [generate_line(random) for _ in range(random.randrange(14))]
                sequence += random.randrange(1, 1 << 40)
                change: dict[str, Any] = {
                    "operation": random.choice(("INSERT", "MODIFY")),
                    "sequence_number": str(sequence),
                    "event_time": _MIDNIGHT_MS + 86_400_000 * len(expected) // CHANGES,
                }
                line = encode_change(item, **change).encode() + b"\n"
                for name in _TOO_MUCH:
                    item.pop(name, None)
                simple = encode_change(item, **change).encode() + b"\n"
                for _ in range(1 + (random.randrange(50) == 0)):
                    raw.write(line)
                    easy.write(simple)
                    size += len(line)
                total, paid = float(item["total"]["N"]), bool(item["paid"]["BOOL"])
                expected.append((item["receiptId"]["S"], f"{sequence:040d}", total, paid))
    columns = list(zip(*sorted(expected), strict=True))
    names = ["receiptid", "__sequence_number", "total", "paid"]
    pq.write_table(pa.table({n: list(c) for n, c in zip(names, columns, strict=True)}), scratch / "expected.parquet")
    numbers = list(hard_columns().items())
    _write_hard(scratch / "hard", numbers)
    for part in range(HARD_PARTS):
        _write_hard(scratch / f"hard-{part}", numbers[part::HARD_PARTS])
    yield {"RAW_MB": str(round(size / MEGABYTE))}


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
        parts.append(file.read([by_name[name] for name in expected.column_names]).rename_columns(expected.column_names))
    table = pa.concat_tables([part.cast(expected.schema) for part in parts])
    rows = table.num_rows
    if not unique:
        table = table.group_by(table.column_names).aggregate([]).sort_by([(n, "ascending") for n in table.column_names])
    if not table.equals(expected):
        raise BenchmarkError(f"{rows:,} rows came out; of {expected.num_rows:,} expected some are missing or differ")
    return rows


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
