"""The bytes that Spark sorts are equal, and in order, exactly where the records of the arrow engine are."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dynalake.convert.read.raw import RawObject
from dynalake.spark.convert import plan_tasks
from dynalake.spark.order import choose_bounds, identity_bytes, range_of
from tests.unit.record.strategies import TEXT, numbers

SEQUENCES = st.integers(0, 3).map(lambda n: str(n).zfill(40))
NUMBERS = st.one_of(numbers().map(Decimal), st.integers(), st.integers(-3, 3), st.sampled_from([Decimal("1.0"), 10]))
NULS = st.lists(st.sampled_from(["\x00", "a", "\xff", "\U0001f600"]), max_size=4).map("".join)
TEXTS = st.one_of(TEXT, NULS)


def sign(a: Any, b: Any) -> int:
    return int(a > b) - int(a < b)


@given(st.one_of(*[st.tuples(*[st.tuples(*kinds, SEQUENCES)] * 2) for kinds in ([TEXTS], [NUMBERS], [TEXTS, NUMBERS])]))
def test_bytes_compare_as_identities_do(pair: tuple[tuple[Any, ...], tuple[Any, ...]]) -> None:
    a, b = pair
    assert sign(identity_bytes(a), identity_bytes(b)) == sign(a, b)


@given(st.lists(st.binary(max_size=3), max_size=60), st.integers(1, 9))
def test_ranges_hold_everything_once_and_in_order(samples: list[bytes], ranges: int) -> None:
    bounds = choose_bounds(samples, ranges)
    assert len(bounds) < ranges
    numbered = [range_of(sample, bounds) for sample in sorted(samples)]
    assert all(a <= b for a, b in pairwise(numbered))
    assert choose_bounds(reversed(samples), ranges) == bounds


def test_ranges_are_about_equal() -> None:
    bounds = choose_bounds([bytes([n]) for n in range(100)], 4)
    assert [sum(range_of(bytes([n]), bounds) == r for n in range(100)) for r in range(4)] == [25] * 4


@given(st.lists(st.integers(1, 50), max_size=30))
def test_every_object_is_in_one_task(sizes: list[int]) -> None:
    objects = [RawObject(f"{n}", "", size) for n, size in enumerate(sizes)]
    tasks = plan_tasks(objects, 40)
    assert [one for task in tasks for one in task] == objects
    assert all(len(task) == 1 or sum(o.size for o in task) <= 40 for task in tasks)
