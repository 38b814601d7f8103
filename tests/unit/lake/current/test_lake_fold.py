"""When a fold is due, and that readers see the right rows after each of its steps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from dynalake.lake.catalog.iceberg import Change, DataFile
from dynalake.lake.catalog.table import BOUND, FOLDED_TO, number
from dynalake.lake.current.fold import FoldOptions, FoldPlan, count_bytes, fold, open_files, plan_fold, raise_bound
from dynalake.lake.current.key_ranges import Sizes
from dynalake.lake.current.view_entries import views_bound
from tests.support.kills import killed_anywhere
from tests.support.memory.state_lake import DAY_MS, START, Event, StateLake, replay
from tests.support.sweep import SHARE

pytestmark = pytest.mark.slow

ONE_ROW = Sizes(file=1, small=1, group=1)
NEVER = FoldOptions(fold_at=1e9, fold_gb=1e9)
HOUR = 3_600_000


@pytest.fixture
def lake() -> StateLake:
    return StateLake().make()


def plan(lake: StateLake, now: int, options: FoldOptions | None = None, **kwargs: Any) -> FoldPlan | None:
    return plan_fold(lake.table.changes(), lake.table.items(), lake.names.lake, now, options, **kwargs)


# -- due -----------------------------------------------------------------------------------------------------------


def test_nothing_is_due_if_nothing_was_committed(lake: StateLake) -> None:
    for requested in (False, True):
        assert plan(lake, START, requested=requested) is None


def test_the_first_fold_is_due_at_once(lake: StateLake) -> None:
    lake.append(Event("a", 1, START), Event("b", 2, START + 5))

    due = plan(lake, START + HOUR)
    assert due is not None
    assert (due.bound, due.reason) == (START + 5, "changes of more than 10% of the state's bytes")


def test_changes_that_cannot_be_folded_yet_do_not_count(lake: StateLake) -> None:
    lake.append(Event("a", 1, START))

    assert plan(lake, START - 1) is None
    assert plan(lake, START - 1, requested=True) is None


def test_a_fold_is_due_by_its_share_of_the_state(lake: StateLake) -> None:
    lake.append(*(Event(f"k{n}", n, START) for n in range(1, 50)))
    fold(lake.table, START)
    lake.append(Event("a", 100, START + HOUR))
    now = START + DAY_MS

    assert plan(lake, now, FoldOptions(fold_at=5.0)) is None
    due = plan(lake, now, FoldOptions(fold_at=0.01))
    assert due is not None
    assert due.bytes == lake.table.changes().files()[0].size


def test_a_fold_is_due_by_its_size_however_large_the_state_is(lake: StateLake) -> None:
    lake.append(Event("a", 1, START))

    due = plan(lake, START, FoldOptions(fold_at=1e9, fold_gb=1e-9))
    assert due is not None
    assert due.reason == "more than 1e-09 GB of changes"


def test_a_fold_is_due_after_some_time(lake: StateLake) -> None:
    lake.append(Event("a", 1, START))
    fold(lake.table, START)
    lake.append(Event("a", 2, START + HOUR))
    every = FoldOptions(fold_at=1e9, fold_gb=1e9, fold_every=timedelta(hours=1))

    assert plan(lake, START + HOUR - 1, every) is None
    due = plan(lake, START + HOUR, every)
    assert due is not None
    assert due.bound == START + HOUR
    assert plan(lake, START + HOUR, NEVER) is None


def test_a_requested_fold_reaches_the_newest_change_but_not_the_future(lake: StateLake) -> None:
    lake.append(Event("z", 1, START - 1))
    fold(lake.table, START - 1)
    lake.append(Event("a", 1, START), Event("b", 2, START + 5))
    assert plan(lake, START + 3, NEVER) is None

    assert plan(lake, START + HOUR, NEVER, requested=True) == FoldPlan(START + 5, _bytes(lake), "requested")
    due = plan(lake, START + 3, NEVER, requested=True)
    assert due is not None
    assert due.bound == START + 3


def test_an_unfinished_fold_is_always_due(lake: StateLake) -> None:
    lake.append(Event("a", 1, START))
    raise_bound(lake.table, START + 7)

    due = plan(lake, START - HOUR, NEVER)
    assert due is not None
    assert (due.bound, due.reason) == (START + 7, "an earlier fold has not finished")
    fold(lake.table, due.bound)
    assert plan(lake, START + HOUR, NEVER, requested=True) is None


def _bytes(lake: StateLake) -> int:
    return sum(f.size for f in lake.table.changes().files({"20240101"}))


def test_files_count_by_the_share_of_their_time_range(lake: StateLake) -> None:
    file = lake.write("20240101", [Event("a", 1, START), Event("b", 2, START + 100)])
    moment = lake.write("20240101", [Event("a", 1, START)])

    assert count_bytes(file, 0, START - 1) == 0
    assert count_bytes(file, START + 100, START + HOUR) == 0
    assert count_bytes(file, 0, START + HOUR) == file.size
    assert count_bytes(file, 0, START + 25) == file.size // 4
    assert count_bytes(file, START + 25, START + 75) == file.size // 2
    assert count_bytes(file, 0, START) == 1  # at its very beginning
    assert count_bytes(moment, START - 1, START) == moment.size
    assert count_bytes(moment, START, START + 1) == 0


def test_only_days_that_may_have_later_changes_are_read(lake: StateLake) -> None:
    for day in range(5):
        lake.append(Event("a", day + 1, START + day * DAY_MS))
    changes = lake.table.changes()

    def days(files: tuple[DataFile, ...]) -> list[str]:
        return sorted(f.partition for f in files)

    assert days(open_files(changes, 0, lake.names.lake)) == [f"2024010{n}" for n in range(1, 6)]
    assert days(open_files(changes, START + 2 * DAY_MS, lake.names.lake)) == ["20240104", "20240105"]


def test_the_snapshot_is_never_folded(lake: StateLake) -> None:
    lake.commit(Change(add=(lake.write("00000000", [Event("s", 0, START, "SNAPSHOT")]),)))
    lake.append(Event("a", 1, START))

    fold(lake.table, START + 1)

    assert set(lake.state()) == {"a"}


# -- done ----------------------------------------------------------------------------------------------------------

LOG = [
    Event("a", 1, START, "INSERT"),
    Event("b", 2, START + 1, "INSERT"),
    Event("c", 3, START + 1, "INSERT"),
    Event("b", 4, START + 1, "REMOVE"),
    Event("a", 5, START + 2),
    Event("c", 6, START + DAY_MS, "REMOVE"),
    Event("c", 7, START + 2 * DAY_MS, "INSERT"),
]


def test_a_fold_merges_only_up_to_its_bound(lake: StateLake) -> None:
    lake.append(*LOG)

    folded = fold(lake.table, START + 1)

    assert (folded.folded_to, folded.merged.rows) == (START + 1, 4)
    assert lake.state() == {"a": "INSERT 1", "b": "REMOVE 4", "c": "INSERT 3"}
    assert number(lake.table.changes(), BOUND) == number(lake.table.items(), FOLDED_TO) == START + 1
    assert views_bound(lake.table) == START + 1
    assert lake.current() == replay(LOG)


def test_folding_again_writes_nothing(lake: StateLake) -> None:
    lake.append(*LOG)
    fold(lake.table, START + DAY_MS)
    before = {name: entry["VersionId"] for name, entry in lake.glue.tables.items()}

    for bound in (START + DAY_MS, START):
        assert fold(lake.table, bound).folded_to == START + DAY_MS
    assert {name: entry["VersionId"] for name, entry in lake.glue.tables.items()} == before


def test_a_change_at_the_bound_that_arrives_later_is_late(lake: StateLake) -> None:
    lake.append(Event("a", 1, START))
    fold(lake.table, START)

    assert lake.append(Event("a", 2, START)).won == 1
    assert lake.current() == lake.state() == {"a": "MODIFY 2"}


def test_readers_see_the_right_rows_after_a_kill_before_any_call() -> None:
    before = StateLake().make()
    before.append(*LOG[:3])
    fold(before.table, START, sizes=ONE_ROW)
    before.append(*LOG[3:])
    half: set[tuple[int, int, int]] = set()
    for lake in killed_anywhere(before.copy, lambda lake: fold(lake.table, START + DAY_MS, sizes=ONE_ROW), above=10):
        shown = views_bound(lake.table)
        assert shown is not None
        bounds = number(lake.table.changes(), BOUND), number(lake.table.items(), FOLDED_TO), shown
        assert bounds[0] >= bounds[1] >= bounds[2]
        half.add(bounds)
        assert lake.current() == replay(LOG)
        late = Event("a", 9, START + 1)
        lake.append(late, Event("b", 3, START + 1))
        assert lake.current() == replay([*LOG, late])
        fold(lake.table, START + DAY_MS)
        assert lake.current() == replay([*LOG, late])
        assert lake.state() == {"a": "MODIFY 9", "b": "REMOVE 4", "c": "REMOVE 6"}
    assert len(half) >= 3 or not SHARE.whole  # nothing yet, the marker, folded


def test_two_concurrent_folds(lake: StateLake) -> None:
    lake.append(*LOG)
    others = [START + DAY_MS, START]

    def interfere(service: str, call: str, request: dict[str, Any]) -> None:
        if call == "update_table" and others:
            lake.glue.on_call = lambda *_: None
            fold(lake.table, others.pop(), sizes=ONE_ROW, pause=lambda s: None)
            assert lake.current() == replay(LOG)
            lake.glue.on_call = interfere

    lake.glue.on_call = interfere
    folded = fold(lake.table, START + 1, sizes=ONE_ROW, pause=lambda s: None)

    lake.glue.on_call = lambda *_: None
    assert not others
    assert folded.folded_to == number(lake.table.items(), FOLDED_TO) == START + DAY_MS
    assert lake.current() == replay(LOG)
    assert lake.state() == {"a": "MODIFY 5", "b": "REMOVE 4", "c": "REMOVE 6"}
