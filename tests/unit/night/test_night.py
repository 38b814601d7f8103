"""A night's work on one table: all steps in order, none stops the others, and then nothing is due."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from dynalake.lake.catalog.table import FOLDED_TO, number
from dynalake.lake.current.fold import FoldOptions
from dynalake.lake.upkeep.collect import Collected
from dynalake.lake.upkeep.history import Dropped
from dynalake.lake.upkeep.retention import RawDeleted
from dynalake.lake.upkeep.scrub import read_scrub
from dynalake.lake.working.steps import Fault
from dynalake.night import night
from dynalake.night.night import Requests, work
from dynalake.options.settings import TableSettings
from tests.support.memory.receipts import DAY_1, Receipts
from tests.unit.night.one_table import SETTINGS, TODAY

pytestmark = pytest.mark.slow


def run(
    lake: Receipts, settings: TableSettings = SETTINGS, requested: Requests | None = None
) -> tuple[list[str], list[Fault]]:
    """Return the messages and the failures."""
    messages: list[str] = []
    faults = work(lake.table, settings, lake.now, messages.append, requested)
    return messages, list(faults)


def test_a_run_does_all_due_work_and_the_next_has_none(lake: Receipts) -> None:
    rows = lake.rows()
    messages, faults = run(lake)
    assert faults == []
    assert any(line.startswith(f"dt={DAY_1}: 2 files became 1") for line in messages)
    assert any("Columns with new types: n" in line for line in messages)
    assert number(lake.table.items(), FOLDED_TO) > 0
    assert read_scrub(lake.table) is not None
    assert lake.rows().total() == rows.total() == 5
    assert len(lake.items()) == 3
    lake.clock.move(seconds=3600)
    messages, faults = run(lake)
    assert (messages, faults) == ([], [])


def test_an_open_day_a_fold_and_a_scrub_can_be_requested(lake: Receipts) -> None:
    run(lake)
    lake.append(TODAY, {"id": "d"})
    before = read_scrub(lake.table)
    folded = number(lake.table.items(), FOLDED_TO)
    lake.clock.move(seconds=3600)
    messages, faults = run(lake, requested=Requests((TODAY,), fold=True, scrub=True))
    assert faults == []
    assert any(line.startswith(f"dt={TODAY}: 2 files became 1") for line in messages)
    assert any("Folded the state, requested" in line for line in messages)
    assert number(lake.table.items(), FOLDED_TO) > folded
    assert read_scrub(lake.table) != before


STEPS = {
    "entries": "repair_entries",
    "history": "drop_history",
    "compact": "compact_table",
    "fold": "plan_fold",
    "raw": "delete_raw",
    "backfills": "delete_replaced_runs",
    "collect": "collect",
    "scrub": "scrub",
}


@pytest.mark.parametrize("step", STEPS)
def test_a_failing_step_stops_no_other_step(lake: Receipts, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    done: list[str] = []

    def watched(name: str, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            done.append(name)
            if name == step:
                raise RuntimeError("a fault that nobody thought of")
            return function(*arguments, **options)

        return call

    for name, function in STEPS.items():
        monkeypatch.setattr(night, function, watched(name, getattr(night, function)))
    _, faults = run(lake)
    assert done == [*STEPS]
    assert faults == [Fault(step, "RuntimeError: a fault that nobody thought of", False)]


def test_settings_give_the_retention_times(lake: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    values: dict[str, Any] = {}

    def history(table: Any, now: Any, history_days: int) -> Dropped:
        values["history"] = history_days
        return Dropped(("20230101",), 1, 2, "20230102")

    def raw(table: Any, now: Any, raw_retention_days: int) -> RawDeleted:
        values["raw"] = raw_retention_days
        return RawDeleted("RECEIPTS", ("20230101",), 3, 4)

    def garbage(table: Any, now: Any, snapshot_days: int) -> Collected:
        values["snapshots"] = snapshot_days
        return Collected("RECEIPTS")

    for name, stand_in in (("drop_history", history), ("delete_raw", raw), ("collect", garbage)):
        monkeypatch.setattr(night, name, stand_in)
    messages: list[str] = []
    settings = replace(SETTINGS, history_days=400, snapshot_days=3)
    assert work(lake.table, settings, lake.now, messages.append, raw_retention_days=90) == ()
    assert values == {"history": 400, "raw": 90, "snapshots": 3}
    assert "Dropped 1 day before dt=20230102, with 2 rows" in messages
    assert "Deleted 3 raw objects of 1 day: live rows hold their changes" in messages


def test_settings_decide_when_the_state_is_folded() -> None:
    settings = replace(SETTINGS, fold_at_percent=25, fold_gb=3)
    assert FoldOptions.of_settings(settings) == FoldOptions(0.25, 3, None)
    assert FoldOptions.of_settings(replace(settings, fold_every_hours=6)).fold_every == timedelta(hours=6)
