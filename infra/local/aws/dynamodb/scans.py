"""Table scans: the time and the reported capacity of a page depend on what it reads.

For every page, ministack sorts the whole table, reads each item's key again to find the start of the page, and hashes
every key for a segment. So the time grows with the square of the table's size. It also reports half a unit for any
page.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Scan.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/capacity-modes.html
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from itertools import islice
from typing import Any

from ministack.core.responses import json_response
from ministack.services import dynamodb

from infra.local.aws.patch import Original, patch

_PLAIN = {
    "TableName",
    "ConsistentRead",
    "ReturnConsumedCapacity",
    "Segment",
    "TotalSegments",
    "ExclusiveStartKey",
    "Limit",
}
_UNIT_BYTES = 4096
_TABLES = 8

_Place = tuple[Any, Any]
"""An item's partition and sort key, as ministack stores them."""


class _Orders:
    """The sorted keys of the tables scanned last; a table's keys are forgotten when one is added or removed."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, dict[tuple[int, int], list[_Place]]]] = {}

    def of(self, table: Mapping[str, Any], segment: int, segments: int) -> list[_Place]:
        """Return the keys of a segment. A table whose items were replaced as a whole counts as another table."""
        items, orders = self._known.get(id(table), (None, {}))
        if items is not table["items"]:
            while len(self._known) >= _TABLES:
                self._known.pop(next(iter(self._known)))
            orders = {}
            self._known[id(table)] = (table["items"], orders)
        if (0, 1) not in orders:
            orders[0, 1] = [(pk, sk) for pk in sorted(table["items"]) for sk in sorted(table["items"][pk])]
        if (segment, segments) not in orders:
            orders[segment, segments] = [place for place in orders[0, 1] if _segment(place[0], segments) == segment]
        return orders[segment, segments]

    def forget(self, table: Mapping[str, Any]) -> None:
        self._known.pop(id(table), None)


_orders = _Orders()


@patch(dynamodb, "_set_item")
def set_item(original: Original, table: dict[str, Any], pk: Any, sk: Any, item: Any) -> Any:
    """Forget the order of a table's keys if it has a new one."""
    before = original(table, pk, sk, item)
    if before is None:
        _orders.forget(table)
    return before


@patch(dynamodb, "_remove_item")
def remove_item(original: Original, table: dict[str, Any], pk: Any, sk: Any) -> Any:
    """Forget the order of a table's keys if it loses one."""
    _orders.forget(table)
    return original(table, pk, sk)


@patch(dynamodb, "_scan")
def scan(original: Original, request: dict[str, Any]) -> Any:
    """Answer scans of whole tables without filter or projection; leave other scans to ministack."""
    table = dynamodb._tables.get(dynamodb._normalize_table_name(request.get("TableName")))
    if table is None or not _is_plain(request, table):
        return original(request)
    return json_response(_page(request, table))


def _is_plain(request: Mapping[str, Any], table: Mapping[str, Any]) -> bool:
    """Return whether nothing in the request has to be refused or evaluated."""
    if not request.keys() <= _PLAIN or request.get("ReturnConsumedCapacity", "NONE") not in ("NONE", "TOTAL"):
        return False
    segment, segments, limit = request.get("Segment", 0), request.get("TotalSegments", 1), request.get("Limit", 1)
    if ("Segment" in request) != ("TotalSegments" in request):
        return False
    if not all(type(number) is int for number in (segment, segments, limit)):
        return False
    keys = {name for name in (table["pk_name"], table.get("sk_name")) if name}
    after = request.get("ExclusiveStartKey")
    return 0 <= segment < segments <= 1_000_000 and limit > 0 and (after is None or after.keys() == keys)


def _page(request: Mapping[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    places = _orders.of(table, request.get("Segment", 0), request.get("TotalSegments", 1))
    after, start = request.get("ExclusiveStartKey"), 0
    if after:
        pk = dynamodb._extract_key_val(after[table["pk_name"]])
        if table.get("sk_name"):
            start = bisect_right(places, (pk, dynamodb._extract_key_val(after[table["sk_name"]])))
        else:
            start = bisect_right(places, pk, key=lambda place: place[0])
    items: list[dict[str, Any]] = []
    size, more = 0, False
    for pk, sk in islice(places, start, None):
        item = table["items"][pk][sk]
        item_size = dynamodb._item_size_bytes(item)
        if items and size + item_size > dynamodb._DDB_PAGE_SIZE_BYTES:
            more = True
            break
        items.append(item)
        size += item_size
        if len(items) == request.get("Limit") or size >= dynamodb._DDB_PAGE_SIZE_BYTES:
            more = True
            break
    result: dict[str, Any] = {"Items": items, "Count": len(items), "ScannedCount": len(items)}
    if more:
        result["LastEvaluatedKey"] = dynamodb._build_key(items[-1], table["pk_name"], table["sk_name"])
    if request.get("ReturnConsumedCapacity") == "TOTAL":
        units = max(1, -(-size // _UNIT_BYTES)) * (1.0 if request.get("ConsistentRead") else 0.5)
        result["ConsumedCapacity"] = {"TableName": table["TableName"], "CapacityUnits": units}
    return result


def _segment(partition: Any, segments: int) -> int:
    return int.from_bytes(hashlib.sha1(str(partition).encode(), usedforsecurity=False).digest()[:4], "big") % segments
