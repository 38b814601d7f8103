"""How fresh a table was at the looks of the last 24 hours, and in each hour of the last seven days. Pure.

Both are bounded: at most 288 looks and 168 hours, however often somebody looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dynalake.watch.judge import STATES, waits_in_stream
from dynalake.watch.readings import Readings

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
APART_MS = 5 * 60_000
"""Milliseconds between two looks that are kept; a later one replaces an earlier one that is nearer."""
DAYS = 7


class Point(NamedTuple):
    """A look, or the worst of an hour's. Times in seconds; None where nothing is known.

    `age`: of the newest change that SQL sees. `lag`: what changes took to S3, or have already waited on their way.
    `behind`: what the oldest object in S3 that SQL does not see has waited.
    """

    at: int
    age: float | None
    lag: float | None
    behind: float
    state: str


@dataclass(frozen=True)
class History:
    """Looks of the last 24 hours, and the worst of each hour of the last days; the oldest first."""

    looks: tuple[Point, ...] = ()
    hours: tuple[Point, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> History:
        """Return the history from the JSON of `dataclasses.asdict`."""
        return cls(*(tuple(Point(*point) for point in values[name]) for name in ("looks", "hours")))


def point_of(readings: Readings, state: str) -> Point:
    """Return a look's point."""
    lake, landing = readings.lake, readings.landing
    waits = [landing.lag_seconds, landing.firehose_age_seconds, waits_in_stream(readings) or None]
    if landing.unlanded_since is not None:
        waits.append((readings.at - landing.unlanded_since) / 1000)
    return Point(
        readings.at,
        None if lake.newest_change is None else max(0.0, (readings.at - lake.newest_change) / 1000),
        max((wait for wait in waits if wait is not None), default=None),
        0.0 if lake.unconverted_since is None else max(0.0, (readings.at - lake.unconverted_since) / 1000),
        state,
    )


def add_look(history: History, look: Point) -> History:
    """Return the history with a further look, without what has become too old."""
    looks = [p for p in history.looks if look.at - DAY_MS < p.at < look.at]
    if len(looks) > 1 and look.at - looks[-2].at < APART_MS:
        looks.pop()
    start = look.at - look.at % HOUR_MS
    hours = [p for p in history.hours if start - DAYS * DAY_MS < p.at <= start]
    hour = look._replace(at=start)
    if hours and hours[-1].at == start:
        hour = worst_of(hours.pop(), hour)
    return History((*looks, look), (*hours, hour))


def worst_of(a: Point, b: Point) -> Point:
    """Return the worst of two points, at the time of the first."""
    return Point(a.at, _more(a.age, b.age), _more(a.lag, b.lag), max(a.behind, b.behind), _worse([a.state, b.state]))


def _more(a: float | None, b: float | None) -> float | None:
    return max((value for value in (a, b) if value is not None), default=None)


def _worse(states: Sequence[str]) -> str:
    return max(states, key=STATES.index)
