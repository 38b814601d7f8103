"""The DynamoDB table that is read: its description, and one segment's items in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from dynalake.backfill.pace import Pace
from dynalake.clients import Clients
from dynalake.errors import SourceError, TransientError
from dynalake.names import TableNames

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TableDescriptionTypeDef

_THROTTLED = ("ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException")


def describe(clients: Clients, names: TableNames) -> TableDescriptionTypeDef:
    """DescribeTable's `Table`; `SourceError` if there is no such table."""
    with _explained(names):
        return clients.dynamodb.describe_table(TableName=names.table)["Table"]


def read_segment(
    clients: Clients,
    names: TableNames,
    *,
    segment: int,
    segments: int,
    after: Mapping[str, Any] | None,
    consistent: bool,
    pace: Pace,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[dict[str, Any]]:
    """The segment's items as the low-level client gives them, from the key `after` on (None: from the start).

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Scan.html#Scan.ParallelScan
    A page may be empty and yet not the last one; only a page without `LastEvaluatedKey` is.
    """
    request: dict[str, Any] = {
        "TableName": names.table,
        "Segment": segment,
        "TotalSegments": segments,
        "ConsistentRead": consistent,
        "ReturnConsumedCapacity": "TOTAL",
    }
    if after is not None:
        request["ExclusiveStartKey"] = after
    while True:
        if delay := pace.delay():
            sleep(delay)
        if pace.limit is not None:
            request["Limit"] = pace.limit
        with _explained(names):
            page = clients.dynamodb.scan(**request)
        pace.consumed(page.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0), page["ScannedCount"])
        yield from page["Items"]
        last = page.get("LastEvaluatedKey")
        if not last:
            return
        request["ExclusiveStartKey"] = last


@contextmanager
def _explained(names: TableNames) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ResourceNotFoundException":
            raise SourceError(
                f"There is no DynamoDB table {names.table!r} in {names.lake.region}",
                allowed="an existing table in the connection's account and region",
                action="check the table's name (case counts), the connection and its region",
                table=names.table,
            ) from error
        if code in _THROTTLED:
            raise TransientError(
                f"DynamoDB throttled the scan of {names.table!r} ({code})",
                allowed="read capacity for the scan",
                action="let the task be retried (it goes on where it was), or run the backfill with a lower "
                "`max_read_capacity`",
                table=names.table,
            ) from error
        raise
