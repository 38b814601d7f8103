"""The types as Arrow has them, and Python values as Arrow takes them. The only module here that needs pyarrow."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from functools import lru_cache
from typing import Any

import pyarrow as pa

from dynalake.lake.types.union import Boolean, List, Map, Mixed, Number, Struct, Type
from dynalake.record.attribute import escape_surrogates


@lru_cache(1 << 12)
def arrow_type(of: Type) -> pa.DataType:
    """Return the Arrow type that is written for `glue_type(of)`."""
    match of:
        case Boolean():
            return pa.bool_()
        case Number():
            by_kind: dict[str, pa.DataType] = {"bigint": pa.int64(), "double": pa.float64(), "text": pa.string()}
            return by_kind.get(of.kind) or pa.decimal128(38, of.scale)
        case Struct(fields) if fields:
            return pa.struct([pa.field(f.name, arrow_type(f.type)) for f in fields])
        case Struct():
            return pa.map_(pa.string(), pa.string())
        case Map(value):
            return pa.map_(pa.string(), arrow_type(value))
        case List(element):
            return pa.list_(arrow_type(element))
        case _:
            return pa.string()


def converter(of: Type) -> Callable[[Any], Any]:
    """Return a function from a parsed JSON value of type `of` to the Python value that Arrow takes. Null stays None."""
    convert = _converter(of)

    def nullable(value: Any) -> Any:
        return None if value is None else convert(value)

    return nullable


def _converter(of: Type) -> Callable[[Any], Any]:
    match of:
        case Number():
            by_kind: dict[str, Callable[[Any], Any]] = {"bigint": int, "double": float, "text": number_text}
            return by_kind.get(of.kind, _decimal)
        case Struct(fields) if fields:
            # A key that a value lacks is null to Arrow. There may be very many fields, and values with few of them.
            parts = {f.key: (f.name, converter(f.type)) for f in fields}
            return lambda value: {parts[k][0]: parts[k][1](v) for k, v in value.items() if k in parts}
        case Struct():
            return lambda value: []
        case Map(inner):
            convert = converter(inner)
            return lambda value: [(key, convert(value[key])) for key in sorted(value)]
        case List(element):
            convert = converter(element)
            return lambda value: [convert(v) for v in value]
        case Mixed():
            return json_text
        case _:
            return lambda value: value


def other_entries(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the column `__other` of one row, as Arrow takes it: each value's exact JSON text, by attribute."""
    return [(attribute, json_text(values[attribute])) for attribute in sorted(values) if values[attribute] is not None]


_WIDE = Context(prec=1000, Emax=MAX_EMAX, Emin=MIN_EMIN)


def _decimal(value: int | Decimal) -> Decimal:
    """Return the number without an exponent and without zeros at its end, which Arrow would count as digits."""
    plain = Decimal(value).normalize(_WIDE)
    return Decimal(format(plain, "f")) if plain.as_tuple().exponent else plain


def number_text(value: int | Decimal) -> str:
    """Return the number's digits as Java's BigDecimal writes them, which Athena gives for the raw JSON."""
    return str(value)


def json_text(value: Any) -> str:
    """Return compact JSON with every digit: `Decimal` and `int` are written as numbers, text is quoted.

    Half of a surrogate pair is the escape that it was in the record, so the text can be written as UTF-8.
    """
    return escape_surrogates(_quoted(value) if isinstance(value, str) else _inner(value))


def _inner(value: Any) -> str:
    if isinstance(value, str):
        # Athena's JSON SerDe writes text in arrays and objects like this, and raw and Parquet must give the same text.
        return _quoted(value).replace("</", "<\\/")
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | Decimal):
        return str(value)
    if isinstance(value, list):
        return f"[{','.join(map(_inner, value))}]"
    return f"{{{','.join(f'{_inner(k)}:{_inner(v)}' for k, v in value.items())}}}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
