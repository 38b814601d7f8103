"""The predicates of the views complement each other; their text names what it must."""

from __future__ import annotations

import base64
import json

import duckdb
import pytest

from dynalake.catalog.views import ViewState, Watermark, changes_columns, changes_sql, current_sql, view_input
from dynalake.errors import CatalogError
from dynalake.lake.schema import TableSchema
from dynalake.lake.types import observe
from dynalake.names import Lake
from dynalake.record.key import ItemKey, KeyAttribute

NAMES = Lake("dev", "123456789012", "us-east-1").table("RECEIPTS")
SCHEMA = TableSchema.of_key(ItemKey(KeyAttribute("id", "S"), KeyAttribute("n", "N"))).widen(
    {"Rating": observe(1), "none": observe(None), "m": observe({"a": [1]})}
)
DAYS = ["00000000", "20231231", "20240101", "20240102", "99991231"]


@pytest.mark.parametrize("mark", [Watermark(t, s) for t in ("", "20240101") for s in (False, True)])
def test_each_day_is_read_exactly_once(mark: Watermark) -> None:
    for day in DAYS:
        sides = [mark.parquet_predicate or "false", mark.json_predicate]
        query = ", ".join(f"({side})::int" for side in sides)
        relation = duckdb.sql(f"SELECT {query} FROM (SELECT '{day}' AS dt)")
        assert relation is not None
        rows = relation.fetchall()
        assert rows == [(1, 0) if mark.covers(day) else (0, 1)]


def test_a_watermark_is_kept_as_json() -> None:
    mark = Watermark("20240101", True)
    assert Watermark.from_json(mark.to_json()) == mark


def test_the_views_name_the_tables_and_leave_canaries_out() -> None:
    state = ViewState(SCHEMA, Watermark("20240101"), frozenset({"rating"}))
    for sql in (changes_sql(NAMES, state), current_sql(NAMES, state)):
        assert '"dynalake_dev"."receipts_v1_json"' in sql
        assert '"dynalake_dev"."receipts_v1_parquet"' in sql
        assert "<> 'CANARY'" in sql
        assert 'CAST(NULL AS bigint) AS "rating"' in sql
        assert 'CAST(NULL AS varchar) AS "none"' in sql
    assert "receipts_v1_parquet" not in changes_sql(NAMES, ViewState(SCHEMA, Watermark()))


def test_only_what_may_repeat_the_last_day_in_parquet_is_compared_with_it() -> None:
    sql = changes_sql(NAMES, ViewState(SCHEMA, Watermark("20240101")))
    # Midnight and a minute of the lake's clock.
    assert 'LEFT JOIN seen ON TRY_CAST("__event_time" AS bigint) < 1704153660000 AND' in sql
    assert "WHERE \"dt\" = '20240101'" in sql
    berlin = Lake("dev", "123456789012", "us-east-1", time_zone="Europe/Berlin").table("RECEIPTS")
    held = changes_sql(NAMES, ViewState(SCHEMA, Watermark("20240105"), since="20240102"))
    assert "BETWEEN '20240102' AND '20240105'" in held
    assert "< 1704150060000 AND" in changes_sql(berlin, ViewState(SCHEMA, Watermark("20240101")))
    for state in (ViewState(SCHEMA, Watermark()), ViewState(SCHEMA, Watermark("20240101"), frozenset({"n"}))):
        assert "JOIN" not in changes_sql(NAMES, state)
    assert "JOIN" not in current_sql(NAMES, ViewState(SCHEMA, Watermark("20240101")))


def test_a_view_is_stored_as_athena_stores_it() -> None:
    state = ViewState(SCHEMA, Watermark())
    stored = view_input(NAMES, "receipts", "SELECT 1", changes_columns(SCHEMA), state)
    text = stored["ViewOriginalText"]
    assert text.startswith("/* Presto View: ")
    definition = json.loads(base64.b64decode(text[len("/* Presto View: ") : -len(" */")]))
    assert definition["originalSql"] == "SELECT 1"
    assert definition["columns"][0] == {"name": "id", "type": "varchar"}
    assert {"name": "m", "type": 'row("a" array(bigint))'} in definition["columns"]
    assert stored["StorageDescriptor"]["Columns"][-1] == {"Name": "dt", "Type": "string"}


def test_a_view_that_glue_cannot_hold_is_refused_with_its_size() -> None:
    with pytest.raises(CatalogError, match="409600"):
        view_input(NAMES, "receipts", "x" * 400_000, [], ViewState(SCHEMA, Watermark()))
