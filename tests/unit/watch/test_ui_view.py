"""The page's texts and bars."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.days import shift_day
from dynalake.names import Lake
from dynalake.ui.charts import TICKS, chart, curves
from dynalake.ui.links import console, log_page, run_page, table_links
from dynalake.ui.texts import command_of, count_text, day_text, held_text, short_number, size_text, waiting_text
from dynalake.watch.history import DAY_MS, HOUR_MS, Point
from dynalake.watch.readings import Day, Size

TODAY = "20240301"


def test_a_chart_has_a_bar_for_each_day_with_changes_and_a_scale() -> None:
    days = [Day("20240227", Size(1, 100, 1)), Day("20240228", Size(0, 90, 1)), Day("20240229", Size(1000, 50_000, 2))]
    drawn = chart(days, TODAY, 30)
    assert [(bar.day, bar.x, bar.height) for bar in drawn.bars] == [("20240227", 26, 3.0), ("20240229", 28, 100.0)]
    assert drawn.axis == ("1k", "500", "0")
    assert (drawn.days, drawn.most) == (("2024-02-01", "2024-02-15", "2024-03-01"), "1,000")
    assert drawn.bars[-1].title == "2024-02-29: 1,000 rows, 50.0 kB in 2 files"
    assert chart([], TODAY, 14).bars == ()
    assert chart([Day("20230101", Size(5, 5, 1))], TODAY, 14).bars == (), "it was long ago"


@given(st.dictionaries(st.integers(0, 29), st.integers(0, 10**12), max_size=30))
def test_bars_stay_in_their_chart(rows: dict[int, int]) -> None:
    days = [Day(shift_day(TODAY, -back), Size(count, 1, 1)) for back, count in rows.items()]
    bars = chart(days, TODAY, 30).bars
    assert len(bars) == sum(1 for count in rows.values() if count)
    assert all(3 <= bar.height <= 100 and 0 <= bar.x < 30 for bar in bars)
    assert max((bar.height for bar in bars), default=100) >= 40, "the axis ends at a round number near the most"


NOW = 20_000 * DAY_MS


@given(st.lists(st.tuples(st.integers(0, DAY_MS), st.none() | st.floats(0, 1e8)), max_size=50), st.floats(60, 1e6))
def test_curves_stay_in_their_plot(seen: list[tuple[int, float | None]], target: float) -> None:
    points = [Point(NOW - back, value, value, 0.0, "ok") for back, value in sorted(seen, key=lambda s: -s[0])]
    drawn = curves("Lag", points, [("to S3", "accent", lambda p: p.lag)], NOW - DAY_MS, NOW, target, lambda s: s)
    numbers = [float(n) for n in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", drawn.lines[0].path) for n in n]
    assert all(0 <= number <= 1000 for number in numbers)
    assert len(numbers) == 2 * sum(value is not None for _, value in seen)
    assert (len(drawn.axis), len(drawn.moments)) == (TICKS + 1, TICKS + 1)
    assert drawn.target is None or 0 <= drawn.target <= 100
    assert all(strip.x + strip.width <= 1003 for strip in drawn.strips)


def test_a_curve_breaks_where_nobody_has_looked() -> None:
    points = [Point(NOW - back * HOUR_MS, 60.0, 60.0, 0.0, "ok") for back in (9, 2, 1)]
    drawn = curves("Lag", points, [("to S3", "accent", lambda p: p.lag)], NOW - DAY_MS, NOW, 30, lambda s: s)
    assert drawn.lines[0].path.count("M") == 3
    assert drawn.axis == ("60 s", "45 s", "30 s", "15 s", "0")
    assert drawn.target == 50
    assert [strip.state for strip in drawn.strips] == ["ok"] * 3
    assert "now 60 s" in drawn.summary


def test_links_are_quoted_and_of_the_lakes_region() -> None:
    assert console("cn-north-1") == "https://console.amazonaws.cn"
    assert console("us-gov-west-1") == "https://console.amazonaws-us-gov.com"
    links = {link.text: link.href for link in table_links(Lake("dev", "1", "eu-west-1").table("A.B"))}
    assert links["Raw objects in S3"].startswith(
        "https://eu-west-1.console.aws.amazon.com/s3/buckets/dynalake-dev-1-eu-w"
    )
    assert links["Raw objects in S3"].endswith("prefix=dynamodb/json/A.B/")
    assert run_page("dynalake_watch", "manual__2026+00:00/x") == "dags/dynalake_watch/runs/manual__2026%2B00%3A00%2Fx"
    assert log_page("d", "r", "g.look", 3) == "dags/d/runs/r/tasks/g.look/mapped/3"
    assert log_page("d", "r", "g.look", -1) == "dags/d/runs/r/tasks/g.look"


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
    assert [short_number(n) for n in (0, 999, 12_000, 3_500_000, 2e12)] == ["0", "999", "12k", "3.5M", "2e+03G"]
    assert command_of("aws lambda x --uuid 1; then look") == ("aws lambda x --uuid 1", "; then look")
    assert command_of("run dynalake_backfill") == ("", "run dynalake_backfill")
