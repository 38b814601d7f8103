"""Write to a DynamoDB table in batches and threads; the writes of each key stay in order."""

from __future__ import annotations

import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Lock, Semaphore
from types import TracebackType
from typing import Any, Protocol, Self

from dynalake.record.key import ItemKey

# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
BATCH = 25
THREADS = 8
ATTEMPTS = 12

Request = dict[str, Any]
KeyValues = tuple[object, ...]
Progress = Callable[[int], None]


class Write(Protocol):
    """The parts of a change that `apply_changes` reads."""

    @property
    def operation(self) -> str: ...

    @property
    def item(self) -> Mapping[str, Any]: ...


def key_values(key: ItemKey, item: Mapping[str, Any]) -> KeyValues:
    """Return the item's key in comparable form: numbers by value, binary as base64 text."""
    return tuple(_key_value(a.type, item[a.name][a.type]) for a in key.attributes)


def _key_value(kind: str, content: Any) -> object:
    if kind == "N":
        return Decimal(content)
    return b64encode(content).decode() if kind == "B" else content


def create_table(dynamodb: Any, table: str, key: ItemKey) -> None:
    """Create an on-demand table with stream (both images) and point-in-time recovery; wait until it is active."""
    roles = ("HASH", "RANGE")
    dynamodb.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": n, "KeyType": role} for n, role in zip(key.names, roles, strict=False)],
        AttributeDefinitions=[{"AttributeName": a.name, "AttributeType": a.type} for a in key.attributes],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    dynamodb.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})
    dynamodb.update_continuous_backups(
        TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )


def write_items(
    dynamodb: Any, table: str, items: Iterable[Mapping[str, Any]], progress: Progress = lambda count: None
) -> int:
    """Put all items (their keys differ); return how many. `progress` gets the count so far."""
    with _Lanes(dynamodb, table, progress) as lanes:
        for number, batch in enumerate(_batches({"PutRequest": {"Item": item}} for item in items)):
            lanes.submit(number % THREADS, batch)
    return lanes.written


def apply_changes(
    dynamodb: Any, table: str, key: ItemKey, changes: Iterable[Write], progress: Progress = lambda count: None
) -> int:
    """Write the changes; those of one key stay in order, and each gets its own stream record. Return how many."""
    batches: list[list[Request]] = [[] for _ in range(THREADS)]
    keys: list[set[KeyValues]] = [set() for _ in range(THREADS)]
    with _Lanes(dynamodb, table, progress) as lanes:
        for change in changes:
            values = key_values(key, change.item)
            lane = zlib.crc32(repr(values).encode()) % THREADS
            # A batch must not hold a key twice.
            if values in keys[lane] or len(batches[lane]) == BATCH:
                lanes.submit(lane, batches[lane])
                batches[lane], keys[lane] = [], set()
            keys[lane].add(values)
            removed = change.operation == "REMOVE"
            request = {"DeleteRequest": {"Key": change.item}} if removed else {"PutRequest": {"Item": change.item}}
            batches[lane].append(request)
        for lane, batch in enumerate(batches):
            if batch:
                lanes.submit(lane, batch)
    return lanes.written


def _batches(requests: Iterable[Request]) -> Iterator[list[Request]]:
    batch: list[Request] = []
    for request in requests:
        batch.append(request)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class _Lanes:
    """Threads that write batches, each lane one batch at a time.

    Only a few batches wait, so generated items are written soon, and Ctrl-C takes effect soon.
    """

    def __init__(self, dynamodb: Any, table: str, progress: Progress) -> None:
        self.written = 0
        self._dynamodb, self._table, self._progress = dynamodb, table, progress
        self._lock = Lock()
        self._places = Semaphore(2 * THREADS)
        self._lanes = [ThreadPoolExecutor(1) for _ in range(THREADS)]
        self._failed: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for lane in self._lanes:
            lane.shutdown(cancel_futures=error is not None)
        if error is None:
            self._check()

    def submit(self, lane: int, batch: list[Request]) -> None:
        self._places.acquire()
        self._check()
        self._lanes[lane].submit(self._write, batch)

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _write(self, batch: list[Request]) -> None:
        try:
            if self._failed is not None:
                return
            _write_batch(self._dynamodb, self._table, batch)
            with self._lock:
                self.written += len(batch)
                self._progress(self.written)
        except BaseException as error:  # the thread that submits raises it
            self._failed = error
        finally:
            self._places.release()


def _write_batch(dynamodb: Any, table: str, batch: list[Request]) -> None:
    for attempt in range(ATTEMPTS):
        left = dynamodb.batch_write_item(RequestItems={table: batch}).get("UnprocessedItems", {})
        batch = left.get(table, [])
        if not batch:
            return
        time.sleep(min(2.0, 0.05 * 2**attempt))
    raise RuntimeError(f"{len(batch)} items of {table} were still unprocessed after {ATTEMPTS} attempts")
