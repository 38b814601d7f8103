"""Compare `{table}_current` with the DynamoDB table behind it: value by value, type by type.

The lake's schema maps columns to attribute names and says which columns hold digits or JSON as text. Values without a
column are in `__other`. SQL cannot tell a missing attribute from an explicit NULL, so the two count as equal.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from dynalake.aws.clients import Clients
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.schema import OTHER, TableSchema
from dynalake.lake.tables.grow import schema_of
from dynalake.lake.types.union import List, Map, Mixed, Number, Struct, Type
from dynalake.names import TableNames
from infra.local.demo.writing import KeyValues, key_values, plain

SHOWN = 10
# A double is sure to hold this many significant digits.
DOUBLE_DIGITS = 15
TYPES = ("S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS")
_DECODER = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal)
NOTE = "SQL cannot tell a missing attribute from an explicit NULL: the two count as equal."


@dataclass(frozen=True)
class Difference:
    """One value that differs: the item's key, the attribute's path, the expected value and the received one."""

    key: str
    attribute: str
    expected: str
    got: str


@dataclass(frozen=True)
class Comparison:
    """The counts of a comparison, and the first of its `difference_count` differences."""

    table: str
    view: str
    items: int
    rows: int
    values: Mapping[str, int]
    long_numbers: int
    difference_count: int
    differences: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        return self.difference_count == 0

    def text(self) -> str:
        """Return the comparison as a table for the terminal."""
        counts = "  ".join(f"{kind} {self.values[kind]:,}" for kind in TYPES if self.values.get(kind))
        lines = [
            f"  {'items in ' + self.table:<42} {self.items:>12,}",
            f"  {'rows in ' + self.view:<42} {self.rows:>12,}",
            f"  {'values compared':<42} {sum(self.values.values()):>12,}",
            f"    by type: {counts}",
            f"  {f'numbers with more than {DOUBLE_DIGITS} digits':<42} {self.long_numbers:>12,}",
            f"  {'differences':<42} {self.difference_count:>12,}",
            *(f"    ✗ {d.key}: {d.attribute}: expected {d.expected}, got {d.got}" for d in self.differences),
            f"  {NOTE}",
        ]
        return "\n".join(lines)


@dataclass
class _Tally:
    values: Counter[str] = field(default_factory=Counter)
    long_numbers: int = 0
    count: int = 0
    first: list[Difference] = field(default_factory=list)

    def differs(self, key: str, attribute: str, expected: object, got: object) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(Difference(key, attribute, _show(expected), _show(got)))


def compare(table: Table, rows: Iterable[Mapping[str, Any]]) -> Comparison:
    """Read the whole table by a consistent scan, and compare it with these rows of `{t}_current`.

    `rows` are dicts of Python values by column name, as the modules of `infra/local/engines` return them.
    """
    schema = schema_of(table.changes())
    got = (lake_item(schema, row) for row in rows)
    return compare_items(table.names, table.names.current_view, schema, scan_table(table.clients, table.names), got)


def lake_item(schema: TableSchema, row: Mapping[str, Any]) -> dict[str, object]:
    """Return the item that a row of the lake describes, with the attributes' own names."""
    got = {c.attribute: _attribute_value(c.type, _decimals(row[c.name])) for c in schema.columns}
    return got | {attribute: _json(text) for attribute, text in (row[OTHER] or {}).items()}


def _decimals(value: object) -> object:
    """Return the value with every number as a `Decimal`; a double becomes the shortest digits that identify it."""
    match value:
        case bool():
            return value
        case int() | float():
            return Decimal(repr(value))
        case dict():
            return {name: _decimals(member) for name, member in value.items()}
        case list():
            return [_decimals(member) for member in value]
    return value


def scan_table(clients: Clients, names: TableNames) -> Iterator[Mapping[str, Any]]:
    """Yield every item of the table, by consistent reads."""
    pages = clients.dynamodb.get_paginator("scan").paginate(TableName=names.table, ConsistentRead=True)
    for page in pages:
        yield from page["Items"]


