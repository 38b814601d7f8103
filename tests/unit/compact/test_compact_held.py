"""What the views show while types change, which after a kill they do until the next run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dynalake.catalog.partitions import list_partitions, point_snapshot
from dynalake.catalog.views import Watermark, read_watermark, write_views
from dynalake.compact.publish import publish_table
from dynalake.days import SNAPSHOT_DAY, shift_day
from tests.unit.compact.lake import TestLake, noon
from tests.unit.compact.test_compact_flow import DAY, A, B, Killed, rows

FIVE = {"v": {"N": "5"}}
LAST = shift_day(DAY, 2)
NOW = noon(shift_day(DAY, 4))


@pytest.fixture
def killed(lake: TestLake, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A run whose publish is killed before the last step, which releases the views."""

    def run() -> None:
        converted, calls = lake.convert(NOW), []

        def until_the_release(*arguments: Any) -> bool:
            calls.append(arguments)
            if len(calls) == 2:
                raise Killed
            return write_views(*arguments)

        monkeypatch.setattr("dynalake.compact.publish.write_views", until_the_release)
        with pytest.raises(Killed):
            publish_table(lake.clients, lake.names, converted, lake.options, NOW)
        monkeypatch.undo()
        lake.end_lease()

    return run


def fill(lake: TestLake) -> None:
    """A snapshot and a day without the attribute `v`, and a later day with it."""
    lake.put(SNAPSHOT_DAY, "1.gz", lake.lines([A], "SNAPSHOT"), run="first")
    point_snapshot(lake.clients, lake.names, lake.names.snapshot_run("first"))
    lake.put(DAY, "1.gz", lake.lines([A]))
    lake.put(LAST, "1.gz", lake.lines([{**B, "v": {"N": "1"}}]))
    lake.run(noon(shift_day(LAST, 1)))
    assert read_watermark(lake.clients, lake.names) == Watermark(LAST, True)


def test_a_snapshot_that_comes_to_have_the_column_is_read_from_json(lake: TestLake, killed: Callable[[], None]) -> None:
    fill(lake)
    lake.put(SNAPSHOT_DAY, "1.gz", lake.lines([{**A, **FIVE}, {**B, "v": {"N": "1.5"}}], "SNAPSHOT"), run="second")
    point_snapshot(lake.clients, lake.names, lake.names.snapshot_run("second"))
    killed()
    assert [row["v"] for row in rows(lake, SNAPSHOT_DAY)] == [5.0, 1.5], "it has moved"
    assert not read_watermark(lake.clients, lake.names).snapshot
    lake.run(NOW)
    assert read_watermark(lake.clients, lake.names) == Watermark(LAST, True)


def test_a_day_that_comes_to_have_the_column_is_read_from_json(lake: TestLake, killed: Callable[[], None]) -> None:
    fill(lake)
    lake.put(DAY, "late.gz", lake.lines([{**B, **FIVE}]))
    lake.put(shift_day(LAST, 1), "1.gz", lake.lines([{**A, "v": {"N": "1.5"}}]))
    killed()
    assert [row["v"] for row in rows(lake, DAY)] == [None, 5.0], "it has moved"
    assert read_watermark(lake.clients, lake.names) == Watermark(shift_day(DAY, -1), True)
    lake.run(NOW)
    assert read_watermark(lake.clients, lake.names) == Watermark(shift_day(LAST, 1), True)


def test_an_older_day_that_was_named_can_be_read_from_json(lake: TestLake) -> None:
    fill(lake)
    before = shift_day(DAY, -30)
    lake.put(before, "1.gz", lake.lines([A]))
    assert before not in list_partitions(lake.clients, lake.names, lake.names.raw_table)
    assert lake.run(NOW, [before]).days == (before,)
    assert before in list_partitions(lake.clients, lake.names, lake.names.raw_table)
