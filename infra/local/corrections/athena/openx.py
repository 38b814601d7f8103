"""The OpenX JSON SerDe: lines of JSON to Arrow columns of the catalog's types.

https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html; the conversions are those of Trino's
`OpenXJsonDeserializer`.
"""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from infra.local.corrections.athena import openx_text
from infra.local.corrections.athena.arrays import Field
from infra.local.corrections.athena.errors import QueryError
from infra.local.corrections.athena.numerals import big_decimal, checked, rescaled, truncated
from infra.local.corrections.athena.openx_text import InvalidJson, Value

Decode = Callable[[Value], Any]

_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class Options:
    """The SerDe's properties."""

    case_insensitive: bool
    ignore_malformed: bool
    dots_in_keys: bool
    mappings: Mapping[str, str]

    @classmethod
    def parse(cls, properties: Mapping[str, str]) -> Options:
        """Read SERDEPROPERTIES; the defaults are AWS's."""
        case_insensitive = properties.get("case.insensitive", "true").lower() == "true"
        mappings = {
            name.removeprefix("mapping."): key.lower() if case_insensitive else key
            for name, key in properties.items()
            if name.startswith("mapping.")
        }
        return cls(
            case_insensitive=case_insensitive,
            ignore_malformed=properties.get("ignore.malformed.json", "").lower() == "true",
            dots_in_keys=properties.get("dots.in.keys", "").lower() == "true",
            mappings=mappings,
        )

    def key(self, column: str) -> str:
        """The JSON key that a column or a struct's field is read from."""
        return self.mappings.get(column, column)


def read(lines: Iterable[str], schema: pa.Schema, options: Options) -> pa.Table:
    """One row for each line; a line that is no object or array is a row of NULLs, as in Athena."""
    decode_line = openx_text.decoder(_pairs(options))
    row = _row(schema, options)
    columns: list[list[Any]] = [[] for _ in schema]
    appenders = [column.append for column in columns]
    for line in lines:
        line = line.strip()
        value = None
        if line[:1] in ("{", "["):
            try:
                value = decode_line(line)
            except InvalidJson as error:
                if not options.ignore_malformed:
                    raise _malformed(str(error), line) from None
            except _DuplicateKey as error:
                raise _malformed(f'Duplicate key "{error}"', line) from None
            except RecursionError:
                raise _malformed("nested too deeply", line) from None
        try:
            for append, cell in zip(appenders, row(value), strict=True):
                append(cell)
        except _Mismatch as error:
            raise _malformed(str(error), line) from None
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


class _DuplicateKey(ValueError):
    """Two keys of one object that the SerDe cannot tell apart."""


class _Mismatch(ValueError):
    """A JSON value of a kind that the column's type cannot be read from."""


def _malformed(reason: str, line: str) -> QueryError:
    shown = line if len(line) <= 200 else line[:200] + "..."
    return QueryError("HIVE_CURSOR_ERROR", f"Row is not a valid JSON Object - JSONException: {reason}: {shown}")


