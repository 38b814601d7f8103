"""A table's schema only grows: by day within a budget; types widen at night."""

from __future__ import annotations

import random
import resource
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dynalake.errors import SettingsError
from dynalake.lake.columns.column_types import BIGINT, count_fields, decimal, number_within
from dynalake.lake.columns.gather import Gathering
from dynalake.lake.columns.pins import Pins
from dynalake.lake.columns.schema import Column, TableSchema, merge_observed
from dynalake.lake.types.budget import BUDGET as REAL
from dynalake.lake.types.budget import Budget, Limits
from dynalake.lake.types.layout import extends, glue_type
from dynalake.lake.types.union import (
    MIXED,
    TEXT,
    TOO_LARGE,
    List,
    Map,
    Number,
    Struct,
    Type,
    holds,
    observe,
    takes,
    tells,
)
from dynalake.record.key import ItemKey, KeyAttribute
from tests.support.values.json_values import BUDGET, ITEMS, LIMITS, VALUES

pytestmark = pytest.mark.slow

# https://docs.aws.amazon.com/glue/latest/webapi/API_Table.html, API_Column.html
PARAMETER_BYTES = 512_000
COLUMN_TYPE_CHARACTERS = 131_072

KEY = ItemKey(KeyAttribute("PK", "S"), KeyAttribute("at", "N"))
NEW = TableSchema.of_new_table(KEY)


def seen(item: dict[str, Any]) -> dict[str, Type]:
    return {a: observe(v, LIMITS) for a, v in item.items()}


def spent(schema: TableSchema) -> tuple[int, int, int]:
    columns = schema.columns
    return len(columns), sum(count_fields(c.type) for c in columns), sum(len(str(c.to_json())) for c in columns)


# -- growth --------------------------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(st.lists(ITEMS, max_size=8), st.integers(1, 7))
def test_columns_only_grow_and_never_beyond_the_budget(items: list[dict[str, Any]], columns: int) -> None:
    budget = replace(BUDGET, columns=columns)
    schema = NEW
    for item in items:
        before, observed = schema, seen({**item, "PK": "x", "at": 1})
        schema = before.admit(observed, budget)
        assert schema.admit(observed, budget) is schema
        others = [c for c in schema.columns if c.attribute not in KEY.names]
        assert [c.attribute for c in schema.columns[:2]] == ["PK", "at"]
        assert len(others) <= max(0, columns - 2)
        assert sum(count_fields(c.type) for c in schema.columns) <= budget.fields
        assert len(schema.to_json()) <= budget.schema_bytes + 200
        for column in before.columns:
            now = schema.known[column.attribute]
            assert (now.name, now.widened) == (column.name, column.widened)
            assert extends(column.type, now.type)
            assert takes(now.type, column.type)
            assert count_fields(now.type) <= budget.column_fields
        places = [
            schema.columns.index(schema.known[c.attribute]) for c in before.columns if c not in schema.key_columns
        ]
        assert places == sorted(places)
        left = schema.left_out(observed)
        assert set(left) == {a for a, kind in observed.items() if tells(kind)} - set(schema.known)
        count, fields, characters = spent(schema)
        tight = count >= columns or fields >= budget.fields or characters > budget.schema_bytes - 200
        assert all(tight or len(a) > LIMITS.key_length for a in left)


@settings(max_examples=200)
@given(ITEMS, st.randoms(use_true_random=False))
def test_the_order_of_attributes_in_an_item_does_not_matter(item: dict[str, Any], rnd: random.Random) -> None:
    observed = list(seen(item).items())
    schema = NEW.admit(dict(observed), BUDGET)
    rnd.shuffle(observed)
    assert NEW.admit(dict(observed), BUDGET) == schema


@settings(max_examples=300)
@given(st.lists(VALUES, min_size=1, max_size=6))
def test_with_room_every_typed_value_fits_at_once(values: list[Any]) -> None:
    """A column created for some values holds all of them; no value is refused before another one exists."""
    observed = merge_observed([{"a": observe(v)} for v in values], REAL.limits)
    schema = NEW.admit(observed)
    if not tells(observed["a"]):
        assert schema is NEW
        return
    assert all(holds(schema.known["a"].type, v) for v in values)
    assert schema.misfits(observed) == ()


