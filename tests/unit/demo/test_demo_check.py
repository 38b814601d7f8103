"""The comparison must find each kind of difference: a check that cannot fail proves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from dynalake.lake.columns.schema import TableSchema, merge_observed
from dynalake.lake.types.budget import LIMITS
from dynalake.lake.types.union import List, Map, Mixed, Null, Number, Struct, Type, observe
from dynalake.names import Lake
from dynalake.record.attribute import encode_value
from dynalake.record.key import ItemKey, KeyAttribute
from infra.local.demo.check import NOTE, Comparison, compare_items, lake_item
from infra.local.demo.items import generated

NAMES = Lake("dev", "123456789012", "us-east-1").table("RECEIPTS")
KEY = ItemKey(KeyAttribute("id", "S"))

Row = dict[str, Any]


def exact(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=lambda digits: int(digits))


def schema_of(items: list[Mapping[str, Any]], key: ItemKey = KEY) -> TableSchema:
    observations = ({name: observe(exact(encode_value(value))) for name, value in item.items()} for item in items)
    return TableSchema.of_new_table(key).admit(merge_observed(observations, LIMITS))


def in_lake(of: Type, value: Mapping[str, Any]) -> str:
    """The JSON text of what an engine gives for an attribute value under a column type."""
    ((kind, content),) = value.items()
    text = encode_value(value)
    match of:
        case Mixed():
            return json.dumps(text)
        case Null():
            return "null"
        case Number() if of.kind == "text" and kind == "N":
            return json.dumps(text)
        case Struct() if kind == "M":
            members = [f"{json.dumps(f.name)}:{in_lake(f.type, content[f.key])}" for f in of.fields if f.key in content]
            return "{" + ",".join(members) + "}"
        case Map() if kind == "M":
            return "{" + ",".join(f"{json.dumps(k)}:{in_lake(of.value, v)}" for k, v in content.items()) + "}"
        case List() if kind == "L":
            return "[" + ",".join(in_lake(of.element, element) for element in content) + "]"
    return text


def rows_of(schema: TableSchema, items: list[Mapping[str, Any]]) -> list[list[str | None]]:
    def cell(column: Any, item: Mapping[str, Any]) -> str | None:
        value = item.get(column.attribute)
        return None if value is None or "NULL" in value else in_lake(column.type, value)

    return [[cell(column, item) for column in schema.columns] for item in items]


def compared(items: list[Mapping[str, Any]], rows: Any, schema: TableSchema) -> Comparison:
    """`rows`: the JSON text of each column's value."""
    values = ([None if text is None else exact(text) for text in row] for row in rows)
    named = (dict(zip((c.name for c in schema.columns), row, strict=True)) for row in values)
    actual = [lake_item(schema, {**row, "__other": None}) for row in named]
    return compare_items(NAMES, NAMES.current_view, schema, items, actual)


def test_generated_receipts_are_equal_to_themselves() -> None:
    loaded = generated(400)
    items: list[Mapping[str, Any]] = list(loaded.items)
    schema = schema_of(items, loaded.key)
    comparison = compared(items, rows_of(schema, items), schema)
    assert comparison.same, comparison.text()
    assert (comparison.items, comparison.rows) == (400, 400)
    assert set(comparison.values) == {"S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS"}
    assert comparison.long_numbers >= 800
    assert NOTE in comparison.text()


ITEM: Mapping[str, Any] = {
    "id": {"S": "one"},
    "text": {"S": "a"},
    "empty": {"S": ""},
    "exact": {"N": "1234567890123456789012345678.9012345678"},
    "large": {"N": str(2**70)},
    "small": {"N": "0.1"},
    "yes": {"BOOL": True},
    "binary": {"B": b"\x00\xff"},
    "words": {"SS": ["b", "a"]},
    "numbers": {"NS": ["2", "1.50"]},
    "binaries": {"BS": [b"b", b"a"]},
    "list": {"L": [{"S": "x"}, {"S": "y"}]},
    "map": {"M": {"Name": {"S": "x"}, "name": {"N": "1"}}},
    "userId": {"S": "u"},
    "userid": {"S": "v"},
    "mixed": {"N": "1"},
    "none": {"NULL": True},
}
OTHER: Mapping[str, Any] = {"id": {"S": "two"}, "mixed": {"S": "1"}, "list": {"L": []}}
SCHEMA = schema_of([ITEM, OTHER])


def spoil(attribute: str, change: Callable[[str | None], str | None]) -> Comparison:
    rows = rows_of(SCHEMA, [ITEM, OTHER])
    position = [column.attribute for column in SCHEMA.columns].index(attribute)
    before = rows[0][position]
    rows[0][position] = change(before)
    assert rows[0][position] != before
    return compared([ITEM, OTHER], rows, SCHEMA)


def test_the_good_rows_are_equal() -> None:
    assert compared([ITEM, OTHER], rows_of(SCHEMA, [ITEM, OTHER]), SCHEMA).same


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("text", '"b"'),
        ("text", "1"),
        ("text", None),
        ("empty", None),
        ("exact", "1234567890123456789012345678.9012345679"),
        ("exact", "1.2345678901234568E27"),
        ("exact", '"1234567890123456789012345678.9012345678"'),
        ("large", "1.1805916207174113E21"),
        ("small", "0.1000000000000000055511151231257827"),
        ("yes", "false"),
        ("yes", "1"),
        ("yes", '"true"'),
        ("binary", '"AP4="'),
        ("words", '["a"]'),
        ("words", '["a","b","b"]'),
        ("numbers", '["1.5","2"]'),
        ("numbers", "[1.5,2.0000000001]"),
        ("binaries", '["YQ==","Yw=="]'),
        ("list", '["y","x"]'),
        ("list", '["x"]'),
        ("list", "[]"),
        ("list", '"[x, y]"'),
        ("map", "{}"),
        ("map", None),
        ("userId", '"v"'),
        ("mixed", '"\\"1\\""'),
        ("mixed", '"2"'),
    ],
)
def test_each_wrong_value_is_found(attribute: str, value: str | None) -> None:
    comparison = spoil(attribute, lambda before: value)
    assert comparison.difference_count >= 1
    difference = comparison.differences[0]
    assert difference.key == "id=one"
    assert difference.attribute.startswith(attribute)
    assert f"✗ id=one: {difference.attribute}: expected" in comparison.text()


