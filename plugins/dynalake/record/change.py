"""The change record: one line of JSON with the item's attributes and what happened to the item."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from dynalake.errors import RecordError, cut
from dynalake.record.attribute import Keys, append_members, encode_value, escape_surrogates
from dynalake.record.paths import paths_text

OPERATION = "__operation"
"""One of `OPERATIONS`."""

SEQUENCE_NUMBER = "__sequence_number"
"""The stream's sequence number in 40 digits, so that text order is numeric order; 40 zeros for a snapshot."""

EVENT_TIME = "__event_time"
"""Milliseconds since the epoch: the change's time, or the read time of a snapshot."""

EXPIRED = "__expired"
"""`true` where DynamoDB's TTL removed the item; else the field is absent."""

TYPES = "__types"
"""An object: path of each value in the item that has one of the `AMBIGUOUS_TYPES` → that type; absent without any.

A path is a JSON Pointer (https://www.rfc-editor.org/rfc/rfc6901) over the item's own attribute names: `/meta/tags`.
"""

METADATA = (OPERATION, SEQUENCE_NUMBER, EVENT_TIME, EXPIRED, TYPES)

OTHER = "__other"
"""A column of the lake's tables, not a field of a record: an attribute of this name is kept under another key."""

RESERVED_KEYS = (*METADATA, OTHER)
"""The keys of a record that are never an attribute's."""

OPERATIONS = ("INSERT", "MODIFY", "REMOVE", "SNAPSHOT", "CANARY")

CANARY_ID = "__canary_id"
"""The only attribute of a `CANARY` record. Its sender looks for the value in the lake."""

SEQUENCE_DIGITS = 40
_MICROS_DIGITS = 16
SNAPSHOT_SEQUENCE = "0" * SEQUENCE_DIGITS
"""A number below that of every stream record, so a snapshot never wins over a change."""

is_sequence_number = re.compile(rf"[0-9]{{{SEQUENCE_DIGITS}}}(?:\.[0-9]{{{_MICROS_DIGITS}}})?+").fullmatch
"""The form of a `SEQUENCE_NUMBER`; with a point where `sequence_after` made it."""

_collides = re.compile("_*(?:" + "|".join(RESERVED_KEYS) + ")").fullmatch


def pad_sequence_number(text: str) -> str:
    """Return `text` in 40 digits: `"4421584500000000017450439091"` with zeros in front.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_StreamRecord.html: 21 to 40 digits. A
    number made by `sequence_after` is returned as it is. Raises `RecordError` where `text` is not a sequence number.
    """
    if type(text) is not str or not text.isascii() or not text.isdigit() or len(text) > SEQUENCE_DIGITS:
        if type(text) is str and is_sequence_number(text):
            return text
        raise RecordError(f"The sequence number is {cut(repr(text))}", allowed=f"1 to {SEQUENCE_DIGITS} digits")
    return text.zfill(SEQUENCE_DIGITS)


def sequence_after(number: str, micros: int) -> str:
    """Return a number between the padded `number` and every greater one, for a change written at `micros`.

    The stream may have no number between two others, but text has room: `…91` < `…91.1558779000000000` < `…92`.
    """
    return f"{number}.{micros:0{_MICROS_DIGITS}d}"


def json_key(attribute: str) -> str:
    """Return the key of the item's attribute in a change record.

    It is the attribute's own name. A reserved name (a metadata field's, or `OTHER`), also with further underscores in
    front, gets one more underscore, so that no attribute is overwritten and all keys differ.
    """
    return f"_{attribute}" if _collides(attribute) else attribute


def attribute_name(key: str) -> str:
    """Return the attribute behind a change record's key: the reverse of `json_key`.

    A reserved name is not an attribute, and is returned as it is.
    """
    return key[1:] if _collides(key) and key not in RESERVED_KEYS else key


def encode_change(
    image: Mapping[str, Any],
    *,
    operation: str,
    sequence_number: str,
    event_time: int,
    expired: bool = False,
) -> str:
    """Return one change as one line of JSON, without the line break: metadata first, then the attributes by name.

    `image` maps attribute names to DynamoDB's attribute values; `sequence_number` may be unpadded; `event_time` is in
    milliseconds since the epoch. The same arguments always give the same text.

    Raises `RecordError` where one of them is malformed.
    """
    metadata = _metadata(operation, sequence_number, event_time)
    return escape_surrogates(_line(f'{metadata},"__expired":true' if expired else metadata, image))


def snapshot_encoder(event_time: int) -> Callable[[Mapping[str, Any]], bytes]:
    """Return a function that encodes items as `encode_change` does for `SNAPSHOT`, in UTF-8.

    It is for the millions of a backfill: the metadata is made once, and each text is encoded once.
    """
    metadata = _metadata("SNAPSHOT", SNAPSHOT_SEQUENCE, event_time)

    def encode(image: Mapping[str, Any]) -> bytes:
        text = _line(metadata, image)
        try:
            return text.encode()
        except UnicodeEncodeError:
            return escape_surrogates(text).encode()

    return encode


def _line(metadata: str, image: Mapping[str, Any]) -> str:
    pieces = [metadata]
    try:
        types = append_members(image, _keys, pieces)
        if types:
            pieces[0] = f'{metadata},"{TYPES}":{paths_text(types)}'
        pieces.append("}")
    except TypeError as error:
        raise RecordError(f"The image is {type(image).__name__}", allowed="an object of attribute values") from error
    except RecursionError as error:
        raise RecordError("The item is nested deeper than the encoder supports", allowed="32 levels") from error
    except RecordError as error:
        name = _refused_attribute(image)
        raise RecordError(
            f"Attribute {cut(repr(name))}: {error.received}", allowed=error.allowed, action=error.action, attribute=name
        ) from error
    return "".join(pieces)


def _metadata(operation: str, sequence_number: str, event_time: int) -> str:
    if operation not in OPERATIONS:
        raise RecordError(f"The operation is {operation!r}", allowed="one of " + ", ".join(OPERATIONS))
    if type(event_time) is not int:
        raise RecordError(f"The event time is {event_time!r}", allowed="whole milliseconds since the epoch")
    return (
        f'{{"__operation":"{operation}","__sequence_number":"{pad_sequence_number(sequence_number)}"'
        f',"__event_time":{event_time}'
    )


_keys = Keys(json_key)


def _refused_attribute(image: Mapping[str, Any]) -> str:
    for name in sorted(image):
        try:
            encode_value(image[name])
        except RecordError:
            return name
    return ""
