"""A table's writes of the last 14 days, minute by minute, from its own CloudWatch metrics and its stream's.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from dynalake.aws.cloudwatch import Metric, read_metrics
from dynalake.lake.catalog.table import Table

# CloudWatch keeps minutes for 15 days.
WINDOW = timedelta(days=14)
MINUTE = 60

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html : a write of 1 KB.
UNIT_BYTES = 1024
# A change's line: its metadata, and the item's image as JSON, which is longer than DynamoDB counts it. Items with many
# short attributes take half as much again; long texts less.
METADATA_BYTES, JSON_SHARE = 120, 1.5
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.Partitions.html
PARTITION_BYTES, PARTITION_UNITS, NEW_ON_DEMAND = 10 * 10**9, 1000, 4


@dataclass(frozen=True)
class Usage:
    """A table's changes."""

    minutes: Mapping[int, float]
    """The changes in each minute that has some, by the minute's number since the epoch."""
    days: float
    """Days that were measured."""
    line_bytes: float
    """Bytes of a change on its way, on average."""
    partitions: int
    """Partitions of the table, and so about as many open shards of its stream."""
    streamed: float = 0.0
    """Bytes a second that its Kinesis stream took in the fullest minute; 0 where there was none."""

    @property
    def peak(self) -> float:
        """Changes a second in the fullest minute."""
        return max(self.minutes.values(), default=0.0) / MINUTE

    @property
    def peak_bytes(self) -> float:
        """Bytes a second in the fullest minute: as the stream reports them, or as the table's writes suggest."""
        return max(self.peak * self.line_bytes, self.streamed)

    @property
    def changes(self) -> float:
        """All changes of the measured time."""
        return sum(self.minutes.values())


def usage_of(
    description: Mapping[str, Any],
    units: Mapping[int, float],
    expired: Mapping[int, float],
    days: float,
    streamed: Mapping[int, float] | None = None,
) -> Usage:
    """Return the changes behind write units and expired items, for a table as DescribeTable describes it (pure).

    An item costs a unit for each KB of it. Units without a change count as well: writes within transactions cost twice,
    and refused conditional writes cost once. So this is an upper bound. `streamed`: the bytes that the table's
    Kinesis stream took.
    """
    items, size = int(description.get("ItemCount", 0)), int(description.get("TableSizeBytes", 0))
    item_bytes = size / items if items else UNIT_BYTES
    cost = max(1, math.ceil(item_bytes / UNIT_BYTES))
    minutes = {minute: units.get(minute, 0.0) / cost + expired.get(minute, 0.0) for minute in {*units, *expired}}
    on_demand = description.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST"
    most = max(units.values(), default=0.0) / MINUTE
    return Usage(
        minutes={minute: changes for minute, changes in sorted(minutes.items()) if changes > 0},
        days=days,
        line_bytes=METADATA_BYTES + JSON_SHARE * item_bytes,
        partitions=max(
            NEW_ON_DEMAND if on_demand else 1, math.ceil(size / PARTITION_BYTES), math.ceil(most / PARTITION_UNITS)
        ),
        streamed=max((streamed or {}).values(), default=0.0) / MINUTE,
    )


def read_usage(table: Table, now: datetime) -> Usage:
    """Return the table's usage up to now; for a table younger than 14 days, since it was made."""
    names = table.names
    description = dict(table.clients.dynamodb.describe_table(TableName=names.table)["Table"])
    start = now - WINDOW
    made = cast("datetime", description.get("CreationDateTime", start))
    days = (now - max(start, min(made, now - timedelta(hours=1)))) / timedelta(days=1)
    metrics = {
        # This is the table's own metric: that of its indexes has one dimension more, and is not a change of an item.
        "units": Metric("AWS/DynamoDB", "ConsumedWriteCapacityUnits", "TableName", names.table),
        "expired": Metric("AWS/DynamoDB", "TimeToLiveDeletedItemCount", "TableName", names.table),
        "streamed": Metric("AWS/Kinesis", "IncomingBytes", "StreamName", names.stream),
    }
    points = read_metrics(table.clients, metrics, start, now, MINUTE)
    units, expired, streamed = ({at // 60_000: value for at, value in points[name]} for name in metrics)
    return usage_of(description, units, expired, days, streamed)
