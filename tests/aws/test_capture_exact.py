"""Any item that DynamoDB stores is in the lake as DynamoDB returns it, value by value."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, Phase, given, settings

from dynalake.aws.clients import Clients
from dynalake.names import TableNames
from dynalake.options.settings import TableSettings
from dynalake.record.attribute import ATTRIBUTE_TYPES
from dynalake.record.change import METADATA, attribute_name
from dynalake.record.item import decode_item
from tests.support.aws.capture_steps import LARGEST, make_table, raw_lines, set_up, wait_for_changes
from tests.support.values.items import LEVELS, STORABLE, ambiguous

GENERATED = 300
BATCH = 25

Item = dict[str, Any]


def nested(levels: int) -> dict[str, Any]:
    """Return a number at the given level; the attribute's own value is level 1."""
    value: dict[str, Any] = {"N": "1.5"}
    for level in range(levels - 1):
        value = {"L": [value]} if level % 2 else {"M": {"__operation": value}}
    return value


EDGES: tuple[Item, ...] = (
    {},
    {"empty": {"S": ""}, "bytes": {"B": b""}, "list": {"L": []}, "map": {"M": {}}, "in sets": {"BS": [b"", b"a"]}},
    {"most digits": {"N": "1234567890123456789012345678901234567.8"}, "minus": {"N": f"-{'9' * 38}"}},
    {"least": {"N": "1E-130"}, "greatest": {"N": f"9.{'9' * 37}E+125"}, "both": {"NS": ["-1E-130", "9.99E+125"]}},
    {"minus zero": {"N": "-0"}, "zeros": {"NS": ["-0.0", "1.500"]}, "double": {"N": "0.1000000000000000055511151231"}},
    {
        "controls": {"S": "".join(map(chr, range(32)))},
        "ends": {"SS": ["\x85", "\u2028", "\u2029", "\x1c", "\r\n", "\x7f"]},
    },
    {"unicode": {"S": "é e\u0301 \U0001f600 \ufeff \ufffe \U0010ffff"}, "\U0001f600.\u2028": {"S": "}\n{"}},
    {"a.b": {"S": "1"}, 'qu"ote': {"S": "2"}, "sp ace ": {"S": "3"}, "back\\slash": {"S": "4"}, "\n": {"S": "5"}},
    {"ID": {"S": "upper"}, "Id": {"N": "1"}, "iD": {"BOOL": False}, "i.D": {"NULL": True}},
    {f"{'_' * count}{name}": {"N": str(count)} for name in METADATA for count in range(3)},
    {"deepest": nested(LEVELS)},
    # The names `id` and `x` and the key count towards the size. JSON makes a control character six times as long.
    {"id": {"S": "largest"}, "x": {"S": "x" * (LARGEST - len("idlargestx"))}},
    {"id": {"S": "longest"}, "x": {"S": "\x01" * (LARGEST - len("idlongestx"))}},
    {"id": {"S": "binary"}, "x": {"B": b"\x00" * (LARGEST - len("idbinaryx"))}},
    {"id": {"S": "escaped"}, "x": {"L": [{"S": '"\\\x7f\x1f' * 100_000}]}},
)


@dataclass(frozen=True)
class Written:
    """The items that were put into a table, read back from it, and found in the lake."""

    names: TableNames
    tried: int
    refused: list[Item]
    stored: dict[str, Item]
    records: list[dict[str, Any]]


@pytest.fixture(scope="module", params=["kinesis", "direct"])
def written(request: pytest.FixtureRequest, clients: Clients) -> Written:
    """The edge cases and a few hundred generated items, through a pipeline of each kind."""
    table = f"EXACT-{request.param}"
    make_table(clients, table)
    names = set_up(clients, "exact", TableSettings(table, delivery=request.param)).names
    items = [{"id": {"S": f"edge-{number}"}, **item} for number, item in enumerate(EDGES)]
    items += [{**item, "id": {"S": f"{number} \u2028\x00"}} for number, item in enumerate(generated())]
    refused = [item for start in range(0, len(items), BATCH) for item in put(clients, table, items[start:][:BATCH])]
    stored: dict[str, Item] = {}
    for page in clients.dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        stored |= {item["id"]["S"]: item for item in page["Items"]}
    return Written(names, len(items), refused, stored, wait_for_changes(clients, names, len(stored)))