def test_attributes_without_typed_values_have_no_column() -> None:
    nothing: list[Any] = [
        None,
        [],
        {},
        [None],
        [[]],
        {"a": None},
        {"a": []},
        [{"a": {}}],
        {str(i): {} for i in range(200)},
    ]
    for value in nothing:
        assert NEW.admit({"a": observe(value)}) is NEW
    schema = NEW.admit({"a": observe({"n": 1, "none": None, "list": [], "map": {}, "lists": [[]], "in": {"x": None}})})
    assert glue_type(schema.known["a"].type) == (
        "struct<in:map<string,string>,list:array<string>,lists:array<string>,map:map<string,string>,n:bigint>"
    )
    for value in [{"list": [1, "x", {}]}, {"map": {"any": [1]}}, {"in": {"x": "y"}}, {"none": None}]:
        assert holds(schema.known["a"].type, value), "it never has to be widened for later values"


def test_structs_get_new_fields_at_any_level() -> None:
    schema = NEW.admit({"a": observe([{"b": {"c": 1}}])})
    grown = schema.admit({"a": observe([{"b": {"c": "text", "d": True}, "e": 1.5 and Decimal("1.5")}])})
    assert glue_type(grown.known["a"].type) == "array<struct<b:struct<c:bigint,d:boolean>,e:double>>"
    assert grown.misfits({"a": observe([{"b": {"c": "text"}}])}) == ("a",)
    many = NEW.admit({"m": observe({f"k{i}": {"x": i} for i in range(101)})})
    assert (
        glue_type(many.admit({"m": observe({"z": {"y": 1}})}).known["m"].type)
        == "map<string,struct<x:bigint,y:bigint>>"
    )
    full = NEW.admit({"s": observe({f"k{i:03}": i for i in range(100)})})
    assert full.admit({"s": observe({"one_more": 1})}) is full


def test_a_column_grows_only_up_to_its_limit() -> None:
    schema = NEW.admit({"s": observe({"id": 1})})
    grown = schema.admit({"s": observe({f"k{i}": {f"x{j}": j for j in range(5)} for i in range(99)})})
    column = grown.known["s"]
    assert count_fields(column.type) == REAL.column_fields
    assert isinstance(column.type, Struct)
    assert [f.key for f in column.type.fields[:3]] == ["id", "k0", "k1"]
    kinds = [f.type == MIXED for f in column.type.fields[1:]]
    assert kinds == sorted(kinds), "whole structs while there is room, then texts"


def test_a_type_that_is_too_large_gives_up_its_innermost_levels_first() -> None:
    wide = {"id": 1, "tags": ["x"], "deep": {f"a{i}": {f"b{j}": {"c": 1} for j in range(10)} for i in range(50)}}
    column = NEW.admit({"a": observe(wide)}).known["a"]
    assert count_fields(column.type) <= REAL.column_fields
    assert isinstance(column.type, Struct)
    assert column.type.by_key["tags"].type == List(TEXT)
    deep = column.type.by_key["deep"].type
    assert isinstance(deep, Struct)
    assert deep.by_key["a7"].type == MIXED
    assert holds(column.type, wide)
    assert NEW.admit({"a": TOO_LARGE}).known["a"].type == MIXED


@pytest.mark.parametrize(
    "item",
    [
        {f"a{i}": 1 for i in range(3_600)},
        {("x" * 240 + str(i))[-240:]: 1 for i in range(250)},
        {"meta": {f"k{i}": {f"k{j}": 1 for j in range(100)} for i in range(100)}},
        {"meta": {"é" * 29_000 + str(i): 1 for i in range(3)}},
        {"\x01" * 60_000: "x", "\x02" * 60_000: "x"},
        {f"m{i}": {f"k{j}": {"x": [{"y": 1}]} for j in range(60)} for i in range(40)},
    ],
    ids=["3,600 names", "long names", "100 x 100", "keys of 58 KB", "names of 60,000 characters", "many structs"],
)
def test_one_item_does_not_wedge_a_table(item: dict[str, Any]) -> None:
    gathering = Gathering(NEW)
    gathering.record({"__operation": "INSERT", "PK": "x", "at": 1, **item})
    schema = NEW.admit(gathering.observed)
    assert len(schema.columns) <= REAL.columns
    assert sum(count_fields(c.type) for c in schema.columns) <= REAL.fields
    assert len(schema.to_json()) < PARAMETER_BYTES
    for attribute, value in item.items():
        column = schema.known.get(attribute)
        assert column is None or holds(column.type, value)
    # The next, normal day.
    assert schema.admit({"PK": TEXT, "at": observe(2)}) is schema


