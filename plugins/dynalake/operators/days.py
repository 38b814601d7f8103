"""Which days a run is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dynalake.names import day_of

DAYS_AHEAD = 7


def today() -> str:
    """The UTC day, as `dt` writes it."""
    return day_of(datetime.now(UTC))


def coming_days() -> list[str]:
    """Today and the week after it, in UTC: registered ahead, so that a night without a scheduler hides no data."""
    now = datetime.now(UTC)
    return [day_of(now + timedelta(days=ahead)) for ahead in range(DAYS_AHEAD + 1)]
