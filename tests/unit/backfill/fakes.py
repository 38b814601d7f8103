"""A DynamoDB table in memory that scans as DynamoDB documents it, and clients that fail at a chosen call."""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

from botocore.exceptions import ClientError

Item = dict[str, dict[str, Any]]


class FakeTable:
    """Table `RECEIPTS` with the key `id` (S): DescribeTable and Scan with segments, pages and consumed capacity.

    A page ends after `page_items` items or `page_bytes` bytes; as in DynamoDB, a page that ends exactly with the
    segment still has a LastEvaluatedKey. `units_per_item` is the cost of an item.
    """

    def __init__(
        self,
        items: Iterable[Item],
        *,
        page_items: int = 1000,
        units_per_item: float = 0.5,
        clock: FakeClock | None = None,
        page_seconds: float = 0.0,
    ) -> None:
        self.items = {item["id"]["S"]: item for item in items}
        self.page_items = page_items
        self.units_per_item = units_per_item
        self.requests: list[dict[str, Any]] = []
        self.consumed: list[tuple[float, float]] = []
        self._clock = clock
        self._page_seconds = page_seconds

    id = "table-1"

    @property
    def meta(self) -> Any:
        return SimpleNamespace(events=Mock(), region_name="us-east-1")

    def describe_table(self, TableName: str) -> dict[str, Any]:
        self._check(TableName)
        return {
            "Table": {
                "TableName": "RECEIPTS",
                "TableId": self.id,
                "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
                "ItemCount": len(self.items),
                "TableSizeBytes": 100 * len(self.items),
            }
        }

    def list_tables(self, Limit: int) -> dict[str, Any]:
        return {"TableNames": ["RECEIPTS"]}

    def describe_continuous_backups(self, TableName: str) -> dict[str, Any]:
        return {"ContinuousBackupsDescription": {"ContinuousBackupsStatus": "ENABLED"}}

    def scan(self, **request: Any) -> dict[str, Any]:
        self._check(request["TableName"])
        self.requests.append(request)
        if self._clock:
            self._clock.now += self._page_seconds
        order = sorted(self.items, key=_place)
        items = [i for i in order if _place(i)[0] % request.get("TotalSegments", 1) == request.get("Segment", 0)]
        if "ExclusiveStartKey" in request:
            start = _place(request["ExclusiveStartKey"]["id"]["S"])
            items = [i for i in items if _place(i) > start]
        page = items[: min(self.page_items, request.get("Limit", self.page_items))]
        units = self.units_per_item * len(page)
        if self._clock:
            self.consumed.append((self._clock.now, units))
        answer: dict[str, Any] = {
            "Items": [self.items[i] for i in page],
            "Count": len(page),
            "ScannedCount": len(page),
            "ConsumedCapacity": {"TableName": "RECEIPTS", "CapacityUnits": units},
        }
        if page:
            answer["LastEvaluatedKey"] = {"id": {"S": page[-1]}}
        return answer

    def _check(self, table: str) -> None:
        if table != "RECEIPTS":
            raise ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "no table"}}, "DescribeTable")


def _place(key: str) -> tuple[int, str]:
    return zlib.crc32(key.encode()), key


class FakeClock:
    """Seconds that pass only on request."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class KilledError(Exception):
    """The process died here."""


_LOOKS = ("describe_", "get_", "head_", "list_", "scan")


class Kill:
    """Counts the calls of every wrapped client and raises at call number `at` (0: never).

    `after` lets the call happen first: the answer is lost, its effect is not. `changing` are the calls that do
    not only read, number → name: a process killed between two of them leaves the same, whatever it read.
    """

    def __init__(self, at: int = 0, *, after: bool = False) -> None:
        self.at = at
        self.after = after
        self.calls = 0
        self.changing: dict[int, str] = {}

    def wrap(self, client: Any) -> Any:
        return _Wrapped(client, self)

    def call(self, name: str, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if not name.startswith(_LOOKS):
            self.changing[self.calls] = name
        if self.calls != self.at:
            return function(*args, **kwargs)
        if self.after:
            with suppress(ClientError):
                function(*args, **kwargs)
        raise KilledError(name)


class _Wrapped:
    def __init__(self, client: Any, kill: Kill) -> None:
        self._client = client
        self._kill = kill

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        if name == "get_paginator":
            return lambda operation: _Paginator(value(operation), operation, self._kill)
        if not callable(value) or name.startswith("_") or name in ("exceptions", "meta"):
            return value
        return lambda *args, **kwargs: self._kill.call(name, value, *args, **kwargs)


class _Paginator:
    def __init__(self, paginator: Any, operation: str, kill: Kill) -> None:
        self._paginator, self._operation, self._kill = paginator, operation, kill

    def paginate(self, **kwargs: Any) -> Any:
        return self._kill.call(self._operation, self._paginator.paginate, **kwargs)


def receipts(count: int, *, updated: Mapping[int, dict[str, Any]] | None = None, padding: int = 1500) -> list[Item]:
    """Return `count` items with `padding` hardly compressible characters; item n has `updated[n]` as `updatedAt`."""
    items: list[Item] = []
    for number in range(count):
        note = Random(number).randbytes(padding * 3 // 4 + 3)
        item: Item = {
            "id": {"S": f"r-{number:05d}"},
            "total": {"N": str(number)},
            "note": {"S": b64encode(note).decode()[:padding]},
        }
        if updated and number in updated:
            item["updatedAt"] = updated[number]
        items.append(item)
    return items
