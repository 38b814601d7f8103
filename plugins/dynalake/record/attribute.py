"""One DynamoDB attribute value as JSON text, digit for digit.

The text is written straight from the attribute value: a number never passes through a float or a Decimal, so the
lake holds the very digits that DynamoDB returned.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html

Every value of a table passes here, so this is written for speed (`make bench`): the pieces of a whole item go into one
list that is joined once, and strings and numbers, which most values are, are handled in place.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from decimal import Decimal
from json.encoder import encode_basestring as encode_text
from typing import Any

from dynalake.errors import RecordError

TYPES = ("S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS")

# https://www.rfc-editor.org/rfc/rfc8259#section-6: what DynamoDB returns for a number is a JSON number.
# Possessive (`++`): nothing is tried twice, which is a quarter of the time of matching.
_is_number = re.compile(r"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+").fullmatch
_is_base64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?").fullmatch
_surrogate = re.compile("[\ud800-\udfff]")

_SHOWN = 120

# Bounds what is kept for maps whose names are data: about a megabyte.
_KEPT = 4096
_LONGEST_KEPT = 255


def encode_value(value: Mapping[str, Any]) -> str:
    """The JSON text of one attribute value: `{"N": "1.50"}` gives `1.50`.

    `value` is DynamoDB's own form, with binary as `bytes` (boto3) or as base64 text (Lambda events, exports). Sets
    become arrays in a fixed order: SS by text, NS by number, BS by base64 text. The keys of a map are sorted. The
    result has no line break and can always be encoded as UTF-8.

    Raises `RecordError` where `value` is no attribute value.
    """
    pieces: list[str] = []
    try:
        _append(value, pieces)
    except RecursionError as error:
        raise RecordError(
            "An attribute value is nested deeper than the encoder follows",
            allowed="DynamoDB's limit of 32 levels",
        ) from error
    return escape_surrogates("".join(pieces))


def append_members(content: Mapping[str, Mapping[str, Any]], keys: Keys, pieces: list[str]) -> None:
    """Append the text of an item's or a map's members, `,"name":value` for each, by name.

    `keys` gives the names' texts. Lone surrogates are left to the caller. Raises `RecordError` for a value that is
    none, and `TypeError` where a name is no text.
    """
    add = pieces.append
    for name in sorted(content):
        add(keys[name])
        value = content[name]
        try:
            (kind,) = value
            inner = value[kind]
            if kind == "S":
                add(encode_text(inner))
            elif kind == "N" and _is_number(inner):
                add(inner)
            elif kind == "M":
                _append_map(inner, pieces)
            elif kind == "L":
                _append_list(inner, pieces)
            else:
                add(_ENCODERS[kind](inner))
        except (LookupError, TypeError, ValueError):
            raise _no_value(value) from None


def escape_surrogates(text: str) -> str:
    """JSON `text` that can be encoded as UTF-8: a lone surrogate, legal in a string, becomes its escape."""
    if text.isascii():
        return text
    try:
        text.encode()  # several times as fast as looking for one
    except UnicodeEncodeError:
        return _surrogate.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
    return text


class Keys(dict[str, str]):
    """`,"name":` for a name. The names come again with every item, so their texts are kept, some thousands of them.

    `rename` gives the name under which an attribute stands, where that may be another than its own.
    """

    def __init__(self, rename: Callable[[str], str] | None = None) -> None:
        super().__init__()
        self._rename = rename

    def __missing__(self, name: str) -> str:
        text = f",{encode_text(self._rename(name) if self._rename else name)}:"
        if len(name) <= _LONGEST_KEPT:
            if len(self) >= _KEPT:
                self.clear()
            self[name] = text
        return text


def _append(value: Mapping[str, Any], pieces: list[str]) -> None:
    # As in `append_members`, which cannot call this for each value without losing a tenth of its speed.
    try:
        (kind,) = value
        inner = value[kind]
        if kind == "M":
            _append_map(inner, pieces)
        elif kind == "L":
            _append_list(inner, pieces)
        else:
            pieces.append(_ENCODERS[kind](inner))
    except (LookupError, TypeError, ValueError):
        raise _no_value(value) from None


def _append_map(content: Any, pieces: list[str]) -> None:
    if type(content) is not dict and not isinstance(content, Mapping):
        raise TypeError
    start = len(pieces)
    append_members(content, _keys, pieces)
    if len(pieces) > start:
        pieces[start] = "{" + pieces[start][1:]
        pieces.append("}")
    else:
        pieces.append("{}")


def _append_list(content: Any, pieces: list[str]) -> None:
    start = len(pieces)
    for value in _sequence(content):
        pieces.append(",")
        _append(value, pieces)
    if len(pieces) > start:
        pieces[start] = "["
        pieces.append("]")
    else:
        pieces.append("[]")


# What follows raises TypeError or ValueError for what is not of its type; `_no_value` says it in words.


def _number(content: Any) -> str:
    if not _is_number(content):
        raise ValueError
    return content  # type: ignore[no-any-return]


def _binary(content: Any) -> str:
    return f'"{_base64(content)}"'


def _boolean(content: Any) -> str:
    if content is True:
        return "true"
    if content is False:
        return "false"
    raise TypeError


def _null(content: Any) -> str:
    if content is not True:
        raise TypeError
    return "null"


def _string_set(content: Any) -> str:
    return f"[{','.join(map(encode_text, sorted(_sequence(content))))}]"


def _number_set(content: Any) -> str:
    members = list(map(_number, _sequence(content)))
    by_double = dict(zip(map(float, members), members, strict=True))
    if len(by_double) == len(members):
        # Doubles that differ are in the order of the numbers they stand for.
        members = [by_double[double] for double in sorted(by_double)]
    else:
        # Two spellings of one number, which DynamoDB itself never returns, still come in one order.
        members.sort(key=lambda member: (Decimal(member), member))
    return f"[{','.join(members)}]"


def _binary_set(content: Any) -> str:
    return f"[{','.join(sorted(map(_binary, _sequence(content))))}]"


_keys = Keys()

_ENCODERS: dict[str, Callable[[Any], str]] = {
    "S": encode_text,
    "N": _number,
    "B": _binary,
    "BOOL": _boolean,
    "NULL": _null,
    "SS": _string_set,
    "NS": _number_set,
    "BS": _binary_set,
}

_ALLOWED = {
    "S": ("A string (S)", "text"),
    "N": ("A number (N)", "the text of a number, such as '-1.5' or '1E-130'"),
    "B": ("A binary value (B)", "bytes or base64 text"),
    "BOOL": ("A boolean (BOOL)", "true or false"),
    "NULL": ("A null (NULL)", "true"),
    "L": ("A list (L)", "an array"),
    "M": ("A map (M)", "an object whose names are text"),
    "SS": ("A string set (SS)", "an array of text"),
    "NS": ("A number set (NS)", "an array of numbers as text"),
    "BS": ("A binary set (BS)", "an array of bytes or base64 text"),
}


def _base64(content: Any) -> str:
    if isinstance(content, bytes | bytearray):
        return b2a_base64(content, newline=False).decode("ascii")
    if not _is_base64(content):
        raise ValueError
    return content  # type: ignore[no-any-return]


def _sequence(content: Any) -> list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any]:
    if isinstance(content, list | tuple | set | frozenset):
        return content
    raise TypeError


def _no_value(value: Any) -> RecordError:
    what, content, allowed = "An attribute value", value, f"an object with one of the keys {', '.join(TYPES)}"
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, inner),) = value.items()
        if kind in TYPES:
            (what, allowed), content = _ALLOWED[kind], inner
    try:
        shown = repr(content)
    except RecursionError:
        shown = f"a deeply nested {type(content).__name__}"
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]}…"
    return RecordError(f"{what} is {shown}", allowed=allowed)
