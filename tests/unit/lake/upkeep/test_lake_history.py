"""Days that are old enough are dropped whole, unless they are still needed."""

from __future__ import annotations

from typing import Any

import pytest

from dynalake.days import SNAPSHOT_DAY, shift_day
from dynalake.errors import SettingsError
from dynalake.lake.catalog.iceberg import Change, DataFile
from dynalake.lake.catalog.table import FOLDED_TO, HISTORY_FROM
from dynalake.lake.upkeep import history
from dynalake.lake.upkeep.history import DAYS_AT_ONCE, Dropped, drop_history, plan_history
from tests.support.memory.flat_lake import MemoryLake, commit_change, use_clock

OLD, OLDER = 40, 50  # days ago


class HistoryLake(MemoryLake):
    """A lake of changes at noon, and a bound of state and view."""

    def add(self, ago: int, *ids: str, named: bool = True) -> DataFile:
        """Add rows of a day that many days ago, made at noon, from a raw object."""
        raw = self.put_raw(self.day(ago), f"{ids[0]}.gz", ids[0].encode())
        return self.append(self.day(ago), *ids, inputs=[raw] if named else [], time=self.noon(ago))

    def noon(self, ago: int) -> int:
        return self.milliseconds - ago * 86_400_000

    def fold(self, ago: int, view: int | None = None) -> None:
        """Fold the changes made up to noon of a day into the state, and let the view read the later ones."""
        self.commit(Change(properties={FOLDED_TO: str(self.noon(ago))}), self.names.state_table)
        bound = self.noon(ago if view is None else view)
        entry = {"Name": self.names.current_view, "Parameters": {FOLDED_TO: str(bound)}}
        self.glue.tables[self.names.current_view] = {**entry, "VersionId": "1"}

    def drop(self, days: int = 31) -> Dropped:
        return drop_history(self.table, self.clock.moment, days, pause=lambda _: None)

    def days(self) -> set[str]:
        return {f.partition for f in self.table.changes().files()}


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> HistoryLake:
    lake = HistoryLake()
    lake.clock.move(seconds=12 * 3600)
    use_clock(monkeypatch, lake.clock)
    lake.create()
    return lake


def test_old_days_are_dropped_whole_and_the_snapshot_is_kept(lake: HistoryLake) -> None:
    lake.append(SNAPSHOT_DAY, "snapshot")
    lake.add(OLDER, "a", "b")
    lake.add(OLD, "c")
    lake.add(10, "d")
    lake.fold(1)

    done = lake.drop()

    assert (done.days, done.files, done.rows) == ((lake.day(OLDER), lake.day(OLD)), 2, 3)
    assert done.history_from == lake.day(31)
    assert lake.table.changes().properties[HISTORY_FROM] == lake.day(31)
    assert lake.rows() == ["d", "snapshot"]
    assert lake.drop() == Dropped(history_from=done.history_from)


def test_nothing_is_deleted_unless_requested(lake: HistoryLake) -> None:
    lake.add(OLD, "a")
    lake.fold(1)

    assert lake.drop(0) == Dropped()
    assert lake.drop(100) == Dropped()
    with pytest.raises(SettingsError, match="history_days is 30"):
        lake.drop(30)


@pytest.mark.parametrize(("folded", "view"), [(45, 1), (1, 45), (45, 45)])
def test_a_day_that_is_not_folded_or_that_the_view_reads_is_kept(lake: HistoryLake, folded: int, view: int) -> None:
    lake.add(OLDER, "a")
    lake.add(46, "b")
    lake.add(OLD, "c")
    lake.fold(folded, view)

    done = lake.drop()

    # The view reads from the day before its bound on.
    assert done.history_from == lake.day(46)
    assert lake.rows() == ["b", "c"]


def test_nothing_is_dropped_before_the_first_fold_or_without_a_view(lake: HistoryLake) -> None:
    lake.add(OLD, "a")
    assert lake.drop().days == ()
    lake.fold(1)
    del lake.glue.tables[lake.names.current_view]
    assert lake.drop().days == ()


