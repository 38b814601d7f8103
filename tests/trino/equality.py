"""The expected rows of a DynamoDB table and the rows that engines show, as texts that compare with `==`.

An item is its plain values, digit for digit, and the paths of values whose DynamoDB type JSON does not show. The
expected rows are made from DynamoDB's own attribute values, without the product's code.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from decimal import Context, Decimal
from typing import Any

from dynalake.lake.columns.retype import parse_json
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.types.union import List, Map, Mixed, Number, Struct, Type
from dynalake.record.change import EVENT_TIME, EXPIRED, OPERATION, OTHER, SEQUENCE_NUMBER, TYPES
from tests.trino.source_table import Change, Item, Value

_EXACT = Context(prec=1000)
Row = Mapping[str, Any]


# -- expected ------------------------------------------------------------------------------------------------------


def plain_item(item: Item) -> tuple[dict[str, Any], dict[str, str]]:
    """Return an item's plain values, and path → type of its binary values and sets."""
    types: dict[str, str] = {}
    return {name: _plain(value, _step(name), types) for name, value in item.items()}, types


def _plain(value: Value, path: str, types: dict[str, str]) -> Any:
    ((kind, content),) = value.items()
    match kind:
        case "NULL":
            return None
        case "N":
            return Decimal(content)
        case "L":
            return [_plain(inner, f"{path}/{place}", types) for place, inner in enumerate(content)]
        case "M":
            return {name: _plain(inner, path + _step(name), types) for name, inner in content.items()}
        case "S" | "BOOL":
            return content
    types[path] = kind
    match kind:
        case "B":
            return _base64(content)
        case "NS":
            return sorted(map(Decimal, content))
        case _:
            return sorted(content if kind == "SS" else map(_base64, content))


def _base64(content: Any) -> str:
    return b64encode(bytes(content)).decode()


def _step(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


# -- shown ---------------------------------------------------------------------------------------------------------


def row_item(row: Row, schema: TableSchema) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the same for a row, from the schema's columns and `__other`."""
    item = {attribute: parse_json(text) for attribute, text in (row[OTHER] or {}).items()}
    for column in schema.columns:
        value = row.get(column.name)
        if value is not None:
            assert column.attribute not in item, f"{column.attribute!r} is in its column and in {OTHER}"
            item[column.attribute] = _restore(value, column.type)
    return item, json.loads(row[TYPES] or "{}")


def _restore(value: Any, of: Type) -> Any:
    if value is None:
        return None
    match of:
        case Number():
            return Decimal(repr(value) if isinstance(value, float) else value)
        case Struct(fields) if fields:
            return {f.key: _restore(value[f.name], f.type) for f in fields if value[f.name] is not None}
        case Struct() | Map():
            inner = of.value if isinstance(of, Map) else Mixed()
            return {key: _restore(part, inner) for key, part in value.items()}
        case List(element):
            return [_restore(part, element) for part in value]
        case Mixed():
            return parse_json(value)
        case _:
            return value


# -- both ----------------------------------------------------------------------------------------------------------


def item_text(item: Mapping[str, Any], types: Mapping[str, str], structs: Iterable[str]) -> str:
    """Return one text for an item. `structs`: attributes in which a null equals a missing key."""
    loose = set(structs)
    parts = [
        f"{name!r}: {text(value, nulls=name not in loose)}" for name, value in sorted(item.items()) if value is not None
    ]
    return "\n".join([*parts, *(f"{path!r} is {kind}" for path, kind in sorted(types.items()))])


def text(value: Any, *, nulls: bool = True) -> str:
    """Return a text that is the same only for equal values: numbers with all digits, and strings quoted."""
    if isinstance(value, dict):
        members = [(k, v) for k, v in sorted(value.items()) if nulls or v is not None]
        return f"{{{', '.join(f'{k!r}: {text(v, nulls=nulls)}' for k, v in members)}}}"
    if isinstance(value, list):
        return f"[{', '.join(text(v, nulls=nulls) for v in value)}]"
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(_EXACT.normalize(Decimal(value))) if value else "0"
    return repr(value)


def with_structs(of: Type) -> bool:
    """Return whether a column of this type may have left out a null somewhere."""
    match of:
        case Struct(fields):
            return bool(fields)
        case List(inner) | Map(inner):
            return with_structs(inner)
        case _:
            return False


def loose(schema: TableSchema) -> set[str]:
    """Return the attributes in which a null equals a missing key: those that are structs, or may have been."""
    return {c.attribute for c in schema.columns if c.widened or with_structs(c.type)}


def change_text(change: Change, structs: Iterable[str]) -> str:
    """Return the text of a change of the log as in the lake's tables."""
    meta = f"{change.operation} {change.sequence:040d} {change.time} {change.expired or None}"
    return f"{meta}\n{item_text(*plain_item(change.image), structs)}"


def row_text(row: Row, schema: TableSchema, structs: Iterable[str]) -> str:
    """Return the text of a row like `change_text`; a snapshot's row has no time, since that is the time of the read."""
    snapshot = row[OPERATION] == "SNAPSHOT"
    meta = f"{row[OPERATION]} {row[SEQUENCE_NUMBER]} {'' if snapshot else row[EVENT_TIME]} {row[EXPIRED]}"
    return f"{meta}\n{item_text(*row_item(row, schema), structs)}"


def without_empty(value: Any) -> Any:
    """Remove nulls and empty values: pyiceberg reads a null list or map of structs as an empty one."""
    if isinstance(value, dict):
        parts = {key: without_empty(part) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part is not None} or None
    if isinstance(value, list):
        return [without_empty(part) for part in value] or None
    return value
