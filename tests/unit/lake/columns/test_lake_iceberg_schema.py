"""A schema in Iceberg: ids that stay while files are read correctly by them, and files that carry them."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.io.pyarrow import pyarrow_to_schema
from pyiceberg.schema import Schema, assign_fresh_schema_ids
from pyiceberg.types import IcebergType, ListType, LongType, MapType, NestedField, StructType

from dynalake.lake.columns.column_types import count_fields
from dynalake.lake.columns.iceberg_schema import PARTITION_IDS, change_columns, iceberg_schema
from dynalake.lake.columns.pins import Pins
from dynalake.lake.columns.schema import METADATA_TYPES, TableSchema
from dynalake.lake.files.parts import file_schema
from dynalake.lake.types.arrow import arrow_type, converter, other_entries
from dynalake.lake.types.layout import extends
from dynalake.lake.types.union import Type, holds, observe
from dynalake.record.key import ItemKey, KeyAttribute
from tests.support.values.json_values import BUDGET, ITEMS, LIMITS

pytestmark = pytest.mark.slow

KEY = ItemKey(KeyAttribute("PK", "S"), KeyAttribute("at", "N"))
NEW = TableSchema.of_new_table(KEY)


def seen(item: dict[str, Any]) -> dict[str, Type]:
    return {a: observe(v, LIMITS) for a, v in item.items()}


def ids_of(schema: Schema) -> dict[str, tuple[int, str]]:
    """Return each field's id by its path, with its type unless it is nested."""
    ids: dict[str, tuple[int, str]] = {}

    def walk(path: str, field_id: int, field_type: IcebergType) -> None:
        kind = type(field_type).__name__ if isinstance(field_type, StructType | ListType | MapType) else str(field_type)
        assert path not in ids
        ids[path] = field_id, kind
        match field_type:
            case StructType():
                for f in field_type.fields:
                    walk(f"{path}.{f.name}", f.field_id, f.field_type)
            case ListType():
                walk(f"{path}.element", field_type.element_id, field_type.element_type)
            case MapType():
                walk(f"{path}.key", field_type.key_id, field_type.key_type)
                walk(f"{path}.value", field_type.value_id, field_type.value_type)

    for f in schema.fields:
        walk(f.name, f.field_id, f.field_type)
    return ids


def column_of(schema: TableSchema, path: str) -> str | None:
    name = path.partition(".")[0]
    return next((c.attribute for c in schema.columns if c.name == name), None)


@settings(max_examples=150)
@given(st.lists(st.tuples(ITEMS, st.booleans()), max_size=6), st.integers(0, 1_200))
def test_ids_stay_while_files_are_read_correctly_by_them(steps: list[tuple[dict[str, Any], bool]], first: int) -> None:
    schema, base, last = NEW, iceberg_schema(NEW, None, first), first
    used: set[int] = {i for i, _ in ids_of(base).values()}
    for item, night in steps:
        before, old = schema, ids_of(base)
        last = max(last, base.highest_field_id)
        observed = seen(item)
        schema = before.widen_for(observed, BUDGET) if night else before.admit(observed, BUDGET)
        iceberg = iceberg_schema(schema, base, last, before=before)
        assert iceberg is base or schema is not before
        new = ids_of(iceberg)
        assert len({i for i, _ in new.values()}) == len(new), "each id once"
        assert len(new) == sum(count_fields(c.type) for c in schema.columns) + sum(
            count_fields(column_type) for column_type in change_columns(schema).values()
        )
        for path, (field_id, kind) in new.items():
            attribute = column_of(schema, path)
            stays = path in old and (
                attribute is None or extends(before.known[attribute].type, schema.known[attribute].type)
            )
            if stays:
                assert old[path] == (field_id, kind)
            else:
                assert field_id > last
                assert field_id not in used
                assert field_id not in PARTITION_IDS
        used |= {i for i, _ in new.values()}
        base = iceberg


def test_a_text_that_becomes_json_text_gets_another_id() -> None:
    """For Iceberg both are strings; files of one must not be read as the other."""
    schema = NEW.admit({"a": observe("x"), "b": observe([{"c": "x"}]), "d": observe(1)})
    base = iceberg_schema(schema, None, 0)
    wider = schema.widen_for({"a": observe(1), "b": observe([{"c": 1}])})
    iceberg = iceberg_schema(wider, base, base.highest_field_id, before=schema)
    before, after = ids_of(base), ids_of(iceberg)
    assert {p for p, i in after.items() if before.get(p) != i} == {"a", "b", "b.element", "b.element.c"}
    assert [c.comment for c in wider.columns] == ['attribute "PK"', "JSON text", "", ""]


def test_own_columns_of_the_table_come_first_and_all_are_optional() -> None:
    iceberg = iceberg_schema(NEW.admit({"userId": observe([{"x": 1}])}), None, 0)
    names = [f.name for f in iceberg.fields]
    assert names[:-2] == ["dt", *METADATA_TYPES, "__other", "__key"]
    assert iceberg.fields[-1].doc == 'attribute "userId"'
    assert not any(f.required for f in iceberg.fields)
    other, column = iceberg.find_field("__other").field_type, iceberg.fields[-1].field_type
    assert isinstance(other, MapType)
    assert isinstance(column, ListType)
    assert not other.value_required
    assert not column.element_required
    assert iceberg.schema_id == 0
    assert "__key" not in change_columns(TableSchema.of_new_table(ItemKey(KeyAttribute("a", "S"))))


