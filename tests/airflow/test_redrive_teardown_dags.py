"""`dynalake_redrive` and `dynalake_teardown`: the order of their tasks. `tests/e2e/test_secured_life.py` runs them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.capture.failed.redrive import Chunk, RedrivePlan
from dynalake.capture.stored import count_objects, delete_objects
from dynalake.operators import redrive
from dynalake.operators.task import session
from tests.support.airflow.small_lake import add_table, make_lake, put


def test_each_step_waits_for_the_one_before(bag: Any) -> None:
    steps = {
        "dynalake_teardown": [
            "check",
            "drain.stop_mapping",
            "drain.at_rest",
            "drain.send_last_canaries",
            "drain.delivered",
            "convert_last",
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


def test_a_dry_run_of_a_teardown_counts_what_would_go(
    clients: Clients, run: Callable[..., dict[str, Any]], logs: Callable[[], str]
) -> None:
    lake = make_lake(clients, "dryteardown")
    table = add_table(clients, lake, "KEPT")
    put(table, "1", "ab")
    put(table, "1", "abc")
    before = {(o.key, o.etag) for o in table.store.list("")}
    states = run("dynalake_teardown", table="KEPT", environment="dryteardown", dry_run=True, delete_data="KEPT")
    assert (states.pop("run"), states.pop("check")) == ("success", "success")
    assert set(states.values()) == {"skipped"}
    assert {(o.key, o.etag) for o in table.store.list("")} == before
    text = logs()
    assert "Stack, deleted: none" in text
    assert "Glue tables and views, deleted: " in text
    assert "kept_current" in text
    sizes = [stored.bytes for stored in count_objects(table)]
    versions = sum(stored.versions for stored in count_objects(table))
    assert f"Objects in s3://{lake.bucket}/, deleted: {versions:,} versions, {sum(sizes):,} bytes" in text
    assert delete_objects(table) == versions


def test_a_run_replays_as_many_chunks_as_airflow_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run says so. The next run replays the others, since replayed batches have moved away."""
    plan = RedrivePlan((), tuple(Chunk(str(n), "mapping", (str(n),)) for n in range(5)))
    pushed: dict[str, Any] = {}
    answers: dict[str, Callable[..., Any]] = {
        "run_table": lambda: SimpleNamespace(names=SimpleNamespace(table="RECEIPTS")),
        "run_id": lambda: "run",
        "most_mapped": lambda: 3,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(redrive, name, answer)
    monkeypatch.setattr(session, "parameters", lambda: {"table": "RECEIPTS", "batches": [], "dry_run": False})
    for module in (redrive, session):
        monkeypatch.setattr(
            module, "get_current_context", lambda: {"ti": SimpleNamespace(xcom_push=pushed.__setitem__)}
        )
    monkeypatch.setattr("dynalake.capture.failed.redrive.plan_redrive", lambda *_: plan)
    monkeypatch.setattr("dynalake.capture.failed.redrive.save_plan", lambda *_: None)
    assert redrive.list_failed.function() == [0, 1, 2]
    assert "replays 3 of 5 chunks" in pushed["note"]
    monkeypatch.setattr(redrive, "most_mapped", lambda: 5)
    assert redrive.list_failed.function() == [0, 1, 2, 3, 4]
