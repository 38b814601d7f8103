"""DynamoDB's items and change records: numeric keys, sequence numbers, and change records of TTL expiry.

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_StreamRecord.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import dynamodb, dynamodb_streams

from infra.local.aws import faults
from infra.local.aws.lambda_.stream_batches import SEQUENCE_COUNTER
from infra.local.aws.patch import Original, patch, replace
from infra.local.aws.settings import scaled

EXPIRY_SECONDS = 60.0
TTL_IDENTITY = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


_last = 0
_lock = threading.Lock()


@replace(dynamodb, "_next_stream_seq")
def next_sequence_number() -> str:
    """Return 23 digits that begin with the time in milliseconds, and grow even if the clock is set back."""
    global _last
    with _lock:
        _last = max(_last + 1, int(time.time() * 1000) * SEQUENCE_COUNTER)
        return str(_last)


@patch(dynamodb, "_remove_item")
def remove_item(original: Original, table: dict[str, Any], partition_value: Any, sort_value: Any) -> Any:
    """Remove nothing in ministack's own sweep, which writes no change record."""
    if threading.current_thread().name != "dynamodb-ttl-reaper":
        return original(table, partition_value, sort_value)
    return None


@patch(dynamodb, "_extract_key_val")
def key_value(original: Original, attribute: Any) -> Any:
    """Find an item by the key 1.0, although ministack stores it as 1."""
    value = original(attribute)
    if isinstance(attribute, dict) and "N" in attribute:
        return dynamodb._ddb_canonicalize_number(value) or value
    return value


@patch(dynamodb, "_build_change_record")
def build_change_record(original: Original, *arguments: Any) -> Any:
    """Mark the change records of expired items, and remove images if a test requests it."""
    record = original(*arguments)
    if threading.current_thread().name == expire_forever.__name__:
        record["userIdentity"] = dict(TTL_IDENTITY)
    fault = faults.take("dynamodb", "ChangeRecord", str(arguments[0]["TableName"]))
    if fault is not None and fault.hits():
        for image in ("NewImage", "OldImage"):
            record["dynamodb"].pop(image, None)
    return record


@patch(dynamodb_streams, "_get_records")
def get_records(original: Original, request: dict[str, Any]) -> Any:
    """Spell the members of a user's identity as the API does, which differs from Lambda's event."""
    status, headers, body = original(request)
    if b'"userIdentity"' in body:
        answer = json.loads(body)
        for record in answer["Records"]:
            if identity := record.pop("userIdentity", None):
                record["userIdentity"] = {"Type": identity["type"], "PrincipalId": identity["principalId"]}
        body = json.dumps(answer).encode()
    return status, headers, body


def expire_forever() -> None:
    """Remove expired items at the server's pace, with change records."""
    while True:
        time.sleep(max(0.2, scaled(EXPIRY_SECONDS)))
        with dynamodb._lock:
            for (account, region, name), setting in dynamodb._ttl_settings.all_items():
                table = dynamodb._tables.get_scoped(account, region, name)
                if table is None or setting.get("TimeToLiveStatus") != "ENABLED":
                    continue
                with request_scope(account, region):
                    for partition_value, sort_value in _expired(table, setting["AttributeName"]):
                        item = dynamodb._remove_item(table, partition_value, sort_value)
                        dynamodb._emit_stream_event(name, "REMOVE", item, None)


def _expired(table: dict[str, Any], attribute: str) -> list[tuple[Any, Any]]:
    now = time.time()
    return [
        (partition_value, sort_value)
        for partition_value, items in table["items"].items()
        for sort_value, item in items.items()
        # Only a number expires an item; other types are ignored.
        if float(item.get(attribute, {}).get("N", "inf")) <= now
    ]
