"""Values of SQL engines and Arrow, converted back to their JSON values; null and missing are the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from dynalake.lake.types.union import List, Map, Mixed, Number, Struct, Type


def recover(value: Any, of: Type) -> Any:
    """Return the JSON value behind a value read from a column of type `of`: numbers as Decimal."""
    if value is None:
        return None
    match of:
        case Number():
            return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        case Mixed():
            return plain(json.loads(value, parse_int=Decimal, parse_float=Decimal))
        case Struct(fields) if fields:
            values = {f.key: recover(value.get(f.name), f.type) for f in fields}
            return {k: v for k, v in values.items() if v is not None}
        case Struct():
            return dict(value)
        case Map(inner):
            pairs = value.items() if isinstance(value, Mapping) else value
            return {k: r for k, v in pairs if (r := recover(v, inner)) is not None}
        case List(inner):
            return [recover(v, inner) for v in value]
        case _:
            return value


def plain(value: Any) -> Any:
    """Return an expected JSON value without the nulls of its objects, numbers as Decimal."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return value
