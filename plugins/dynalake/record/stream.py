"""A DynamoDB Streams record as a change record.

Both shapes are read: that of Lambda events (binary as base64 text, times in seconds) and that of boto3's GetRecords
(binary as bytes, times as datetimes).
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_Record.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dynalake.errors import RecordError, cut
from dynalake.record.change import encode_change

STREAM_OPERATIONS = ("INSERT", "MODIFY", "REMOVE")

_TTL_PRINCIPAL = "dynamodb.amazonaws.com"


def encode_record(record: Mapping[str, Any]) -> str:
    """Return the change record (one line of JSON, no line break) of one stream record.

    `INSERT` and `MODIFY` carry the new image; `REMOVE` carries the old image, or the keys where the stream has none.
    Raises `RecordError`, with the sequence number if there is one, for what is not a stream record.
    """
    change = _mapping(record, "dynamodb")
    try:
        operation = record.get("eventName")
        if operation not in STREAM_OPERATIONS:
            raise RecordError(f"eventName is {cut(repr(operation))}", allowed="one of " + ", ".join(STREAM_OPERATIONS))
        return encode_change(
            _image(change, removed=operation == "REMOVE"),
            operation=operation,
            sequence_number=change.get("SequenceNumber", ""),
            event_time=event_time(change.get("ApproximateCreationDateTime")),
            expired=operation == "REMOVE" and is_expiry(record),
        )
    except RecordError as error:
        number = change.get("SequenceNumber")
        if isinstance(number, str):
            error.ids.setdefault("sequence_number", number)
        raise


def event_time(moment: object) -> int:
    """Return `ApproximateCreationDateTime`, given in seconds or as a datetime, in milliseconds since the epoch."""
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        return round(moment.timestamp() * 1000)
    if isinstance(moment, int | float) and not isinstance(moment, bool) and 0 <= moment < 1e11:
        return round(moment * 1000)
    raise RecordError(
        f"ApproximateCreationDateTime is {cut(repr(moment))}",
        allowed="seconds since the epoch, or a datetime with a time zone",
    )


def is_expiry(record: Mapping[str, Any]) -> bool:
    """Return whether DynamoDB's TTL removed the item.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html
    """
    identity = record.get("userIdentity") or {}
    kind = identity.get("type", identity.get("Type"))
    principal = identity.get("principalId", identity.get("PrincipalId"))
    return bool(kind == "Service" and principal == _TTL_PRINCIPAL)


def _image(change: Mapping[str, Any], *, removed: bool) -> Mapping[str, Any]:
    if not removed:
        if "NewImage" not in change:
            raise RecordError(
                "The record has no NewImage",
                allowed="a stream with the view type NEW_IMAGE or NEW_AND_OLD_IMAGES",
                action="enable the table's stream with one of them",
            )
        return _mapping(change, "NewImage")
    return _mapping(change, "OldImage" if "OldImage" in change else "Keys")


def _mapping(record: Any, name: str) -> Mapping[str, Any]:
    value = record.get(name) if isinstance(record, Mapping) else None
    if not isinstance(value, Mapping):
        raise RecordError(f"{name!r} is {type(value).__name__} in a stream record", allowed="an object")
    return value
