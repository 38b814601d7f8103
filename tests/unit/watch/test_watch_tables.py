"""The readings of the Iceberg tables: freshness, waiting work, problems, and the number of calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dynalake.convert.plan import first_day, list_landed
from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.iceberg import Change as Commit
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.compaction.day import compact_day
from dynalake.lake.compaction.widen import HELD_SINCE
from dynalake.lake.current.fold import LAG, fold, raise_bound
from dynalake.lake.current.past_folds import PastFold
from dynalake.lake.current.view_entries import current_texts
from dynalake.lake.upkeep.collect import collect
from dynalake.lake.upkeep.scrub import scrub
from dynalake.lake.working.findings import Finding
from dynalake.options.settings import TableSettings
from dynalake.watch.readings import Lake, Readings, Size, Wait
from dynalake.watch.tables import CHECK_MS, FOLDS, add_folds, read_lake, size_of, sum_findings
from tests.support.memory.convert_lake import DAY_MS, Change, ConvertLake

pytestmark = pytest.mark.slow


class WatchedLake(ConvertLake):
    """A lake that is checked repeatedly."""

    last = Readings(0)
    settings = TableSettings("RECEIPTS")

    def look(self) -> Lake:
        landed = list(list_landed(self.table, first_day(self.today, 0)))
        changes, state = self.table.changes(), self.table.items()
        now = self.clock.moment
        reading = read_lake(self.table, self.settings, changes, state, landed, now, self.last, now)
        self.last = Readings(self.now, hand_off=self.now, lake=reading)
        return reading

    def calls(self) -> Counter[str]:
        """Return the calls of a check by kind."""
        counted: Counter[str] = Counter()

        def count(service: str, call: str, request: dict[str, Any]) -> None:
            counted[f"{service}.{call}"] += 1

        self.s3.on_call = self.glue.on_call = count
        self.look()
        self.s3.on_call = self.glue.on_call = lambda service, call, request: None
        return counted

    def land(self, day: str, name: str, numbers: Iterable[int], time: int = 0) -> None:
        self.put(day, name, [Change(f"i{n}", n, time or self.now + n) for n in numbers])

    def compact(self, day: str) -> None:
        compact_day(self.table, day, CompactOptions(memory_mb=64), lambda: self.clock.moment)

    def kinds(self) -> set[str]:
        return {finding.kind for finding in self.look().findings}


@pytest.fixture
def lake() -> WatchedLake:
    lake = WatchedLake()
    lake.create()
    return lake


def test_a_table_reports_its_freshness_and_its_missing_changes(lake: WatchedLake) -> None:
    reading = lake.look()
    assert (reading.changes, reading.newest_change, reading.folded_to, reading.unconverted) == (Size(), None, None, 0)
    landed = lake.now
    lake.land(lake.day(1), "a", [1, 2])
    lake.clock.move(seconds=60)
    lake.land(lake.today, "b", [3, 4])
    reading = lake.look()
    assert (reading.unconverted, reading.unconverted_since, reading.newest_change) == (2, landed, None)

    lake.run()
    reading = lake.look()
    assert (reading.unconverted, reading.unconverted_since) == (0, None)
    assert (reading.changes.rows, reading.changes.files, reading.state.rows) == (4, 2, 0)
    assert reading.newest_change == landed + 60_004
    assert [(day.day, day.size.rows) for day in reading.days] == [(lake.day(1), 2), (lake.today, 2)]
    assert sum(day.size.bytes for day in reading.days) == reading.changes.bytes > 0
    assert reading.unfolded > 0

    fold(lake.table, landed + 60_004)
    reading = lake.look()
    assert (reading.folded_to, reading.unfolded, reading.state.rows) == (landed + 60_004, 0, 4)
    assert reading.queries == current_texts(lake.table)


def test_a_day_waits_since_it_closed_or_was_reopened(lake: WatchedLake) -> None:
    lake.clock.move(seconds=2 * 3600)
    yesterday, before = lake.day(1), lake.day(2)
    for number, day in enumerate((before, yesterday, lake.today), 1):
        lake.land(day, "a", [number])
    lake.run()
    midnight = lake.now - lake.now % DAY_MS
    assert lake.look().waiting == (Wait(before, midnight - DAY_MS), Wait(yesterday, midnight))
    lake.compact(before)
    lake.clock.move(seconds=600)
    assert lake.look().waiting == (Wait(yesterday, midnight),)
    lake.compact(yesterday)
    assert lake.look().waiting == ()
    lake.land(before, "late", [9], midnight - 2 * DAY_MS)
    lake.run()
    assert lake.look().waiting == (Wait(before, lake.now),)
    opened = lake.now
    lake.clock.move(seconds=600)
    assert lake.look().waiting == (Wait(before, opened),)


def test_past_folds_are_listed_also_when_their_snapshots_are_gone(lake: WatchedLake) -> None:
    assert lake.look().folds == ()
    first = lake.now
    lake.land(lake.today, "a", range(50))
    lake.run()
    fold(lake.table, first + 49)
    lake.clock.move(seconds=3600)
    lake.land(lake.today, "b", [7])
    lake.run()
    fold(lake.table, lake.now + 7)

    second, whole = lake.look().folds
    state = size_of(lake.table.items())
    assert (whole.changes, whole.items, whole.rows, whole.files, whole.share) == (50, 50, 50, 1, 1)
    assert (second.changes, second.items, second.rows) == (1, 1, 50), "the item's file is written again"
    assert (second.bytes, second.state_bytes, second.share) == (state.bytes, state.bytes, 1)
    assert second.at >= whole.at

    lake.last = replace(lake.last, lake=replace(lake.last.lake, folds=(replace(whole, at=whole.at - DAY_MS),)))
    assert [f.at for f in lake.look().folds] == [second.at, whole.at, whole.at - DAY_MS]


def test_only_the_last_folds_are_kept() -> None:
    known = [PastFold(at, 1, 1, 1, 1, 1, 3) for at in range(FOLDS)]
    kept = add_folds(known, [replace(known[0], at=FOLDS)])
    assert [f.at for f in kept] == [*range(FOLDS, 0, -1)]
    assert kept[0].share == 1 / 3


def test_a_fold_is_due_since_a_check_first_found_it_due(lake: WatchedLake) -> None:
    assert lake.look().fold_due_since is None
    lake.land(lake.today, "a", range(50))
    lake.run()
    since = lake.now
    assert lake.look().fold_due_since == since
    lake.clock.move(seconds=3600)
    assert lake.look().fold_due_since == since
    folded = lake.now - round(LAG / timedelta(milliseconds=1)) + 100
    fold(lake.table, folded)
    assert lake.look().fold_due_since is None
    raise_bound(lake.table, folded + 1)
    assert lake.look().fold_due_since == lake.now, "a fold has begun"
    fold(lake.table, folded + 1)
    assert lake.look().fold_due_since is None


def test_days_wait_according_to_the_sort_order_of_the_table(lake: WatchedLake) -> None:
    lake.clock.move(seconds=2 * 3600)
    lake.land(lake.day(1), "a", [1])
    lake.run()
    lake.compact(lake.day(1))
    assert lake.look().waiting == ()
    for names in ('["value"]', '["nowhere"]'):
        lake.settings = TableSettings("RECEIPTS", sort_by=names)
        assert [wait.day for wait in lake.look().waiting] == [lake.day(1)], names


def test_a_problem_is_found_within_the_hour_and_clears_at_once(lake: WatchedLake) -> None:
    assert lake.kinds() == set()
    lake.glue.optimizers["receipts_state", "compaction"] = {"enabled": True}
    view = lake.glue.tables.pop(lake.names.current_view)
    assert lake.kinds() == set(), "it was checked just now"
    lake.clock.move(seconds=CHECK_MS / 1000)
    assert lake.kinds() == {"foreign-optimizer", "no-view"}
    lake.glue.optimizers.clear()
    lake.glue.tables[lake.names.current_view] = view
    assert lake.kinds() == set()


def test_the_findings_of_the_last_scrub_are_reported(lake: WatchedLake) -> None:
    for day in (lake.day(5), lake.day(4)):
        lake.land(day, "a", [1])
    lake.clock.move(days=2)
    scrub(lake.table, lambda: lake.clock.moment)
    (finding,) = lake.look().findings
    assert (finding.kind, finding.count) == ("unconverted", 2)
    assert "and 1 more of this kind (scrub of " in finding.what
    assert finding.what.startswith(f"dt={lake.day(7)}: No live row was made from")


def test_a_scrubs_findings_are_one_of_each_kind() -> None:
    same = [Finding("raw-gone", "T", f"x{n}", "plan", f"2024010{n}", n) for n in (1, 2, 3)]
    others = [Finding("foreign-optimizer", "t", "on", "off"), Finding("repeats", "T", "twice", "report")]
    assert [(f.kind, f.what, f.count) for f in sum_findings([*same, *others], "2024-02-01")] == [
        ("raw-gone", "dt=20240101: x1, and 2 more of this kind (scrub of 2024-02-01)", 6),
        ("repeats", "twice (scrub of 2024-02-01)", 1),
    ]


def test_a_view_that_omits_changes_is_found(lake: WatchedLake) -> None:
    lake.land(lake.today, "a", [1])
    lake.run()
    entry = lake.glue.tables[lake.names.current_view]
    entry["Parameters"] = {**entry["Parameters"], "dynalake.folded-to": str(lake.now)}
    assert lake.kinds() == {"view-ahead"}


def test_an_unfinished_change_of_types_is_found_after_a_day(lake: WatchedLake) -> None:
    change = Commit(properties={HELD_SINCE: str(lake.now)})
    commit_on(lake.table.catalog, lake.names, lake.table.changes(), lambda head, news: change)
    lake.clock.move(days=1)
    assert lake.kinds() == set()
    lake.clock.move(seconds=CHECK_MS / 1000)
    assert lake.kinds() == {"held-views"}


def test_the_calls_of_a_check_do_not_grow_with_history(lake: WatchedLake) -> None:
    """Nights compact the previous day, and merge manifests when that saves some."""
    lake.clock.move(seconds=2 * 3600)
    calls = []
    for number in range(34):
        lake.land(lake.today, "a", [number])
        lake.run()
        lake.clock.move(days=1)
        lake.compact(lake.day(1))
        collect(lake.table, lambda: lake.clock.moment, pause=lambda _: None)
        lake.look()
        calls.append(lake.calls())
    most = [max(reading.total() for reading in those) for those in (calls[:17], calls[17:])]
    assert most[1] <= most[0] < 30, calls
    reading = lake.look()
    assert (reading.changes.rows, len(reading.days)) == (34, 30)
    assert {call for kinds in calls for call in kinds} == {"s3.list_objects_v2", "s3.get_object", "glue.get_table"}
