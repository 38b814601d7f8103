"""Which days a run is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dynalake.names import day_of

DAYS_AHEAD = 7


def coming_days() -> list[str]:
    """Today and the week after it, in UTC: registered ahead, so that a night without a scheduler hides no data."""
    today = datetime.now(UTC)
    return [day_of(today + timedelta(days=ahead)) for ahead in range(DAYS_AHEAD + 1)]
