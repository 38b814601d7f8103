"""One DynamoDB attribute value as JSON text, digit for digit.

The text is written straight from the attribute value: a number never passes through a float or a Decimal, so the lake
holds exactly the digits that DynamoDB returned.
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
from operator import length_hint
from typing import Any, TypeAlias

from dynalake.errors import RecordError, cut
from dynalake.record.paths import Member, Members

ATTRIBUTE_TYPES = ("S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS")
AMBIGUOUS_TYPES = ("B", "SS", "NS", "BS")
"""The types whose JSON text is also that of a string (B) or of a list (the sets)."""

# https://www.rfc-editor.org/rfc/rfc8259#section-6: what DynamoDB returns for a number is a JSON number. Possessive
# (`++`): nothing is tried twice, which saves a quarter of the time.
_is_number = re.compile(r"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+").fullmatch
_is_base64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?").fullmatch
_surrogate = re.compile("[\ud800-\udfff]")


Add: TypeAlias = Callable[[str], None]

# For longer text it is faster to search for each of the 34 characters that have an escape.
_LONG = 1000
_ESCAPES = {character: encode_text(character)[1:-1] for character in ("\\", '"', *map(chr, range(32)))}

# Written as `a | b` in a call, the union would be made again by every call.
_BYTES = (bytes, bytearray)
_SEQUENCES = (list, tuple, set, frozenset)
_FREQUENT = ('"', "\\", "\n")

# Bounds the memory for maps whose names are data: about a megabyte.
_KEPT = 4096
_LONGEST_KEPT = 255


def encode_value(value: Mapping[str, Any]) -> str:
    """Return the JSON text of one attribute value: `{"N": "1.50"}` gives `1.50`.

    `value` is DynamoDB's own form, with binary as `bytes` (boto3) or as base64 text (Lambda events, exports). Sets
    become arrays in a fixed order: SS by text, NS by number, BS by base64 text. The keys of a map are sorted. The
    result has no line break and can always be encoded as UTF-8.

    Raises `RecordError` where `value` is not an attribute value.
    """
    pieces: list[str] = []
    try:
        _append(value, pieces.append)
    except RecursionError as error:
        raise RecordError(
            "An attribute value is nested deeper than the encoder supports",
            allowed="DynamoDB's limit of 32 levels",
        ) from error
    return escape_surrogates("".join(pieces))


def append_members(content: Mapping[str, Mapping[str, Any]], keys: Keys, pieces: list[str]) -> Members | None:
    """Append the text of an item's members, `,"name":value` for each, by name.

    Returns the types that this text does not show, None where it shows all of them. `keys` gives the names' texts. The
    caller escapes lone surrogates. Raises `RecordError` for a value that is not an attribute value, and `TypeError` for
    a name that is not text.
    """
    add = pieces.append
    types: list[Member] | None = None
    for name in sorted(content):
        key, value = keys[name], content[name]
        try:
            (kind,) = value
            inner = value[kind]
            add(key)
            if kind == "S":
                add(encode_text(inner) if len(inner) < _LONG else _long_text(inner))
            elif kind == "N" and _is_number(inner):
                add(inner)
            else:
                ambiguous = _APPEND[kind](inner, add)
                if ambiguous:
                    if types is None:
                        types = []
                    types.append((name, ambiguous))
        except (LookupError, TypeError, ValueError):
            raise _not_a_value(value) from None
    return None if types is None else tuple(types)


def escape_surrogates(text: str) -> str:
    """Return JSON `text` that can be encoded as UTF-8: a lone surrogate, legal in a string, becomes its escape."""
    if text.isascii():
        return text
    try:
        text.encode()  # several times as fast as looking for one
    except UnicodeEncodeError:
        return _surrogate.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
    return text


class Keys(dict[str, str]):
    """The text `,"name":` of each name. Names come again with every item, so some thousands of their texts are kept.

    `rename` returns the name under which an attribute is written, where that may differ from its own.
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


class _Plans(dict[tuple[str, ...], list[tuple[str, str]]]):
    """The members of a map in order, with the text before each value: `{"a":` for the first, `,"b":` for the others.

    The key is the map's names in the map's order: most maps have the names of an earlier one.
    """

    def __missing__(self, names: tuple[str, ...]) -> list[tuple[str, str]]:
        texts = [f"{encode_text(name)}:" for name in sorted(names)]
        plan = list(
            zip(sorted(names), [f"{'{' if n == 0 else ','}{text}" for n, text in enumerate(texts)], strict=True)
        )
        if sum(map(len, names)) <= _LONGEST_KEPT:
            if len(self) >= _KEPT:
                self.clear()
            self[names] = plan
        return plan


def _append(value: Mapping[str, Any], add: Add) -> None:
    try:
        (kind,) = value
        _APPEND[kind](value[kind], add)
    except (LookupError, TypeError, ValueError):
        raise _not_a_value(value) from None


