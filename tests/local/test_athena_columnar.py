"""Parquet and ORC files are read by the catalog's types, or the query fails."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tests.local.athena_lake import ORC, PARQUET, Lake, QueryFailed

WIDE = Decimal("1234567890123456789012345678.9012345678")


@pytest.fixture
def lake(client: Callable[[str], Any], name: str) -> Lake:
    """A new lake."""
    return Lake(client, name)


def test_decimals_structs_arrays_and_maps(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/data-types.html"""
    lake.table(
        "t",
        {
            "d": "decimal(38,10)",
            "r": "struct<x:decimal(38,10),y:array<bigint>>",
            "m": "map<string,struct<z:boolean>>",
            "at": "timestamp",
            "day": "date",
            "raw": "binary",
            "real": "double",
        },
        serde=PARQUET,
    )
    kinds: list[tuple[str, pa.DataType]] = [
        ("d", pa.decimal128(38, 10)),
        ("r", pa.struct([("x", pa.decimal128(38, 10)), ("y", pa.list_(pa.int64()))])),
        ("m", pa.map_(pa.string(), pa.struct([("z", pa.bool_())]))),
        ("at", pa.timestamp("us")),
        ("day", pa.date32()),
        ("raw", pa.binary()),
        ("real", pa.float64()),
    ]
    row = {
        "d": WIDE,
        "r": {"x": WIDE.copy_negate(), "y": [1, None]},
        "m": [("k", {"z": True}), ("n", None)],
        "at": 1_558_742_400_123_456,
        "day": 18041,
        "raw": b"\x01\xff",
        "real": 1e21,
    }
    arrays = [pa.array([row[name], None], kind) for name, kind in kinds]
    lake.parquet("t/a.parquet", pa.Table.from_arrays(arrays, names=[name for name, _ in kinds]))
    assert lake.query("SELECT * FROM t ORDER BY d") == [
        [
            str(WIDE),
            f"{{x=-{WIDE}, y=[1, null]}}",
            "{k={z=true}, n=null}",
            "2019-05-25 00:00:00.123",
            "2019-05-25",
            "01 ff",
            "1.0E21",
        ],
        [None] * 7,
    ]
    assert lake.query("SELECT r.x, r.y[1], m['k'].z FROM t WHERE d > 0") == [[f"-{WIDE}", "1", "true"]]


def test_columns_are_matched_by_name(lake: Lake) -> None:
    """A column the file lacks is NULL, one the catalog lacks is ignored, the order does not matter.

    https://docs.aws.amazon.com/athena/latest/ug/handling-schema-updates-chapter.html
    """
    lake.table("t", {"a": "bigint", "new": "string", "b": "string"}, serde=PARQUET)
    lake.parquet("t/a.parquet", pa.table({"B": ["x"], "extra": [1], "a": pa.array([1], pa.int32())}))
    assert lake.query("SELECT * FROM t") == [["1", None, "x"]]


def test_struct_fields_are_matched_by_name(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/handling-schema-updates-chapter.html"""
    lake.table("t", {"r": "array<struct<a:bigint,new:struct<x:string>>>"}, serde=PARQUET)
    lake.parquet("t/a.parquet", pa.table({"r": [[{"gone": 1, "a": 2}, None], None, []]}))
    assert lake.query("SELECT * FROM t") == [["[{a=2, new=null}, null]"], [None], ["[]"]]


@pytest.mark.parametrize(
    ("declared", "stored"),
    [
        ("bigint", pa.array(["1"])),
        ("string", pa.array([1])),
        ("double", pa.array([1])),
        ("decimal(38,0)", pa.array([1])),
        ("bigint", pa.array([1.5])),
        ("struct<a:bigint>", pa.array([{"a": "text"}])),
        ("array<bigint>", pa.array([1])),
        ("boolean", pa.array(["true"])),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.type),
)
def test_a_type_that_cannot_be_read_fails_the_query(lake: Lake, declared: str, stored: Any) -> None:
    """A widened column does not make old files readable: bigint is not read as decimal or double.

    https://docs.aws.amazon.com/athena/latest/ug/troubleshooting-athena.html#troubleshooting-athena-hive-bad-data
    """
    lake.table("t", {"a": declared, "b": "bigint"}, serde=PARQUET)
    lake.parquet("t/a.parquet", pa.table({"a": stored, "b": [5]}))
    with pytest.raises(QueryFailed, match="HIVE_BAD_DATA"):
        lake.query("SELECT a FROM t")
    assert lake.query("SELECT b FROM t") == [["5"]]


def test_what_can_be_read_wider(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/types-of-updates.html"""
    lake.table("t", {"i": "bigint", "f": "double", "d": "decimal(38,10)"}, serde=PARQUET)
    narrow = pa.table(
        {
            "i": pa.array([1], pa.int32()),
            "f": pa.array([1.5], pa.float32()),
            "d": pa.array([Decimal("1.5")], pa.decimal128(10, 2)),
        }
    )
    lake.parquet("t/a.parquet", narrow)
    assert lake.query("SELECT * FROM t") == [["1", "1.5", "1.5000000000"]]


def test_orc_is_read_by_position_unless_told_otherwise(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/handling-schema-updates-chapter.html#index-access"""
    by_name = {"orc.column.index.access": "false"}
    for table, properties in (("by_index", {}), ("by_name", by_name)):
        lake.table(table, {"b": "bigint", "a": "bigint"}, serde=ORC, properties=properties)
        lake.orc(f"{table}/x.orc", pa.table({"a": [1], "b": [2]}))
    assert lake.query("SELECT a, b FROM by_index") == [["2", "1"]]
    assert lake.query("SELECT a, b FROM by_name") == [["1", "2"]]
