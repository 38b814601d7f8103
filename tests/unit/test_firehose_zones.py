"""A lake's days are in a time zone that Firehose knows."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dynalake.errors import SettingsError
from dynalake.firehose_zones import LIST, firehose_zone
from dynalake.options.lake_options import LakeOptions

LINES = [line.split() for line in LIST.read_text().splitlines() if not line.startswith("#")]
# The pattern of CustomTimeZone:
# https://docs.aws.amazon.com/firehose/latest/APIReference/API_ExtendedS3DestinationConfiguration.html
PATTERN = r"[a-zA-Z/_]{1,50}"


def test_the_list_is_that_of_firehose() -> None:
    """294 zones, two of which do not fit the API's pattern, and UTC.

    https://docs.aws.amazon.com/firehose/latest/dev/s3-object-name.html
    """
    listed = [names[0] for names in LINES]
    assert len(set(listed)) == len(listed) == 293
    assert all(re.fullmatch(PATTERN, name) for name in listed)
    assert len({name for names in LINES for name in names}) == sum(map(len, LINES))


@pytest.mark.parametrize("names", [names for names in LINES if len(names) > 1], ids=lambda names: str(names[0]))
def test_an_alias_is_the_same_zone(names: list[str]) -> None:
    """Every second week from 2000 to 2040."""
    days = [datetime(2000, 1, 1, 12, tzinfo=UTC) + timedelta(weeks=week) for week in range(0, 40 * 52, 2)]
    listed = [day.astimezone(ZoneInfo(names[0])).utcoffset() for day in days]
    for name in names[1:]:
        assert [day.astimezone(ZoneInfo(name)).utcoffset() for day in days] == listed, name
        assert firehose_zone(name) == names[0]


def test_a_lake_has_the_listed_name() -> None:
    assert LakeOptions.parse({"time_zone": "Asia/Kolkata"}).place == {"time_zone": "Asia/Calcutta"}
    assert LakeOptions.parse({"time_zone": "Asia/Calcutta"}).place == {"time_zone": "Asia/Calcutta"}
    assert LakeOptions.parse({"time_zone": "Etc/UTC"}).place == {"time_zone": "UTC"}
    assert LakeOptions.parse({}).place == {}


@pytest.mark.parametrize(
    ("zone", "alike"),
    [
        ("Australia/Melbourne", "Australia/Sydney"),
        ("America/Detroit", "America/New_York"),
        ("Etc/GMT-8", "Asia/Manila"),
    ],
)
def test_a_zone_unknown_to_firehose_is_refused_with_an_equivalent(zone: str, alike: str) -> None:
    with pytest.raises(SettingsError, match=rf"time_zone is '{zone}', which Firehose does not know") as error:
        firehose_zone(zone)
    proposed = re.findall(r"\w+/\w+", error.value.action)
    assert 0 < len(proposed) <= 3
    now = datetime.now(UTC)
    for other in (*proposed, alike):
        assert now.astimezone(ZoneInfo(other)).utcoffset() == now.astimezone(ZoneInfo(zone)).utcoffset()


def test_a_zone_without_an_equivalent_is_refused_too() -> None:
    """Troll has two hours of summer time."""
    with pytest.raises(SettingsError, match="use 'UTC'"):
        firehose_zone("Antarctica/Troll")


def test_an_invalid_time_zone_is_reported() -> None:
    with pytest.raises(SettingsError, match=r"time_zone is 'Mars'.*an IANA time zone"):
        firehose_zone("Mars")
