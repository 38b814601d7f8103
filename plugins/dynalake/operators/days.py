"""Which days a run is about."""

from __future__ import annotations

from datetime import UTC, datetime

from dynalake import days
from dynalake.names import Lake


def today(lake: Lake) -> str:
    """The day in the lake's time zone, as `dt` writes it."""
    return lake.day_of(datetime.now(UTC))


def coming_days(lake: Lake) -> list[str]:
    """Today and the week after it."""
    return days.coming_days(today(lake))
