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
from infra.local.aws.settings import scaled

EXPIRY_SECONDS = 60.0
SWEEP_THREAD = "ttl-sweep"
TTL_IDENTITY = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


class _SequenceNumbers:
    """Generator of growing numbers with 23 digits that begin with the time in milliseconds."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def next(self) -> str:
        """Return the next number; it grows even if the clock is set back."""
        with self._lock:
            self._last = max(self._last + 1, int(time.time() * 1000) * SEQUENCE_COUNTER)
            return str(self._last)


def install() -> None:
    """Replace the sequence numbers; remove expired items at the server's pace, with change records."""
    dynamodb._next_stream_seq = _SequenceNumbers().next
    remove = dynamodb._remove_item

    def remove_item(table: dict[str, Any], partition_value: Any, sort_value: Any) -> Any:
        # ministack's own sweep runs in a thread of this name, and writes no change record.
        if threading.current_thread().name != "dynamodb-ttl-reaper":
            return remove(table, partition_value, sort_value)
        return None

    dynamodb._remove_item = remove_item
    key_value = dynamodb._extract_key_val

    def canonical_key_value(attribute: Any) -> Any:
        value = key_value(attribute)
        if isinstance(attribute, dict) and "N" in attribute:
            # ministack stores 1.0 as 1 and then cannot find it by the key 1.0.
            return dynamodb._ddb_canonicalize_number(value) or value
        return value

    dynamodb._extract_key_val = canonical_key_value
    build = dynamodb._build_change_record

    def build_change_record(*arguments: Any) -> Any:
        record = build(*arguments)
        if threading.current_thread().name == SWEEP_THREAD:
            record["userIdentity"] = dict(TTL_IDENTITY)
        fault = faults.take("dynamodb", "ChangeRecord", str(arguments[0]["TableName"]))
        if fault is not None and fault.hits():
            for image in ("NewImage", "OldImage"):
                record["dynamodb"].pop(image, None)
        return record

    dynamodb._build_change_record = build_change_record
    get_records = dynamodb_streams._get_records

    def get_records_with_identity(request: dict[str, Any]) -> Any:
        status, headers, body = get_records(request)
        if b'"userIdentity"' in body:
            answer = json.loads(body)
            for record in answer["Records"]:
                # Lambda's event and the API spell the members of this structure differently.
                if identity := record.pop("userIdentity", None):
                    record["userIdentity"] = {
                        "Type": identity["type"],
                        "PrincipalId": identity["principalId"],
                    }
            body = json.dumps(answer).encode()
        return status, headers, body

    dynamodb_streams._get_records = get_records_with_identity

    def sweep() -> None:
        while True:
            time.sleep(max(0.2, scaled(EXPIRY_SECONDS)))
            with dynamodb._lock:
                for (account, region, name), setting in dynamodb._ttl_settings.all_items():
                    table = dynamodb._tables.get_scoped(account, region, name)
                    if table is None or setting.get("TimeToLiveStatus") != "ENABLED":
                        continue
                    with request_scope(account, region):
                        for partition_value, sort_value in _expired(table, setting["AttributeName"]):
                            item = remove(table, partition_value, sort_value)
                            dynamodb._emit_stream_event(name, "REMOVE", item, None)

    threading.Thread(target=sweep, name=SWEEP_THREAD, daemon=True).start()


def _expired(table: dict[str, Any], attribute: str) -> list[tuple[Any, Any]]:
    now = time.time()
    return [
        (partition_value, sort_value)
        for partition_value, items in table["items"].items()
        for sort_value, item in items.items()
        # Only a number expires an item; other types are ignored.
        if float(item.get(attribute, {}).get("N", "inf")) <= now
    ]
