"""Rows in an order that the user asks for, where that is not key and sequence number.

Rows are deduplicated in the order of key and sequence number first; then runs of the same kind sort them a second time.
So what stays does not depend on the order, and memory is bounded the same way. The order is that of SQL's `ORDER BY`,
nulls last; where rows are alike in it, the key and then the sequence number decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dynalake.convert.options import CompactOptions
from dynalake.convert.rows.runs import Runs
from dynalake.errors import SettingsError
from dynalake.lake.schema import TableSchema
from dynalake.lake.types import Boolean, Mixed, Null, Number, Text, Type
from dynalake.record.change import METADATA

_pa: Any = pa  # its stubs take types only as literals; here they are data

_SHOWN = 40
"""Attributes that an error names, at most: a table may have thousands."""


def check_order(table: TableSchema, sort_by: Sequence[str]) -> None:
    """Raises `SettingsError` unless each of these is an attribute, or a metadata field, of a type that has an order.

    `table`: types that hold all rows of the table. An attribute that some day has not is null there.
    """
    for name in sort_by:
        column = table.column(name)
        if column is None and name not in METADATA:
            raise SettingsError(
                f"sort_by names {name!r}, which no item of the table has",
                allowed=_shown(name, [*(c.attribute for c in table.columns), *METADATA]),
                action="name attributes as the items have them, in their own case",
            )
        reason = _no_order(column.type) if column is not None and name not in METADATA else ""
        if reason:
            raise SettingsError(
                f"sort_by names {name!r}, {reason}",
                allowed="attributes that are text, binary, numbers or booleans in all items",
                action="name another attribute, or leave sort_by empty: key and sequence number",
            )


def _shown(asked: str, there: list[str]) -> str:
    near = [name for name in there if name.lower() == asked.lower()] + get_close_matches(asked, there, 5, 0.7)
    shown = list(dict.fromkeys([*near, *there]))
    more = f" and {len(shown) - _SHOWN:,} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


def _no_order(of: Type) -> str:
    match of:
        case Number() if of.kind == "text":
            return "whose numbers are kept as text, because no SQL type holds them all: text is not in their order"
        case Mixed():
            return "which has values of several types: they are kept as JSON text, which has no order of use"
        case Null() | Boolean() | Number() | Text():
            return ""
        case _:
            return f"which is a {type(of).__name__.lower()}: SQL has no order of them"


def reorder(
    tables: Iterable[pa.Table], schema: TableSchema, options: CompactOptions, directory: Path
) -> Iterator[pa.Table]:
    """The rows of `tables`, which are those of one partition, each once, in the order of `options.sort_by`.

    `schema` is that of the tables and their files. Spills below `directory`, which is the caller's to remove.
    """
    by_attribute = {c.attribute: c.name for c in schema.columns} | {name: name for name in METADATA}
    columns = [by_attribute[name] for name in options.sort_by if name in by_attribute]
    if not columns:
        yield from tables
        return
    spill = directory / "order"
    spill.mkdir()
    places = [f"{what} {name}" for name in columns for what in ("null", "value")]
    runs = Runs(schema, spill, options.memory_mb, places)
    try:
        for table in tables:
            for name in columns:
                # Comparisons know no nulls.
                table = table.append_column(f"null {name}", pc.is_null(table[name]))
                table = table.append_column(f"value {name}", _without_nulls(table[name]))
            runs.add(table, schema, schema)
    finally:
        runs.settle()
    yield from runs.tables(schema)


def _without_nulls(values: Any) -> Any:
    # Not an integer that is cast: to Arrow that needs room for 19 digits before a decimal's point.
    zero = Decimal(0) if pa.types.is_decimal(values.type) else {pa.string(): "", pa.bool_(): False}.get(values.type, 0)
    return pc.fill_null(values, _pa.scalar(zero, values.type))
