"""An application's writes. Each writer has its own mixture, and its own format for an item's update time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from dynalake.aws.clients import Clients
from dynalake.record.key import ItemKey

IDENTITIES = 40
"""Number of items: small, so that each is changed and deleted several times."""

Item = dict[str, Any]


@dataclass
class Writer:
    """Makes one write at a time: puts, updates of one attribute, deletes, batches; each seed its own mixture."""

    clients: Clients
    table: str
    key: ItemKey
    random: Random
    times: Callable[[Random], Item] = field(init=False)

    def __post_init__(self) -> None:
        self.times = self.random.choice((_milliseconds, _microseconds, _iso, _any_time, _ahead))

    def write(self) -> None:
        dynamodb: Any = self.clients.dynamodb
        identity = self.identity()
        match self.random.choices(("put", "update", "remove", "delete", "batch"), (4, 3, 1, 3, 1))[0]:
            case "put":
                dynamodb.put_item(TableName=self.table, Item=self.item(identity))
            case "update":
                dynamodb.update_item(
                    TableName=self.table,
                    Key=identity,
                    UpdateExpression="SET #n = :n, updatedAt = :t ADD #c :one",
                    ExpressionAttributeNames={"#n": "note", "#c": "count"},
                    ExpressionAttributeValues={
                        ":n": {"S": "changed"},
                        ":t": self.times(self.random),
                        ":one": {"N": "1"},
                    },
                )
            case "remove":
                dynamodb.update_item(
                    TableName=self.table,
                    Key=identity,
                    UpdateExpression="SET updatedAt = :t REMOVE note",
                    ExpressionAttributeValues={":t": self.times(self.random)},
                )
            case "delete":
                dynamodb.delete_item(TableName=self.table, Key=identity)
            case _:
                items = {json.dumps(key, default=repr): key for key in (self.identity() for _ in range(5))}
                requests = [{"PutRequest": {"Item": self.item(key)}} for key in items.values()]
                dynamodb.batch_write_item(RequestItems={self.table: requests})

    def identity(self) -> Item:
        number = self.random.randrange(IDENTITIES)
        return {a.name: _key_value(a.type, number if n == 0 else number % 3) for n, a in enumerate(self.key.attributes)}

    def item(self, identity: Item) -> Item:
        """Make an item. An attribute may be text or a number, and numbers have up to 38 digits."""
        random = self.random
        item: Item = {**identity, "count": {"N": str(random.randrange(10**6))}}
        if random.random() < 0.9:
            item["updatedAt"] = self.times(random)
        if random.random() < 0.5:
            item["note"] = random.choice(({"S": "é\n\u2028"}, {"S": ""}, {"N": str(random.getrandbits(120))}))
        if random.random() < 0.3:
            item["lines"] = {"L": [{"M": {"price": {"N": f"{random.randrange(9999)}.{random.randrange(99):02}"}}}]}
        if random.random() < 0.1:
            item[random.choice(("Extra", "tags", "raw"))] = random.choice(
                ({"SS": ["b", "a"]}, {"B": b"\x00\xff"}, {"BOOL": True}, {"NULL": True})
            )
        return item


def _key_value(kind: str, number: int) -> Item:
    return {"B": f"{number}".encode()} if kind == "B" else {kind: f"{number}"}


def _milliseconds(random: Random) -> Item:
    return {"N": f"{time.time_ns() // 10**6}"}


def _microseconds(random: Random) -> Item:
    return {"S": f"{time.time_ns() // 1000}"}


def _iso(random: Random) -> Item:
    return {"S": datetime.now(UTC).isoformat()}


def _any_time(random: Random) -> Item:
    return random.choice((_milliseconds, _microseconds, _iso))(random)


def _ahead(random: Random) -> Item:
    """Sometimes a time in the future, which does not tell when the item was written."""
    if random.random() < 0.7:
        return _any_time(random)
    return {"S": (datetime.now(UTC) + timedelta(days=400)).isoformat()}
