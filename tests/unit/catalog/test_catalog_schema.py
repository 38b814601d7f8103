"""A table's schema: columns, their names, how it grows, what files hold of it."""

from __future__ import annotations

from hypothesis import given

from dynalake.catalog.tables import json_table, parquet_table
from dynalake.lake.schema import METADATA_TYPES, TableSchema, merge_observed
from dynalake.lake.types import MIXED, NULL, Number, observe
from dynalake.names import Lake
from dynalake.record.key import ItemKey, KeyAttribute
from tests.unit.record.strategies import ITEMS

NAMES = Lake("dev", "123456789012", "us-east-1").table("RECEIPTS")
KEY = ItemKey(KeyAttribute("Id", "S"), KeyAttribute("n", "N"))
BARE = TableSchema.of_key(KEY)


def test_the_key_comes_first() -> None:
    assert [(c.name, c.glue_type) for c in BARE.columns] == [("id", "string"), ("n", "bigint")]
    assert [c.attribute for c in BARE.widen({"a": observe(1)}).key_columns] == ["Id", "n"]


def test_names_are_unique_and_lead_back() -> None:
    attributes = ["id", "ID", "dt", "__operation", "__Operation", "a.b", "a-b", "__rank"]
    schema = BARE.widen({a: observe("x") for a in attributes})
    names = [c.name for c in schema.columns]
    assert len(set(names)) == len(names) == 10
    assert not {"dt", "__rank", *METADATA_TYPES} & set(names)
    by_attribute = {c.attribute: c for c in schema.columns}
    assert by_attribute["__operation"].key == "___operation"
    assert by_attribute["a.b"].comment == 'attribute "a.b"'
    mapping = json_table(NAMES, schema, "")["StorageDescriptor"]["SerdeInfo"]["Parameters"]
    assert mapping["mapping.id"] == "Id"
    assert mapping[f"mapping.{by_attribute['id'].name}"] == "id"
    assert mapping["case.insensitive"] == "FALSE"


@given(ITEMS, ITEMS)
def test_json_keeps_everything(a: dict, b: dict) -> None:  # type: ignore[type-arg]
    observed = [{name: observe(pair[1]) for name, pair in item.items()} for item in (a, b)]
    schema = BARE.widen(merge_observed(observed))
    assert TableSchema.from_json(schema.to_json()) == schema
    assert schema.widen(observed[0]) == schema
    files = schema.file_schema(observed[0])
    assert schema.unreadable(files) == ()
    assert {c.name for c in files.columns} <= {c.name for c in schema.columns}
    glue = parquet_table(NAMES, schema, "")["StorageDescriptor"]["Columns"]
    assert len({c["Name"] for c in glue}) == len(glue)


def test_extending_adds_and_never_widens() -> None:
    schema = BARE.widen({"a": observe(1), "b": NULL})
    extended = schema.extend({"a": observe("x"), "b": observe(1), "c": observe(True)})
    assert [(c.attribute, c.glue_type) for c in extended.columns[2:]] == [
        ("a", "bigint"),
        ("b", "bigint"),
        ("c", "boolean"),
    ]


def test_the_layout_is_what_readers_see() -> None:
    schema = BARE.widen({"a": observe(1)})
    assert schema.layout == schema.widen({"a": observe(12345)}).layout
    assert schema.layout != schema.widen({"a": observe("x")}).layout


def test_files_leave_out_what_the_partition_has_no_values_for() -> None:
    schema = BARE.widen({"a": observe(1), "s": observe({"x": 1, "y": 2}), "b": observe(True)})
    files = schema.file_schema({"s": observe({"x": 1}), "b": NULL})
    assert [c.name for c in files.columns] == ["id", "n", "s"]
    assert files.columns[2].glue_type == "struct<x:bigint>"
    assert schema.widen({"s": MIXED}).unreadable(files) == ("s",)
    assert schema.widen({"n": Number(25, 0, 25, False)}).unreadable(files) == ("n",)
