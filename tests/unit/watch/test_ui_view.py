"""The page's texts and bars."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.days import shift_day
from dynalake.ui.view import chart, count_text, day_text, days_text, size_text
from dynalake.watch.readings import Day

TODAY = "20240301"


def test_a_chart_has_a_bar_for_each_day_with_data_and_a_scale() -> None:
    days = [Day("20240229", 1000, 50_000, 1), Day("20240227", 1, 100, 1), Day(TODAY, None, 25_000, 9)]
    rows = chart(days, TODAY, 30, rows=True)
    assert [(bar.day, bar.x, bar.height) for bar in rows.bars] == [("20240227", 26, 3.0), ("20240229", 28, 100.0)]
    assert (rows.first, rows.last, rows.most) == ("2024-02-01", "2024-03-01", "1,000")
    size = chart(days, TODAY, 30, rows=False)
    assert [(bar.day, bar.height, bar.json) for bar in size.bars] == [
        ("20240227", 3.0, False),
        ("20240229", 100.0, False),
        (TODAY, 50.0, True),
    ]
    assert size.bars[-1].title == "2024-03-01: rows not counted yet, 25.0 kB JSON"
    assert chart([], TODAY, 14, rows=True).bars == ()
    assert chart([Day("20230101", 5, 5, 1)], TODAY, 14, rows=True).bars == (), "it is long ago"


@given(st.dictionaries(st.integers(0, 29), st.integers(0, 10**12), max_size=30))
def test_bars_stay_in_their_chart(sizes: dict[int, int]) -> None:
    days = [Day(shift_day(TODAY, -back), None, size, 1) for back, size in sizes.items()]
    bars = chart(days, TODAY, 30, rows=False).bars
    assert len(bars) == sum(1 for size in sizes.values() if size)
    assert all(3 <= bar.height <= 100 and 0 <= bar.x < 30 for bar in bars)
    assert max((bar.height for bar in bars), default=100) == 100


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (5 * 10**15, "5,000 TB")],
)
def test_sizes_read_well(size: int, text: str) -> None:
    assert size_text(size) == text


def test_counts_and_days_read_well() -> None:
    assert (days_text(0), days_text(1), days_text(1200)) == ("–", "1 day", "1,200 days")
    assert (count_text(0), count_text(999), count_text(1000)) == ("0", "999", "1,000 or more")
    assert day_text("20240229") == "2024-02-29"
