"""Which days a run is about."""

from __future__ import annotations

from datetime import UTC, datetime

from dynalake.names import Lake, shift_day

DAYS_AHEAD = 7


def today(lake: Lake) -> str:
    """The day in the lake's time zone, as `dt` writes it."""
    return lake.day_of(datetime.now(UTC))


def coming_days(lake: Lake) -> list[str]:
    """Today and the week after it: registered ahead, so that a night without a scheduler hides no data."""
    first = today(lake)
    return [shift_day(first, ahead) for ahead in range(DAYS_AHEAD + 1)]
