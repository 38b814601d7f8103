"""The parameters that a run may have, checked before anything is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from dynalake.backfill.plan.filter import Invalid, Missing
from dynalake.errors import SettingsError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TableDescriptionTypeDef

METHODS = ("auto", "export", "scan")
EXPORT_TYPES = ("full", "incremental")
MAX_SEGMENTS = 256


def read_limit(description: TableDescriptionTypeDef, max_read_capacity: int, read_capacity_percent: int) -> float:
    """Return the units/s that the run may consume: the smaller of the two limits, 0 where there is none (pure).

    Raises `SettingsError` for a share of a table that has no capacity of its own to share.
    """
    if not read_capacity_percent:
        return max_read_capacity
    units = description.get("ProvisionedThroughput", {}).get("ReadCapacityUnits", 0)
    if not units:
        # An on-demand table, with a maximum that the owner has set (-1: none).
        units = max(0, description.get("OnDemandThroughput", {}).get("MaxReadRequestUnits", 0))
    if not units:
        raise SettingsError(
            f"read_capacity_percent is {read_capacity_percent}, and {description['TableName']!r} is on demand without "
            "a maximum",
            allowed="a table with provisioned read capacity, or with a maximum of on-demand reads",
            action="give units per second in max_read_capacity instead",
            table=description["TableName"],
        )
    share = units * read_capacity_percent / 100
    return min(share, max_read_capacity) if max_read_capacity else share


def check_parameters(
    method: str,
    missing: str,
    invalid: str,
    segments: int,
    max_read_capacity: int,
    read_capacity_percent: int,
    target_mb: float,
) -> None:
    """Raise one `SettingsError` that names every parameter that is not allowed."""
    problems: dict[str, str] = {}
    if method not in METHODS:
        problems[f"method is {method!r}"] = f"method is one of {', '.join(METHODS)}"
    if missing not in get_args(Missing):
        problems[f"missing is {missing!r}"] = f"missing is one of {', '.join(get_args(Missing))}"
    if invalid not in get_args(Invalid):
        problems[f"invalid is {invalid!r}"] = f"invalid is one of {', '.join(get_args(Invalid))}"
    if not 0 <= segments <= MAX_SEGMENTS:
        problems[f"segments is {segments!r}"] = f"segments is 1 to {MAX_SEGMENTS}, or 0 to follow the table's size"
    if max_read_capacity < 0:
        problems[f"max_read_capacity is {max_read_capacity!r}"] = "max_read_capacity is units/s, or 0 for no limit"
    if not 0 <= read_capacity_percent <= 100:
        problems[f"read_capacity_percent is {read_capacity_percent!r}"] = (
            "read_capacity_percent is 1 to 100, or 0 for no such limit"
        )
    if not 0 < target_mb <= 4096:
        problems[f"target_mb is {target_mb!r}"] = "target_mb is more than 0 and at most 4096"
    if problems:
        raise SettingsError(
            "; ".join(problems),
            allowed="; ".join(problems.values()),
            action="correct it and trigger dynalake_backfill again",
        )


def check_export(method: str, export_type: str, window_from: str) -> bool:
    """Return whether the run is incremental. Raise `SettingsError` for parameters that contradict each other (pure)."""
    if export_type not in EXPORT_TYPES or (export_type == "incremental" and method == "scan"):
        raise SettingsError(
            f"export_type is {export_type!r}, with method {method!r}",
            allowed="full, or incremental with method 'export' or 'auto'",
            action="correct it and trigger dynalake_backfill again",
        )
    if window_from and export_type == "full":
        raise SettingsError(
            f"window_from is {window_from!r}, but export_type is 'full'",
            allowed="a window only with export_type 'incremental'",
            action="correct it and trigger dynalake_backfill again",
        )
    return export_type == "incremental"