@pytest.mark.parametrize("character", ["x", "\x01", "😀", "É"])
def test_glue_accepts_the_largest_schema(character: str) -> None:
    def name(i: int, length: int = 255) -> str:
        return f"{i}{character * length}"[:length]

    pins = Pins(
        types={name(i, 18): "decimal(38,38)" for i in range(50)},
        names={name(i, 18): f"{'p' * 110}{i}" for i in range(50, 100)},
    )
    schema = TableSchema.of_new_table(KEY, pins)
    item: dict[str, Any] = {name(i, 18): {"a": i} for i in range(100)}
    item |= {f"s{i:03}": {name(j): {name(k): "x" for k in range(3)} for j in range(60)} for i in range(100)}
    item |= {name(i): 1 for i in range(1_000)}
    for _ in range(2):
        schema = schema.admit({a: observe(v) for a, v in item.items()})
        schema = schema.widen_for({a: observe("x") for a in [*item][::2]})
        assert len(schema.to_json().encode()) < PARAMETER_BYTES - 50_000
        assert len(schema.columns) <= REAL.columns + REAL.pins
        assert all(len(c.glue_type) < COLUMN_TYPE_CHARACTERS and len(c.comment) <= 255 for c in schema.columns)
        assert {c.attribute for c in schema.columns} >= pins.attributes
        assert TableSchema.from_json(schema.to_json()) == schema


# -- the key -------------------------------------------------------------------------------------------------------


def test_a_number_key_gets_its_type_from_the_first_values() -> None:
    assert [c.name for c in NEW.columns] == ["pk"]
    assert NEW.identity == ("__key",)
    assert [c.glue_type for c in NEW.admit({"at": observe(Decimal("1558778400.123"))}).columns] == ["string", "double"]
    assert NEW.admit({"a": observe(1)}).admit({"at": observe(1)}).columns[1] == Column("at", "at", BIGINT)
    full = NEW.admit({f"a{i:03}": observe(1) for i in range(600)})
    assert len(full.columns) == REAL.columns
    assert full.admit({"at": observe(1)}).known["at"].type == BIGINT


def test_text_keys_identify_items_by_themselves() -> None:
    texts = TableSchema.of_new_table(ItemKey(KeyAttribute("PK", "S"), KeyAttribute("SK", "B")))
    assert texts.identity == ("pk", "sk")
    assert [c.attribute for c in texts.columns] == ["PK", "SK"]


# -- widening ------------------------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(st.lists(ITEMS, max_size=6))
def test_a_widened_schema_takes_old_and_observed_values(items: list[dict[str, Any]]) -> None:
    schema = NEW
    for item in items:
        before, observed = schema, seen(item)
        schema = before.admit(observed, BUDGET).widen_for(observed, BUDGET)
        assert schema.misfits(observed) == ()
        assert sum(count_fields(c.type) for c in schema.columns) <= BUDGET.fields
        for column in before.columns:
            now = schema.known[column.attribute]
            assert takes(now.type, column.type)
            assert now.name == column.name
            assert column.widened <= now.widened <= column.widened + 1 <= BUDGET.widenings + 1 + 1
            assert now.widened > column.widened or extends(column.type, now.type)
            assert now.widened <= BUDGET.widenings or now.type == MIXED
        assert schema.widen_for(observed, BUDGET) is schema
        assert TableSchema.from_json(schema.to_json()) == schema


@pytest.mark.parametrize(
    ("first", "then", "kinds"),
    [
        (1, ["1.5"], ["bigint", "decimal(38,9)"]),
        (1, ["1.5", "0.1234567890123456"], ["bigint", "decimal(38,9)", "string"]),
        (1, ["9223372036854775808", "1E-20"], ["bigint", "decimal(38,0)", "string"]),
        ("1.5", ["0.30000000000000004"], ["double", "string"]),
        ("12345678901234567.25", ["1E-9", "1E-12"], ["decimal(38,9)", "decimal(38,9)", "string"]),
    ],
)
def test_numbers_widen_in_few_steps(first: Any, then: list[str], kinds: list[str]) -> None:
    schema = NEW.admit({"n": observe(Decimal(first))})
    types = [glue_type(schema.known["n"].type)]
    for text in then:
        schema = schema.widen_for({"n": observe(Decimal(text))})
        types.append(glue_type(schema.known["n"].type))
    assert types == kinds