def compare_items(
    names: TableNames,
    view: str,
    schema: TableSchema,
    items: Iterable[Mapping[str, Any]],
    found: Iterable[Mapping[str, object]],
) -> Comparison:
    """Compare items (attribute values) with the items that a view's rows describe, joined by key (pure)."""
    tally = _Tally()
    expected = {key_values(schema.key, item): item for item in items}
    seen: set[KeyValues] = set()
    count = 0
    for got in found:
        count += 1
        key = _row_key(schema, got)
        if key is None or key not in expected or key in seen:
            shown = _show_key(schema, key) if key else f"row {count}"
            tally.differs(
                shown, "(row)", "one row" if key in seen else "no row", "another row" if key in seen else "a row"
            )
            continue
        seen.add(key)
        _compare_item(tally, _show_key(schema, key), expected[key], got)
    for key in expected:
        if key not in seen:
            tally.differs(_show_key(schema, key), "(row)", "a row", "no row")
    return Comparison(
        table=names.table,
        view=view,
        items=len(expected),
        rows=count,
        values=dict(tally.values),
        long_numbers=tally.long_numbers,
        difference_count=tally.count,
        differences=tuple(tally.first),
    )


def _compare_item(tally: _Tally, key: str, item: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    for name in sorted({*item, *got}):
        if name in item and name not in got and "NULL" not in item[name]:
            tally.differs(key, name, item[name], "no column")
        else:
            _compare_value(tally, key, name, item.get(name), got.get(name))


def _compare_value(tally: _Tally, key: str, path: str, value: Mapping[str, Any] | None, got: object) -> None:
    if value is None:
        if got is not None:
            tally.differs(key, path, "nothing", got)
        return
    ((kind, content),) = value.items()
    tally.values[kind] += 1
    if kind == "L" and isinstance(got, list) and len(got) == len(content):
        for number, (element, other) in enumerate(zip(content, got, strict=True)):
            _compare_value(tally, key, f"{path}[{number}]", element, other)
        return
    if kind == "M" and isinstance(got, dict):
        for name in sorted({*content, *got}):
            _compare_value(tally, key, f"{path}.{name}", content.get(name), got.get(name))
        return
    if kind == "N":
        tally.long_numbers += _is_long(content)
    elif kind == "NS":
        tally.long_numbers += sum(map(_is_long, content))
    if not _same(kind, content, got):
        tally.differs(key, path, value, got)


def _same(kind: str, content: Any, got: object) -> bool:
    match kind:
        case "NULL":
            return got is None
        case "BOOL":
            return got is content
        case "S" | "N" | "B":
            return _equal(got, plain(kind, content))
        case "SS" | "NS" | "BS" if isinstance(got, list) and len(got) == len(content):
            expected = sorted(plain(kind[0], member) for member in content)
            return len({type(member) for member in got}) == 1 and all(map(_equal, sorted(got), expected))
    return False


def _equal(got: object, expected: object) -> bool:
    return type(got) is type(expected) and got == expected


def _attribute_value(of: Type, value: object) -> object:
    """Return the attribute value that the lake stores as `value`, of the schema's type `of`.

    Struct fields get their own names back, and texts that hold numbers or mixed values are decoded.
    A value that does not fit its type is returned unchanged: the comparison will find it.
    """
    if value is None:
        return None
    match of, value:
        case Mixed(), str():
            return _json(value)
        case Number(), str() if of.kind == "text":
            return Decimal(value)
        case Struct(), dict():
            fields = {f.name: f for f in of.fields}
            known = {fields[n].key: _attribute_value(fields[n].type, v) for n, v in value.items() if n in fields}
            return known | {n: v for n, v in value.items() if n not in fields}
        case Map(), dict():
            return {name: _attribute_value(of.value, member) for name, member in value.items()}
        case List(), list():
            return [_attribute_value(of.element, element) for element in value]
    return value


def _json(text: str) -> object:
    value: object = _DECODER.decode(text)
    return value


def _row_key(schema: TableSchema, got: Mapping[str, object]) -> KeyValues | None:
    """Return the key of a row; None if a part of it is missing or has another type."""
    values = tuple(got.get(name) for name in schema.key.names)
    types = (Decimal if attribute.type == "N" else str for attribute in schema.key.attributes)
    return values if all(map(isinstance, values, types)) else None


def _is_long(number: str) -> bool:
    """Return whether the number has more than `DOUBLE_DIGITS` significant digits."""
    if len(number) <= DOUBLE_DIGITS:
        return False
    return len("".join(map(str, Decimal(number).as_tuple().digits)).strip("0")) > DOUBLE_DIGITS


def _show_key(schema: TableSchema, key: KeyValues) -> str:
    return ", ".join(f"{name}={value}" for name, value in zip(schema.key.names, key, strict=True))


def _show(value: object) -> str:
    shown = value if isinstance(value, str) and value in ("nothing", "no column") else repr(value)
    return shown if len(shown) <= 120 else shown[:120] + "…"
