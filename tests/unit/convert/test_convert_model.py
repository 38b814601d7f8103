"""The protocol's rules for conversions under concurrent runs, kills, lost answers and commits of others.

`DYNALAKE_MODEL_SEEDS=5000 DYNALAKE_SWEEP=1/1 pytest tests/unit/convert/test_convert_model.py`
plays more seeds. Each rule is turned off once, to show that the others do not replace it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dynalake.convert import batch, commit, finish, once, row_day
from dynalake.convert.batch import NewFolder
from dynalake.lake.tables import grow
from tests.support import sweep
from tests.support.memory.steps import use_seed
from tests.unit.convert.convert_world import World, play

pytestmark = pytest.mark.slow

SEEDS = int(os.environ.get("DYNALAKE_MODEL_SEEDS", "48"))
BLOCKS = 8
UNTIL = 40
"""The number of seeds within which a missing rule must be noticed."""


def played(seed: int) -> World:
    with pytest.MonkeyPatch.context() as patch:
        use_seed(patch, seed)
        # The world has no readers of views, and every additional call makes the races rarer that it tests.
        patch.setattr(finish, "show_tables", lambda table: (table.changes(), table.items()))
        patch.setattr(grow, "views_bound", lambda table: None)
        return play(seed)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_each_change_is_stored_once_and_none_is_lost(block: int) -> None:
    for seed in sweep.played(range(block, SEEDS, BLOCKS)):
        assert played(seed).faults == {}, f"seed {seed}"


def test_a_seed_always_plays_the_same() -> None:
    calls = []
    for _ in range(2):
        world = played(3)
        calls.append((world.steps.random.random(), sorted(world.lake.s3.objects)))
    assert calls[0] == calls[1]


def without_empty_files(patch: pytest.MonkeyPatch) -> None:
    write = batch._write

    def write_rows(*args: Any) -> Iterator[NewFolder]:
        return (folder for folder in write(*args) if any(part.rows for part in folder.parts))

    patch.setattr(batch, "_write", write_rows)


MISSED: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "the day of a row": (lambda patch: patch.setattr(row_day, "row_days", lambda *given: None), "in too early a day"),
    "the comparison with live rows": (
        lambda patch: patch.setattr(once.LiveRows, "gather", lambda *given: None),
        "twice",
    ),
    "the comparison within a run": (lambda patch: patch.setattr(commit, "find_waiting", lambda *given: {}), "twice"),
    "a file of no rows": (without_empty_files, "never quiet"),
    "the check of files that came since": (
        lambda patch: patch.setattr(commit, "overlap", lambda *given: False),
        "twice",
    ),
    "late changes first": (lambda patch: patch.setattr(commit, "_is_late", lambda *given: False), "late"),
    "the check of the bound": (lambda patch: patch.setattr(commit, "PLANNED_ON", ()), "late"),
}


@pytest.mark.parametrize("rule", MISSED)
def test_faults_appear_without_any_one_rule(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out, fault = MISSED[rule]
    leave_out(monkeypatch)
    faults: list[str] = []
    for seed in range(UNTIL):
        faults += played(seed).faults
        if any(name.startswith(fault) for name in faults):
            return
    pytest.fail(f"without {rule}, {UNTIL} seeds found {faults or 'nothing'}")
