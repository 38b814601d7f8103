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


_orders: dict[int, tuple[Any, list[_Place]]] = {}
"""The items of the tables that were scanned last, and the sorted keys of these items, by the table's id."""


@patch(dynamodb, "_set_item")
def set_item(original: Original, table: dict[str, Any], pk: Any, sk: Any, item: Any) -> Any:
    """Forget the order of a table's keys if it has a new one."""
    before = original(table, pk, sk, item)
    if before is None:
        _orders.pop(id(table), None)
    return before


@patch(dynamodb, "_remove_item")
def remove_item(original: Original, table: dict[str, Any], pk: Any, sk: Any) -> Any:
    """Forget the order of a table's keys if it loses one."""
    _orders.pop(id(table), None)
    return original(table, pk, sk)


@patch(dynamodb, "_scan")
def scan(original: Original, request: dict[str, Any]) -> Any:
    """Answer scans of whole tables without filter or projection; leave other scans to ministack."""
    table = dynamodb._tables.get(dynamodb._normalize_table_name(request.get("TableName")))
    segment, segments, limit = request.get("Segment", 0), request.get("TotalSegments", 1), request.get("Limit", 1)
    if table is None or not request.keys() <= _PLAIN or not (0 <= segment < segments and limit > 0):
        return original(request)
    return json_response(_page(request, table, segment, segments))


def _order(table: Mapping[str, Any]) -> list[_Place]:
    """Return the sorted keys of a table. A table whose items were replaced as a whole counts as another table."""
    items, order = _orders.get(id(table), (None, []))
    if items is not table["items"]:
        while len(_orders) >= _TABLES:
            _orders.pop(next(iter(_orders)))
        items = table["items"]
        order = [(pk, sk) for pk in sorted(items) for sk in sorted(items[pk])]
        _orders[id(table)] = items, order
    return order


def _page(request: Mapping[str, Any], table: dict[str, Any], segment: int, segments: int) -> dict[str, Any]:
    places, start = _order(table), 0
    if after := request.get("ExclusiveStartKey"):
        pk = dynamodb._extract_key_val(after[table["pk_name"]])
        if table.get("sk_name"):
            start = bisect_right(places, (pk, dynamodb._extract_key_val(after[table["sk_name"]])))
        else:
            start = bisect_right(places, pk, key=lambda place: place[0])
    rest = (table["items"][pk][sk] for pk, sk in islice(places, start, None) if _segment(pk, segments) == segment)
    items, more = dynamodb._paginate_evaluated_items(rest, request.get("Limit"), table)
    result: dict[str, Any] = {"Items": items, "Count": len(items), "ScannedCount": len(items)}
    if more:
        result["LastEvaluatedKey"] = dynamodb._build_key(items[-1], table["pk_name"], table["sk_name"])
    if request.get("ReturnConsumedCapacity") == "TOTAL":
        size = sum(map(dynamodb._item_size_bytes, items))
        units = max(1, -(-size // _UNIT_BYTES)) * (1.0 if request.get("ConsistentRead") else 0.5)
        result["ConsumedCapacity"] = {"TableName": table["TableName"], "CapacityUnits": units}
    return result


def _segment(partition: Any, segments: int) -> int:
    """Return the segment of a partition, as ministack divides them."""
    return int.from_bytes(hashlib.sha1(str(partition).encode(), usedforsecurity=False).digest()[:4], "big") % segments
