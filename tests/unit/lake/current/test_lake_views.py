"""The views' text, and what DuckDB reads with it: the same text that Athena and Trino get."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
)

from dynalake.errors import CatalogError
from dynalake.lake.catalog.iceberg import Change
from dynalake.lake.catalog.table import SHOWN_RUN
from dynalake.lake.columns.iceberg_schema import iceberg_schema
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.current.fold import fold
from dynalake.lake.current.view_entries import SQL_LIMIT, TEXT_LIMIT, current_texts, view_input, write_views
from dynalake.lake.current.views import (
    DIALECTS,
    DUCKDB,
    SPARK,
    TRINO,
    ViewSource,
    attribute_columns,
    current_columns,
    current_sql,
    glue_type,
    history_columns,
    history_sql,
    is_known,
    open_day,
    removed_columns,
    removed_sql,
    trino_type,
)
from dynalake.lake.tables.grow import grow_schema
from dynalake.lake.types.budget import BUDGET
from dynalake.lake.types.union import TEXT, Field, Number, Struct, Type
from dynalake.names import Lake
from dynalake.record.key import ItemKey, KeyAttribute
from tests.support.memory.state_lake import DAY_MS, START, Event, StateLake, replay

pytestmark = pytest.mark.slow

SMALL = ViewSource(
    changes='"lake"."receipts"',
    state='"lake"."receipts_state"',
    columns=(("id", StringType()), ("at", LongType()), ("total", DoubleType())),
    identity=("__key",),
    key=("id", "at"),
    folded_to=1_704_067_200_000,
    open_day="20231231",
)


# -- the text ------------------------------------------------------------------------------------------------------


def test_the_text_of_current() -> None:
    assert current_sql(SMALL) == (
        'SELECT "id", "at", "total", "__other", "__types", "__event_time", "__sequence_number"\n'
        'FROM "lake"."receipts_state" "the item"\n'
        'WHERE NOT "__deleted" AND NOT EXISTS (\n'
        'SELECT 1 FROM "lake"."receipts" "a later change" WHERE "dt" >= \'20231231\' AND '
        '"__event_time" > 1704067200000 AND "a later change"."__key" = "the item"."__key")\n'
        "UNION ALL\n"
        'SELECT "id", "at", "total", "__other", "__types", "__event_time", "__sequence_number"\n'
        'FROM (SELECT *, row_number() OVER (PARTITION BY "__key", "id", "at" ORDER BY "__sequence_number" DESC) '
        'AS "__rank"\n'
        'FROM "lake"."receipts" WHERE "dt" >= \'20231231\' AND "__event_time" > 1704067200000) "the newest"\n'
        'WHERE "__rank" = 1 AND "__operation" <> \'REMOVE\''
    )


@pytest.mark.parametrize("text", [current_sql, removed_sql, history_sql])
def test_no_view_parses_or_casts(text: Any) -> None:
    for word in ("json", "cast", "->", "transform", "regexp"):
        assert word not in text(SMALL).lower()


def test_while_types_widen_each_table_is_read_as_of_a_snapshot() -> None:
    pinned = ViewSource(**{**vars(SMALL), "pinned": (11, 22)})

    assert current_sql(pinned).count('"lake"."receipts" FOR VERSION AS OF 11') == 2
    assert current_sql(pinned).count('"lake"."receipts_state" FOR VERSION AS OF 22') == 1
    assert '"lake"."receipts_state" FOR VERSION AS OF 22' in removed_sql(pinned)
    assert '"lake"."receipts" FOR VERSION AS OF 11' in history_sql(pinned)


def test_each_engine_gets_the_same_query_in_its_dialect() -> None:
    assert sorted(DIALECTS) == ["duckdb", "spark", "sql", "trino"]
    spark = current_sql(ViewSource(**{**vars(SMALL), "dialect": SPARK, "changes": "lake.receipts", "state": "lake.s"}))
    assert '"' not in spark
    assert "`a later change`.`__key` = `the item`.`__key`" in spark
    pinned = {**vars(SMALL), "pinned": (1, 2)}
    assert "VERSION AS OF 1" in current_sql(ViewSource(**{**pinned, "dialect": SPARK}))
    assert "AT (VERSION => 1)" in current_sql(ViewSource(**{**pinned, "dialect": DUCKDB}))
    assert "VERSION" not in current_sql(ViewSource(**{**pinned, "dialect": DIALECTS["sql"]}))


def test_types_as_trino_and_glue_write_them() -> None:
    struct = StructType(
        NestedField(1, "a", ListType(2, MapType(3, StringType(), 4, DecimalType(38, 9)), element_required=False)),
        NestedField(5, "2b", BooleanType()),
        NestedField(6, "n", StructType(NestedField(7, "d", DoubleType()), NestedField(8, "i", LongType()))),
    )

    assert (
        trino_type(struct)
        == 'row("a" array(map(varchar, decimal(38,9))), "2b" boolean, "n" row("d" double, "i" bigint))'
    )
    assert glue_type(struct) == "struct<a:array<map<string,decimal(38,9)>>,2b:boolean,n:struct<d:double,i:bigint>>"
    assert is_known(struct)
    assert not is_known(ListType(1, DateType()))


@pytest.mark.parametrize(
    ("time", "day"),
    [
        (0, "19691231"),
        (-5, "19691231"),
        (START, "20231231"),
        (START + DAY_MS - 1, "20231231"),
        (START + DAY_MS, "20240101"),
    ],
)
def test_the_open_part_begins_a_day_before_its_first_change(time: int, day: str) -> None:
    assert open_day(time, Lake("dev", "1", "eu-west-1")) == day


def test_the_open_day_is_in_the_time_zone_of_the_lake() -> None:
    berlin = Lake("dev", "1", "eu-west-1", time_zone="Europe/Berlin")

    assert open_day(START - 3_600_000, berlin) == "20231231"
    assert open_day(START - 3_600_001, berlin) == "20231230"


# -- limits --------------------------------------------------------------------------------------------------------

WIDEST = Number(20, 18, 38, False)  # the longest type of a column that is not nested


def largest() -> dict[str, Type]:
    """Return as many columns and fields as a budget admits, with the longest names and types."""
    fields_each = BUDGET.fields // BUDGET.columns - 1
    name = f"{{:0{127 - 1}d}}".format
    fields = tuple(Field(f"f{name(j)}", "", WIDEST) for j in range(fields_each))
    return {f"c{name(i)}": Struct(fields) for i in range(BUDGET.columns + 10)}


def texts() -> list[dict[str, Type]]:
    name = f"{{:0{127 - 1}d}}".format
    return [
        largest(),
        {f"c{name(i)}": WIDEST for i in range(BUDGET.columns)},
        {
            f"c{name(i)}": Struct(tuple(Field(f"f{name(j)}", "", WIDEST) for j in range(BUDGET.column_fields - 1)))
            for i in range(4)
        },
    ]


@pytest.mark.parametrize("observed", texts(), ids=["structs", "columns", "fields"])
def test_no_schema_within_the_budget_makes_a_view_too_large(observed: dict[str, Type]) -> None:
    key = ItemKey(KeyAttribute("p" * 127, "S"), KeyAttribute("s" * 127, "N"))
    schema = TableSchema.of_new_table(key).admit(observed)
    names = Lake("e" * 16, "1", "eu-west-1").table("T" * 200)
    source = ViewSource(
        changes=f'"{names.lake.database}"."{names.changes_table}"',
        state=f'"{names.lake.database}"."{names.state_table}"',
        columns=attribute_columns(iceberg_schema(schema, None, 0)),
        identity=schema.identity,
        key=tuple(c.name for c in schema.key_columns),
        folded_to=2**53,
        open_day="20240101",
        pinned=(2**63 - 1, 2**63 - 1),
    )

    sizes = []
    for text, columns in (
        (current_sql, current_columns),
        (removed_sql, removed_columns),
        (history_sql, history_columns),
    ):
        view = view_input(names, names.current_view, text(source), columns(source), 2**53)
        sizes.append((len(text(source)), len(view["ViewOriginalText"])))
    assert max(sql for sql, _ in sizes) < 0.6 * SQL_LIMIT
    assert max(text for _, text in sizes) < 0.95 * TEXT_LIMIT


def test_a_view_that_is_too_large_is_refused_by_name() -> None:
    names = Lake("dev", "1", "eu-west-1").table("RECEIPTS")

    with pytest.raises(CatalogError, match="The SQL of the view v has 262,145 bytes"):
        view_input(names, "v", "x" * (SQL_LIMIT + 1), ())
    with pytest.raises(CatalogError, match="The text of the view v has"):
        view_input(names, "v", "", [("c" * TEXT_LIMIT, StringType())])


# -- what they show ------------------------------------------------------------------------------------------------


def test_columns_are_in_the_order_of_the_table_followed_by_those_of_the_change() -> None:
    lake = StateLake(ItemKey(KeyAttribute("n", "N"))).make()
    lake.append(Event(1, 1, START))

    (row,) = lake.ask(lake.text("current_view"))
    assert list(row) == ["n", "value", "__other", "__types", "__event_time", "__sequence_number"]
    assert (row["n"], row["value"], row["__event_time"], int(row["__sequence_number"])) == (1, "MODIFY 1", START, 1)


def test_a_day_that_began_before_the_change_was_made() -> None:
    """Firehose puts an object under the day on which its buffer began."""
    lake = StateLake().make()
    lake.append(Event("a", 1, START), day="20231231")
    lake.append(Event("b", 2, START + 5), day="20231231")
    fold(lake.table, START)

    assert lake.current() == {"a": "MODIFY 1", "b": "MODIFY 2"}


def test_a_late_change_is_shown_at_once_and_an_older_one_never() -> None:
    lake = StateLake().make()
    lake.append(Event("a", 5, START + 5), Event("b", 6, START + 6))
    fold(lake.table, START + 6)
    lake.append(Event("b", 9, START + 9, "REMOVE"))

    lake.append(Event("a", 4, START + 4), Event("c", 3, START + 3), Event("b", 2, START + 2), day="20240105")

    assert lake.current() == {"a": "MODIFY 5", "c": "MODIFY 3"}


def test_removed_items_show_whether_ttl_removed_them() -> None:
    lake = StateLake().make()
    lake.append(Event("a", 1, START, "INSERT"), Event("b", 2, START, "INSERT"))
    lake.append(Event("a", 3, START + 1, "REMOVE"), Event("b", 4, START + 2, "REMOVE"))
    assert lake.removed() == set()
    fold(lake.table, START + 2)
    assert lake.removed() == {"a", "b"}
    lake.append(Event("a", 5, START + 3, "INSERT"))
    fold(lake.table, START + 3)
    assert lake.removed() == {"b"}
    (row,) = lake.ask(lake.text("removed_view"))
    assert list(row) == ["id", "value", "__other", "__types", "__expired", "__event_time", "__sequence_number"]


def test_attributes_may_be_named_like_table_aliases() -> None:
    """If a table alias `s` has a column `s`, `s.id` would be a field of the column."""
    words = {"s", "o", "n", "t", "v", "c", "the_item", "r"}
    lake = StateLake().make()
    grow_schema(lake.table, lake.table.changes(), {w: Struct((Field("id", "id", TEXT),)) for w in words})
    write_views(lake.table)
    lake.append(Event("a", 1, START), Event("b", 2, START + 1))
    fold(lake.table, START)

    assert lake.current() == {"a": "MODIFY 1", "b": "MODIFY 2"}
    assert len(lake.history()) == 2


# -- history -------------------------------------------------------------------------------------------------------


def at(rows: Sequence[dict[str, Any]], moment: int) -> dict[str, str]:
    """Return the state at a moment according to the history."""
    items: dict[str, str] = {}
    for row in rows:
        if row["__valid_from"] <= moment and (row["__valid_to"] is None or moment < row["__valid_to"]):
            assert row["id"] not in items
            items[row["id"]] = row["value"]
    return items


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Draw changes of three items, some of one millisecond; each item's times rise with its numbers."""
    times = sorted(draw(st.lists(st.integers(1, 9), min_size=1, max_size=12)))
    log: list[Event] = []
    alive: set[str] = set()
    for sequence, time in enumerate(times, 1):
        key = draw(st.sampled_from("abc"))
        operation = draw(st.sampled_from(["MODIFY", "MODIFY", "REMOVE"])) if key in alive else "INSERT"
        (alive.discard if operation == "REMOVE" else alive.add)(key)
        log.append(Event(key, sequence, START + time * DAY_MS // 5, operation))
    return log


@settings(max_examples=15)
@given(logs(), st.integers(0, 2**32))
def test_history_gives_the_state_at_any_moment(log: list[Event], seed: int) -> None:
    order = random.Random(seed)
    lake = StateLake().make()
    parts = log[:]
    order.shuffle(parts)
    while parts:
        some, parts = parts[:4], parts[4:]
        lake.append(*some)
        if order.random() < 0.5:
            fold(lake.table, START + order.randint(0, 10) * DAY_MS // 5)

    rows = lake.history()
    for moment in {e.time for e in log} | {START + order.randint(0, 3 * DAY_MS) for _ in range(50)}:
        assert at(rows, moment) == replay([e for e in log if e.time <= moment])
    assert {r["id"]: r["value"] for r in rows if r["__is_current"]} == replay(log) == lake.current()


def test_the_snapshot_is_an_items_first_image() -> None:
    lake = StateLake().make()
    read = START + DAY_MS
    rows = [Event("a", 0, read, "SNAPSHOT", "first"), Event("b", 0, read, "SNAPSHOT", "first")]
    lake.commit(Change(add=(lake.write("00000000", rows),), properties={SHOWN_RUN: "1"}))
    lake.append(Event("a", 1, read + 5), Event("b", 2, read - 5), Event("b", 3, read + 7, "REMOVE"))

    rows_of = lake.history()

    assert at(rows_of, read - 6) == {}
    assert at(rows_of, read - 1) == {"b": "MODIFY 2"}  # it came before the item was read
    assert at(rows_of, read) == {"a": "first", "b": "MODIFY 2"}
    assert at(rows_of, read + 7) == {"a": "MODIFY 1"}
    assert all(r["__valid_to"] is None or r["__valid_from"] <= r["__valid_to"] for r in rows_of)


@given(st.permutations(range(6)))
@settings(max_examples=10)
def test_no_two_images_are_valid_at_one_moment_even_if_a_clock_went_back(times: list[int]) -> None:
    lake = StateLake().make()
    lake.append(*(Event("a", n, START + time) for n, time in enumerate(times, 1)))

    rows = sorted(lake.history(), key=lambda r: r["__sequence_number"])
    for row, other in pairwise(rows):
        assert row["__valid_to"] == other["__valid_from"]
    for moment in range(START - 1, START + 7):
        at(rows, moment)


# -- other engines -------------------------------------------------------------------------------------------------


def test_the_text_for_other_engines_stays_right_after_more_folds() -> None:
    lake = StateLake().make()
    lake.append(Event("a", 1, START), Event("b", 2, START + 1), Event("c", 3, START + 2))
    fold(lake.table, START)
    old = current_texts(lake.table)
    assert list(old) == ["trino", "spark", "duckdb", "sql"]
    lake.append(Event("a", 4, START + 3), Event("b", 5, START + 4, "REMOVE"), Event("d", 6, START + 5))
    fold(lake.table, START + 4)

    for name in ("trino", "duckdb", "sql"):
        values = {row["id"]: row["value"] for row in lake.ask(old[name])}
        assert values == lake.current() == {"a": "MODIFY 4", "c": "MODIFY 3", "d": "MODIFY 6"}


def test_tables_may_have_other_names() -> None:
    lake = StateLake().make()

    texts_of = current_texts(lake.table, lambda dialect, name: f"iceberg_scan('{dialect.name}/{name}')")

    assert texts_of["duckdb"].count("FROM iceberg_scan('duckdb/receipts')") == 2
    assert "FROM iceberg_scan('spark/receipts_state')" in texts_of["spark"]
    assert TRINO.name in texts_of
