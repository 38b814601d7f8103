"""The cost of a backfill by each method: time, read units and dollars, from DynamoDB's description of the table.

DynamoDB counts items and bytes about every six hours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dynalake.sizing.prices import price, where_and_when

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/capacity-mode.html : a strongly consistent read of
# 4 KB is one unit, an eventually consistent one half a unit.
UNIT_BYTES = 4096
# Bytes that one task reads per second without a limit: one core's pace of encoding and compressing items.
BYTES_PER_SECOND = 10 * 1024 * 1024
# Time that DynamoDB needs for an export, even of a very small table.
EXPORT_SECONDS = 300


@dataclass(frozen=True)
class Estimate:
    """One method: its load on the table, its cost, and notes about it."""

    method: str
    seconds: int
    read_units: float
    dollars: float
    remark: str

    def row(self) -> str:
        """Return a row of the dry run's table."""
        cells = (self.method, duration(self.seconds), f"{self.read_units:,.1f}", f"${self.dollars:,.4f}", self.remark)
        return f"| {' | '.join(cells)} |"


def estimate_scan(
    description: Mapping[str, Any], *, tasks: int, consistent: bool, max_read_capacity: float
) -> Estimate:
    """Return the estimate of a scan by that many tasks at once, for a table as DescribeTable describes it (pure)."""
    size = int(description.get("TableSizeBytes", 0))
    units = math.ceil(size / UNIT_BYTES) * (1.0 if consistent else 0.5)
    provisioned = int(description.get("ProvisionedThroughput", {}).get("ReadCapacityUnits", 0))
    limits = [limit for limit in (max_read_capacity, provisioned) if limit]
    seconds = max(size / (tasks * BYTES_PER_SECOND), units / min(limits) if limits else 0.0)
    if provisioned:
        remark = f"uses the {provisioned:,} units/s that are provisioned and paid for" + (
            "" if max_read_capacity else ", all of them: set a limit"
        )
        return Estimate("scan", math.ceil(seconds), units, 0.0, remark)
    dollars = units * price("dynamodb_million_reads") / 1_000_000
    return Estimate("scan", math.ceil(seconds), units, round(dollars, 6), "on demand")


def estimate_export(
    description: Mapping[str, Any], *, tasks: int, recovery: bool, incremental: bool = False
) -> Estimate:
    """Return the estimate of an export whose files that many tasks read at once (pure).

    `recovery`: point-in-time recovery is on. The cost of an incremental export depends on the changes, whose size
    DynamoDB does not report: the whole table is the upper limit.
    """
    size = int(description.get("TableSizeBytes", 0))
    seconds = EXPORT_SECONDS + size / (tasks * BYTES_PER_SECOND)
    remark = "no load on the table"
    if incremental:
        remark += "; at most: the changes alone are less"
    if not recovery:
        monthly = size / 10**9 * price("dynamodb_recovery_gb")
        remark += f"; point-in-time recovery is off, and costs ${monthly:,.2f} a month, see `enable_pitr`"
    dollars = round(size / 10**9 * price("dynamodb_export_gb"), 6)
    return Estimate("export", math.ceil(seconds), 0.0, dollars, remark)


def quote(description: Mapping[str, Any], chosen: str, estimates: tuple[Estimate, ...]) -> str:
    """Return a dry run's answer, as Markdown (pure)."""
    items, size = description.get("ItemCount", 0), description.get("TableSizeBytes", 0)
    return "\n".join(
        [
            f"`{description['TableName']}`: about {items:,} items, {size:,} bytes, as DynamoDB counted them within the "
            f"last six hours. Nothing was read or written. The run would use the method **{chosen}**.",
            "",
            "| method | time | read units | dollars | |",
            "|---|---:|---:|---:|---|",
            *(estimate.row() for estimate in estimates),
            "",
            f"Estimates, at the prices of {where_and_when()}.",
        ]
    )


def duration(seconds: int) -> str:
    """Return seconds as text: `95` gives `1 min 35 s`."""
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600:,} h {seconds % 3600 // 60} min"