def _pairs(options: Options) -> openx_text.Pairs:
    def members(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise _DuplicateKey(_repeated([key for key, _ in pairs]))
        if options.case_insensitive and len({key.lower() for key in found}) != len(found):
            raise _DuplicateKey(_repeated([key.lower() for key in found]))
        return found

    return members


def _repeated(keys: list[str]) -> str:
    return next(key for key in keys if keys.count(key) > 1)


def _row(fields: Iterable[Field], options: Options) -> Callable[[Value], list[Any]]:
    keys = [options.key(field.name.lower()) for field in fields]
    names = [field.name.lower() for field in fields]
    decoders = [_decoder(field.type, options) for field in fields]
    by_position = list(zip(keys, names, decoders, strict=True))

    def decode(value: Value) -> list[Any]:
        if value is None or isinstance(value, str | bool):
            if value is not None and (isinstance(value, bool) or value.strip()):
                raise _Mismatch("Primitive can not be coerced to a ROW")
            return [None] * len(keys)
        if isinstance(value, list):
            padded = [*value, *[None] * len(keys)]
            return [None if cell is None else decoder(cell) for cell, decoder in zip(padded, decoders, strict=False)]
        found = {key.lower(): cell for key, cell in value.items()} if options.case_insensitive else value
        cells = []
        for key, name, decoder in by_position:
            cell = found.get(key)
            if cell is None and options.dots_in_keys and "_" in name and key not in found:
                cell = _dotted(found, name)
            cells.append(None if cell is None else decoder(cell))
        return cells

    return decode


def _dotted(members: Mapping[str, Value], name: str) -> Value:
    return next((cell for key, cell in members.items() if "." in key and key.replace(".", "_") == name), None)


def _decoder(kind: pa.DataType, options: Options) -> Decode:
    if pa.types.is_struct(kind):
        row = _row(list(kind), options)
        names = [field.name for field in kind]
        return lambda value: dict(zip(names, row(value), strict=True))
    if pa.types.is_map(kind):
        return _map(_decoder(kind.key_type, options), _decoder(kind.item_type, options))
    if pa.types.is_list(kind):
        return _array(_decoder(kind.value_type, options))
    if pa.types.is_string(kind):
        return openx_text.text
    return _scalar(kind)


def _scalar(kind: pa.DataType) -> Decode:
    convert = _conversion(kind)

    def decode(value: Value) -> Any:
        if isinstance(value, bool):
            value = "true" if value else "false"
        if not isinstance(value, str):
            raise _Mismatch(f"{type(value).__name__} can not be coerced to a {kind}")
        try:
            return convert(value)
        except (ValueError, OverflowError):
            return None

    return decode


def _conversion(kind: pa.DataType) -> Callable[[str], Any]:
    if pa.types.is_boolean(kind):
        return lambda text: text.lower() == "true"
    if pa.types.is_integer(kind):
        return lambda text: checked(_long(text), kind)
    if pa.types.is_decimal(kind):
        return lambda text: rescaled(big_decimal(text), kind)
    if pa.types.is_floating(kind):
        return float
    if pa.types.is_date(kind):
        return _date
    if pa.types.is_timestamp(kind):
        return _timestamp
    if pa.types.is_binary(kind):
        return lambda text: base64.b64decode(text, validate=True)
    raise QueryError("NOT_SUPPORTED", f"The JSON SerDe has no reader for columns of type {kind}")


def _long(text: str) -> int:
    try:
        return openx_text.parse_long(text)
    except ValueError:
        return truncated(big_decimal(text))


def _array(element: Decode) -> Decode:
    def decode(value: Value) -> list[Any] | None:
        if isinstance(value, str) and not value:
            return None
        # A value that is no array is read as an array of one.
        elements = value if isinstance(value, list) else [value]
        return [None if cell is None else element(cell) for cell in elements]

    return decode


def _map(key: Decode, item: Decode) -> Decode:
    def decode(value: Value) -> list[tuple[Any, Any]] | None:
        if isinstance(value, str) and not value.strip():
            return None
        if not isinstance(value, dict):
            raise _Mismatch(f"{type(value).__name__} can not be coerced to a MAP")
        entries = {key(name): None if cell is None else item(cell) for name, cell in value.items()}
        return list(entries.items())

    return decode


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        return datetime.date(1970, 1, 1) + datetime.timedelta(days=openx_text.parse_long(text))


def _timestamp(text: str) -> datetime.datetime:
    if ":" in text:
        parsed = datetime.datetime.fromisoformat(text)
        return parsed.astimezone(datetime.UTC).replace(tzinfo=None) if parsed.tzinfo else parsed
    if not re.fullmatch(r"[-+.0-9]+", text):
        raise ValueError(f"not a timestamp: {text!r}")
    if "." in text:
        milliseconds = truncated(big_decimal(text) * Decimal(1000))
    else:
        milliseconds = int(text) * (1 if len(text) >= 13 else 1000)
    return _EPOCH + datetime.timedelta(milliseconds=milliseconds)
