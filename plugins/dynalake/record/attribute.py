"""One DynamoDB attribute value as JSON text, digit for digit.

The text is written straight from the attribute value: a number never passes through a float or a Decimal, so the
lake holds the very digits that DynamoDB returned.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from decimal import Decimal
from json.encoder import encode_basestring as encode_text
from typing import Any

from dynalake.errors import RecordError

TYPES = ("S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS")

# https://www.rfc-editor.org/rfc/rfc8259#section-6: what DynamoDB returns for a number is a JSON number.
_is_number = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_is_base64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?").fullmatch
_surrogate = re.compile("[\ud800-\udfff]")

_SHOWN = 120


def encode_value(value: Mapping[str, Any]) -> str:
    """The JSON text of one attribute value: `{"N": "1.50"}` gives `1.50`.

    `value` is DynamoDB's own form, with binary as `bytes` (boto3) or as base64 text (Lambda events, exports). Sets
    become arrays in a fixed order: SS by text, NS by number, BS by base64 text. The keys of a map are sorted. The
    result has no line break and can always be encoded as UTF-8.

    Raises `RecordError` where `value` is no attribute value.
    """
    try:
        return escape_surrogates(encode(value))
    except RecursionError as error:
        raise RecordError(
            "An attribute value is nested deeper than the encoder follows",
            allowed="DynamoDB's limit of 32 levels",
        ) from error


def encode(value: Mapping[str, Any]) -> str:
    """As `encode_value`, for text that is put into a larger text: lone surrogates are left to the caller."""
    try:
        ((kind, content),) = value.items()
        encoder = _ENCODERS[kind]
    except (ValueError, AttributeError, KeyError, TypeError):
        raise _refused("An attribute value", value, f"an object with one of the keys {', '.join(TYPES)}") from None
    return encoder(content)


def escape_surrogates(text: str) -> str:
    """JSON `text` that can be encoded as UTF-8: a lone surrogate, legal in a string, becomes its escape."""
    if text.isascii() or not _surrogate.search(text):
        return text
    return _surrogate.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _encode_string(content: Any) -> str:
    if type(content) is not str:
        raise _refused("A string (S)", content, "text")
    return encode_text(content)


def _encode_number(content: Any) -> str:
    if type(content) is not str or not _is_number(content):
        raise _refused("A number (N)", content, "the text of a number, such as '-1.5' or '1E-130'")
    return content


def _encode_binary(content: Any) -> str:
    return f'"{_base64(content)}"'


def _encode_boolean(content: Any) -> str:
    if content is True:
        return "true"
    if content is False:
        return "false"
    raise _refused("A boolean (BOOL)", content, "true or false")


def _encode_null(content: Any) -> str:
    if content is not True:
        raise _refused("A null (NULL)", content, "true")
    return "null"


def _encode_list(content: Any) -> str:
    return f"[{','.join(map(encode, _sequence('A list (L)', content)))}]"


def _encode_map(content: Any) -> str:
    if not isinstance(content, Mapping):
        raise _refused("A map (M)", content, "an object")
    pieces = []
    for key in _sorted_names(content):
        pieces.append(f"{encode_text(key)}:{encode(content[key])}")
    return f"{{{','.join(pieces)}}}"


def _encode_string_set(content: Any) -> str:
    members = _sequence("A string set (SS)", content)
    if not all(type(member) is str for member in members):
        raise _refused("A string set (SS)", content, "an array of text")
    return f"[{','.join(map(encode_text, sorted(members)))}]"


def _encode_number_set(content: Any) -> str:
    members = [_encode_number(member) for member in _sequence("A number set (NS)", content)]
    # Two spellings of one number, which DynamoDB itself never returns, still come in one order.
    members.sort(key=lambda member: (Decimal(member), member))
    return f"[{','.join(members)}]"


def _encode_binary_set(content: Any) -> str:
    members = sorted(map(_base64, _sequence("A binary set (BS)", content)))
    return f"[{','.join(map(encode_text, members))}]"


_ENCODERS: dict[str, Callable[[Any], str]] = {
    "S": _encode_string,
    "N": _encode_number,
    "B": _encode_binary,
    "BOOL": _encode_boolean,
    "NULL": _encode_null,
    "L": _encode_list,
    "M": _encode_map,
    "SS": _encode_string_set,
    "NS": _encode_number_set,
    "BS": _encode_binary_set,
}


def _base64(content: Any) -> str:
    if isinstance(content, bytes | bytearray):
        return b64encode(content).decode("ascii")
    if type(content) is not str or not _is_base64(content):
        raise _refused("A binary value (B)", content, "bytes or base64 text")
    return content


def _sequence(what: str, content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    if isinstance(content, tuple | set | frozenset):
        return list(content)
    raise _refused(what, content, "an array")


def _sorted_names(content: Mapping[str, Any]) -> list[str]:
    try:
        names = sorted(content)
    except TypeError:
        raise _refused("A map (M)", content, "an object whose names are text") from None
    if names and type(names[0]) is not str:
        raise _refused("A map (M)", content, "an object whose names are text")
    return names


def _refused(what: str, content: Any, allowed: str) -> RecordError:
    try:
        shown = repr(content)
    except RecursionError:
        shown = f"a deeply nested {type(content).__name__}"
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]}…"
    return RecordError(f"{what} is {shown}", allowed=allowed)
