"""A result's rows as text: the CSV object, and what GetQueryResults answers.

https://docs.aws.amazon.com/athena/latest/ug/querying-finding-output-files.html
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pyarrow as pa

from infra.local.corrections.athena import types
from infra.local.corrections.athena.arrays import Array, Field
from infra.local.corrections.athena.numerals import double_text

Row = list[str | None]

_PRECISIONS = {"tinyint": 3, "smallint": 5, "integer": 10, "bigint": 19, "float": 17, "double": 17}


def rows(table: pa.Table, schema: pa.Schema) -> list[Row]:
    """Each cell as Athena prints it; None is NULL."""
    columns = [_column(column, field.type) for column, field in zip(table.columns, schema, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)] if columns else []


def csv(names: Iterable[str], found: Iterable[Row]) -> bytes:
    """The CSV object: every value in quotes, NULL empty and without."""
    lines = [",".join(_quoted(name) for name in names)]
    lines += [",".join("" if cell is None else _quoted(cell) for cell in row) for row in found]
    return ("\n".join(lines) + "\n").encode()


def column_info(field: Field) -> dict[str, Any]:
    """One entry of ResultSetMetadata."""
    name = type_name(field.type)
    precision, scale = _PRECISIONS.get(name, 0), 0
    if pa.types.is_decimal(field.type):
        precision, scale = field.type.precision, field.type.scale
    elif name == "varchar":
        precision = 2147483647
    elif name.startswith("timestamp"):
        precision = 3
    return {
        "CatalogName": "hive",
        "SchemaName": "",
        "TableName": "",
        "Name": field.name,
        "Label": field.name,
        "Type": name,
        "Precision": precision,
        "Scale": scale,
        "Nullable": "UNKNOWN",
        "CaseSensitive": name == "varchar",
    }


def type_name(kind: pa.DataType) -> str:
    """The type as ColumnInfo names it: without parameters."""
    if kind.equals(types.TIMESTAMP_WITH_TIME_ZONE):
        return "timestamp with time zone"
    if pa.types.is_float32(kind):
        return "float"
    return types.trino(kind).partition("(")[0]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _column(column: Array, kind: pa.DataType) -> Row:
    printed = _printer(kind)
    return [None if value is None else printed(value) for value in column.to_pylist()]


def _printer(kind: pa.DataType) -> Callable[[Any], str]:
    if pa.types.is_struct(kind):
        fields = [(field.name, _nested(field.type)) for field in kind]
        return lambda row: "{" + ", ".join(f"{name}={shown(row[name])}" for name, shown in fields) + "}"
    if pa.types.is_map(kind):
        key, item = _nested(kind.key_type), _nested(kind.item_type)
        return lambda entries: "{" + ", ".join(f"{key(k)}={item(v)}" for k, v in entries) + "}"
    if pa.types.is_list(kind):
        element = _nested(kind.value_type)
        return lambda values: "[" + ", ".join(element(value) for value in values) + "]"
    if pa.types.is_boolean(kind):
        return lambda value: "true" if value else "false"
    if pa.types.is_float64(kind):
        return double_text
    if pa.types.is_float32(kind):
        return lambda value: double_text(float(f"{value:.7g}"))
    if pa.types.is_decimal(kind):
        return _decimal
    if pa.types.is_binary(kind):
        return lambda value: value.hex(" ")
    if kind.equals(types.TIMESTAMP_WITH_TIME_ZONE):
        return lambda value: f"{_moment(value)} UTC"
    if pa.types.is_timestamp(kind):
        return _moment
    return str


def _nested(kind: pa.DataType) -> Callable[[Any], str]:
    printed = _printer(kind)
    return lambda value: "null" if value is None else printed(value)


def _decimal(value: Decimal) -> str:
    return f"{value:f}"


def _moment(value: datetime.datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03d}"
