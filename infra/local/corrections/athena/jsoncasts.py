"""Trino's casts from JSON and from plain text, exact where Trino is, and failing where Trino fails.

Casts read the digits of the text they are given. `CAST(json_parse(x) AS ROW/ARRAY/MAP)` is planned as one
step that is given x itself, and so never sees what json_parse loses.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pyarrow as pa

from infra.local.corrections.athena import types
from infra.local.corrections.athena.errors import QueryError
from infra.local.corrections.athena.jsonvalues import Fractional, Integral, Members, dump, load
from infra.local.corrections.athena.numerals import big_decimal, checked, double_varchar, integer, rescaled

_TRUE, _FALSE = ("true", "t", "1"), ("false", "f", "0")


def json_cast(kind: pa.DataType) -> Callable[[str], Any]:
    """`CAST(<json> AS <kind>)` for one JSON text; where the value does not fit, an error that TRY catches."""
    convert = _converter(kind)

    def cast(text: str) -> Any:
        try:
            return convert(load(text))
        except (ValueError, OverflowError, ArithmeticError) as error:
            message = f"Cannot cast to {types.trino(kind)}. {error}\n{text[:10000]}"
            raise QueryError("INVALID_CAST_ARGUMENT", message) from None

    return cast


def varchar_cast(kind: pa.DataType) -> Callable[[str], Any]:
    """`CAST(<varchar> AS <kind>)` for the scalar kinds where DuckDB takes more text than Trino."""
    convert = _text_converter(kind)

    def cast(text: str) -> Any:
        try:
            return convert(text)
        except (ValueError, OverflowError, ArithmeticError):
            raise QueryError("INVALID_CAST_ARGUMENT", f"Cannot cast '{text}' to {types.trino(kind).upper()}") from None

    return cast


def _converter(kind: pa.DataType) -> Callable[[Any], Any]:
    if pa.types.is_struct(kind):
        return _row(kind)
    if pa.types.is_map(kind):
        return _map(_converter(kind.key_type), _converter(kind.item_type))
    if pa.types.is_list(kind):
        return _array(_converter(kind.value_type))
    if kind.equals(types.JSON):
        # A JSON null inside a row, array or map stays JSON, it does not become NULL.
        return dump
    if pa.types.is_string(kind):
        return _varchar
    if not (_is_number(kind) or pa.types.is_boolean(kind)):
        raise QueryError("TYPE_MISMATCH", f"Cannot cast json to {types.trino(kind)}")
    return _scalar(kind)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _varchar(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, list):
        raise ValueError("Unexpected token when cast to varchar: " + ("{" if isinstance(value, Members) else "["))
    if isinstance(value, bool):
        return "true" if value else "false"
    return double_varchar(float(value)) if isinstance(value, Fractional) else str(value)


def _scalar(kind: pa.DataType) -> Callable[[Any], Any]:
    from_text = _text_converter(kind)
    from_number = _number_converter(kind)

    def convert(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, list):
            raise ValueError(f"Unexpected token when cast to {types.trino(kind)}")
        if isinstance(value, bool):
            return value if pa.types.is_boolean(kind) else from_number(Integral("1" if value else "0"))
        if isinstance(value, Integral | Fractional):
            return from_number(value)
        return from_text(value)

    return convert


def _number_converter(kind: pa.DataType) -> Callable[[str], Any]:
    if pa.types.is_boolean(kind):
        return lambda number: float(number) != 0
    if pa.types.is_decimal(kind):
        return lambda number: rescaled(big_decimal(number), kind)
    if pa.types.is_floating(kind):
        return float
    return lambda number: checked(_rounded(number), kind)


def _rounded(number: str) -> int:
    if isinstance(number, Integral):
        return int(number)
    return int(Decimal(float(number)).to_integral_value(ROUND_HALF_UP))


def _text_converter(kind: pa.DataType) -> Callable[[str], Any]:
    if pa.types.is_boolean(kind):
        return _boolean
    if pa.types.is_decimal(kind):
        return lambda text: rescaled(big_decimal(text), kind)
    if pa.types.is_floating(kind):
        return _double
    return lambda text: checked(integer(text), kind)


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"not a boolean: {text!r}")


def _double(text: str) -> float:
    if "_" in text:
        raise ValueError(f"not a double: {text!r}")
    return float(text)


def _array(element: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> list[Any] | None:
        if value is None:
            return None
        if not isinstance(value, list) or isinstance(value, Members):
            raise ValueError("Expected a json array")
        return [element(cell) for cell in value]

    return convert


def _map(key: Callable[[Any], Any], item: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> list[tuple[Any, Any]] | None:
        if value is None:
            return None
        if not isinstance(value, Members):
            raise ValueError("Expected a json object")
        entries = [(key(name), item(cell)) for name, cell in value]
        if len(dict(entries)) != len(entries):
            raise ValueError("Duplicate keys are not allowed")
        return entries

    return convert


def _row(kind: pa.StructType) -> Callable[[Any], Any]:
    """Members by name in lower case: one that is missing is NULL, others are ignored, a repeated one fails.

    A field whose quoted name has an upper-case letter is therefore never found, in Trino too.
    """
    names = [field.name for field in kind]
    fields = {field.name: _converter(field.type) for field in kind}
    anonymous = all(name == f"field{i}" for i, name in enumerate(names))

    def convert(value: Any) -> dict[str, Any] | None:
        if value is None:
            return None
        if isinstance(value, Members):
            if anonymous:
                raise ValueError("Cannot cast a JSON object to anonymous row type. Input must be a JSON array.")
            found: dict[str, Any] = dict.fromkeys(names)
            written: set[str] = set()
            for name, cell in value:
                lower = name.lower()
                if lower not in fields:
                    continue
                if lower in written:
                    raise ValueError(f"Duplicate field: {lower}")
                written.add(lower)
                found[lower] = fields[lower](cell)
            return found
        if not isinstance(value, list):
            raise ValueError("Expected a json array or object")
        if len(value) != len(names):
            raise ValueError("Expected json array ending")
        return {name: fields[name](cell) for name, cell in zip(names, value, strict=True)}

    return convert
