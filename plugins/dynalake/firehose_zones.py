"""The time zones that Firehose accepts: a lake's days follow one of them, because Firehose writes the folders.

Their list is `firehose_zones.txt`, which the Terraform modules read as well.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from dynalake.days import find_zone
from dynalake.errors import SettingsError

LIST = Path(__file__).with_suffix(".txt")


def firehose_zone(name: str) -> str:
    """Return the name under which Firehose knows a time zone: `Asia/Calcutta` for `Asia/Kolkata`.

    Raises `SettingsError` for a name that is not a time zone, and for a zone that Firehose does not know, with those
    whose clocks are the same now.
    """
    zones = _zones()
    if name in zones:
        return zones[name]
    find_zone(name)
    same = [zone for zone in dict.fromkeys(zones.values()) if _clock(zone) == _clock(name)]
    raise SettingsError(
        f"time_zone is {name!r}, which Firehose does not know",
        allowed="one of https://docs.aws.amazon.com/firehose/latest/dev/s3-object-name.html, or an alias of one",
        action=f"choose one with the same clock now, such as {', '.join(same[:3])}" if same else "use 'UTC'",
        time_zone=name,
    )


@cache
def _zones() -> dict[str, str]:
    lines = [line for line in LIST.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {name: names[0] for names in map(str.split, lines) for name in names}


def _clock(name: str) -> list[timedelta | None]:
    """Return a zone's distances to UTC in the year that begins now, week by week."""
    now, zone = datetime.now(UTC), find_zone(name)
    return [(now + timedelta(weeks=week)).astimezone(zone).utcoffset() for week in range(53)]
