"""A change record's line as the item that it was made from, attribute value by attribute value."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NoReturn

from dynalake.errors import RecordError, cut
from dynalake.record.attribute import AMBIGUOUS_TYPES
from dynalake.record.change import METADATA, OTHER, TYPES, attribute_name
from dynalake.record.paths import path_step

AttributeValue = dict[str, Any]


def decode_item(line: str | bytes) -> dict[str, AttributeValue]:
    """Return the item of a change record as DynamoDB's attribute values: `{"id": {"S": "a"}}`, binary as `bytes`.

    It is the reverse of `encode_change`: boto3's client can put the item back into a table, and encoding it again gives
    the same line. For a `REMOVE` it is the image that the record carries, for a canary its id.

    Raises `RecordError` where `encode_change` cannot have made the line: not a JSON object, a key twice, a path of
    `__types` without a value of its type.
    """
    record = _parse(line)
    types = record.get(TYPES, {})
    if not isinstance(types, dict) or not all(kind in AMBIGUOUS_TYPES for kind in types.values()):
        raise RecordError(f"{TYPES} is {_show(types)}", allowed=f"an object from paths to {', '.join(AMBIGUOUS_TYPES)}")
    if OTHER in record:
        raise RecordError(f"The record has a key {OTHER!r}", allowed="an attribute of that name as _" + OTHER)
    unused = dict(types)
    item = {}
    for key, value in record.items():
        if key not in METADATA:
            name = attribute_name(key)
            item[name] = attribute_value(value, path_step(name), unused)
    if unused:
        path, kind = next(iter(unused.items()))
        raise RecordError(f"{TYPES} says that {_show(path)} is {kind}, but the record has no value there")
    return item


class _Digits(str):
    """A number as written in the line."""

    __slots__ = ()


def attribute_value(value: Any, path: str, types: dict[str, str]) -> AttributeValue:
    """Return the attribute value behind a JSON value. Take those out of `types` that are at `path` or below it.

    A number is an `int` or a `Decimal`, or text as it stands in a line. Raises `RecordError` where the type at a path
    does not fit the value there.
    """
    kind = types.pop(path, "")
    if kind:
        try:
            return {kind: _AMBIGUOUS[kind](value)}
        except (TypeError, ValueError):
            raise RecordError(f"{TYPES} says that {_show(path)} is {kind}, but it is {_show(value)}") from None
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case _Digits() | int() | Decimal():
            return {"N": str(value)}
        case str():
            return {"S": value}
        case list():
            return {"L": [attribute_value(v, f"{path}/{number}", types) for number, v in enumerate(value)]}
        case _:
            return {"M": {name: attribute_value(v, path + path_step(name), types) for name, v in value.items()}}


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return value


def _number(value: Any) -> str:
    if type(value) not in (_Digits, int, Decimal):
        raise TypeError
    return str(value)


def _binary(value: Any) -> bytes:
    return b64decode(_text(value), validate=True)


def _set_of(member: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    def read(value: Any) -> list[Any]:
        if type(value) is not list:
            raise TypeError
        return [member(v) for v in value]

    return read


_AMBIGUOUS: dict[str, Callable[[Any], Any]] = {
    "B": _binary,
    "SS": _set_of(_text),
    "NS": _set_of(_number),
    "BS": _set_of(_binary),
}


def _parse(line: str | bytes) -> dict[str, Any]:
    try:
        record = _decoder.decode(line if isinstance(line, str) else line.decode())
    except RecursionError as error:
        raise RecordError("The line is nested deeper than the decoder supports", allowed="32 levels") from error
    except ValueError as error:
        raise RecordError(f"The line is not JSON: {error}", allowed="a change record") from error
    if not isinstance(record, dict):
        raise RecordError(f"The line is {_show(record)}", allowed="a JSON object")
    return record


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has a key twice")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_decoder = json.JSONDecoder(
    parse_int=_Digits, parse_float=_Digits, parse_constant=_no_number, object_pairs_hook=_object
)


def _show(value: Any) -> str:
    return cut(repr(value))