def test_a_day_with_a_row_made_after_the_bound_is_kept(lake: HistoryLake) -> None:
    lake.add(OLDER, "a")
    lake.append(lake.day(45), "late", time=lake.noon(0))
    lake.add(OLD, "c")
    lake.fold(1)

    assert lake.drop().history_from == lake.day(45)
    assert lake.rows() == ["c", "late"]


def test_a_day_with_unknown_times_is_kept(lake: HistoryLake) -> None:
    lake.add(OLDER, "a")
    foreign = lake.write(lake.day(45), [{"id": "foreign"}])
    lake.commit(Change(add=(foreign,)))
    lake.fold(1)

    assert lake.drop().days == (lake.day(OLDER),)
    assert lake.rows() == ["foreign"]


def test_a_day_with_an_unconverted_object_is_kept(lake: HistoryLake) -> None:
    lake.add(OLDER, "a")
    lake.add(45, "b")
    lake.put_raw(lake.day(45), "late.gz", b"late")
    lake.add(OLD, "c")
    lake.fold(1)

    assert lake.drop().history_from == lake.day(45)
    assert lake.rows() == ["b", "c"]


def test_an_overwritten_object_counts_as_not_converted(lake: HistoryLake) -> None:
    lake.add(OLD, "c")
    lake.put_raw(lake.day(OLD), "c.gz", b"other bytes")
    lake.fold(1)

    assert lake.drop().days == ()


def test_raw_objects_of_days_dropped_earlier_do_not_count(lake: HistoryLake) -> None:
    lake.add(OLDER, "a")
    lake.fold(1)
    lake.drop(45)
    lake.add(OLD, "b")

    assert lake.drop().days == (lake.day(OLD),)


def test_the_first_kept_day_only_moves_forward(lake: HistoryLake) -> None:
    lake.add(OLDER, "a")
    lake.fold(1)
    first = lake.drop(40).history_from

    assert lake.drop(45).history_from == first


def test_rows_that_land_between_plan_and_commit_are_noticed(lake: HistoryLake) -> None:
    lake.add(OLD, "a")
    lake.fold(1)

    def late(service: str, call: str, request: dict[str, Any]) -> None:
        if call == "update_table":
            lake.glue.on_call = lambda *_: None
            file = lake.write(lake.day(OLD), [{"id": "late", "__event_time": lake.noon(0)}])
            commit_change(lake.table, lake.names.changes_table, lambda head, news: Change(add=(file,)))

    lake.glue.on_call = late

    assert lake.drop().days == ()
    assert lake.rows() == ["a", "late"]


def test_many_days_are_dropped_in_several_commits(lake: HistoryLake) -> None:
    first = lake.day(400)
    files = tuple(
        lake.write(shift_day(first, n), [{"id": f"{n}", "__event_time": 1}]) for n in range(DAYS_AT_ONCE + 20)
    )
    lake.commit(Change(add=files))
    lake.fold(1)
    before = len(lake.table.changes().iceberg.metadata.snapshots)

    done = lake.drop()

    assert (len(done.days), done.files) == (DAYS_AT_ONCE + 20, DAYS_AT_ONCE + 20)
    assert len(lake.table.changes().iceberg.metadata.snapshots) == before + 2
    assert lake.days() == set()


def test_rows_that_the_views_read_would_be_dropped_without_their_bound(
    lake: HistoryLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.add(OLD, "a")
    lake.fold(1, view=45)
    monkeypatch.setattr(history, "views_bound", lambda table: lake.milliseconds)

    assert lake.drop().days == (lake.day(OLD),)  # what the rule forbids


def test_a_plan_without_files_changes_nothing() -> None:
    assert plan_history([], "20240101", "20230101", 5) == ("20240101", ())
    assert plan_history([], "20230101", "20240101", 5) == ("20240101", ())
