"""Any items in, over several days; every value comes back exactly, through pyarrow and through DuckDB."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynalake.convert.options import CompactOptions
from dynalake.convert.read.records import RecordParser
from dynalake.convert.rows.write import tables_of, write_parts
from dynalake.lake.schema import TableSchema, merge_observed, observe_record
from dynalake.lake.types import Type
from dynalake.record.change import encode_change
from tests.unit.catalog.recover import plain, recover
from tests.unit.compact.lake import KEY
from tests.unit.record.strategies import ITEMS

OPTIONS = CompactOptions(max_struct_fields=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(ITEMS, min_size=1, max_size=5), st.lists(ITEMS, max_size=3))
def test_every_value_comes_back_exactly(items: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    """`others` are in another partition: they widen the table's types, and this one's values stay what they are."""
    parse = RecordParser(KEY)
    records = []
    seen: list[dict[str, Type]] = [{}, {}]
    for part, batch in enumerate((items, others)):
        for number, item in enumerate(batch):
            image = {name: pair[0] for name, pair in item.items()}
            image |= {"id": {"S": f"item {number}"}, "n": {"N": str(number)}}
            record = parse(
                encode_change(image, operation="INSERT", sequence_number=str(number), event_time=number).encode()
            )
            assert record is not None
            observe_record(seen[part], record.values, OPTIONS.max_struct_fields)
            if part == 0:
                records.append(record)
    limit = OPTIONS.max_struct_fields
    table = TableSchema.of_key(KEY).widen(merge_observed(seen, limit), limit)
    files = table.file_schema(seen[0])
    with tempfile.TemporaryDirectory() as directory:
        for path in write_parts(tables_of(records, files), files, OPTIONS, Path(directory)):
            arrow = pq.read_table(path).to_pylist()
            relation = duckdb.sql(f"SELECT * FROM read_parquet('{path}')")
            assert relation is not None
            from_duckdb = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    for rows in (arrow, from_duckdb):
        assert len(rows) == len(items)
        for item, row in zip(items, rows, strict=True):
            for column in files.columns:
                if column.attribute in ("id", "n"):
                    continue
                expected = item[column.attribute][1] if column.attribute in item else None
                assert recover(row[column.name], column.type) == plain(expected), column
            held = {c.attribute for c in files.columns}
            assert all(pair[1] is None for name, pair in item.items() if name not in held | {"id", "n"})
