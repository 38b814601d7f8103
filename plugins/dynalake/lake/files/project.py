"""Rows of a file as another schema has them: columns, and fields of structs, are found by their ids.

pyiceberg's own projection makes a null list of structs an empty one, and a null map of structs an empty map.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import IcebergType, ListType, MapType, StructType

_pa: Any = pa  # its stubs take types only as literals; here they are data


def project(rows: pa.RecordBatch, held: Schema, wanted: Schema, target: pa.Schema, missing: Mapping[int, Any]) -> Any:
    """Return a table with the columns of `wanted`, which `target` gives in Arrow's types.

    `held`: the schema of the file; the rows may have some of its columns. `missing`: field id → the value of a column
    that the file does not have; null without one.
    """
    by_id = {f.field_id: f for f in held.fields if f.name in rows.schema.names}
    columns = []
    for field, of in zip(wanted.fields, target, strict=True):
        source = by_id.get(field.field_id)
        if source is not None:
            columns.append(_convert(rows.column(source.name), source.field_type, field.field_type, of.type))
        elif field.field_id in missing:
            columns.append(_pa.repeat(_pa.scalar(missing[field.field_id], of.type), rows.num_rows))
        else:
            columns.append(_pa.nulls(rows.num_rows, of.type))
    return pa.table(columns, schema=target)


def _convert(array: Any, held: IcebergType, wanted: IcebergType, of: Any) -> Any:
    if array.type == of and held == wanted:
        return array
    if isinstance(wanted, StructType) and isinstance(held, StructType):
        by_id = {f.field_id: (place, f) for place, f in enumerate(held.fields)}
        children = []
        for place, field in enumerate(wanted.fields):
            inner = of.field(place).type
            if field.field_id in by_id:
                at, source = by_id[field.field_id]
                children.append(_convert(array.field(at), source.field_type, field.field_type, inner))
            else:
                children.append(_pa.nulls(len(array), inner))
        return _pa.StructArray.from_arrays(children, fields=list(of), mask=array.is_null())
    if isinstance(wanted, ListType) and isinstance(held, ListType):
        array = array.cast(_pa.list_(array.type.value_field)) if pa.types.is_large_list(array.type) else array
        values = _convert(array.values, held.element_type, wanted.element_type, of.value_type)
        return _with_child(array, of, values)
    if isinstance(wanted, MapType) and isinstance(held, MapType):
        entries = array.values
        keys = _convert(entries.field(0), held.key_type, wanted.key_type, of.key_type)
        values = _convert(entries.field(1), held.value_type, wanted.value_type, of.item_type)
        return _with_child(array, of, _pa.StructArray.from_arrays([keys, values], fields=[of.key_field, of.item_field]))
    return array.cast(of)


def _with_child(array: Any, of: Any, child: Any) -> Any:
    """Return the list or map with other values in it: as many, with the same nulls."""
    return _pa.Array.from_buffers(of, len(array), array.buffers()[:2], array.null_count, array.offset, [child])
