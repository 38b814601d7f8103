"""Which columns of a file have a dictionary."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dynalake.lake.files.parts import repeating

_pa: Any = pa  # its stubs take types only as literals; here they are data


def test_only_columns_with_repeated_values_have_a_dictionary(tmp_path: Path) -> None:
    order, rows = random.Random(1), 40_000
    few = ["paid", "sent", None]
    columns = {
        "few": _pa.array([order.choice(few) for _ in range(rows)]),
        "unique": _pa.array([f"{order.getrandbits(80):x}" for _ in range(rows)]),
        "time": _pa.array([order.getrandbits(40) for _ in range(rows)], pa.int64()),
        "price": _pa.array([Decimal(order.randrange(50)).scaleb(-2) for _ in range(rows)], pa.decimal128(38, 2)),
        "flag": _pa.array([order.random() < 0.5 for _ in range(rows)]),
        "none": _pa.nulls(rows, pa.string()),
        "store": _pa.array([{"city": order.choice(few), "at": [order.random()]} for _ in range(rows)]),
        "lines": _pa.array([[{"name": order.choice(few)}] * order.randrange(3) for _ in range(rows)]),
        "other": _pa.array(
            [[(order.choice("abc"), f"{order.random()}")] for _ in range(rows)], pa.map_(pa.string(), pa.string())
        ),
    }
    table = pa.table(columns).slice(7)

    chosen: Any = [path for name in table.column_names for path in repeating(name, table[name])]

    assert chosen == ["few", "price", "store.city", "lines.list.element.name", "other.key_value.key"]
    pq.write_table(table, tmp_path / "chosen.parquet", use_dictionary=chosen)
    group = pq.read_metadata(tmp_path / "chosen.parquet").row_group(0)
    written = [group.column(i) for i in range(group.num_columns)]
    assert [c.path_in_schema for c in written if c.has_dictionary_page] == chosen
    pq.write_table(table, tmp_path / "usual.parquet")
    assert (tmp_path / "chosen.parquet").stat().st_size < 0.95 * (tmp_path / "usual.parquet").stat().st_size
