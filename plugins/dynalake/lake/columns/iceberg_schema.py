"""A table's schema as Iceberg has it: every column, field, element, key and value with an id by which files are read.

A field keeps its id as long as its files are read right by it; a field that is new, or means something else, gets a new
one. `last_column_id` only rises, so no id is ever given twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BooleanType,
    DecimalType,
    DoubleType,
    IcebergType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
)

from dynalake.lake.columns.schema import DAY, KEY, METADATA_TYPES, OTHER, Column, TableSchema
from dynalake.lake.types.layout import extends
from dynalake.lake.types.union import DECIMAL_DIGITS, TEXT, Boolean, List, Map, Number, Struct, Type

_pa: Any = pa  # its stubs take types only as literals; here they are data

PARTITION_IDS = range(1000, 1100)
"""Ids that no column gets: partition fields are numbered from 1000 on, and readers older than 2024 mistake a column
with such an id for one (https://iceberg.apache.org/spec/#partitioning).
"""


def change_columns(schema: TableSchema) -> dict[str, Type]:
    """Return the columns that `{t}` has in front of the attributes': day, metadata, `__other`, `__key`."""
    keys = {KEY: TEXT} if KEY in schema.identity else {}
    return {DAY: TEXT, **METADATA_TYPES, OTHER: Map(TEXT), **keys}


def iceberg_schema(
    schema: TableSchema,
    base: Schema | None,
    last_column_id: int,
    *,
    before: TableSchema | None = None,
    own: Mapping[str, Type] | None = None,
) -> Schema:
    """Return the Iceberg schema of a table with this schema; `base` itself where nothing changes.

    `base`: the table's current Iceberg schema, and `before` the `TableSchema` that it was made of. Both are needed: a
    text and a JSON text are the same to Iceberg, and must not have the same id. Columns that somebody else added to
    `base` stay.

    `own`: the table's own columns (default: `change_columns`). All fields are optional, except the keys of maps. The
    schema's id is one above `base`'s.
    """
    columns = {c.name: c for c in schema.columns}
    types = {**(change_columns(schema) if own is None else own), **{name: c.type for name, c in columns.items()}}
    known = before.known if before is not None else {}
    ours = {*types, *(c.name for c in known.values())}
    existing = {f.name: f for f in base.fields} if base is not None else {}
    ids = (n for n in count(last_column_id + 1) if n not in PARTITION_IDS)
    fields = []
    for name, of in types.items():
        column = columns.get(name)
        keeps_id = column is None or _keeps_id(column, known.get(column.attribute))
        doc = (column.comment if column is not None else "") or None
        fields.append(_field(name, of, existing.get(name) if keeps_id else None, ids, doc))
    fields += [f for name, f in existing.items() if name not in ours]
    if base is not None and tuple(fields) == base.fields:
        return base
    return Schema(*fields, schema_id=0 if base is None else base.schema_id + 1)


def _keeps_id(column: Column, old: Column | None) -> bool:
    return old is not None and old.name == column.name and extends(old.type, column.type)


def _field(name: str, of: Type, old: NestedField | None, ids: Iterator[int], doc: str | None = None) -> NestedField:
    if old is not None:
        return NestedField(old.field_id, name, _type(of, old.field_type, ids), required=False, doc=old.doc or doc)
    return NestedField(next(ids), name, _type(of, None, ids), required=False, doc=doc)


def _type(of: Type, old: IcebergType | None, ids: Iterator[int]) -> IcebergType:
    match of:
        case Boolean():
            return BooleanType()
        case Number():
            simple = {"bigint": LongType(), "double": DoubleType(), "text": StringType()}
            return simple.get(of.kind) or DecimalType(DECIMAL_DIGITS, of.scale)
        case Struct(fields) if fields:
            existing = {f.name: f for f in old.fields} if isinstance(old, StructType) else {}
            return StructType(*(_field(f.name, f.type, existing.get(f.name), ids) for f in fields))
        case Struct():
            return _type(Map(TEXT), old, ids)
        case Map(value):
            if isinstance(old, MapType):
                key_id, value_id, inner = old.key_id, old.value_id, _type(value, old.value_type, ids)
            else:
                key_id, value_id, inner = next(ids), next(ids), _type(value, None, ids)
            return MapType(key_id, StringType(), value_id, inner, value_required=False)
        case List(element):
            if isinstance(old, ListType):
                element_id, inner = old.element_id, _type(element, old.element_type, ids)
            else:
                element_id, inner = next(ids), _type(element, None, ids)
            return ListType(element_id, inner, element_required=False)
        case _:
            return StringType()
