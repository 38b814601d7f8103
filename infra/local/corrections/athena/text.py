"""Delimited text: LazySimpleSerDe and OpenCSVSerde.

https://docs.aws.amazon.com/athena/latest/ug/serde-reference.html
"""

from __future__ import annotations

import csv
import datetime
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from infra.local.corrections.athena.arrays import Field
from infra.local.corrections.athena.catalog import Table
from infra.local.corrections.athena.errors import not_supported
from infra.local.corrections.athena.numerals import big_decimal, checked, integer, rescaled


def read(content: str, lines: list[str], table: Table) -> pa.Table:
    """The rows of one text object; a field that is missing or does not fit its type is NULL."""
    skipped = int(table.parameters.get("skip.header.line.count", "0") or 0)
    rows = _csv(content, table) if table.serde.endswith("OpenCSVSerde") else _lazy(lines, table)
    kept = list(rows)[skipped:]
    quoted = table.serde.endswith("OpenCSVSerde")
    null = None if quoted else table.properties.get("serialization.null.format", "\\N")
    columns = []
    for position, field in enumerate(table.columns):
        convert = _conversion(field, table)
        cells = [row[position] if position < len(row) else None for row in kept]
        columns.append(pa.array([_cell(cell, null, convert) for cell in cells], field.type))
    return pa.Table.from_arrays(columns, schema=table.columns)


def _lazy(lines: list[str], table: Table) -> Iterable[list[str]]:
    properties = table.properties
    delimiter = properties.get("field.delim") or properties.get("serialization.format") or "\x01"
    delimiter = "\x01" if delimiter == "1" else delimiter
    return [line.rstrip("\r").split(delimiter) for line in lines]


def _csv(content: str, table: Table) -> Iterable[list[str]]:
    properties = table.properties
    return csv.reader(
        content.splitlines(keepends=True),
        delimiter=properties.get("separatorChar", ","),
        quotechar=properties.get("quoteChar", '"'),
        escapechar=properties.get("escapeChar", "\\"),
    )


def _cell(cell: str | None, null: str | None, convert: Callable[[str], Any]) -> Any:
    if cell is None or cell == null:
        return None
    try:
        return convert(cell)
    except (ValueError, ArithmeticError):
        return None


def _conversion(field: Field, table: Table) -> Callable[[str], Any]:
    kind = field.type
    if pa.types.is_string(kind):
        return str
    if pa.types.is_boolean(kind):
        return lambda text: {"true": True, "false": False}.get(text.lower())
    if pa.types.is_integer(kind):
        return lambda text: checked(integer(text), kind)
    if pa.types.is_floating(kind):
        return float
    if pa.types.is_decimal(kind):
        return lambda text: rescaled(big_decimal(text), kind)
    if pa.types.is_date(kind):
        return datetime.date.fromisoformat
    if pa.types.is_timestamp(kind):
        return datetime.datetime.fromisoformat
    raise not_supported(f"the column {field.name!r} of type {kind} in the text table {table.full_name}")