def _long_text(text: str) -> str:
    """Return what `encode_text` returns, by searching for each character that has an escape, which is faster.

    Text with many such characters goes to `encode_text`, which is faster then.
    """
    if not isinstance(text, str):
        raise TypeError
    if sum(map(text[:_LONG].count, _FREQUENT)) > _LONG // 50:
        return encode_text(text)
    escaped = [character for character in _ESCAPES if character in text]
    for character in escaped:
        text = text.replace(character, _ESCAPES[character])
    return f'"{text}"'


# The functions below raise TypeError or ValueError for content of another type; `_not_a_value` makes the message.


def _append_text(content: Any, add: Add) -> None:
    add(encode_text(content) if len(content) < _LONG else _long_text(content))


def _append_map(content: Any, add: Add) -> Members | None:
    if type(content) is not dict and not isinstance(content, Mapping):
        raise TypeError
    if not content:
        add("{}")
        return None
    types: list[Member] | None = None
    # This repeats `append_members`: a call for each map would cost a tenth of the speed.
    for name, key in _plans[tuple(content)]:
        value = content[name]
        try:
            (kind,) = value
            inner = value[kind]
            add(key)
            if kind == "S":
                add(encode_text(inner) if len(inner) < _LONG else _long_text(inner))
            elif kind == "N" and _is_number(inner):
                add(inner)
            else:
                ambiguous = _APPEND[kind](inner, add)
                if ambiguous:
                    if types is None:
                        types = []
                    types.append((name, ambiguous))
        except (LookupError, TypeError, ValueError):
            raise _not_a_value(value) from None
    add("}")
    return None if types is None else tuple(types)


def _append_list(content: Any, add: Add) -> Members | None:
    separator = "["
    types: list[Member] | None = None
    members, value = iter(content if type(content) is list else _sequence(content)), content
    try:
        for value in members:
            add(separator)
            separator = ","
            (kind,) = value
            ambiguous = _append_map(value[kind], add) if kind == "M" else _APPEND[kind](value[kind], add)
            if ambiguous:
                if types is None:
                    types = []
                # A counter would slow down every list.
                types.append((len(content) - length_hint(members) - 1, ambiguous))
    except (LookupError, TypeError, ValueError):
        raise _not_a_value(value) from None
    add("]" if content else "[]")
    return None if types is None else tuple(types)


def _append_number(content: Any, add: Add) -> None:
    add(_number(content))


def _append_binary(content: Any, add: Add) -> str:
    add(_quoted_base64(content))
    return "B"


def _append_boolean(content: Any, add: Add) -> None:
    if content is not True and content is not False:
        raise TypeError
    add("true" if content else "false")


def _append_null(content: Any, add: Add) -> None:
    if content is not True:
        raise TypeError
    add("null")


def _number(content: Any) -> str:
    if not _is_number(content):
        raise ValueError
    return content  # type: ignore[no-any-return]


def _append_string_set(content: Any, add: Add) -> str:
    add(f"[{','.join(map(encode_text, sorted(content if type(content) is list else _sequence(content))))}]")
    return "SS"


def _append_number_set(content: Any, add: Add) -> str:
    members = content if type(content) is list else _sequence(content)
    for member in members:
        if not _is_number(member):
            raise ValueError
    if len(members) > 1:
        # Doubles that differ are in the order of their numbers.
        differ = len(set(map(float, members))) == len(members)
        # Two spellings of one number, which DynamoDB itself never returns, still get a fixed order.
        members = sorted(members, key=float if differ else lambda member: (Decimal(member), member))
    add(f"[{','.join(members)}]")
    return "NS"


def _append_binary_set(content: Any, add: Add) -> str:
    add(f"[{','.join(sorted(map(_quoted_base64, _sequence(content))))}]")
    return "BS"


_plans = _Plans()

_APPEND: dict[str, Callable[[Any, Add], Members | str | None]] = {
    "S": _append_text,
    "N": _append_number,
    "B": _append_binary,
    "BOOL": _append_boolean,
    "NULL": _append_null,
    "L": _append_list,
    "M": _append_map,
    "SS": _append_string_set,
    "NS": _append_number_set,
    "BS": _append_binary_set,
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


def _quoted_base64(content: Any) -> str:
    if isinstance(content, _BYTES):
        return f'"{b2a_base64(content, newline=False).decode()}"'
    if not _is_base64(content):
        raise ValueError
    return f'"{content}"'


def _sequence(content: Any) -> list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any]:
    if isinstance(content, _SEQUENCES):
        return content
    raise TypeError


def _not_a_value(value: Any) -> RecordError:
    what, content, allowed = "An attribute value", value, f"an object with one of the keys {', '.join(ATTRIBUTE_TYPES)}"
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, inner),) = value.items()
        if kind in ATTRIBUTE_TYPES:
            (what, allowed), content = _ALLOWED[kind], inner
    try:
        shown = repr(content)
    except RecursionError:
        shown = f"a deeply nested {type(content).__name__}"
    return RecordError(f"{what} is {cut(shown)}", allowed=allowed)
