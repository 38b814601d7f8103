"""A backfill's snapshot replaces the previous one, whichever process finishes it, and never goes back."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from dynalake.errors import ConflictError, UnknownOutcomeError
from dynalake.lake.catalog.iceberg import Change
from dynalake.lake.catalog.table import SHOWN_RUN, SNAPSHOT_RUN, number
from dynalake.lake.current.fold import fold
from dynalake.lake.current.key_ranges import Sizes
from dynalake.lake.current.snapshot import Swapped, finish_snapshot, is_unfinished, number_run, swap_snapshot
from dynalake.lake.files.folders import FolderManifest
from tests.support.kills import killed_anywhere
from tests.support.memory.state_lake import START, Event, StateLake
from tests.support.sweep import SHARE

pytestmark = pytest.mark.slow

ONE_ROW = Sizes(file=1, small=1, group=1)


@pytest.fixture
def lake() -> StateLake:
    return StateLake().make()


def swap(lake: StateLake, run: int, *manifests: FolderManifest, **kwargs: Any) -> Swapped:
    return swap_snapshot(lake.table, run, manifests, clock=lake.now, pause=lambda s: None, **kwargs)


def finish(lake: StateLake) -> Swapped | None:
    return finish_snapshot(lake.table, lake.table.changes(), lake.table.items(), clock=lake.now, pause=lambda s: None)


def runs(lake: StateLake) -> tuple[int, int]:
    """Return the run in the state and the one that the changes show."""
    return number(lake.table.items(), SNAPSHOT_RUN), number(lake.table.changes(), SHOWN_RUN)


def shown(lake: StateLake) -> list[str]:
    """Return the items of the snapshot in the changes."""
    return sorted(row["id"] for row in lake.rows() if row["dt"] == "00000000")


def test_the_first_snapshot(lake: StateLake) -> None:
    lake.append(Event("a", 1, START, "REMOVE"), Event("b", 2, START))

    swapped = swap(lake, 1, lake.backfill(1, "a", "b", "c", files=2))

    assert (swapped.shown, swapped.merged.rows, swapped.removed) == (True, 3, 0)
    assert runs(lake) == (1, 1)
    assert shown(lake) == ["a", "b", "c"]
    assert lake.current() == {"b": "MODIFY 2", "c": "snapshot 1"}
    fold(lake.table, START)
    assert lake.current() == {"b": "MODIFY 2", "c": "snapshot 1"}


@pytest.mark.parametrize("sizes", [Sizes(), ONE_ROW])
def test_a_second_snapshot_replaces_the_first(lake: StateLake, sizes: Sizes) -> None:
    lake.append(Event("b", 2, START))
    fold(lake.table, START)
    swap(lake, 1, lake.backfill(1, "a", "b", "c", "d", files=2), sizes=sizes)

    swapped = swap(lake, 2, lake.backfill(2, "b", "c", "e"), sizes=sizes)

    assert swapped.removed == 2
    assert runs(lake) == (2, 2)
    assert shown(lake) == ["b", "c", "e"]
    assert lake.state() == lake.current() == {"b": "MODIFY 2", "c": "snapshot 2", "e": "snapshot 2"}
    assert {row["__run"] for row in lake.items()} == {None, 2}


def test_an_empty_snapshot(lake: StateLake) -> None:
    swap(lake, 1, lake.backfill(1, "a"))

    swap(lake, 2)

    assert runs(lake) == (2, 2)
    assert (shown(lake), lake.current()) == ([], {})


def test_a_second_run_writes_nothing(lake: StateLake) -> None:
    folder = lake.backfill(1, "a", "b")
    swap(lake, 1, folder)
    before = {name: entry["VersionId"] for name, entry in lake.glue.tables.items()}

    assert swap(lake, 1, folder).shown
    assert finish(lake) is None
    assert {name: entry["VersionId"] for name, entry in lake.glue.tables.items()} == before


def test_an_earlier_snapshot_is_refused(lake: StateLake) -> None:
    first = lake.backfill(1, "a", "b")
    swap(lake, 2, lake.backfill(2, "b", "c"))

    assert not swap(lake, 1, first).shown
    assert runs(lake) == (2, 2)
    assert lake.current() == {"b": "snapshot 2", "c": "snapshot 2"}


def revive(lake: StateLake) -> None:
    lake.s3.on_call = lake.glue.on_call = lambda *_: None


@pytest.mark.parametrize("finisher", ["the same", "another run", "a later backfill"])
def test_a_kill_before_any_call_is_repaired(finisher: str) -> None:
    before = StateLake().make()
    before.append(Event("b", 2, START))
    fold(before.table, START)
    swap(before, 1, before.backfill(1, "a", "b", "c"))
    folder = before.backfill(2, "b", "c", "d")
    third = before.backfill(3, "d")
    begun = 0
    for lake in killed_anywhere(before.copy, lambda lake: swap(lake, 2, folder, sizes=ONE_ROW), above=10):
        begun += is_unfinished(lake.table.changes(), lake.table.items())
        assert set(lake.current()) <= {"a", "b", "c", "d"}
        assert {"b", "c"} <= set(lake.current())
        if finisher == "a later backfill":
            swap(lake, 3, third)
            assert not swap(lake, 2, folder).shown
            assert lake.state() == lake.current() == {"b": "MODIFY 2", "d": "snapshot 3"}
            continue
        if finisher == "another run" and is_unfinished(lake.table.changes(), lake.table.items()):
            finished = finish(lake)
            assert finished is not None
            assert finished.shown
        elif finisher == "the same":
            swap(lake, 2, folder)
        expected = {"b": "MODIFY 2", "c": "snapshot 2", "d": "snapshot 2"}
        if runs(lake) == (2, 2):
            assert lake.state() == lake.current() == expected
            assert shown(lake) == ["b", "c", "d"]
        else:
            assert (finisher, runs(lake)) == ("another run", (1, 1))
            assert lake.current() == {"a": "snapshot 1", "b": "MODIFY 2", "c": "snapshot 1"}
    assert begun > 5 or not SHARE.whole


@pytest.mark.parametrize("fault", ["lose", "drop"])
def test_a_lost_answer_of_any_commit(fault: str) -> None:
    before = StateLake().make()
    swap(before, 1, before.backfill(1, "a", "b"))
    folder = before.backfill(2, "b", "c")
    for number_of in range(1, 9):
        lake, left = before.copy(), number_of

        def fail(service: str, call: str, request: dict[str, Any], lake: StateLake = lake) -> None:
            nonlocal left
            if call != "update_table":
                return
            left -= 1
            if not left:
                if fault == "lose":
                    lake.glue.update(request)
                raise ReadTimeoutError(endpoint_url="https://glue")

        lake.glue.on_call = fail
        try:
            swapped = swap(lake, 2, folder, sizes=ONE_ROW)
        except UnknownOutcomeError:
            assert fault == "drop"
            revive(lake)
            swapped = swap(lake, 2, folder, sizes=ONE_ROW)
        assert swapped.shown
        assert lake.state() == lake.current() == {"b": "snapshot 2", "c": "snapshot 2"}
    assert left > 0


def test_others_rewrite_files_while_earlier_items_are_removed(lake: StateLake) -> None:
    """A merge rewrites all rows of its file, also those of an earlier backfill."""
    swap(lake, 1, lake.backfill(1, "a", "b", "c"))
    folder = lake.backfill(2, "c")
    waiting = [Event("b", 5, START), Event("d", 6, START), Event("b", 7, START, "REMOVE"), Event("e", 8, START)]

    def interfere(service: str, call: str, request: dict[str, Any]) -> None:
        if call == "update_table" and waiting and request["TableInput"]["Name"] == lake.names.state_table:
            revive(lake)
            event = waiting.pop(0)
            lake.append(event)
            fold(lake.table, START)
            lake.glue.on_call = interfere

    lake.glue.on_call = interfere
    swap(lake, 2, folder)

    assert not waiting
    revive(lake)
    assert lake.current() == {"c": "snapshot 2", "d": "MODIFY 6", "e": "MODIFY 8"}
    assert lake.state()["b"] == "REMOVE 7"


def test_a_later_snapshot_that_begins_in_the_middle_wins(lake: StateLake) -> None:
    swap(lake, 1, lake.backfill(1, "a", "b"))
    second, third = lake.backfill(2, "b", "c"), lake.backfill(3, "c", "d")
    begun: list[str] = []

    def interfere(service: str, call: str, request: dict[str, Any]) -> None:
        # The first update says which run's items the state will get, the second one adds them.
        if call == "update_table" and len(begun) < 2:
            begun.append(call)
            if len(begun) == 2:
                revive(lake)
                swap(lake, 3, third)

    lake.glue.on_call = interfere
    assert not swap(lake, 2, second).shown
    assert runs(lake) == (3, 3)
    assert lake.state() == lake.current() == {"c": "snapshot 3", "d": "snapshot 3"}


def test_an_error_says_what_cannot_be_finished(lake: StateLake) -> None:
    lake.commit_state(Change(properties={SNAPSHOT_RUN: "4"}))

    with pytest.raises(ConflictError, match="the backfill 4 of RECEIPTS is only partly in the state"):
        finish(lake)

    swap(lake, 4, lake.backfill(4, "a"))
    assert lake.current() == {"a": "snapshot 4"}


def test_missing_files_are_reported(lake: StateLake) -> None:
    folder = lake.backfill(1, "a", "b", files=2)
    lake.s3._delete(folder.parts[1].path.removeprefix(lake.names.uri("")))

    with pytest.raises(ConflictError, match="convert the backfill's objects again"):
        swap(lake, 1, folder)
    assert runs(lake) == (0, 0)


def test_only_files_of_the_run_that_are_young_enough_are_shown(lake: StateLake) -> None:
    folder = lake.backfill(1, "a")
    lake.clock.move(days=4)

    with pytest.raises(ConflictError, match="96 hours ago"):
        swap(lake, 1, folder)
    assert runs(lake) == (1, 0)
    with pytest.raises(ConflictError, match="96 hours ago"):
        finish(lake)

    swap(lake, 1, lake.backfill(1, "a"))
    assert runs(lake) == (1, 1)


def test_backfills_are_numbered_once(lake: StateLake) -> None:
    assert number_run(lake.table, "first") == 1
    assert number_run(lake.table, "second") == 2
    assert number_run(lake.table, "first") == 1
    lake.commit(Change(properties={SHOWN_RUN: "7"}))
    assert number_run(lake.table, "third") == 8
    lake.commit_state(Change(properties={SNAPSHOT_RUN: "9"}))
    assert number_run(lake.table, "fourth") == 10


def test_two_concurrent_backfills_get_different_numbers(lake: StateLake) -> None:
    other: list[int] = []

    def interfere(service: str, call: str, request: dict[str, Any]) -> None:
        if call == "put_object" and not other:
            revive(lake)
            other.append(number_run(lake.table, "other"))

    lake.s3.on_call = interfere

    assert (number_run(lake.table, "mine"), other) == (2, [1])
