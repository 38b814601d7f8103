"""`dynalake_redrive` and `dynalake_teardown`: the order of their tasks. `tests/e2e/test_secured_life.py` runs them."""

from __future__ import annotations

from typing import Any


def test_each_step_waits_for_the_one_before(bag: Any) -> None:
    teardown = bag.dags["dynalake_teardown"]
    order = [task.task_id for task in teardown.topological_sort() if hasattr(task, "task_id")]
    assert order == [
        "check",
        "drain.stop_mapping",
        "drain.send_last_canaries",
        "drain.delivered",
        "delete_stack",
        "wants_data_deleted",
        "data.delete_catalog",
        "data.delete_objects",
        "report",
    ]
    redrive = bag.dags["dynalake_redrive"]
    assert [task.task_id for task in redrive.topological_sort()] == ["list_failed", "replay", "report"]
    assert redrive.get_task("replay").is_mapped
