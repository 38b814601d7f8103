"""`dynalake_redrive` and `dynalake_teardown`: the order of their tasks. `tests/e2e/test_secured_life.py` runs them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any


def test_each_step_waits_for_the_one_before(bag: Any) -> None:
    steps = {
        "dynalake_teardown": [
            "check",
            "drain.stop_mapping",
            "drain.send_last_canaries",
            "drain.delivered",
            "delete_stack",
            "wants_data_deleted",
            "data.delete_catalog",
            "data.delete_objects",
            "report",
        ],
        "dynalake_redrive": ["list_failed", "replay", "report"],
    }
    for name, order in steps.items():
        dag = bag.dags[name]
        assert set(dag.task_ids) == set(order)
        for before, after in pairwise(order):
            assert before in dag.get_task(after).get_flat_relative_ids(upstream=True), after
    assert bag.dags["dynalake_redrive"].get_task("replay").is_mapped
