"""A DynamoDB table on local AWS, the log of its changes, and their way into the raw zone through the forwarder.

The changes get their own sequence numbers and times, so that closed days can be filled. The forwarder's records are
put where Firehose would put them.
"""

from __future__ import annotations

import gzip
import uuid
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from dynalake.aws.clients import Clients
from dynalake.names import Lake
from dynalake.options.settings import TableSettings
from dynalake.record.key import ItemKey
from forwarder.handler import Forwarder, forward
from forwarder.targets import Targets

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.literals import ScalarAttributeTypeType

Value = dict[str, Any]
"""Attribute value in DynamoDB's API: `{"N": "1.50"}`."""

Item = dict[str, Value]

SEQUENCE = 10**20
"""First sequence number: the stream's have at least 21 digits."""


class Change(NamedTuple):
    """One change of an item. `image`: its image in the stream: the new one, or that of the removed item."""

    sequence: int
    time: int
    operation: str
    image: Item
    expired: bool
    record: dict[str, Any]


class SourceTable:
    """A table, whose stream may have old images; `changes` are all changes so far, in their order."""

    def __init__(self, clients: Clients, lake: Lake, name: str, key: ItemKey, *, old_images: bool) -> None:
        self.clients, self.names, self.key, self.old_images = clients, lake.table(name), key, old_images
        self.changes: list[Change] = []
        kinds = ("HASH", "RANGE")
        clients.dynamodb.create_table(
            TableName=name,
            AttributeDefinitions=[
                {"AttributeName": a.name, "AttributeType": cast("ScalarAttributeTypeType", a.type)}
                for a in key.attributes
            ],
            KeySchema=[
                {"AttributeName": a.name, "KeyType": "HASH" if kind == "HASH" else "RANGE"}
                for a, kind in zip(key.attributes, kinds, strict=False)
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        settings = TableSettings(name).to_json()
        clients.ssm.put_parameter(Name=self.names.settings_parameter, Type="String", Value=settings)
        self.arn = clients.dynamodb.describe_table(TableName=name)["Table"]["TableArn"]

    # -- writing -------------------------------------------------------------------------------------------------------

    def put(self, item: Item, time: int) -> Change:
        old = self.put_unseen(item)
        return self._log("MODIFY" if old else "INSERT", time, item, new=item, old=old)

    def remove(self, item: Item, time: int, *, expired: bool = False) -> Change | None:
        """Remove the item with this key, and return the change; None if there is no item. `expired`: TTL removed it."""
        old = self.remove_unseen(item)
        return self._log("REMOVE", time, item, old=old, expired=expired) if old else None

    def put_unseen(self, item: Item) -> Item:
        """Put an item without a change in the stream; return the previous item."""
        answer = self.clients.dynamodb.put_item(TableName=self.names.table, Item=item, ReturnValues="ALL_OLD")
        return cast("Item", answer.get("Attributes") or {})

    def remove_unseen(self, item: Item) -> Item:
        """Remove an item without a change in the stream; return the previous item."""
        answer = self.clients.dynamodb.delete_item(
            TableName=self.names.table, Key=self.key_of(item), ReturnValues="ALL_OLD"
        )
        return cast("Item", answer.get("Attributes") or {})

    def _log(
        self, operation: str, time: int, item: Item, *, new: Item | None = None, old: Item, expired: bool = False
    ) -> Change:
        sequence = SEQUENCE + len(self.changes)
        content = {
            "ApproximateCreationDateTime": time / 1000,
            "SequenceNumber": str(sequence),
            "Keys": as_event(self.key_of(item)),
            **({"NewImage": as_event(new)} if new else {}),
            **({"OldImage": as_event(old)} if old and self.old_images else {}),
        }
        record = {"eventName": operation, "eventSourceARN": f"{self.arn}/stream/x", "dynamodb": content}
        if expired:
            record["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
        removed = old if self.old_images else self.key_of(item)
        image = removed if operation == "REMOVE" else new or {}
        self.changes.append(Change(sequence, time, operation, image, expired, record))
        return self.changes[-1]

    # -- reading -------------------------------------------------------------------------------------------------------

    def key_of(self, item: Item) -> Item:
        return {name: item[name] for name in self.key.names}

    def items(self) -> list[Item]:
        """Return the table's current items."""
        pages = self.clients.dynamodb.get_paginator("scan").paginate(TableName=self.names.table, ConsistentRead=True)
        return [cast("Item", item) for page in pages for item in page["Items"]]

    # -- landing -------------------------------------------------------------------------------------------------------

    def day(self, time: int) -> str:
        return self.names.lake.day_of(datetime.fromtimestamp(time / 1000, UTC))

    def land(self, changes: Iterable[Change], day: str = "") -> list[str]:
        """Send these changes through the forwarder; they land on the days when they were made, or on another one.

        Returns the keys of the raw objects.
        """
        by_day: dict[str, list[dict[str, Any]]] = {}
        for change in changes:
            by_day.setdefault(day or self.day(change.time), []).append(change.record)
        keys = []
        for of, records in by_day.items():
            stream = _Stream()
            forwarder = Forwarder(Targets(self.names.lake, self.clients.ssm), stream, stream, self.clients.s3)
            assert forward(forwarder, records, lambda: 60.0) == {"batchItemFailures": []}
            keys.append(f"{self.names.raw_day(of)}{uuid.uuid4().hex}.gz")
            body = gzip.compress(stream.data)
            self.clients.s3.put_object(Bucket=self.names.lake.bucket, Key=keys[-1], Body=body)
        return keys

    def land_again(self, key: str, day: str) -> None:
        """Put the same object once more on a day, as Firehose does after a lost response."""
        copy = f"{self.names.raw_day(day)}{uuid.uuid4().hex}.gz"
        self.clients.s3.copy_object(
            Bucket=self.names.lake.bucket, Key=copy, CopySource=f"{self.names.lake.bucket}/{key}"
        )


class _Stream:
    """Kinesis and Firehose: one blob after another."""

    def __init__(self) -> None:
        self.data = b""

    def put_records(self, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:
        self.data += b"".join(record["Data"] for record in Records)
        return {"Records": [{} for _ in Records]}


def as_event(value: Any) -> Any:
    """Return attribute values as in Lambda's events: binary as base64 text."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, dict):
        return {name: as_event(inner) for name, inner in value.items()}
    return [as_event(inner) for inner in value] if isinstance(value, list) else value
