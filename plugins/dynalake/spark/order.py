"""Records in the order that Spark sorts bytes in: the item key and the sequence number as one binary value.

A JVM has no type for a number of 38 digits with DynamoDB's exponents, so the key's parts are written such that the
bytes compare as the parts do; and so are the values of attributes that a run sorts by. Both of one record, and of a
table of them: the same bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynalake.lake.schema import METADATA_TYPES, TableSchema
from dynalake.lake.types import NULL, Boolean, Number, Text, Type
from dynalake.record.change import SEQUENCE_NUMBER

_pa: Any = pa  # its stubs take types only as literals; here they are data
_pc: Any = pc  # its stubs do not know that text may be binary

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


def identities_of(table: pa.Table, schema: TableSchema) -> Any:
    """`identity_bytes` of each row, of a table that was read under `schema`."""
    parts = [_parts(table[c.name].combine_chunks(), c.type) for c in schema.key_columns]
    return _join([*parts, _texts(table[SEQUENCE_NUMBER].combine_chunks())])


def places_of(table: pa.Table, schema: TableSchema, sort_by: Iterable[str], identities: Any) -> Any:
    """`place_bytes` of each row, where all values of an attribute are of one type that has an order."""
    columns = {c.attribute: (c.name, c.type) for c in schema.columns}
    columns |= {name: (name, kind) for name, kind in METADATA_TYPES.items()}
    parts = []
    for attribute in sort_by:
        name, kind = columns.get(attribute, ("", NULL))
        values = _places(table[name].combine_chunks(), kind) if name in table.column_names else None
        parts.append(_repeat(b"\xff", table.num_rows) if values is None else _pc.fill_null(values, b"\xff"))
    return _join([*parts, identities])


def _places(values: Any, of: Type) -> Any:
    match of:
        case Boolean():
            return _pc.if_else(values, b"\x01", b"\x00")
        case Text():
            return _join([_repeat(b"\x00", len(values)), _texts(values)])
        case Number():
            return _numbers(values, of)
        case _:
            return _pa.nulls(len(values), pa.binary())


def _parts(values: Any, of: Type) -> Any:
    return _numbers(values, of) if isinstance(of, Number) else _texts(values)


def _texts(values: Any) -> Any:
    inner = _pc.replace_substring(values.cast(pa.binary()), pattern=b"\x00", replacement=b"\x00\xff")
    return _join([inner, _repeat(_END, len(values))])


def _numbers(values: Any, of: Number) -> Any:
    if of.kind == "bigint":
        return _integers(values)
    # Of these each different number is written by itself.
    exact: Callable[[Any], Decimal] = {"double": lambda v: Decimal(repr(v)), "text": Decimal}.get(of.kind, lambda v: v)
    encoded = values.dictionary_encode()
    written = _pa.array([_number(exact(v)) for v in encoded.dictionary.to_pylist()], pa.binary())
    return written.take(encoded.indices)


def _integers(values: Any) -> Any:
    digits = _pc.utf8_ltrim(values.cast(pa.string()), characters="-")
    sizes = _pa.array([(size + _MIDDLE).to_bytes(8) for size in range(20)], pa.binary())
    size, rows = sizes.take(_pc.binary_length(digits)), len(values)
    magnitude = _join([size, _pc.utf8_rtrim(digits, characters="0").cast(pa.binary()), _repeat(b"\x00", rows)])
    valid, offsets, data = magnitude.buffers()
    turned = _pa.py_buffer(~np.frombuffer(data or b"", np.uint8))
    complement = _pa.Array.from_buffers(pa.binary(), rows, [valid, offsets, turned], offset=magnitude.offset)
    below, above = _join([_repeat(b"\x00", rows), complement]), _join([_repeat(b"\x02", rows), magnitude])
    return _pc.if_else(_pc.equal(values, 0), b"\x01", _pc.if_else(_pc.less(values, 0), below, above))


def _join(parts: Sequence[Any]) -> Any:
    return _pc.binary_join_element_wise(*parts, b"")


def _repeat(value: bytes, rows: int) -> Any:
    return _pa.repeat(_pa.scalar(value, pa.binary()), rows)


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
