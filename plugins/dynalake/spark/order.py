"""Records in the order that Spark sorts bytes in: the item key and the sequence number as one binary value.

A JVM has no type for a number of 38 digits with DynamoDB's exponents, so the key's parts are written such that the
bytes compare as the parts do; and so are the values of attributes that a run sorts by.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

_END = b"\x00\x00"
_MIDDLE = 1 << 63
_complement = bytes(255 - byte for byte in range(256))


def identity_bytes(identity: Iterable[Any]) -> bytes:
    """The identity of a record (its key's parts and its sequence number): equal and ordered as the parts are."""
    return b"".join(_text(part) if isinstance(part, str) else _number(part) for part in identity)


def place_bytes(values: Iterable[Any], identity: bytes) -> bytes:
    """Where a record comes: by the values of `sort_by`, nulls last, and then by its identity.

    Values of one attribute are of one type there (`compact.order.check_order`).
    """
    return b"".join([*map(_place, values), identity])


def _place(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"\x01" if value else b"\x00"
    if isinstance(value, str):
        return b"\x00" + _text(value)
    if isinstance(value, int | Decimal):
        return _number(value)
    return b"\xff"


def _text(value: str) -> bytes:
    # UTF-8 is in the order of code points. The end sorts below everything that may follow in a longer text.
    return value.encode().replace(b"\x00", b"\x00\xff") + _END


def _number(value: int | Decimal) -> bytes:
    sign, figures, exponent = Decimal(value).as_tuple()
    assert isinstance(exponent, int)  # JSON has no NaN
    digits = "".join(map(str, figures)).lstrip("0")
    if not digits:
        return b"\x01"
    size = (len(digits) + exponent + _MIDDLE).to_bytes(8)
    magnitude = size + digits.rstrip("0").encode() + b"\x00"
    return b"\x00" + magnitude.translate(_complement) if sign else b"\x02" + magnitude


def choose_bounds(samples: Iterable[bytes], ranges: int) -> list[bytes]:
    """Where one range of places ends and the next begins, so that `ranges` of them are about equal.

    `samples`: places, one for each so many bytes of lines. The bounds follow from the input alone: another run of
    the same conversion cuts at the same places, so what both write is the same.
    """
    ordered = sorted(samples)
    cuts = {ordered[len(ordered) * n // ranges] for n in range(1, ranges)} if ordered else set()
    return sorted(cuts)


def range_of(place: bytes, bounds: Sequence[bytes]) -> int:
    """The number of the range that a place is in."""
    return bisect_right(bounds, place)
