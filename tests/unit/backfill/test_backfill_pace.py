from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynalake.backfill.source.pace import Pace
from tests.unit.backfill.fakes import FakeClock


def simulate(rate: float, item_units: float, latency: float, seconds: float) -> list[tuple[float, float]]:
    """Read for `seconds`; pages of at most 1 MB cost 128 units. Return (time, units) of each page."""
    clock = FakeClock()
    pace = Pace(lambda: rate, clock, clock.sleep)
    pages: list[tuple[float, float]] = []
    end = clock.now + seconds
    while clock.now < end:
        pace.wait()
        assert pace.limit
        items = min(pace.limit, max(1, int(128 / item_units)))
        units = max(0.5, items * item_units)
        pages.append((clock.now, units))
        clock.now += latency
        pace.consumed(units, items)
    return pages


def most_in(pages: list[tuple[float, float]], window: float) -> float:
    return max(sum(u for t, u in pages if start <= t < start + window) for start, _ in pages)


@settings(max_examples=40, deadline=None)
@given(st.integers(20, 5000), st.sampled_from([0.01, 0.1, 0.5, 3.0]), st.sampled_from([0.0, 0.004, 0.02]))
def test_any_ten_seconds_stay_within_the_rate_and_use_it(rate: int, item_units: float, latency: float) -> None:
    pages = simulate(rate, item_units, latency, 30)
    assert most_in(pages, 10) <= 10 * rate * 1.05
    reachable = min(rate, 128 / latency) if latency else rate
    late = [u for t, u in pages if t >= 1010]
    assert sum(late) >= 0.85 * 20 * reachable


def test_without_a_limit_pages_are_unbounded_and_nothing_waits() -> None:
    pace = Pace(lambda: 0, FakeClock())
    pace.wait()
    pace.consumed(1000, 10)
    assert pace.limit is None
    assert pace.delay() == 0


def test_pages_grow_from_one_item_to_a_quarter_second_of_the_rate() -> None:
    pace = Pace(lambda: 100, FakeClock())
    limits = []
    for _ in range(10):
        assert not pace.delay() or pace.limit
        assert pace.limit
        limits.append(pace.limit)
        pace.consumed(pace.limit * 0.5, pace.limit)
    assert limits[:7] == [1, 2, 4, 8, 16, 32, 50]
    assert all(b <= 2 * a for a, b in pairwise(limits))


def test_tiny_items_are_read_many_at_once_at_the_slowest_rate() -> None:
    """A page costs at least half a unit, however small it is."""
    clock = FakeClock()
    pace = Pace(lambda: 1, clock, clock.sleep)
    for _ in range(10):
        pace.wait()
        pace.consumed(0.5, pace.limit or 0)
    assert (pace.limit or 0) > 100


def test_an_item_that_costs_more_than_a_page_may_is_followed_by_a_wait() -> None:
    clock = FakeClock()
    pace = Pace(lambda: 10, clock, clock.sleep)
    pace.wait()
    pace.consumed(100, 1)
    assert pace.delay() == pytest.approx(10, abs=0.2)
    assert pace.limit == 1


def test_the_limit_may_change_during_a_wait() -> None:
    clock = FakeClock()
    allowed = [10.0]
    pace = Pace(lambda: allowed[0], clock, clock.sleep)
    pace.wait()
    pace.consumed(40, 1)
    clock.now += 2
    assert pace.delay() == pytest.approx(2, abs=0.2)
    allowed[0] = 50
    assert pace.delay() == pytest.approx(0.4, abs=0.1)


def test_each_throttling_doubles_the_wait_and_shrinks_the_page() -> None:
    clock = FakeClock()
    pace = Pace(lambda: 1000, clock, clock.sleep)
    pace.wait()
    for _ in range(8):
        pace.consumed(pace.limit or 0, pace.limit or 0)
        pace.wait()
    before = pace.limit or 0
    waits = [pace.back_off() for _ in range(9)]
    assert all(
        longest / 2 <= wait <= longest for wait, longest in zip(waits, (0.5, 1, 2, 4, 8, 16, 20, 20, 20), strict=True)
    )
    assert pace.limit == max(1, before // 2**9)
    pace.consumed(1, 1)
    assert pace.back_off() <= 0.5
