"""How columns are written: with a dictionary where values repeat, and digits at the level that suits them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynalake.convert.options import CompactOptions
from dynalake.convert.rows import write
from dynalake.convert.rows.fit import LENGTH
from dynalake.lake.arrow import arrow_schema
from dynalake.lake.schema import TableSchema
from dynalake.lake.types import TEXT, Number
from dynalake.record.key import ItemKey, KeyAttribute

ROWS = 200_000
DOUBLE = Number(4, 2, 6, int64=False)


@pytest.fixture
def table() -> tuple[TableSchema, pa.Table]:
    """Numbers and texts of which all differ, or 40,000, or one of two rows has none."""
    random = np.random.default_rng(7)
    often = random.integers(0, 40_000, ROWS)
    never = random.permutation(ROWS)
    columns: dict[str, Any] = {
        "id": [f"{n:08d}" for n in range(ROWS)],
        "often": often / 100,
        "never": never / 100,
        "often_text": [f"text {n}" for n in often],
        "never_text": [f"text {n}" for n in never],
        "half": [n / 100 if i % 2 else None for i, n in enumerate(never)],
        "__operation": ["INSERT"] * ROWS,
        "__event_time": 1_558_742_400_000 + random.integers(0, 86_400_000, ROWS),
        "__sequence_number": [
            f"{4_421_584_500_000_000_017_450_439_091 + n:040d}" for n in random.integers(0, 2**58, ROWS).tolist()
        ],
    }
    kinds = {name: TEXT if name.endswith("text") else DOUBLE for name in list(columns)[1:6]}
    schema = TableSchema.of_key(ItemKey(KeyAttribute("id", "S"))).widen(kinds)
    arrays = [
        pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(ROWS, f.type) for f in arrow_schema(schema)
    ]
    rows = pa.table(arrays, schema=arrow_schema(schema))
    return schema, rows.append_column(LENGTH, pa.array(np.full(ROWS, 200), pa.int32()))


def sizes(table: tuple[TableSchema, pa.Table], directory: Path) -> tuple[dict[str, int], set[str]]:
    """The bytes of each column in the file, and the columns that have a dictionary."""
    schema, rows = table
    (footer,) = [pq.read_metadata(p) for p in write.write_parts([rows], schema, CompactOptions(), directory)]
    group = footer.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    assert group.num_rows == ROWS
    return (
        {c.path_in_schema: c.total_compressed_size for c in columns},
        {c.path_in_schema for c in columns if c.has_dictionary_page},
    )


def test_where_values_repeat_there_is_a_dictionary_and_it_is_seen_from_few_where_they_do_not(
    table: tuple[TableSchema, pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found = sizes(table, tmp_path)
    assert {"often", "often_text", "__operation"} <= found
    assert not found & {"id", "never", "never_text", "half", "__sequence_number", "__event_time"}
    monkeypatch.setattr(write, "_SOME", ROWS)  # all are looked at
    assert sizes(table, tmp_path)[1] == found


def test_digits_are_smaller_than_at_the_level_of_the_others(
    table: tuple[TableSchema, pa.Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = sizes(table, tmp_path)
    monkeypatch.setattr(write, "_DIGITS", ())
    others, _ = sizes(table, tmp_path)
    assert found["__sequence_number"] < others["__sequence_number"] * 0.97
    assert {name: size for name, size in found.items() if not name.startswith("__")} == {
        name: size for name, size in others.items() if not name.startswith("__")
    }
