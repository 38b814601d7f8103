"""The page's texts and bars."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.days import shift_day
from dynalake.ui.view import chart, count_text, day_text, held_text, size_text, waiting_text
from dynalake.watch.readings import Day, Size

TODAY = "20240301"


def test_a_chart_has_a_bar_for_each_day_with_changes_and_a_scale() -> None:
    days = [Day("20240227", Size(1, 100, 1)), Day("20240228", Size(0, 90, 1)), Day("20240229", Size(1000, 50_000, 2))]
    drawn = chart(days, TODAY, 30)
    assert [(bar.day, bar.x, bar.height) for bar in drawn.bars] == [("20240227", 26, 3.0), ("20240229", 28, 100.0)]
    assert (drawn.first, drawn.last, drawn.most) == ("2024-02-01", "2024-03-01", "1,000")
    assert drawn.bars[-1].title == "2024-02-29: 1,000 rows, 50.0 kB in 2 files"
    assert chart([], TODAY, 14).bars == ()
    assert chart([Day("20230101", Size(5, 5, 1))], TODAY, 14).bars == (), "it was long ago"


@given(st.dictionaries(st.integers(0, 29), st.integers(0, 10**12), max_size=30))
def test_bars_stay_in_their_chart(rows: dict[int, int]) -> None:
    days = [Day(shift_day(TODAY, -back), Size(count, 1, 1)) for back, count in rows.items()]
    bars = chart(days, TODAY, 30).bars
    assert len(bars) == sum(1 for count in rows.values() if count)
    assert all(3 <= bar.height <= 100 and 0 <= bar.x < 30 for bar in bars)
    assert max((bar.height for bar in bars), default=100) == 100


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (5 * 10**15, "5,000 TB")],
)
def test_sizes_read_well(size: int, text: str) -> None:
    assert size_text(size) == text


def test_counts_and_days_read_well() -> None:
    assert (waiting_text(0, 0), waiting_text(1, 1200), waiting_text(0, 1)) == ("–", "1 object, 1,200 days", "1 day")
    assert held_text(Size(1200, 10, 1)) == "1,200 rows, 10 B in 1 file"
    assert (count_text(0), count_text(999), count_text(1000)) == ("0", "999", "1,000 or more")
    assert day_text("20240229") == "2024-02-29"
