"""Views of the Glue catalog answer as Athena's do: expanded, pruned, typed, or stale."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tests.local.athena_lake import PARQUET, Lake, QueryFailed

WIDE = "1234567890123456789012345678.9012345678"
ITEMS = "array(row(price decimal(38,10), sku varchar))"
COLUMNS = {"dt": "varchar", "id": "varchar", "seq": "varchar", "amount": "decimal(38,10)", "items": ITEMS}


@pytest.fixture
def lake(client: Callable[[str], Any], name: str) -> Lake:
    """A lake with a compacted day, two raw days, and the view that joins them."""
    lake = Lake(client, name)
    lake.table(
        "receipts_json",
        {"id": "string", "seq": "string", "amount": "string", "items": "string"},
        keys={"dt": "string"},
    )
    lake.table(
        "receipts_parquet",
        {
            "id": "string",
            "seq": "string",
            "amount": "decimal(38,10)",
            "items": "array<struct<price:decimal(38,10),sku:string>>",
        },
        serde=PARQUET,
        keys={"dt": "string"},
    )
    for day in ("20190524", "20190525", "20190526"):
        lake.lines(
            f"json/{day}/a.gz",
            f'{{"id":"a","seq":"{day}","amount":{WIDE},"items":[{{"price":{WIDE},"SKU":"x","more":1}}]}}',
            f'{{"id":"b","seq":"{day}","amount":"no number","items":"no list"}}',
        )
        lake.partition("receipts_json", day, path=f"json/{day}/")
    kind = pa.list_(pa.struct([("price", pa.decimal128(38, 10)), ("sku", pa.string())]))
    compacted = pa.table(
        {
            "id": ["a"],
            "seq": ["20190524"],
            "amount": pa.array([Decimal("1.5")], pa.decimal128(38, 10)),
            "items": pa.array([[{"price": Decimal("2.5"), "sku": "y"}]], kind),
        }
    )
    lake.parquet("parquet/dt=20190524/v=1/a.parquet", compacted)
    lake.partition("receipts_parquet", "20190524", path="parquet/dt=20190524/v=1/")
    sql = (
        "SELECT dt, id, seq, amount, items FROM receipts_parquet WHERE dt <= '20190524' "
        "UNION ALL SELECT dt, id, seq, TRY_CAST(amount AS decimal(38,10)), "
        f"TRY(CAST(json_parse(\"items\") AS {ITEMS})) FROM receipts_json WHERE dt > '20190524'"
    )
    lake.view("receipts", sql, COLUMNS)
    latest = (
        "SELECT dt, id, seq, amount, items FROM (SELECT *, "
        "row_number() OVER (PARTITION BY id ORDER BY seq DESC) AS n "
        f'FROM "{name}"."receipts") WHERE n = 1'
    )
    lake.view("receipts_current", latest, COLUMNS)
    return lake


def test_both_sides_of_the_watermark(lake: Lake) -> None:
    """The raw side is cast with TRY; 38 digits are kept at the top and inside.

    https://docs.aws.amazon.com/athena/latest/ug/views.html
    """
    row = f"[{{price={WIDE}, sku=x}}]"
    assert lake.query("SELECT * FROM receipts ORDER BY dt, id") == [
        ["20190524", "a", "20190524", "1.5000000000", "[{price=2.5000000000, sku=y}]"],
        ["20190525", "a", "20190525", WIDE, row],
        ["20190525", "b", "20190525", None, None],
        ["20190526", "a", "20190526", WIDE, row],
        ["20190526", "b", "20190526", None, None],
    ]


def test_only_the_side_and_day_asked_for_are_read(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/partitions.html"""
    lake.put("parquet/dt=20190524/v=1/a.parquet", b"unreadable")
    lake.lines("json/20190525/a.gz", "{broken")
    assert lake.scalar("SELECT count(*) FROM receipts WHERE dt = '20190526'") == "2"
    assert lake.scalar("SELECT count(amount) FROM receipts r WHERE r.dt >= '20190526' AND id = 'a'") == "1"
    with pytest.raises(QueryFailed, match="HIVE_CURSOR_ERROR"):
        lake.query("SELECT * FROM receipts WHERE dt = '20190525'")


def test_the_latest_of_each_key(lake: Lake) -> None:
    """A view over a view, with a window.

    https://docs.aws.amazon.com/athena/latest/ug/views.html
    """
    assert lake.query("SELECT id, dt, amount FROM receipts_current ORDER BY id") == [
        ["a", "20190526", WIDE],
        ["b", "20190526", None],
    ]
    assert lake.query("SELECT id FROM receipts_current WHERE dt = '20190525'") == []


@pytest.mark.parametrize(
    "columns",
    [
        {**COLUMNS, "extra": "varchar"},
        {"dt": "varchar", "key": "varchar", "seq": "varchar", "amount": "decimal(38,10)", "items": ITEMS},
        {**COLUMNS, "amount": "decimal(20,2)"},
        {**COLUMNS, "seq": "bigint"},
    ],
    ids=["count", "name", "narrower", "type"],
)
def test_a_view_whose_query_changed_is_stale(lake: Lake, columns: dict[str, str]) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/troubleshooting-athena.html"""
    lake.view("stale", "SELECT * FROM receipts", columns)
    with pytest.raises(QueryFailed, match=r"VIEW_IS_STALE.*is stale or in invalid state"):
        lake.query("SELECT * FROM stale")


def test_views_by_statement(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/create-view.html"""
    lake.run("CREATE VIEW small AS SELECT id, count(*) AS n FROM receipts GROUP BY id")
    stored = lake.glue.get_table(DatabaseName=lake.name, Name="small")["Table"]
    assert stored["TableType"] == "VIRTUAL_VIEW"
    assert stored["ViewOriginalText"].startswith("/* Presto View: ")
    assert stored["StorageDescriptor"]["Columns"] == [
        {"Name": "id", "Type": "string"},
        {"Name": "n", "Type": "bigint"},
    ]
    with pytest.raises(QueryFailed, match="already exists"):
        lake.run("CREATE VIEW small AS SELECT 1 AS one")
    lake.run("CREATE OR REPLACE VIEW small AS SELECT max(id) AS last FROM receipts")
    assert lake.query("SELECT * FROM small") == [["b"]]
    assert ["SELECT max(id) AS last FROM receipts"] in lake.query("SHOW CREATE VIEW small")
    lake.run("DROP VIEW small")
    with pytest.raises(QueryFailed, match="TABLE_NOT_FOUND"):
        lake.query("SELECT * FROM small")
    lake.run("DROP VIEW IF EXISTS small")


def test_a_view_without_a_column_name_is_refused(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/create-view.html"""
    with pytest.raises(QueryFailed, match="MISSING_COLUMN_NAME"):
        lake.run("CREATE VIEW nameless AS SELECT count(*) FROM receipts")