def test_the_known_bounds_of_a_number_may_be_narrower_than_its_type() -> None:
    schema = NEW.admit({"n": observe(1), "d": observe(Decimal("1.5")), "m": observe({"x": [1]})})
    numbers = {
        "n": number_within(BIGINT, -7, 999_999_999_999),
        "d": Number(6, 4, 10, False),
        "m": observe({"x": [12, 5]}),
    }
    observed = {
        "n": observe(Decimal("1.5")),
        "d": observe(Decimal("0.1234567890123456")),
        "m": observe({"x": [Decimal("0.5")]}),
    }

    def kinds(widened: TableSchema) -> list[str]:
        return [widened.known[a].glue_type for a in ("n", "d", "m")]

    assert kinds(schema.widen_for(observed, numbers=numbers)) == ["double", "decimal(38,18)", "struct<x:array<double>>"]
    assert kinds(schema.widen_for(observed)) == ["decimal(38,9)", "string", "struct<x:array<decimal(38,9)>>"]


def test_the_bounds_of_a_decimal_limit_how_far_it_is_widened() -> None:
    schema = NEW.admit({"n": observe(Decimal("12345678901234567.25"))})
    known = {"n": number_within(decimal(9), Decimal(0), Decimal("12345678901234567.250000000"))}
    wider = schema.widen_for({"n": observe(Decimal("1E-12"))}, numbers=known)
    assert [c.glue_type for c in wider.columns] == ["string", "decimal(38,18)"]


def test_a_column_that_was_widened_three_times_becomes_json_text() -> None:
    schema = NEW.admit({"m": observe({f"x{i}": 1 for i in range(60)})})
    types = []
    for i in range(5):
        schema = schema.widen_for({"m": observe({f"x{i}": "text"})})
        types.append((type(schema.known["m"].type), schema.known["m"].widened))
    assert types == [(Struct, 1), (Struct, 2), (Struct, 3), (type(MIXED), 4), (type(MIXED), 4)]


def test_only_columns_with_values_that_do_not_fit_are_widened() -> None:
    schema = NEW.admit({"a": observe({"n": 1, "empty": {}, "list": [{"x": 1}]}), "b": observe(1)})
    wider = schema.widen_for({"a": observe({"n": "text", "empty": {"now": 1}, "list": [{"y": 2}]}), "b": observe(7)})
    assert glue_type(wider.known["a"].type) == (
        "struct<empty:map<string,string>,list:array<struct<x:bigint,y:bigint>>,n:string>"
    )
    assert wider.known["b"] is schema.known["b"]
    assert (wider.known["a"].widened, wider.known["b"].widened) == (1, 0)
    many = {f"k{i}": 1 for i in range(101)}
    mixed = NEW.admit({"m": observe(many)}).widen_for({"m": observe({"k1": "abc", "k2": {}})})
    assert glue_type(mixed.known["m"].type) == "map<string,string>"
    assert mixed.known["m"].type == Map(MIXED)


# -- pins ----------------------------------------------------------------------------------------------------------


def test_pinned_attributes_get_their_column_whatever_the_others_have() -> None:
    pins = Pins(never=("secret", "a0"), types={"price": "decimal(38,2)", "doc": "json"}, names={"userId": "user_id"})
    schema = TableSchema.of_new_table(KEY, pins).admit({f"a{i}": observe(i) for i in range(600)})
    assert len(schema.columns) == REAL.columns
    assert "a0" not in schema.known
    observed = {
        "secret": observe("x"),
        "price": observe("not a number"),
        "doc": observe({"a": 1}),
        "userId": observe({"b": 2}),
        "b": observe(1),
    }
    schema = schema.admit(observed)
    assert [(c.name, c.type) for c in schema.columns[REAL.columns :]] == [
        ("doc", MIXED),
        ("price", decimal(2)),
        ("user_id", MIXED),
    ]
    assert schema.left_out(observed) == ("b",)
    assert schema.misfits(observed) == ("price",)
    assert schema.widen_for(observed) is schema, "values that do not fit a pinned type stay in __other"


