"""Arrow arrays whose types are known only when a query runs, which Arrow's type stubs do not describe."""

from __future__ import annotations

from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute

Array: TypeAlias = Any
Field: TypeAlias = "pa.Field[Any]"

_arrow: Any = pa
_compute: Any = pyarrow.compute


def nulls(rows: int, kind: pa.DataType) -> Array:
    """A column of NULLs."""
    return _arrow.nulls(rows, kind)


def constant(value: Any, kind: pa.DataType, rows: int) -> Array:
    """A column of one value."""
    return nulls(rows, kind) if value is None else _arrow.repeat(_arrow.scalar(value, kind), rows)


def remade(column: Array, kind: pa.DataType) -> Array:
    """The column's values in an array of the type, which differs from theirs in naming or width only."""
    if column.type.equals(kind):
        return column
    return _arrow.chunked_array([_arrow.array(chunk.to_pylist(), kind) for chunk in column.chunks], kind)


def whole(column: Array) -> Array:
    """A chunked column as one array without an offset."""
    if isinstance(column, pa.ChunkedArray):
        chunks: Any = column.chunks
        return _arrow.concat_arrays(chunks) if chunks else nulls(0, column.type)
    return column


def struct(children: list[Array], parent: Array, kind: pa.DataType) -> Array:
    """A struct column of the children, NULL where the parent is."""
    return _arrow.StructArray.from_arrays(children, fields=list(_arrow_fields(kind)), mask=is_null(parent))


def list_of(values: Array, parent: Array, kind: pa.DataType) -> Array:
    """A list column of the values, divided as the parent is."""
    return _arrow.ListArray.from_arrays(_offsets(parent), values, type=kind)


def map_of(keys: Array, items: Array, parent: Array, kind: pa.DataType) -> Array:
    """A map column of the keys and items, divided as the parent is."""
    return _arrow.MapArray.from_arrays(_offsets(parent), keys, items, type=kind)


def is_null(column: Array) -> Array:
    """True where the column is NULL."""
    return _compute.is_null(column)


def _offsets(column: Array) -> Array:
    """The offsets, NULL where the value is: what `from_arrays` takes for a NULL list."""
    absent = _arrow.concat_arrays([is_null(column), _arrow.array([False])])
    return _compute.if_else(absent, None, column.offsets)


def _arrow_fields(kind: Any) -> list[Field]:
    return [kind.field(position) for position in range(kind.num_fields)]
