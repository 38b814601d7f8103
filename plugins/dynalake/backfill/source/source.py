"""The DynamoDB table that is read: its description, one segment's items in order, and chosen items."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dynalake.aws.answers import code_of
from dynalake.aws.dynamodb import describe_table, explain_missing
from dynalake.aws.refusals import is_throttled
from dynalake.backfill.source.pace import Pace
from dynalake.lake.catalog.table import Table
from dynalake.lake.tables.identity import check_identity

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import ScanOutputTypeDef, TableDescriptionTypeDef

logger = logging.getLogger(__name__)

_KEYS_AT_ONCE = 100


def describe(table: Table, table_id: str) -> TableDescriptionTypeDef:
    """Return DescribeTable's `Table`. Raise `SourceError` for no such table, or one with another id."""
    names = table.names
    description = describe_table(table.clients, names.table)
    check_identity(names, table_id, description["TableId"])
    return description


def read_segment(
    table: Table,
    *,
    segment: int,
    segments: int,
    after: Mapping[str, Any] | None,
    consistent: bool,
    pace: Pace,
) -> Iterator[dict[str, Any]]:
    """Yield the segment's items as DynamoDB sends them, from the key `after` on (None: from the start).

    A page may be empty and yet not the last one; only a page without `LastEvaluatedKey` is. A page that is throttled,
    after botocore's own retries, is requested again, less and less often, for as long as needed.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Scan.html#Scan.ParallelScan
    """
    request: dict[str, Any] = {
        "TableName": table.names.table,
        "ConsistentRead": consistent,
        "ReturnConsumedCapacity": "TOTAL",
    }
    if segments > 1:
        request |= {"Segment": segment, "TotalSegments": segments}
    if after is not None:
        request["ExclusiveStartKey"] = after
    while True:
        page = _read_page(table, request, pace)
        pace.consumed(page.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0), page["ScannedCount"])
        yield from page["Items"]
        last = page.get("LastEvaluatedKey")
        if not last:
            return
        request["ExclusiveStartKey"] = last


def find_items(table: Table, keys: Sequence[Mapping[str, Any]], pace: Pace | None = None) -> list[Mapping[str, Any]]:
    """Return the keys that the table holds now, by a strongly consistent read. Wait while DynamoDB throttles."""
    attributes = {f"#{n}": name for n, name in enumerate(keys[0])} if keys else {}
    only = {"ProjectionExpression": ", ".join(attributes), "ExpressionAttributeNames": attributes}
    return list(_get_items(table, keys, pace or Pace(lambda: 0.0), only))


def read_items(table: Table, keys: Sequence[Mapping[str, Any]], pace: Pace) -> Iterator[Mapping[str, Any]]:
    """Yield the items of these keys that the table holds now, as `find_items` does; their order is any."""
    return _get_items(table, keys, pace, {})


def _get_items(
    table: Table, keys: Sequence[Mapping[str, Any]], pace: Pace, more: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    """Yield what DynamoDB answers, a hundred keys per call. `more`: further parts of the request.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
    """
    names = table.names
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        pending: Any = keys[start : start + _KEYS_AT_ONCE]
        while pending:
            request: Any = {"Keys": pending, "ConsistentRead": True, **more}
            answer: Any = {"UnprocessedKeys": {names.table: request}}
            pace.wait()
            try:
                with explain_missing(table.clients, names.table):
                    answer = table.clients.dynamodb.batch_get_item(
                        RequestItems={names.table: request}, ReturnConsumedCapacity="TOTAL"
                    )
                pace.consumed(sum(c.get("CapacityUnits", 0.0) for c in answer.get("ConsumedCapacity", ())), 0)
            except Exception as error:
                if not is_throttled(error):
                    raise
            yield from answer.get("Responses", {}).get(names.table, [])
            pending = answer.get("UnprocessedKeys", {}).get(names.table, {}).get("Keys", [])
            if pending:
                pace.back_off()


def _read_page(table: Table, request: dict[str, Any], pace: Pace) -> ScanOutputTypeDef:
    while True:
        pace.wait()
        if pace.limit is not None:
            request["Limit"] = pace.limit
        try:
            with explain_missing(table.clients, table.names.table):
                return table.clients.dynamodb_unparsed.scan(**request)
        except Exception as error:
            if not is_throttled(error):
                raise
            logger.warning(
                "DynamoDB throttled the scan of %s (%s): waited %.1f s",
                table.names.table,
                code_of(error),
                pace.back_off(),
            )
