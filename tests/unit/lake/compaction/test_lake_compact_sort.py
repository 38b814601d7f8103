"""Rows in order: sorted in memory or on disk, from sorted and unsorted streams."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dynalake.lake.files import sort
from dynalake.lake.files.sort import Order, UnorderedError, sort_rows

pytestmark = pytest.mark.slow

_pa: Any = pa  # its stubs take types only as literals

SCHEMA: Any = _pa.schema([("id", pa.string()), ("s", pa.string()), ("p", pa.decimal128(38, 2)), ("b", pa.bool_())])


def row(random_: random.Random) -> dict[str, Any]:
    price = random_.choice([None, *(Decimal(n) / 4 for n in range(-3, 4))])
    return {
        "id": random_.choice(["", "a", "ab", "b", "é", "\x00", "a\x00"]),
        "s": f"{random_.randrange(50):03d}",
        "p": price,
        "b": random_.choice([None, True, False]),
    }


def key(columns: tuple[str, ...]) -> Any:
    def of(row: dict[str, Any]) -> list[Any]:
        return [(row[c] is None, row[c].encode() if isinstance(row[c], str) else row[c] or 0) for c in columns]

    return of


def count(rows: list[dict[str, Any]]) -> Counter[Any]:
    return Counter(tuple(r.values()) for r in rows)


def tables(rows: list[dict[str, Any]], size: int) -> list[pa.Table]:
    return [pa.Table.from_pylist(rows[i : i + size], SCHEMA) for i in range(0, len(rows), size)]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("columns", "nullable"), [(("id", "s"), ()), (("p", "b", "id", "s"), ("p", "b"))])
def test_all_rows_are_returned_in_order(
    seed: int, columns: tuple[str, ...], nullable: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_ = random.Random(seed)
    # So small that there are many runs of many pieces in several rounds.
    monkeypatch.setattr(sort, "SHARE", random_.choice([6, 4_000, 40_000]))
    monkeypatch.setattr(sort, "MERGED", random_.choice([2, 64]))
    order = Order(SCHEMA, columns, nullable)
    unordered = [row(random_) for _ in range(random_.choice([0, 1, 300]))]
    streams = [
        sorted((row(random_) for _ in range(n)), key=key(columns)) for n in random_.choice([(), (300,), (90, 0)])
    ]

    pieces = list(
        sort_rows(
            tables(unordered, 13), [tables(s, random_.choice([1, 40])) for s in streams], order, tmp_path, memory_mb=1
        )
    )

    rows = [r for table in pieces for r in table.to_pylist()]
    everything = [*unordered, *(r for s in streams for r in s)]
    assert all(table.schema == SCHEMA for table in pieces)
    assert [key(columns)(r) for r in rows] == sorted(key(columns)(r) for r in everything)
    assert count(rows) == count(everything)
    assert list(tmp_path.iterdir()) == []


def test_an_unsorted_stream_is_detected(tmp_path: Path) -> None:
    order = Order(SCHEMA, ("id", "s"))
    for ids in (["b", "a"], ["a", "c", "b"], ["a", "b", "c", "b"]):
        rows = [{"id": i, "s": "1"} for i in ids]
        for size in (1, 2, 9):
            with pytest.raises(UnorderedError):
                list(sort_rows([], [tables(rows, size)], order, tmp_path, memory_mb=1))


def test_memory_stays_small(tmp_path: Path) -> None:
    """Ten times the allowed memory, from an unsorted stream and a sorted one."""
    schema = pa.schema([("id", pa.string()), ("s", pa.string())])
    order = Order(schema, ("id", "s"))
    random_ = random.Random(1)
    allowed = 4 << 20

    def made(ordered: bool) -> Any:
        for i in range(200):
            ids = [
                f"{i if ordered else random_.randrange(200):05d}{n if ordered else random_.randrange(900):09d}"
                for n in range(1000)
            ]
            rows = pa.table([pa.array(ids), pa.array(["x" * 100] * 1000)], schema=schema)
            yield rows.sort_by("id") if ordered else rows

    before = pa.total_allocated_bytes()
    most = count = 0
    last = ""
    for rows in sort_rows(made(False), [made(True)], order, tmp_path, memory_mb=4):
        most = max(most, pa.total_allocated_bytes() - before)
        count += rows.num_rows
        assert last <= rows["id"][0].as_py()
        last = rows["id"][-1].as_py()

    assert count == 400_000
    assert most < 2 * allowed
