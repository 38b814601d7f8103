"""Parquet and ORC files read by column name and brought to the catalog's types, or refused.

A struct's fields are matched by name: one that the file lacks is NULL, one that the catalog lacks is ignored
(https://docs.aws.amazon.com/athena/latest/ug/handling-schema-updates-chapter.html).
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyarrow import orc
from pyarrow import parquet as pq

from infra.local.corrections.athena import arrays, storage, types
from infra.local.corrections.athena.arrays import Array, Field
from infra.local.corrections.athena.errors import QueryError


class _Incompatible(Exception):
    """A file's column cannot be read as the catalog's type."""


def read(
    found: storage.S3Object, declared: pa.Schema, wanted: pa.Schema, *, orc_format: bool, by_index: bool
) -> pa.Table:
    """The file's rows with exactly the wanted columns of the declared ones."""
    source = pa.BufferReader(storage.read(found))
    try:
        file: Any = orc.ORCFile(source) if orc_format else pq.ParquetFile(source)
        schema = file.schema if orc_format else file.schema_arrow
        rows = file.nrows if orc_format else file.metadata.num_rows
        stored_names = _stored_names(schema, declared, by_index)
        names = [stored_names[name] for name in wanted.names if name in stored_names]
        stored = file.read(columns=names)
    except (pa.ArrowInvalid, OSError) as error:
        code = "HIVE_BAD_DATA" if "magic" in str(error).lower() else "HIVE_CANNOT_OPEN_SPLIT"
        kind = "ORC" if orc_format else "Parquet"
        raise QueryError(code, f"Not a readable {kind} file: {found.uri}: {error}") from None
    columns = []
    for field in wanted:
        if field.name not in stored_names:
            columns.append(arrays.nulls(rows, field.type))
            continue
        column = stored.column(stored_names[field.name])
        try:
            columns.append(_converted(column, field.type))
        except _Incompatible:
            raise _bad_data(found, field, column.type) from None
    if not columns:
        return pa.table({"$row": arrays.nulls(rows, pa.bool_())})
    return pa.Table.from_arrays(columns, schema=wanted)


def _stored_names(stored: pa.Schema, declared: pa.Schema, by_index: bool) -> dict[str, str]:
    """For each declared column that the file has, the file's own name of it."""
    if by_index:
        return dict(zip(declared.names, stored.names, strict=False))
    present = {name.lower(): name for name in stored.names}
    return {name: present[name] for name in declared.names if name in present}


def _bad_data(found: storage.S3Object, field: Field, stored: pa.DataType) -> QueryError:
    return QueryError(
        "HIVE_BAD_DATA",
        f"Field {field.name}'s type {stored} in file {found.uri} is incompatible with type "
        f"{types.trino(field.type)} defined in table schema",
    )


def _converted(column: Array, kind: Any) -> Array:
    column = arrays.whole(column)
    stored = column.type
    if pa.types.is_dictionary(stored):
        return _converted(column.dictionary_decode(), kind)
    if stored.equals(kind):
        return column
    if pa.types.is_null(stored):
        return arrays.nulls(len(column), kind)
    if pa.types.is_struct(kind):
        return _struct(column, kind)
    if pa.types.is_map(kind):
        if not pa.types.is_map(stored):
            raise _Incompatible
        keys, items = _converted(column.keys, kind.key_type), _converted(column.items, kind.item_type)
        return arrays.map_of(keys, items, column, kind)
    if pa.types.is_list(kind):
        if not (pa.types.is_list(stored) or pa.types.is_large_list(stored)):
            raise _Incompatible
        column = column.cast(pa.list_(stored.value_type))
        return arrays.list_of(_converted(column.values, kind.value_type), column, kind)
    return _scalar(column, kind)


def _struct(column: Array, kind: Any) -> Array:
    if not pa.types.is_struct(column.type):
        raise _Incompatible
    present = {column.type.field(i).name.lower(): i for i in range(column.type.num_fields)}
    children = []
    for field in kind:
        position = present.get(field.name.lower())
        if position is None:
            children.append(arrays.nulls(len(column), field.type))
        else:
            # flatten() applies the parent's offset and validity, which field() does not.
            children.append(_converted(column.flatten()[position], field.type))
    return arrays.struct(children, column, kind)


def _scalar(column: Array, kind: pa.DataType) -> Array:
    if not _readable(column.type, kind):
        raise _Incompatible
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
        return column.cast(kind)
    try:
        return column.cast(kind)
    except pa.ArrowInvalid as error:
        raise QueryError("HIVE_BAD_DATA", f"A value does not fit {types.trino(kind)}: {error}") from None


def _readable(stored: Any, kind: Any) -> bool:
    """Whether Trino's Parquet and ORC readers take the stored type for the declared one."""
    if pa.types.is_string(kind):
        return pa.types.is_string(stored) or pa.types.is_large_string(stored) or pa.types.is_binary(stored)
    if pa.types.is_binary(kind):
        return pa.types.is_binary(stored) or pa.types.is_large_binary(stored) or pa.types.is_string(stored)
    if pa.types.is_integer(kind):
        short = pa.types.is_decimal(stored) and stored.scale == 0 and stored.precision <= 18
        return pa.types.is_integer(stored) or short
    if pa.types.is_float64(kind):
        return pa.types.is_floating(stored)
    if pa.types.is_decimal(kind):
        # A bigint in the file is not read as a decimal, nor any integer as a decimal of more than 18 digits.
        narrow = pa.types.is_integer(stored) and stored.bit_width <= 32
        return pa.types.is_decimal(stored) or (narrow and kind.precision <= 18)
    if pa.types.is_timestamp(kind):
        return pa.types.is_timestamp(stored)
    return bool(stored.equals(kind))
