"""Runs that the snapshot has left are deleted after a while: never the snapshot, never a run that is under way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dynalake.backfill import supersede
from dynalake.backfill.objects import ListedObject
from dynalake.backfill.run import plan_backfill
from dynalake.backfill.scan import scan_segment
from dynalake.backfill.supersede import GIVEN_UP_AFTER_HOURS, Left, delete_runs
from dynalake.catalog import lease
from dynalake.clients import Clients
from dynalake.errors import LedgerError
from dynalake.names import TableNames
from tests.unit.backfill.exports import FakeExports
from tests.unit.backfill.fakes import FakeTable, Kill, KilledError, receipts
from tests.unit.backfill.flow import backfill, backfill_exported
from tests.unit.backfill.world import World

GRACE = 24


def later(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


def runs_in(world: World) -> set[str]:
    """The runs of which anything is left."""
    names = world.names
    roots = (names.backfill_states, names.raw_day("00000000"), names.superseded_runs)
    return {
        key.removeprefix(root).partition("/")[0].removesuffix(".txt") for root in roots for key in world.objects(root)
    }


@pytest.fixture
def clients(world: World) -> Clients:
    """The snapshot was `one`, and is `two`."""
    made = world.clients(FakeTable(receipts(8)))
    backfill(made, world.names, run="one")
    backfill(made, world.names, run="two")
    return made


def test_a_run_goes_some_time_after_the_snapshot_has_left_it(world: World, clients: Clients) -> None:
    seen = world.visible()
    assert delete_runs(clients, world.names, GRACE, later(GRACE - 1)) == ()
    assert runs_in(world) == {"one", "two"}
    assert delete_runs(clients, world.names, GRACE, later(GRACE + 1)) == ("one",)
    assert runs_in(world) == {"two"}
    assert world.visible() == seen
    assert delete_runs(clients, world.names, GRACE, later(GRACE + 1)) == ()
    # Its name is free: the whole table is read anew.
    backfill(clients, world.names, run="one")
    assert world.catalog["location"].endswith("/one/")
    assert len(world.visible()) == 8
    assert delete_runs(clients, world.names, GRACE, later(GRACE + 1)) == ("two",)


def test_a_run_that_became_the_snapshot_again_stays(world: World, clients: Clients) -> None:
    """Its note is from the first time; the other one has a note now."""
    backfill(clients, world.names, run="one")
    assert delete_runs(clients, world.names, GRACE, later(GRACE + 1)) == ("two",)
    assert len(world.visible()) == 8
    backfill(clients, world.names, run="three")
    assert delete_runs(clients, world.names, GRACE, later(GRACE - 1)) == (), "the note is new"
    assert delete_runs(clients, world.names, GRACE, later(GRACE + 1)) == ("one",)


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_killed_at_every_step_the_snapshot_is_whole_and_the_next_one_finishes(world: World, after: bool) -> None:
    table = FakeTable(receipts(2))

    def prepare() -> None:
        world.wipe()
        for run in ("one", "two"):
            backfill(world.clients(table), world.names, run=run, segments=1)

    prepare()
    counter = Kill()
    delete_runs(world.clients(table, counter), world.names, GRACE, later(GRACE + 1))
    expected, seen = sorted(world.lake()), world.visible()
    for step in counter.changing:
        prepare()
        kill = Kill(step, after=after)
        with pytest.raises(KilledError):
            delete_runs(world.clients(table, kill), world.names, GRACE, later(GRACE + 1))
        assert world.visible() == seen, f"killed at call {step}: {kill.last}"
        # Somebody runs the old run again: all of it is there, or it is told what is not, and the snapshot stays.
        if not after:
            try:
                backfill(world.clients(table), world.names, run="one", segments=1)
            except LedgerError:
                assert world.catalog["location"].endswith("/two/")
            assert sorted(r["id"] for r in world.visible()) == sorted(r["id"] for r in seen)
        else:
            delete_runs(world.clients(table), world.names, GRACE, later(GRACE + 1))
            assert sorted(world.lake()) == expected, f"killed at call {step}: {kill.last}"


def test_a_run_that_is_committed_meanwhile_is_not_touched(
    world: World, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the lease the old run becomes the snapshot again."""

    @contextmanager
    def changing(clients: Clients, names: TableNames) -> Iterator[lease.Lease]:
        backfill(clients, names, run="one")
        with lease.changing(clients, names) as held:
            yield held

    monkeypatch.setattr(supersede, "changing", changing)
    assert delete_runs(clients, world.names, GRACE, later(GRACE + 1)) == ("two",)
    assert len(world.visible()) == 8


def test_a_run_that_is_under_way_stays_until_it_is_given_up(world: World, clients: Clients) -> None:
    plan_backfill(clients, world.names, run="slow", segments=2)
    scan_segment(clients, world.names, run="slow", segment=0)
    delete_runs(clients, world.names, GRACE, later(GIVEN_UP_AFTER_HOURS - 1))
    assert runs_in(world) == {"two", "slow"}
    assert delete_runs(clients, world.names, GRACE, later(GIVEN_UP_AFTER_HOURS + 1)) == ("slow",)
    assert runs_in(world) == {"two"}


def test_what_is_written_again_is_not_old() -> None:
    now = datetime(2019, 5, 25, tzinfo=UTC)
    old, new = (ListedObject("x", 1, "e", now.timestamp() - hours * 3600) for hours in (100, 1))
    assert Left("r", (old,), old).is_due(now, GRACE)
    assert not Left("r", (old, new), old).is_due(now, GRACE)
    assert not Left("r", (old,), new).is_due(now, GRACE)
    assert not Left("r", (old,)).is_due(now, GRACE)
    assert Left("r", (old,)).is_due(now + timedelta(hours=GIVEN_UP_AFTER_HOURS), GRACE)


def test_without_a_snapshot_nothing_goes(world: World, clients: Clients) -> None:
    """The catalog was lost: what it showed is not known."""
    world.catalog.clear()
    assert delete_runs(clients, world.names, GRACE, later(10_000)) == ()
    assert runs_in(world) == {"one", "two"}


def test_an_export_that_is_to_be_kept_is_kept(world: World) -> None:
    made = world.clients(FakeExports(receipts(5), world.s3))
    options: dict[str, Any] = {"segments": 1, "target_mb": 0.002}
    backfill_exported(made, world.names, run="kept", keep_export=True, **options)
    backfill_exported(made, world.names, run="gone", **options)
    backfill_exported(made, world.names, run="shown", **options)
    exported = world.objects(world.names.export_prefix("kept"))
    assert set(delete_runs(made, world.names, GRACE, later(GRACE + 1))) == {"kept", "gone"}
    assert world.objects(world.names.export_prefix("kept")) == exported
    assert not world.objects(world.names.snapshot_run("kept"))
    assert runs_in(world) == {"kept", "shown"}
    assert delete_runs(made, world.names, GRACE, later(10_000)) == ()
