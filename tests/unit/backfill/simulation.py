"""Concurrent segments in simulated time: threads take turns, a table counts units, a bucket is in memory."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import accumulate, count
from math import ceil
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients
from dynalake.backfill.plan.run import plan_backfill
from dynalake.backfill.scan.scan import scan_segment
from dynalake.lake.catalog.table import Table
from dynalake.names import Lake, TableNames
from dynalake.options.backfill import BackfillOptions

PAGE_BYTES = 1024 * 1024
UNIT_BYTES = 4096


class SimulatedTime:
    """Seconds that pass when every thread sleeps; one thread works at a time, so a run is the same every time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._turn = threading.Condition()
        self._wakes: dict[int, tuple[float, int]] = {}
        self._awake = 0
        self._number = count()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        me = threading.get_ident()
        with self._turn:
            self._wakes[me] = (self.now + seconds, next(self._number))
            self._awake -= 1
            self._wake_next()
            self._turn.wait_for(lambda: me not in self._wakes)

    def run(self, works: Sequence[tuple[float, Callable[[], None]]]) -> None:
        """Run each job in its own thread, from its second on."""
        errors: list[BaseException] = []

        def work(starts: float, do: Callable[[], None]) -> None:
            try:
                self.sleep(starts)
                do()
            except BaseException as error:
                errors.append(error)
            with self._turn:
                self._awake -= 1
                self._wake_next()

        threads = [threading.Thread(target=work, args=job) for job in works]
        self._awake = len(threads)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _wake_next(self) -> None:
        if self._awake == 0 and self._wakes:
            first = min(self._wakes, key=lambda thread: self._wakes[thread])
            self.now = self._wakes.pop(first)[0]
            self._awake = 1
            self._turn.notify_all()


@dataclass
class SimulatedTable:
    """Segments of items with the given sizes in bytes, read as DynamoDB reads them.

    A page ends at 1 MB or at its limit; half a unit (a whole one, if consistent) per 4 KB, rounded up. `throttle` says
    whether the request at a moment is refused.
    """

    clock: SimulatedTime
    segments: Sequence[Sequence[int]]
    latency: float = 0.01
    bytes_per_second: float = 40e6
    throttle: Callable[[float], bool] = lambda moment: False
    provisioned: int = 0
    consumed: list[tuple[float, float]] = field(default_factory=list)
    refused: int = 0

    @property
    def meta(self) -> Any:
        return SimpleNamespace(events=Mock())

    def describe_table(self, TableName: str) -> dict[str, Any]:
        sizes = [size for segment in self.segments for size in segment]
        return {
            "Table": {
                "TableName": TableName,
                "TableId": "table-1",
                "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "N"}],
                "ItemCount": len(sizes),
                "TableSizeBytes": sum(sizes),
                "ProvisionedThroughput": {"ReadCapacityUnits": self.provisioned},
            }
        }

    def scan(self, **request: Any) -> dict[str, Any]:
        assert request["ReturnConsumedCapacity"] == "TOTAL"
        if self.throttle(self.clock.now):
            self.refused += 1
            code = "ProvisionedThroughputExceededException"
            raise ClientError({"Error": {"Code": code, "Message": "slow down"}}, "Scan")
        sizes = self.segments[request.get("Segment", 0)]
        start = int(request["ExclusiveStartKey"]["id"]["N"]) + 1 if "ExclusiveStartKey" in request else 0
        end, size = start, 0
        while end < len(sizes) and size < PAGE_BYTES and end - start < request.get("Limit", len(sizes)):
            size += sizes[end]
            end += 1
        units = ceil(size / UNIT_BYTES) * (1.0 if request["ConsistentRead"] else 0.5)
        self.consumed.append((self.clock.now, units))
        self.clock.sleep(self.latency + size / self.bytes_per_second)
        answer: dict[str, Any] = {
            "Items": [{"id": {"N": str(number)}} for number in range(start, end)],
            "ScannedCount": end - start,
            "ConsumedCapacity": {"CapacityUnits": units},
        }
        if end < len(sizes):
            answer["LastEvaluatedKey"] = {"id": {"N": str(end - 1)}}
        return answer

    def most(self, seconds: float = 10.0) -> float:
        """Return the most units of any such span."""
        return max(self._within([moment for moment, _ in self.consumed], seconds))

    def least(self, begin: float, end: float, seconds: float = 10.0) -> float:
        """Return the fewest units of any such span between the two moments."""
        starts = [begin, *(moment + 1e-6 for moment, _ in self.consumed if begin < moment <= end - seconds)]
        return min(self._within(starts, seconds))

    def _within(self, starts: Sequence[float], seconds: float) -> list[float]:
        """Return the units from each of the moments on."""
        moments = [moment for moment, _ in self.consumed]
        sums = [0.0, *accumulate(units for _, units in self.consumed)]
        return [sums[bisect_left(moments, start + seconds)] - sums[bisect_left(moments, start)] for start in starts]


