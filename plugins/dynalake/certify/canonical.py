"""An item as one text: the same for equal items, whether DynamoDB or the lake has them, and only for these.

Numbers have one spelling, as they are equal by value; binary is base64; sets and names are in order. An attribute or a
map's entry that is NULL is left out: in the lake's columns, null and missing are the same. The text is made from
DynamoDB's own attribute values, without the encoder of change records, so that an error of that is seen, too.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from decimal import MAX_EMAX, MIN_EMIN, Context
from hashlib import blake2b
from json.encoder import encode_basestring as encode_text
from typing import Any

AttributeValue = Mapping[str, Any]

_EXACT = Context(prec=1000, Emax=MAX_EMAX, Emin=MIN_EMIN)
_DIGEST_BYTES = 16


def digest(item: Mapping[str, AttributeValue]) -> str:
    """Return the digest of an item's canonical text: 32 hexadecimal digits."""
    return blake2b(_map(item).encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()


def canonical(value: AttributeValue) -> str:
    """Return the text of one attribute value in DynamoDB JSON; binary is `bytes` or base64 text."""
    ((kind, content),) = value.items()
    return _TEXTS[kind](content)


def differing(one: Mapping[str, AttributeValue], other: Mapping[str, AttributeValue]) -> tuple[str, ...]:
    """Return the names of the attributes in which two items differ, in order."""
    texts = [{n: canonical(v) for n, v in item.items() if "NULL" not in v} for item in (one, other)]
    names = sorted(texts[0].keys() | texts[1].keys())
    return tuple(name for name in names if texts[0].get(name) != texts[1].get(name))


def _map(content: Mapping[str, AttributeValue]) -> str:
    members = [f"{encode_text(n)}:{canonical(v)}" for n, v in sorted(content.items()) if "NULL" not in v]
    return f"{{{','.join(members)}}}"


def _number(content: str) -> str:
    number = _EXACT.normalize(_EXACT.create_decimal(content))
    return str(number) if number else "0"


def _binary(content: bytes | str) -> str:
    return f"b:{content if isinstance(content, str) else b64encode(bytes(content)).decode()}"


def _set(member: Callable[[Any], str]) -> Callable[[Iterable[Any]], str]:
    return lambda content: f"<{','.join(sorted(map(member, content)))}>"


_TEXTS: Mapping[str, Callable[[Any], str]] = {
    "S": encode_text,
    "N": _number,
    "B": _binary,
    "BOOL": lambda content: "true" if content else "false",
    "NULL": lambda content: "null",
    "M": _map,
    "L": lambda content: f"[{','.join(map(canonical, content))}]",
    "SS": _set(encode_text),
    "NS": _set(_number),
    "BS": _set(_binary),
}