def test_pins_change_columns_at_night() -> None:
    schema = NEW.admit({"a": observe(1), "b": observe("x"), "c": observe({"x": 1})})
    pinned = schema.with_pins(Pins(never=("a",), types={"c": "json"}, names={"b": "bee"}))
    assert pinned.columns == schema.columns
    assert pinned.admit({"a": observe(1), "c": observe({"y": 1})}) is pinned
    assert [(c.name, c.type, c.widened) for c in pinned.widen_for({}).columns] == [
        ("pk", TEXT, 0),
        ("bee", TEXT, 0),
        ("c", MIXED, 1),
    ]
    assert TableSchema.from_json(pinned.to_json()) == pinned


def test_closed_columns_stay_as_they_are_until_they_are_opened() -> None:
    schema = NEW.admit({"a": observe(1), "m": observe({"x": 1})})
    closed = schema.with_pins(Pins(closed=True))
    observed = {"a": observe(Decimal("1.5")), "m": observe({"x": 1, "y": 2}), "b": observe("x")}

    assert closed.admit(observed) is closed
    assert closed.widen_for(observed) is closed
    assert closed.left_out(observed) == ("b",)
    assert closed.misfits(observed) == ("a", "m")
    assert TableSchema.from_json(closed.to_json()) == closed
    assert closed.opened.widen_for(observed) == schema.widen_for(observed)


def test_closed_columns_are_joined_by_pinned_ones_and_those_of_the_key() -> None:
    key = ItemKey(KeyAttribute("pk", "S"), KeyAttribute("n", "N"))
    closed = TableSchema.of_new_table(key, Pins(types={"price": "decimal(38,2)"}, never=("secret",), closed=True))
    observed = {"n": observe(1), "price": observe(2), "b": observe("x"), "secret": observe("x")}

    admitted = closed.admit(observed)

    assert [c.attribute for c in admitted.columns] == ["pk", "n", "price"]
    assert admitted.widen_for({"n": observe(Decimal("1.5"))}) is admitted
    repinned = admitted.with_pins(Pins(types={"price": "json"}, closed=True))
    assert repinned.widen_for({}).known["price"].type == MIXED


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        ({"never": ["a"], "types": {"a": "text"}}, "lists the attribute 'a', which has a pinned"),
        ({"types": {"a": "varchar"}}, "'varchar' is pinned"),
        ({"types": {"a": "decimal(38,39)"}}, "is pinned"),
        ({"names": {"a": "A"}}, "a-z, 0-9 and _"),
        ({"names": {"a": "1a"}}, "without a digit at the start"),
        ({"names": {"a": "x" * 128}}, "at most 127"),
        ({"names": {"a": "a_12345678"}}, "generated names"),
        ({"names": {"a": "dt"}}, "dynalake itself"),
        ({"names": {"a": "c", "b": "c"}}, "a different name for each"),
        ({"names": {"a": "pk"}}, "belongs to 'PK'"),
        ({"names": {"a": "b"}}, "belongs to 'b'"),
        ({"never": ["PK"]}, "`never` lists the key attribute 'PK'"),
        ({"types": {"PK": "json"}}, "key attribute 'PK' (S)"),
        ({"types": {"at": "text"}}, "key attribute 'at' (N)"),
        ({"never": ["x" * 300]}, "longer ones are never columns"),
        ({"never": [str(i) for i in range(101)]}, "101 attributes"),
        ({"names": {"😀" * 250 + str(i): f"n{i}" for i in range(60)}}, "bytes"),
        ({"nevre": ["a"]}, "nevre"),
        ({"types": ["a"]}, '"types": {attribute: type}'),
        ({"never": "a", "names": {"a": 1}}, '"names": {attribute: column}'),
    ],
)
def test_invalid_pins_are_refused(pins: dict[str, Any], message: str) -> None:
    schema = NEW.admit({"b": observe(1)})
    with pytest.raises(SettingsError) as error:
        schema.with_pins(Pins.from_dict(pins))
    assert message in str(error.value)