class MemoryBucket:
    """The S3 calls of a backfill on a dictionary; each takes `latency` seconds."""

    def __init__(self, clock: SimulatedTime, latency: float = 0.03) -> None:
        self._clock = clock
        self._latency = latency
        self._objects: dict[str, tuple[bytes, str, float]] = {}
        self._versions = count(1)

    def put_object(
        self, Key: str, Body: Any, IfNoneMatch: str | None = None, IfMatch: str | None = None, **_: Any
    ) -> dict[str, Any]:
        self._clock.sleep(self._latency)
        stored = self._objects.get(Key)
        if (IfNoneMatch and stored) or (IfMatch and (not stored or stored[1] != IfMatch)):
            raise ClientError({"Error": {"Code": "PreconditionFailed", "Message": ""}}, "PutObject")
        etag = f'"{next(self._versions)}"'
        self._objects[Key] = (Body if isinstance(Body, bytes) else Body.read(), etag, self._clock.now)
        return {"ETag": etag}

    def get_object(self, Key: str, **_: Any) -> dict[str, Any]:
        self._clock.sleep(self._latency)
        if Key not in self._objects:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": ""}}, "GetObject")
        body, etag, _moment = self._objects[Key]
        return {"Body": BytesIO(body), "ETag": etag}

    def delete_object(self, Key: str, **_: Any) -> None:
        self._clock.sleep(self._latency)
        self._objects.pop(Key, None)

    def list_objects_v2(self, Prefix: str, **_: Any) -> dict[str, Any]:
        self._clock.sleep(self._latency)
        epoch = datetime(2019, 5, 25, tzinfo=UTC)
        return {
            "Contents": [
                {"Key": k, "Size": len(body), "ETag": etag, "LastModified": epoch + timedelta(seconds=int(moment))}
                for k, (body, etag, moment) in sorted(self._objects.items())
                if k.startswith(Prefix)
            ]
        }

    def get_paginator(self, operation: str) -> MemoryBucket:
        return self

    def paginate(self, Prefix: str, **_: Any) -> list[dict[str, Any]]:
        return [self.list_objects_v2(Prefix)]


def of_bucket(clock: SimulatedTime, table: SimulatedTable | None = None) -> tuple[Clients, TableNames]:
    """Return clients of an empty bucket in memory and of the table."""
    services = {"s3": MemoryBucket(clock), "dynamodb": table}
    return Clients(lambda service: services[service]), Lake("dev", "123456789012", "us-east-1").table("RECEIPTS")


def scan_all(
    table: SimulatedTable, *, slots: int | None = None, starts: Sequence[float] = (), **options: Any
) -> list[tuple[float, float]]:
    """Plan a run and scan its segments as tasks do: `slots` at once, or each from its second in `starts`.

    Return when each began and ended.
    """
    clock = table.clock
    clients, names = of_bucket(clock, table)
    waiting = list(range(len(table.segments)))
    spans: dict[int, tuple[float, float]] = {}

    def scan(segment: int) -> None:
        begun = clock.now
        result = scan_segment(Table(clients, names), run="r", segment=segment, clock=clock, sleep=clock.sleep)
        assert result.read == len(table.segments[segment])
        spans[segment] = (begun, clock.now)

    def plan() -> None:
        plan_backfill(
            Table(clients, names), "r", BackfillOptions(method="scan", segments=len(table.segments), **options)
        )

    def work_off() -> None:
        while waiting:
            scan(waiting.pop(0))
            clock.sleep(2.0)  # until the scheduler starts the next task

    clock.run([(0.0, plan)])
    if starts:
        clock.run([(begin, lambda n=n: scan(n)) for n, begin in enumerate(starts)])  # type: ignore[misc]
    else:
        clock.run([(0.2 * n, work_off) for n in range(slots or len(waiting))])
    return [spans[segment] for segment in sorted(spans)]
