"""Trino's JSON type: what its functions and casts make of JSON text, losses included.

`json_parse`, `json_extract` and the JSON literal send a number with a decimal point through a double (Trino
before 481, so Athena engine 3: https://github.com/trinodb/trino/issues/28867); json_extract_scalar does not.
"""

from __future__ import annotations

import json
import math
import re
from json.encoder import encode_basestring
from typing import Any

from infra.local.corrections.athena.errors import QueryError
from infra.local.corrections.athena.numerals import double_text


class Integral(str):
    """A JSON number without point or exponent, as written."""

    __slots__ = ()


class Fractional(str):
    """A JSON number with a point or exponent, as written."""

    __slots__ = ()


class Members(list[tuple[str, Any]]):
    """A JSON object's members in order, repeated names included."""


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=Members, parse_int=Integral, parse_float=Fractional, parse_constant=_constant
)
_PATH_STEP = re.compile(
    r"""\.(?P<name>[A-Za-z0-9_@:$-]+)|\[(?P<index>\d+)\]|\["(?P<quoted>(?:[^"\\]|\\.)*)"\]""", re.VERBOSE
)


def load(text: str) -> Any:
    """The value of JSON text with its digits kept; ValueError if it is no JSON."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dump(value: Any, sort: bool = False) -> str:
    """JSON text as Trino's generator writes it: fractional numbers as doubles."""
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Fractional):
        number = float(value)
        return double_text(number) if math.isfinite(number) else f'"{double_text(number)}"'
    if isinstance(value, str):
        return str(encode_basestring(value))
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Members):
        members = sorted(dict(value).items()) if sort else value
        return "{" + ",".join(f"{encode_basestring(k)}:{dump(v, sort)}" for k, v in members) + "}"
    return "[" + ",".join(dump(element, sort) for element in value) + "]"


def parse(text: str) -> str:
    """`json_parse`: normalized JSON text, members sorted."""
    try:
        return dump(load(text), sort=True)
    except ValueError:
        raise QueryError("INVALID_FUNCTION_ARGUMENT", f"Cannot convert value to JSON: '{text}'") from None


def extract(text: str, path: str) -> str | None:
    """`json_extract`: the JSON text found at the path."""
    found, value = _at(text, path)
    return dump(value) if found else None


def extract_scalar(text: str, path: str) -> str | None:
    """`json_extract_scalar`: a scalar's own text; a number's digits are untouched."""
    found, value = _at(text, path)
    if not found or value is None or isinstance(value, list):
        return None
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def size(text: str, path: str) -> int | None:
    """`json_size`: the number of members or elements."""
    found, value = _at(text, path)
    return None if not found else len(value) if isinstance(value, list) else 0


def array_length(text: str) -> int | None:
    """`json_array_length`."""
    found, value = _at(text, "$")
    return len(value) if found and isinstance(value, list) and not isinstance(value, Members) else None


def array_get(text: str, index: int) -> str | None:
    """`json_array_get`: an element as JSON text; a negative index counts from the end."""
    found, value = _at(text, "$")
    if not found or not isinstance(value, list) or isinstance(value, Members):
        return None
    return dump(value[index]) if -len(value) <= index < len(value) else None


def _at(text: str, path: str) -> tuple[bool, Any]:
    try:
        value = load(text)
    except ValueError:
        return False, None
    for step in _steps(path):
        if isinstance(value, Members):
            names = [name for name, _ in value]
            if step not in names:
                return False, None
            value = value[names.index(step)][1]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return False, None
    return True, value


def _steps(path: str) -> list[str]:
    steps, at = [], 1
    if not path.startswith("$"):
        raise QueryError("INVALID_FUNCTION_ARGUMENT", f"Invalid JSON path: '{path}'")
    while at < len(path):
        step = _PATH_STEP.match(path, at)
        if step is None:
            raise QueryError("INVALID_FUNCTION_ARGUMENT", f"Invalid JSON path: '{path}'")
        quoted = step["quoted"]
        steps.append(step["name"] or step["index"] or re.sub(r"\\(.)", r"\1", quoted or ""))
        at = step.end()
    return steps