def test_equal_values_in_another_form_are_equal() -> None:
    assert spoil("exact", lambda before: f"{before}00").same
    assert spoil("numbers", lambda before: "[2.0,1.5]").same
    assert spoil("words", lambda before: '["b","a"]').same
    assert spoil("small", lambda before: "1.0E-1").same


def test_a_struct_field_is_found_under_its_own_name() -> None:
    columns = {column.attribute: column for column in SCHEMA.columns}
    struct = columns["map"].type
    assert isinstance(struct, Struct)
    name = struct.by_key["Name"].name
    assert name != "name"
    comparison = spoil("map", lambda before: json.dumps({name: "x", "name": 2}))
    assert [d.attribute for d in comparison.differences] == ["map.name"]
    assert [d.attribute for d in spoil("map", lambda before: '{"name":1}').differences] == ["map.Name"]


def test_a_value_that_should_not_be_there_is_found() -> None:
    rows = rows_of(SCHEMA, [ITEM, OTHER])
    rows[1][[column.attribute for column in SCHEMA.columns].index("text")] = '"ghost"'
    comparison = compared([ITEM, OTHER], rows, SCHEMA)
    assert [(d.key, d.expected, d.got) for d in comparison.differences] == [("id=two", "nothing", "'ghost'")]


def test_missing_and_extra_rows_are_found() -> None:
    rows = rows_of(SCHEMA, [ITEM, OTHER])
    for wrong, shown in (
        (rows[:1], ("id=two", "a row", "no row")),
        ([*rows, rows[0]], ("id=one", "one row", "another row")),
    ):
        comparison = compared([ITEM, OTHER], wrong, SCHEMA)
        assert [(d.key, d.expected, d.got) for d in comparison.differences] == [
            (shown[0], repr(shown[1]), repr(shown[2]))
        ]
    ghost = rows_of(SCHEMA, [{"id": {"S": "three"}}])
    assert compared([ITEM, OTHER], rows + ghost, SCHEMA).difference_count == 1
    without_key: list[str | None] = [None] * len(SCHEMA.columns)
    assert compared([ITEM, OTHER], [*rows, without_key], SCHEMA).difference_count == 1


def test_an_attribute_without_a_column_is_found() -> None:
    item = {**ITEM, "new": {"S": "x"}, "void": {"NULL": True}}
    comparison = compared([item, OTHER], rows_of(SCHEMA, [ITEM, OTHER]), SCHEMA)
    assert [(d.attribute, d.got) for d in comparison.differences] == [("new", "no column")]


def test_only_the_first_ten_differences_are_shown_but_all_are_counted() -> None:
    items: list[Mapping[str, Any]] = [{"id": {"S": str(n)}, "text": {"S": "a"}} for n in range(25)]
    wrong: list[Mapping[str, Any]] = [{**item, "text": {"S": "b"}} for item in items]
    schema = schema_of(items)
    comparison = compared(items, rows_of(schema, wrong), schema)
    assert (comparison.difference_count, len(comparison.differences)) == (25, 10)
    assert not comparison.same


def test_a_number_key_is_joined_by_value() -> None:
    key = ItemKey(KeyAttribute("year", "N"), KeyAttribute("blob", "B"))
    items: list[Mapping[str, Any]] = [{"year": {"N": "1.50"}, "blob": {"B": b"\x01"}}]
    schema = schema_of(items, key)
    by_attribute = {"year": "1.5", "blob": '"AQ=="'}
    assert compared(items, [[by_attribute[column.attribute] for column in schema.columns]], schema).same


def typed(of: Type, value: Mapping[str, Any]) -> Any:
    """The Python value that an engine gives for an attribute value under a column type."""

    def of_json(of: Type, value: Any) -> Any:
        match of:
            case Number() if of.kind == "double" and value is not None:
                return float(value)
            case Struct() if isinstance(value, dict):
                return {f.name: of_json(f.type, value.get(f.key)) for f in of.fields}
            case List() if isinstance(value, list):
                return [of_json(of.element, element) for element in value]
            case Mixed():
                return json.dumps(value)
        return value

    return of_json(of, exact(encode_value(value)))


def test_rows_of_the_iceberg_tables_are_equal_to_their_items() -> None:
    items = [ITEM, OTHER]
    schema = schema_of(items)

    def row(item: Mapping[str, Any]) -> dict[str, Any]:
        cells = {c.name: typed(c.type, item[c.attribute]) if c.attribute in item else None for c in schema.columns}
        other = {name: encode_value(value) for name, value in item.items() if name not in schema.known}
        return {**cells, "__other": other or None, "__event_time": 1}

    rows = [row(item) for item in items]
    view = NAMES.current_view
    assert compare_items(NAMES, view, schema, items, [lake_item(schema, actual) for actual in rows]).same

    name = schema.known["small"].name
    for wrong in ({**rows[0], name: 0.1000000001}, {**rows[0], "__other": {"small": "0.2"}}, {**rows[0], name: None}):
        actual = [lake_item(schema, wrong), lake_item(schema, rows[1])]
        (difference,) = compare_items(NAMES, view, schema, items, actual).differences
        assert (difference.key, difference.attribute) == ("id=one", "small")
