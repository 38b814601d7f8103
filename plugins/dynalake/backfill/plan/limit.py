"""The read capacity that a run may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynalake.errors import SettingsError
from dynalake.options.backfill import BackfillOptions

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TableDescriptionTypeDef


def read_limit(description: TableDescriptionTypeDef, options: BackfillOptions) -> float:
    """Return the units/s that the run may consume: the smaller of the two limits, 0 where there is none (pure).

    Raises `SettingsError` for a share of a table that has no capacity of its own to share.
    """
    percent, units_per_second = options.read_capacity_percent, options.max_read_capacity
    if not percent:
        return units_per_second
    units = description.get("ProvisionedThroughput", {}).get("ReadCapacityUnits", 0)
    if not units:
        # An on-demand table, with a maximum that the owner has set (-1: none).
        units = max(0, description.get("OnDemandThroughput", {}).get("MaxReadRequestUnits", 0))
    if not units:
        raise SettingsError(
            f"read_capacity_percent is {percent}, and {description['TableName']!r} is on demand without a maximum",
            allowed="a table with provisioned read capacity, or with a maximum of on-demand reads",
            action="give units per second in max_read_capacity instead",
            table=description["TableName"],
        )
    share = units * percent / 100
    return min(share, units_per_second) if units_per_second else share
