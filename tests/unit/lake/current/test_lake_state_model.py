"""The rules of `{t}_state` under concurrent runs, kills, lost answers and other engines' OPTIMIZE.

`DYNALAKE_MODEL_SEEDS=5000 DYNALAKE_SWEEP=1/1 pytest tests/unit/lake/current/test_lake_state_model.py`
plays more seeds. Each rule is turned off once, to show that the others do not replace it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.compute
import pytest

from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.iceberg import Change, Head
from dynalake.lake.catalog.table import BOUND, FOLDED_TO, SHOWN_RUN, Table, number
from dynalake.lake.current import fold, snapshot, state, view_entries
from dynalake.lake.current.key_ranges import KeyFile
from dynalake.lake.current.state_schema import mark_items
from dynalake.lake.current.views import open_day
from dynalake.names import TableNames
from dynalake.record.change import OPERATION
from tests.support import sweep
from tests.support.memory.steps import use_seed
from tests.unit.lake.current.state_world import StateWorld, play

pytestmark = pytest.mark.slow

SEEDS = int(os.environ.get("DYNALAKE_MODEL_SEEDS", "16"))
BLOCKS = 4
UNTIL = 30
"""The number of seeds within which a missing rule must be noticed."""

pc: Any = pyarrow.compute  # its stubs take no chunked arrays where it does


def played(seed: int) -> StateWorld:
    with pytest.MonkeyPatch.context() as patch:
        use_seed(patch, seed)
        return play(seed)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_readers_see_the_winners_whatever_happens(block: int) -> None:
    for seed in sweep.played(range(block, SEEDS, BLOCKS)):
        assert played(seed).faults == {}, f"seed {seed}"


def without_overlaps(patch: pytest.MonkeyPatch) -> None:
    class Apart(KeyFile):
        def overlaps(self, *args: Any) -> bool:
            return False

    patch.setattr(state, "KeyFile", Apart)


def without_removals(patch: pytest.MonkeyPatch) -> None:
    def only_images(rows: Any, run: int | None = None) -> Any:
        return mark_items(rows.filter(pc.not_equal(rows[OPERATION], "REMOVE")), run)

    patch.setattr(state, "mark_items", only_images)


def in_one_partition(patch: pytest.MonkeyPatch) -> None:
    compare = state.compare
    patch.setattr(
        state,
        "compare",
        lambda head, files, *rest: compare(head, [f for f in files if not f.file.partition], *rest),
    )


def from_the_last_bound(patch: pytest.MonkeyPatch) -> None:
    mark, rows_between = fold.raise_bound, state.rows_between
    before: dict[int, int] = {}

    def raise_bound(table: Table, bound: int, **kwargs: Any) -> Head:
        last = number(table.changes(), BOUND)
        head = mark(table, bound, **kwargs)
        before[number(head, BOUND)] = last
        return head

    def rows_after(changes: Any, files: Any, after: int, up_to: int, *rest: Any) -> Any:
        return rows_between(changes, files, max(after, before.get(up_to, 0)), up_to, *rest)

    patch.setattr(fold, "raise_bound", raise_bound)
    patch.setattr(state, "rows_between", rows_after)


def folded_to_first(patch: pytest.MonkeyPatch) -> None:
    class Hasty(state.Merge):
        def add(self, *args: Any, **kwargs: Any) -> Any:
            bound = self.changes.properties[BOUND]
            commit_on(
                self.table.catalog, self.table.names, self.state, lambda *_: Change(properties={FOLDED_TO: bound})
            )
            return super().add(*args, **kwargs)

    patch.setattr(fold, "Merge", Hasty)


def views_at_the_marker(patch: pytest.MonkeyPatch) -> None:
    of = view_entries.view_source

    def view_source(names: TableNames, changes: Head, *args: Any) -> Any:
        bound = number(changes, BOUND)
        return replace(of(names, changes, *args), folded_to=bound, open_day=open_day(bound, names.lake))

    patch.setattr(view_entries, "view_source", view_source)


MISSED: dict[str, tuple[int, Callable[[pytest.MonkeyPatch], None]]] = {
    "S1: removals are in the state": (0, without_removals),
    "S1: a merge looks into both partitions": (0, in_one_partition),
    "S2: from folded_to": (1, from_the_last_bound),
    "S2: folded_to after the last group": (1, folded_to_first),
    "S2: the views' bound is folded_to": (15, views_at_the_marker),
    "S2: the highest number wins": (
        1,
        lambda patch: patch.setattr(state, "beats", lambda changes, rows: np.ones(rows.num_rows, dtype=bool)),
    ),
    "C3: no new file in the range": (2, without_overlaps),
    "S3: late changes first": (0, lambda patch: patch.setattr(state, "merge_late", lambda *given, **more: None)),
    "S4: a merge is refused where a later run is": (
        23,
        lambda patch: patch.setattr(snapshot, "_check_run", lambda run, head: None),
    ),
    "S4: what the run lacks is taken out": (
        13,
        lambda patch: patch.setattr(snapshot, "remove_earlier", lambda merge, run: 0),
    ),
    "S4: the swap is fenced": (
        6,
        lambda patch: patch.setattr(
            snapshot, "number", lambda head, name: 0 if name == SHOWN_RUN else number(head, name)
        ),
    ),
    "S4: whoever finds a swap finishes it": (
        3,
        lambda patch: patch.setattr(snapshot, "finish_snapshot", lambda *given, **more: None),
    ),
}
"""Rule → a seed that notices its absence, which is tried first, and the patch that removes it."""


@pytest.mark.parametrize("rule", MISSED)
def test_faults_appear_without_any_one_rule(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, leave_out = MISSED[rule]
    leave_out(monkeypatch)
    assert any(played(seed).faults for seed in (first, *range(UNTIL))), f"{UNTIL} seeds found nothing"