def test_two_columns_may_swap_their_names() -> None:
    schema = NEW.admit({"a": observe(1), "b": observe("x")}).with_pins(Pins(names={"a": "b", "b": "a"}))
    assert [(c.name, c.attribute) for c in schema.widen_for({}).columns[1:]] == [("b", "a"), ("a", "b")]


# -- gathering -----------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.lists(ITEMS, max_size=10), ITEMS, st.randoms(use_true_random=False))
def test_gathered_types_do_not_depend_on_the_order(
    items: list[dict[str, Any]], first: dict[str, Any], rnd: random.Random
) -> None:
    schema = NEW.with_pins(Pins(types={"ab": "json", "c": "bigint"}, never=("A",))).admit(seen(first), BUDGET)
    whole = Gathering(schema, BUDGET)
    for item in items:
        whole.record(item)
    observed = whole.observed
    rnd.shuffle(items)
    parts = [Gathering(schema, BUDGET)]
    for item in items:
        parts[-1].record(item)
        if rnd.random() < 0.4:
            parts.append(Gathering(schema, BUDGET))
        elif rnd.random() < 0.3:
            assert parts[-1].observed is not None, "the bounds take effect"
    rnd.shuffle(parts)
    together = Gathering(schema, BUDGET)
    for part in parts:
        together.add(part.observed)
    assert together.observed == observed
    assert list(together.observed) == list(observed)
    assert len(observed.keys() - schema.known.keys()) <= BUDGET.attributes
    assert sum(kind.size for kind in observed.values() if 1 < kind.size < TOO_LARGE.size) <= BUDGET.gathered
    assert observed.keys() >= {a for item in items for a, v in item.items() if v is not None and a in schema.known}


@settings(max_examples=200)
@given(st.lists(ITEMS, max_size=6))
def test_attributes_beyond_the_bounds_could_not_have_become_columns(items: list[dict[str, Any]]) -> None:
    """If the gathering has room for as many attributes as there may be columns."""
    budget = replace(BUDGET, attributes=BUDGET.columns + 4, gathered=10_000)
    gathering = Gathering(NEW, budget)
    for item in items:
        gathering.record(item)
    everything = merge_observed([seen(item) for item in items], LIMITS)
    # Attributes with values that have no type yet, such as empty lists, take room as well.
    assume(sum(not tells(kind) for kind in everything.values()) <= budget.attributes - budget.columns)
    roomy = replace(budget, schema_bytes=10**6, fields=10**6, column_fields=10**6)
    assert NEW.admit(gathering.observed, roomy) == NEW.admit(everything, roomy)


def test_a_type_that_became_too_large_still_counts() -> None:
    """Otherwise a type dropped because of another one's size would come back once that one is dropped too."""
    budget = Budget(gathered=30, limits=Limits(size=20))
    items = [{"a": {f"{part}{i}": i for i in range(17)}, "b": {f"{i}": i for i in range(12)}} for part in "xy"]
    whole, parts = Gathering(NEW, budget), Gathering(NEW, budget)
    for item in items:
        whole.record(item)
        parts.record(item)
        assert parts.observed["b"] == MIXED
    assert whole.observed == parts.observed == {"a": MIXED, "b": MIXED}


def test_nulls_take_no_room() -> None:
    gathering = Gathering(NEW, Budget(attributes=2))
    gathering.record({"a": None, "b": None, "c": 1, "d": 2, "e": 3})
    assert [*gathering.observed] == ["c", "d"]


def test_millions_of_attributes_take_no_memory() -> None:
    gathering = Gathering(NEW)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(300):
        gathering.record({f"{i}-{j}": j for j in range(1_000)} | {f"m{i}": {f"x{i}-{j}": {"y": j} for j in range(90)}})
    assert len(gathering.observed) == REAL.attributes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_a_column_is_known_to_have_values_whatever_else_comes() -> None:
    """It decides which columns a file has."""
    schema = NEW.admit({"zz_is_last": observe({"a": 1}), "text": observe("x")})
    gathering = Gathering(schema, Budget(attributes=2, gathered=20))
    gathering.record({"zz_is_last": {"a": 2}, "text": "y", **{f"a{i}": {"b": {"c": i}} for i in range(50)}})
    assert gathering.observed["zz_is_last"] == observe({"a": 2})
    assert gathering.observed["text"] == TEXT
