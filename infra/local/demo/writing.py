"""Write to a DynamoDB table in batches and threads; the writes of each key stay in order."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any, Protocol

from dynalake.record.key import ItemKey

# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
BATCH = 25
THREADS = 8
AHEAD = 2 * THREADS * BATCH
ATTEMPTS = 12

Request = dict[str, Any]
KeyValues = tuple[object, ...]
Keyed = tuple[object, Request]
"""A key, by which requests stay in order, and a request."""

Progress = Callable[[int], None]


class Write(Protocol):
    """The parts of a change that `apply_changes` reads."""

    @property
    def operation(self) -> str: ...

    @property
    def item(self) -> Mapping[str, Any]: ...


def key_values(key: ItemKey, item: Mapping[str, Any]) -> KeyValues:
    """Return the item's key in comparable form: numbers by value, binary as base64 text."""
    return tuple(plain(a.type, item[a.name][a.type]) for a in key.attributes)


def plain(kind: str, content: Any) -> Any:
    """Return the content of an attribute value of type S, N or B in comparable form."""
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
    requests = ({"PutRequest": {"Item": item}} for item in items)
    return _write(dynamodb, table, enumerate(requests), progress)


def apply_changes(
    dynamodb: Any, table: str, key: ItemKey, changes: Iterable[Write], progress: Progress = lambda count: None
) -> int:
    """Write the changes; those of one key stay in order, and each gets its own stream record. Return how many."""
    return _write(dynamodb, table, ((key_values(key, c.item), _request(c)) for c in changes), progress)


def _request(change: Write) -> Request:
    if change.operation == "REMOVE":
        return {"DeleteRequest": {"Key": change.item}}
    return {"PutRequest": {"Item": change.item}}


def _write(dynamodb: Any, table: str, requests: Iterable[Keyed], progress: Progress) -> int:
    """Write the requests, `AHEAD` at a time, so that generated items are written soon. Return how many."""
    remaining, written = iter(requests), 0
    with ThreadPoolExecutor(THREADS) as pool:
        while ahead := list(islice(remaining, AHEAD)):
            lanes: list[list[Keyed]] = [[] for _ in range(THREADS)]
            for key, request in ahead:
                lanes[hash(key) % THREADS].append((key, request))
            # The list raises the error of a lane.
            list(pool.map(partial(_write_lane, dynamodb, table), lanes))
            written += len(ahead)
            progress(written)
    return written


def _write_lane(dynamodb: Any, table: str, requests: Iterable[Keyed]) -> None:
    """Write the requests in order, in batches that hold no key twice."""
    batch: dict[object, Request] = {}
    for key, request in requests:
        if key in batch or len(batch) == BATCH:
            _write_batch(dynamodb, table, list(batch.values()))
            batch = {}
        batch[key] = request
    if batch:
        _write_batch(dynamodb, table, list(batch.values()))


def _write_batch(dynamodb: Any, table: str, batch: list[Request]) -> None:
    for attempt in range(ATTEMPTS):
        left = dynamodb.batch_write_item(RequestItems={table: batch}).get("UnprocessedItems", {})
        batch = left.get(table, [])
        if not batch:
            return
        time.sleep(min(2.0, 0.05 * 2**attempt))
    raise RuntimeError(f"{len(batch)} items of {table} were still unprocessed after {ATTEMPTS} attempts")
