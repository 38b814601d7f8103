"""The whole scan against a table that counts the requested units: at most the limit, and hardly less."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynalake.backfill.scan.share import Share
from dynalake.errors import SettingsError
from dynalake.lake.catalog.table import Table
from tests.unit.backfill.simulation import SimulatedTable, SimulatedTime, of_bucket, scan_all

pytestmark = pytest.mark.slow

KB = 1024


def uneven(*counts: int, size: int = 8 * KB) -> list[list[int]]:
    return [[size] * number for number in counts]


def mixed(counts: tuple[int, ...], sizes: tuple[int, ...], weights: tuple[int, ...]) -> list[list[int]]:
    random = Random(1)
    return [random.choices(sizes, weights, k=number) for number in counts]


@pytest.mark.parametrize(
    ("segments", "rate", "options"),
    [
        (uneven(9000), 300, {}),
        (uneven(500, 3000, 8000), 400, {}),
        (uneven(100, 100, 100, 12000), 400, {}),
        (uneven(300, 1000, 3000, size=100), 3, {}),
        (uneven(*range(2000, 10000, 1000)), 1000, {}),
        (uneven(100, 400, 900, size=400 * KB), 1000, {}),
        (uneven(100, 150, 300, size=300 * KB), 800, {"consistent_read": True}),
        (mixed((2000, 9000, 16000), (KB, 4 * KB, 100 * KB, 400 * KB), (50, 45, 4, 1)), 1500, {}),
    ],
    ids=["one", "three", "one long", "tiny items", "eight", "400 KB", "300 KB consistent", "mixed"],
)
def test_consumption_of_any_ten_seconds_stays_within_the_limit(
    segments: list[list[int]], rate: int, options: dict[str, Any]
) -> None:
    table = SimulatedTable(SimulatedTime(), segments)
    spans = scan_all(table, max_read_capacity=rate, **options)
    check(table, rate, begin=min(begun for begun, _ in spans) + 2, end=max(ended for _, ended in spans) - 1)


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=9),
    st.sampled_from([KB // 2, 8 * KB, 64 * KB]),
    st.integers(30, 60),
    st.booleans(),
)
def test_segments_of_any_size_use_the_whole_limit(
    weights: list[int], size: int, seconds: int, consistent: bool
) -> None:
    items = 40_000 * KB // size
    table = SimulatedTable(SimulatedTime(), uneven(*(items * w // sum(weights) + 1 for w in weights), size=size))
    rate = max(10, sum(map(len, table.segments)) * size // 8192 * (2 if consistent else 1) // seconds)
    spans = scan_all(table, max_read_capacity=rate, consistent_read=consistent)
    check(table, rate, begin=min(begun for begun, _ in spans) + 3, end=max(ended for _, ended in spans) - 1)


def check(table: SimulatedTable, rate: float, begin: float, end: float) -> None:
    assert end - begin > 20
    assert table.most() <= 1.05 * 10 * rate
    assert table.least(begin, end) >= 0.85 * 10 * rate


def test_segments_waiting_for_a_slot_take_no_share() -> None:
    table = SimulatedTable(SimulatedTime(), uneven(2500, *range(3000, 4600, 200)))
    spans = scan_all(table, slots=2, max_read_capacity=400)
    check(table, 400, begin=2, end=max(ended for _, ended in spans) - 1)


def test_segments_that_come_and_go() -> None:
    table = SimulatedTable(SimulatedTime(), uneven(9000, 3000, 3000, 3000))
    spans = scan_all(table, starts=[0, 5, 12, 30], max_read_capacity=400)
    check(table, 400, begin=2, end=max(ended for _, ended in spans) - 1)


def test_while_throttled_the_scan_waits_and_never_fails() -> None:
    table = SimulatedTable(SimulatedTime(), uneven(8000, 8000), throttle=lambda moment: 10 < moment < 100)
    spans = scan_all(table, max_read_capacity=300)
    assert table.most() <= 1.05 * 3000
    assert 10 < table.refused < 60, "repeatedly, less and less often"
    resumed = min(moment for moment, _ in table.consumed if moment >= 100)
    assert resumed < 121
    check(table, 300, begin=122, end=max(ended for _, ended in spans) - 1)


def test_a_throttled_scan_without_a_limit_waits_too() -> None:
    table = SimulatedTable(SimulatedTime(), uneven(300), throttle=lambda moment: moment < 5)
    scan_all(table)
    assert 2 < table.refused < 12


def test_a_killed_segment_keeps_its_share_for_half_a_minute() -> None:
    clock = SimulatedTime()
    shares: list[tuple[float, float]] = []
    clients, names = of_bucket(clock)

    def killed() -> None:
        Share(
            Table(clients, names), run="r", segment=0, units_per_second=100, clock=clock, sleep=clock.sleep
        ).__enter__()

    def lives() -> None:
        with Share(
            Table(clients, names), run="r", segment=1, units_per_second=100, clock=clock, sleep=clock.sleep
        ) as share:
            while clock.now < 60:
                shares.append((clock.now, share.units_per_second()))
                clock.sleep(0.1)

    clock.run([(0.0, killed), (1.0, lives)])
    assert shares[0][1] == 50
    assert 25 < min(moment for moment, units in shares if units == 100) < 40


def test_a_segment_that_stalled_comes_back_as_a_new_one() -> None:
    """In the meantime the other segment has everything; then it has half before the first one reads again."""
    clock = SimulatedTime()
    shares: dict[int, list[tuple[float, float]]] = {0: [], 1: []}
    clients, names = of_bucket(clock)

    def work(segment: int) -> None:
        with Share(
            Table(clients, names), run="r", segment=segment, units_per_second=100, clock=clock, sleep=clock.sleep
        ) as share:
            while clock.now < 120:
                units = share.units_per_second()
                shares[segment].append((clock.now, units))
                clock.sleep(60 if segment == 0 and 10 < clock.now < 20 else 0.1)

    clock.run([(0.0, lambda: work(0)), (0.0, lambda: work(1))])
    back = min(moment for moment, _ in shares[0] if moment > 40)
    assert {units for moment, units in shares[1] if 45 < moment < back - 2} == {100}
    assert {units for moment, units in shares[1] if back - 0.05 < moment < 119} == {50}
    assert {units for moment, units in shares[0]} == {50}


def test_a_share_of_the_provisioned_capacity() -> None:
    table = SimulatedTable(SimulatedTime(), uneven(2000, 4000), provisioned=800)
    spans = scan_all(table, read_capacity_percent=25, max_read_capacity=100_000)
    check(table, 200, begin=2, end=max(ended for _, ended in spans) - 1)
    with pytest.raises(SettingsError, match="on demand without a maximum"):
        scan_all(SimulatedTable(SimulatedTime(), uneven(1)), read_capacity_percent=25)