def test_columns_and_comments_of_others_are_kept() -> None:
    schema = NEW.admit({"a": observe(1), "b": observe(2)})
    base = iceberg_schema(schema, None, 0)
    fields = [f.model_copy(update={"doc": "theirs"}) if f.name == "a" else f for f in base.fields]
    base = Schema(*fields, NestedField(90, "added", LongType(), required=False), schema_id=4)
    grown = schema.admit({"c": observe(True)})
    iceberg = iceberg_schema(grown, base, 95, before=schema)
    assert (iceberg.find_field("a").doc, iceberg.find_field("added").field_id, iceberg.find_field("c").field_id) == (
        "theirs",
        90,
        96,
    )
    assert iceberg.schema_id == 5
    assert iceberg_schema(schema, base, 95, before=schema).fields == base.fields


def test_columns_forbidden_by_a_pin_are_removed() -> None:
    schema = NEW.admit({"a": observe(1), "b": observe(2), "c": observe(3)})
    base = iceberg_schema(schema, None, 0)
    pinned = schema.with_pins(Pins(never=("a",), names={"b": "bee"})).widen_for({})
    iceberg = iceberg_schema(pinned, base, base.highest_field_id, before=schema)
    assert [f.name for f in iceberg.fields if not f.name.startswith("__")] == ["dt", "pk", "bee", "c"]
    assert iceberg.find_field("bee").field_id == base.highest_field_id + 1


def test_ids_of_a_new_table() -> None:
    """pyiceberg renumbers the fields of a new table; later fields continue from there."""
    schema = TableSchema.of_new_table(KEY, Pins(types={"price": "decimal(38,2)"}))
    iceberg = assign_fresh_schema_ids(iceberg_schema(schema, None, 0))
    assert iceberg_schema(schema, iceberg, iceberg.highest_field_id, before=schema) is iceberg


# -- files ---------------------------------------------------------------------------------------------------------


def write(schema: TableSchema, iceberg: Schema, items: list[dict[str, Any]]) -> bytes:
    arrow = file_schema(iceberg.select(*(f.name for f in iceberg.fields if f.name != "dt")))
    columns: dict[str, list[Any]] = {name: [None] * len(items) for name in METADATA_TYPES}
    other = []
    for item in items:
        fits = {c.attribute for c in schema.columns if holds(c.type, item.get(c.attribute))}
        other.append(other_entries({a: v for a, v in item.items() if a not in fits}) or None)
    for c in schema.columns:
        values = (item.get(c.attribute) for item in items)
        columns[c.name] = [converter(c.type)(v) if holds(c.type, v) else None for v in values]
    columns |= {"__other": other, "__key": [None] * len(items)}
    table = pa.table([pa.array(columns[f.name], f.type) for f in arrow], schema=arrow)
    body = io.BytesIO()
    pq.write_table(table, body, store_schema=False)
    return body.getvalue()


@settings(max_examples=80)
@given(st.lists(ITEMS, min_size=1, max_size=4), ITEMS)
def test_files_carry_the_ids_at_every_level(items: list[dict[str, Any]], more: dict[str, Any]) -> None:
    table = NEW
    for item in [*items, more]:
        table = table.admit(seen(item), BUDGET)
    iceberg = iceberg_schema(table, None, 0)
    read = pyarrow_to_schema(pq.read_schema(io.BytesIO(write(table, iceberg, items))))
    assert ids_of(read) == {path: field for path, field in ids_of(iceberg).items() if path != "dt"}
    assert {c.name for c in table.columns} < {*ids_of(read)}


def test_an_array_of_the_plain_type_can_be_written() -> None:
    """The readers' arrays have no ids: the writer adds them by a cast that changes no value."""
    schema = NEW.admit({"a": observe([{"b": {str(i): [1] for i in range(101)}}])})
    iceberg = iceberg_schema(schema, None, 0)
    target = file_schema(iceberg.select("a"))
    plain: Any = pa.array([[{"b": [("k", [1])]}], None], arrow_type(schema.known["a"].type))
    table = pa.table({"a": plain}).cast(target)
    assert table["a"].to_pylist() == plain.to_pylist()
    body = io.BytesIO()
    pq.write_table(table, body, store_schema=False)
    read = ids_of(pyarrow_to_schema(pq.read_schema(body)))
    assert read == {path: i for path, i in ids_of(iceberg).items() if path.startswith("a")}
    assert len(read) == 6


@pytest.mark.parametrize("value", ["x", "</script>", "é\n", 1, True, [1, None], {"b": {"c": "</"}}])
def test_waiting_values_are_exact_json_text(value: Any) -> None:
    ((attribute, text),) = other_entries({"a": value, "null": None})
    assert (attribute, json.loads(text)) == ("a", value)
