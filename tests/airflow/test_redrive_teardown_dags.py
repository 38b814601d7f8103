"""`dynalake_redrive` and `dynalake_teardown` as Airflow runs them, on local AWS."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dynalake.capture.failed import list_failed
from dynalake.capture.lake import find_settings
from dynalake.capture.stacks import stack_state
from dynalake.clients import Clients
from dynalake.names import TableNames
from dynalake.settings import TableSettings
from infra.local.process import LocalAws
from tests.aws.capture_steps import break_changes, make_table, put_aside_large, set_up, wait_for_changes


def wait_for_failed(clients: Clients, names: TableNames, count: int) -> None:
    deadline = time.monotonic() + 40
    while len(list_failed(clients, names)) < count and time.monotonic() < deadline:
        time.sleep(0.2)


def test_redrive_lists_replays_and_reports(
    clients: Clients, local_aws: LocalAws, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_table(clients, "DAG-REDRIVE")
    done = set_up(clients, "dag", TableSettings("DAG-REDRIVE", max_record_kb=5))
    names = done.names
    break_changes(local_aws, names.table)
    clients.dynamodb.put_item(TableName=names.table, Item={"id": {"S": "broken"}})
    wait_for_failed(clients, names, 1)
    where = {"table": names.table, "environment": "dag"}

    # A dry run stops behind the list.
    states = run("dynalake_redrive", **where, dry_run=True)
    assert states == {"run": "success", "list_failed": "success", "replay": "skipped", "report": "success"}
    assert "forwarder | The record has no NewImage" in capsys.readouterr().out
    # What cannot pass fails the run, which says why, and changes nothing.
    states = run("dynalake_redrive", **where)
    assert (states["run"], states["replay[0]"], states["report"]) == ("failed", "success", "failed")
    assert len(list_failed(clients, names)) == 1

    (broken,) = list_failed(clients, names)
    large = put_aside_large(clients, names, done.source, 1)
    assert run("dynalake_redrive", **where, batches=["nothing"])["list_failed"] == "failed"
    states = run("dynalake_redrive", **where, batches=[large])
    assert states == {"run": "success", "list_failed": "success", "replay[0]": "success", "report": "success"}
    assert [change["id"] for change in wait_for_changes(clients, names, 1)] == ["large-1"]
    clients.s3.delete_object(Bucket=names.lake.bucket, Key=broken.key)
    assert run("dynalake_redrive", **where)["replay"] == "skipped"


def test_teardown_keeps_the_data_without_the_confirmation_and_deletes_it_with_it(clients: Clients, run: Any) -> None:
    make_table(clients, "DAG-TEARDOWN")
    names = set_up(clients, "dagdown", TableSettings("DAG-TEARDOWN")).names
    clients.dynamodb.put_item(TableName=names.table, Item={"id": {"S": "a"}})
    wait_for_changes(clients, names, 1)
    where = {"table": names.table, "environment": "dagdown"}

    states = run("dynalake_teardown", **where, delete_data="yes")
    assert (states["run"], states["check"]) == ("failed", "failed")
    assert find_settings(clients, names) is not None

    states = run("dynalake_teardown", **where)
    assert {task for task, state in states.items() if state == "skipped"} == {
        "data.delete_catalog",
        "data.delete_objects",
    }
    assert set(states.values()) == {"success", "skipped"}
    assert not stack_state(clients, names.stack).exists
    assert len(wait_for_changes(clients, names, 1)) == 1

    assert set(run("dynalake_teardown", **where, delete_data=names.table).values()) == {"success"}
    listed = clients.s3.list_objects_v2(Bucket=names.lake.bucket).get("Contents", [])
    assert [entry["Key"] for entry in listed if names.table in entry["Key"]] == []


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
