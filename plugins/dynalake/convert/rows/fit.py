"""Rows read under an earlier guess of the types, made to fit the final types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from dynalake.lake.columns.schema import METADATA_TYPES, TableSchema
from dynalake.lake.types.arrow import arrow_type
from dynalake.lake.types.layout import signature
from dynalake.lake.types.union import List, Map, Null, Number, Struct, Type

_pa: Any = pa  # its stubs take types only as literals; here they are data


def fits(old: TableSchema, new: TableSchema) -> bool:
    """Return whether rows read under `old` can be made into rows of `new` without reading them again.

    `new` may also have fewer columns and fields, where none of the rows has a value for the others.
    """
    if old is new:
        return True
    columns = new.known
    return all(c.attribute not in columns or _fits(c.type, columns[c.attribute].type) for c in old.columns)


def carried(old: TableSchema, new: TableSchema) -> bool:
    """Return the same for rows that may have a value in each column and field of `old`, except those of nulls alone."""
    columns = new.known
    return old is new or all(
        c.attribute in columns
        and c.name == columns[c.attribute].name
        and _fits(c.type, columns[c.attribute].type, whole=True)
        for c in old.columns
    )


def _fits(old: Type, new: Type, *, whole: bool = False) -> bool:
    match old, new:
        case Null(), _:
            return True
        case Number(), Number():
            # A double no longer has the digits as they were written, and no text is made from numbers twice. Arrow does
            # not make the nearest double of a decimal.
            return old.kind == new.kind or (old.kind == "bigint" and new.kind in ("double", "decimal"))
        case (List(a), List(b)) | (Map(a), Map(b)):
            return _fits(a, b, whole=whole)
        case Struct(()), Struct() | Map():
            return True
        case Struct(fields), Struct(others) if others:
            new_fields = new.by_key
            return all(
                _fits(f.type, new_fields[f.key].type, whole=whole)
                if f.key in new_fields
                else not whole or isinstance(f.type, Null)
                for f in fields
            )
        case _:
            return signature(old) == signature(new)


def fit(
    table: pa.Table,
    old: TableSchema,
    new: TableSchema,
    *,
    everything: bool,
    own: Mapping[str, Type] = METADATA_TYPES,
) -> pa.Table:
    """Return the rows of `table` as `new` types them; with `everything` also the columns that `table` does not have.

    `own`: the columns that hold no attribute.
    """
    if old is new and not everything:
        return table
    before = {c.attribute: c for c in old.columns}
    arrays_by_name = dict(zip(table.column_names, table.columns, strict=True))
    arrays = {}
    for name, kind in own.items():
        if name in arrays_by_name:
            arrays[name] = arrays_by_name[name]
        elif everything:
            arrays[name] = _pa.nulls(table.num_rows, arrow_type(kind))
    for c in new.columns:
        old_column, of = before.get(c.attribute), arrow_type(c.type)
        if old_column is not None and old_column.name in arrays_by_name:
            values = arrays_by_name[old_column.name]
            if values.type != of:
                values = _pa.chunked_array([_fit(chunk, old_column.type, c.type) for chunk in values.chunks], of)
            arrays[c.name] = values
        elif everything:
            arrays[c.name] = _pa.nulls(table.num_rows, of)
    return _pa.table(arrays)  # type: ignore[no-any-return]


def _fit(array: Any, old: Type, new: Type) -> Any:
    of: Any = arrow_type(new)
    match old, new:
        case Null(), _:
            return _pa.nulls(len(array), of)
        case Number(), Number():
            if array.type == of:
                return array
            if old.kind == "bigint" and new.kind == "decimal":
                # In one step, Arrow wants room for the 19 digits that any integer may have, whatever these have.
                array = array.cast(pa.decimal128(38, 0))
            return array.cast(of, safe=not pa.types.is_float64(of))
        case List(a), List(b) if array.type != of:
            values = _fit(array.values, a, b)
            buffers = array.buffers()[:2]
            return _pa.Array.from_buffers(of, len(array), buffers, array.null_count, array.offset, [values])
        case Map(a), Map(b) if array.type != of:
            entries = [array.keys, _fit(array.items, a, b)]
            entry = _pa.StructArray.from_arrays(entries, fields=[of.key_field, of.item_field])
            buffers = array.buffers()[:2]
            return _pa.Array.from_buffers(of, len(array), buffers, array.null_count, array.offset, [entry])
        case Struct(()), Map() if array.type != of:
            validity = np.packbits(np.asarray(array.is_valid()), bitorder="little")
            offsets = np.zeros(len(array) + 1, np.int32)
            nothing = _pa.array([], of.value_type if hasattr(of, "value_type") else _pa.struct(list(of)))
            buffers = [_pa.py_buffer(validity), _pa.py_buffer(offsets)]
            return _pa.Array.from_buffers(of, len(array), buffers, array.null_count, 0, [nothing])
        case Struct(()), Struct(others) if others:
            children = [_pa.nulls(len(array), arrow_type(f.type)) for f in others]
            return _pa.StructArray.from_arrays(children, fields=list(of), mask=array.is_null())
        case Struct(fields), Struct(others) if fields and array.type != of:
            places = {f.key: i for i, f in enumerate(fields)}
            children = [
                _fit(array.field(places[f.key]), old.by_key[f.key].type, f.type)
                if f.key in places
                else _pa.nulls(len(array), arrow_type(f.type))
                for f in others
            ]
            return _pa.StructArray.from_arrays(children, fields=list(of), mask=array.is_null())
        case _:
            return array
