"""Days: the form of a `dt`, its time zone, and its place in a key.

A lake's days follow its time zone; the snapshot of the backfill has a day of its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dynalake.errors import SettingsError

SNAPSHOT_DAY = "00000000"
"""The `dt` of the backfill: it sorts before every real day."""

DEFAULT_TIME_ZONE = "UTC"


def check_day(day: str) -> str:
    """Return `day` if it is a `dt`: `YYYYMMDD`, or `00000000` for the snapshot."""
    if day == SNAPSHOT_DAY:
        return day
    try:
        if re.fullmatch(r"\d{8}", day):
            _date(day)
            return day
    except ValueError:
        pass
    raise SettingsError(
        f"day is {day!r}",
        allowed="a day as YYYYMMDD, or 00000000 for the snapshot",
        action="write it like the folder, for example 20190525",
        day=day,
    )


def find_zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name. Raise `SettingsError` where this machine does not know it.

    UTC needs no time zone database, which a small machine may not have.
    """
    if name == DEFAULT_TIME_ZONE:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingsError(
            f"time_zone is {name!r}",
            allowed="an IANA time zone, such as 'Europe/Berlin' or 'UTC'",
            action="correct it; if it is correct, this machine's time zone database is missing or lacks older names: "
            "install the Python package tzdata",
            time_zone=name,
        ) from None


def day_of(moment: datetime, zone: tzinfo = UTC) -> str:
    """Return the day of an aware datetime in a time zone, as `dt` writes it."""
    return _text(moment.astimezone(zone))


def check_known(days: Collection[str], known: Collection[str], what: str) -> None:
    """Raise `SettingsError` with the nearest days where a run names days that no table has. `what` such a day has."""
    if missing := sorted(set(days) - set(known)):
        earlier = {max((day for day in known if day < wanted), default="") for wanted in missing}
        later = {min((day for day in known if day > wanted), default="") for wanted in missing}
        near = ", ".join(sorted({*earlier, *later} - {""}))
        raise SettingsError(
            f"days names {', '.join(missing)}, for which no table of the run has {what}",
            allowed=f"days that have {what}; the nearest are {near}" if near else f"days that have {what}; none has",
            action="correct the days, and trigger the DAG again",
        )


def end_of_day(day: str, zone: tzinfo = UTC) -> datetime:
    """Return when a day ends, in UTC. A day has 23 or 25 hours where clocks change, and rarely another length.

    Where midnight comes twice, the second one counts: the day may go on between them.
    """
    midnight = datetime.combine(_date(shift_day(day, 1)), time(), zone)
    return max(midnight.astimezone(UTC), midnight.replace(fold=1).astimezone(UTC))


def milliseconds(moment: datetime) -> int:
    """Return the milliseconds since the epoch of an aware datetime."""
    return round((moment - datetime.fromtimestamp(0, UTC)).total_seconds() * 1000)


def shift_day(day: str, days: int) -> str:
    """Return the day that is `days` later in the calendar, or earlier where `days` is negative."""
    return _text(_date(day) + timedelta(days=days))


def coming_days(first: str) -> list[str]:
    """Return a day and the week after it: registered ahead, so that a night without a scheduler hides no data."""
    return [shift_day(first, ahead) for ahead in range(8)]


def _text(day: date) -> str:
    return day.strftime("%Y%m%d").zfill(8)  # Linux writes the years before 1000 without zeros


def _date(day: str) -> date:
    return date(int(day[:4]), int(day[4:6]), int(day[6:]))


def parse_day(key: str) -> str | None:
    """Return the `dt` in an S3 key or URI, or None: `…/dt=20190525/x.gz` → `20190525`."""
    match = re.search(r"(?:^|/)dt=(\d{8})/", key)
    return match.group(1) if match else None
