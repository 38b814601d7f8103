"""Rows of a file under another schema keep every value and every null at any depth."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.schema import Schema
from pyiceberg.types import (
    IcebergType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
)

from dynalake.lake.files.project import project
from dynalake.lake.files.read import arrow_schema_of

HELD = StructType(NestedField(10, "a", LongType()), NestedField(11, "gone", StringType()))
WANTED = StructType(NestedField(12, "new", StringType()), NestedField(10, "renamed", LongType()))


def list_of(element: IcebergType, number: int) -> ListType:
    return ListType(number, element, element_required=False)


def map_of(value: IcebergType, number: int) -> MapType:
    return MapType(number, StringType(), number + 1, value, value_required=False)


SHAPES = {
    "struct": (HELD, WANTED),
    "list": (list_of(HELD, 20), list_of(WANTED, 20)),
    "map": (map_of(HELD, 20), map_of(WANTED, 20)),
    "lists": (list_of(list_of(HELD, 21), 20), list_of(list_of(WANTED, 21), 20)),
    "maps": (map_of(list_of(map_of(HELD, 23), 22), 20), map_of(list_of(map_of(WANTED, 23), 22), 20)),
    "struct of lists": (
        StructType(NestedField(30, "l", list_of(HELD, 20)), NestedField(31, "m", map_of(HELD, 40))),
        StructType(NestedField(31, "m", map_of(WANTED, 40)), NestedField(30, "l", list_of(WANTED, 20))),
    ),
}


def values(kind: IcebergType) -> st.SearchStrategy[Any]:
    """Draw values for Arrow, with nulls everywhere."""
    inner: st.SearchStrategy[Any]
    if isinstance(kind, StructType):
        inner = st.fixed_dictionaries({f.name: values(f.field_type) for f in kind.fields})
    elif isinstance(kind, ListType):
        inner = st.lists(values(kind.element_type), max_size=3)
    elif isinstance(kind, MapType):
        inner = st.dictionaries(st.sampled_from("pqr"), values(kind.value_type), max_size=3).map(
            lambda d: list(d.items())
        )
    else:
        inner = st.integers(-9, 9) if isinstance(kind, LongType) else st.sampled_from(["", "x"])
    return st.none() | inner


def expected(value: Any, source: IcebergType, target: IcebergType) -> Any:
    if value is None:
        return None
    if isinstance(target, StructType) and isinstance(source, StructType):
        fields = {f.field_id: f for f in source.fields}
        return {
            f.name: expected(value[fields[f.field_id].name], fields[f.field_id].field_type, f.field_type)
            if f.field_id in fields
            else None
            for f in target.fields
        }
    if isinstance(target, ListType) and isinstance(source, ListType):
        return [expected(v, source.element_type, target.element_type) for v in value]
    if isinstance(target, MapType) and isinstance(source, MapType):
        return [(k, expected(v, source.value_type, target.value_type)) for k, v in value]
    return value


@settings(max_examples=60)
@given(st.data())
@pytest.mark.parametrize("shape", SHAPES)
def test_only_fields_without_an_id_in_the_schema_are_lost(shape: str, data: st.DataObject) -> None:
    source, target = SHAPES[shape]
    given_values = data.draw(st.lists(values(source), max_size=8))
    start = data.draw(st.integers(0, len(given_values)))
    of, to = Schema(NestedField(1, "c", source)), Schema(NestedField(1, "d", target))
    batch = pa.RecordBatch.from_arrays([pa.array(given_values, arrow_schema_of(of).field(0).type)], names=["c"])

    rows = project(batch.slice(start), of, to, arrow_schema_of(to), {})

    rows.validate(full=True)
    assert rows["d"].to_pylist() == [expected(v, source, target) for v in given_values[start:]]


def test_a_column_missing_in_a_file_is_null_or_the_value_of_the_partition() -> None:
    of = Schema(NestedField(1, "c", LongType()))
    to = Schema(
        NestedField(2, "dt", StringType()), NestedField(1, "c", LongType()), NestedField(3, "l", list_of(HELD, 20))
    )
    batch = pa.RecordBatch.from_arrays([pa.array([1, None])], names=["c"])

    rows = project(batch, of, to, arrow_schema_of(to), {2: "20240101"})

    assert rows.to_pylist() == [{"dt": "20240101", "c": 1, "l": None}, {"dt": "20240101", "c": None, "l": None}]
