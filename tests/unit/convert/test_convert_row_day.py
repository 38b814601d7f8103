"""The day of a row: never before the one that precedes the change's own, and never before its object's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.convert.row_day import day_before, row_days
from dynalake.days import day_of, find_zone, shift_day

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland", "Asia/Kathmandu", "Pacific/Apia")


def milliseconds(*moment: int) -> int:
    return round(datetime(*moment, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type, misc]


@given(
    st.sampled_from(ZONES),
    st.integers(milliseconds(1990, 1, 1), milliseconds(2040, 1, 1)),
    st.lists(st.integers(-5 * 86_400_000, 5 * 86_400_000), min_size=1, max_size=30),
)
def test_the_day_of_a_row_is_the_later_of_two_days(name: str, came: int, offsets: list[int]) -> None:
    zone = find_zone(name)
    day = day_of(datetime.fromtimestamp(came / 1000, UTC), zone)
    moments = np.array([came + offset for offset in offsets])

    days = row_days(moments, day, zone)

    expected = []
    for moment in moments:
        time = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(moment))
        expected.append(max(day, shift_day(day_of(time, zone), -1)))
    assert (list(days) if days is not None else [day] * len(moments)) == expected
    assert (days is None) == (set(expected) == {day})


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (milliseconds(2024, 1, 3, 23, 59, 59), "20240102"),
        (milliseconds(2024, 1, 4), "20240103"),
        (0, "19691231"),
        (-(2**63), "00010102"),
        (2**63 - 1, "99991228"),
    ],
)
def test_every_time_has_a_previous_day(moment: int, day: str) -> None:
    assert day_before(moment, UTC) == day


@pytest.mark.parametrize("day", ["00010101", "99991230", "99991231"])
def test_every_day_that_an_object_may_have_is_accepted(day: str) -> None:
    moments = np.array([-(2**63), 0, milliseconds(2024, 1, 1), 2**63 - 1])

    result = row_days(moments, day, UTC)

    days = [day] * 4 if result is None else list(result)
    assert days == ([day, "19691231", "20231231", "99991228"] if day < "1" else [day] * 4)