@cache
def generated() -> list[Item]:
    """Generate items, new ones in every run, and the same ones for each pipeline, since generating them is slow."""
    items: list[Item] = []

    @settings(max_examples=GENERATED, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(STORABLE)
    def collect(item: Item) -> None:
        items.append(item)

    collect()
    return items


def put(clients: Clients, table: str, items: list[Item]) -> list[Item]:
    """Write a batch; return the items that DynamoDB refuses."""
    try:
        answer = clients.dynamodb.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": i}} for i in items]})
        assert not answer["UnprocessedItems"]
        return []
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise
    # DynamoDB refuses the whole batch because of one bad item.
    if len(items) == 1:
        return items
    middle = len(items) // 2
    return put(clients, table, items[:middle]) + put(clients, table, items[middle:])


def from_table(value: dict[str, Any]) -> Any:
    """Return what an attribute value must be in the lake, each part with its JSON type, since `True` equals 1."""
    ((kind, content),) = value.items()
    match kind:
        case "N":
            return "number", Decimal(content)
        case "B":
            return "text", b64encode(content).decode()
        case "NULL":
            return "null", None
        case "BOOL":
            return "boolean", content
        case "L":
            return "array", [from_table(part) for part in content]
        case "M":
            return "object", {name: from_table(part) for name, part in content.items()}
        case "SS" | "NS" | "BS":
            return "array", sorted(from_table({kind[0]: part}) for part in content)
    assert kind == "S"
    return "text", content


def from_lake(value: Any) -> Any:
    """Return the same for a value that was read from JSON."""
    match value:
        case None:
            return "null", None
        case bool():
            return "boolean", value
        case int() | Decimal():
            return "number", Decimal(value)
        case str():
            return "text", value
        case list():
            return "array", [from_lake(part) for part in value]
    return "object", {name: from_lake(part) for name, part in value.items()}


def parts(value: dict[str, Any], level: int = 1) -> Iterator[tuple[str, int]]:
    """Yield the type and the level of a value and of every value in it."""
    ((kind, content),) = value.items()
    yield kind, level
    for part in content.values() if kind == "M" else content if kind == "L" else ():
        yield from parts(part, level + 1)


def test_every_item_is_in_the_lake_as_dynamodb_returns_it(written: Written) -> None:
    assert len(written.records) == len(written.stored)
    records = {record["id"]: record for record in written.records}
    assert records.keys() == written.stored.keys()
    for item_id, item in written.stored.items():
        expected = {name: from_table(value) for name, value in item.items()}
        record = records[item_id]
        assert record["__operation"] == "INSERT"
        assert record.get("__types", {}) == dict(ambiguous(item))
        lake_item = {attribute_name(key): from_lake(value) for key, value in record.items() if key not in METADATA}
        assert lake_item == expected


def test_every_item_can_be_written_back_from_its_line(clients: Clients, written: Written) -> None:
    """Attribute value by attribute value; the order of unordered types does not matter."""
    lines = [line for line in raw_lines(clients, written.names) if '"__operation":"INSERT"' in line]
    decoded = {item["id"]["S"]: item for item in map(decode_item, lines)}
    assert decoded.keys() == written.stored.keys()
    for item_id, item in written.stored.items():
        assert from_table({"M": decoded[item_id]}) == from_table({"M": item})
        assert list(parts({"M": in_order(decoded[item_id])})) == list(parts({"M": in_order(item)}))


def in_order(item: Item) -> Item:
    """Return the item with its names, and those of its maps, in order."""

    def ordered(value: dict[str, Any]) -> dict[str, Any]:
        ((kind, content),) = value.items()
        if kind == "M":
            return {kind: in_order(content)}
        return {kind: [ordered(part) for part in content]} if kind == "L" else value

    return {name: ordered(item[name]) for name in sorted(item)}


def test_the_old_image_of_the_longest_item_is_in_the_lake_too(clients: Clients, written: Written) -> None:
    """Its change has both images, and more bytes than any other: as many as Lambda takes in one event."""
    names, item = written.names, written.stored["longest"]
    before = len(written.records)
    changed = {**item, "x": {"S": f"\x02{item['x']['S'][1:]}"}}
    assert put(clients, names.table, [changed]) == []
    clients.dynamodb.delete_item(TableName=names.table, Key={"id": item["id"]})
    changes = [c for c in wait_for_changes(clients, names, before + 2) if c["id"] == "longest"]
    last = sorted(changes, key=lambda change: str(change["__sequence_number"]))[1:]
    assert [change["__operation"] for change in last] == ["MODIFY", "REMOVE"]
    assert [change["x"] for change in last] == [changed["x"]["S"]] * 2


def test_the_items_cover_everything_that_dynamodb_allows(written: Written) -> None:
    assert written.tried == GENERATED + len(EDGES)
    assert len(written.stored) + len(written.refused) == written.tried
    assert len(written.refused) <= GENERATED // 20, written.refused
    assert not [item["id"]["S"] for item in written.refused if not item["id"]["S"][0].isdigit()]
    covered = {part for item in written.stored.values() for value in item.values() for part in parts(value)}
    assert {kind for kind, _ in covered} == set(ATTRIBUTE_TYPES)
    assert max(level for _, level in covered) == LEVELS


def test_one_byte_or_level_more_is_refused_by_dynamodb(clients: Clients, written: Written) -> None:
    largest = written.stored["largest"]
    for item in ({**largest, "x": {"S": largest["x"]["S"] + "x"}}, {"id": {"S": "deep"}, "x": nested(LEVELS + 1)}):
        assert put(clients, written.names.table, [item]) == [item]
