"""The machine kills a task's process (`kill -9`) in the middle of its work: the run ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.names import TableNames
from tests.e2e.lake_state import look
from tests.support.aws.capture_steps import wait_for_changes
from tests.support.waiting import eventually

TABLE = "KILLED"
ITEMS = 16


@pytest.fixture(scope="module")
def names(
    airflow: Any, make_set_up: Callable[..., TableNames], client: Callable[[str], Any], clients: Clients
) -> TableNames:
    def fill() -> None:
        for number in range(ITEMS):
            item = {"id": {"S": f"{number:04}"}, "n": {"N": str(number)}}
            client("dynamodb").put_item(TableName=TABLE, Item=item)

    names = make_set_up(TABLE, fill)
    assert len(wait_for_changes(clients, names, ITEMS)) == ITEMS
    return names


def kill(airflow: Any, dag: str, run: str, task: str, after: float) -> None:
    """Kill the process of the first instance of `task`, `after` seconds after it is first seen to run."""

    def running() -> list[int]:
        instances = airflow.client.tasks(dag, run)
        ids = [i["id"] for i in instances if i["task_id"] == task and i["state"] == "running"]
        return [pid for instance_id in ids for pid in _processes(f"airflow worker -- {instance_id}")]

    pid = eventually(running)[0]
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)


def _processes(title: str) -> list[int]:
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cmdline").read_bytes().startswith(title.encode()):
                pids.append(int(entry.name))
        except OSError:
            continue  # it ended in the meantime
    return pids


def retry_now(airflow: Any, dag: str, run: str, task: str) -> None:
    """Retry at once, without the retry's delay."""
    eventually(lambda: airflow.states(dag, run), lambda states: states[task] == "up_for_retry")
    body = {"dry_run": False, "dag_run_id": run, "task_ids": [task], "only_failed": False, "reset_dag_runs": False}
    airflow.client.call("POST", f"/dags/{dag}/clearTaskInstances", body)
    assert airflow.wait(dag, run) == "success", airflow.failures(dag, run)


def test_a_killed_scan_leaves_the_same_snapshot(airflow: Any, clients: Clients, names: TableNames) -> None:
    # A page of less than 4 KB costs half a unit, so at one unit per second the scan takes some seconds.
    run = airflow.start("dynalake_backfill", table=TABLE, segments=1, max_read_capacity=1)
    kill(airflow, "dynalake_backfill", run, "scan", after=2)
    retry_now(airflow, "dynalake_backfill", run, "scan")
    assert airflow.client.result("dynalake_backfill", run, "commit")["read"] == ITEMS
    killed = look(clients, names)
    assert killed.snapshot
    airflow.clear("dynalake_backfill", run)
    assert look(clients, names) == killed, "an undisturbed scan writes the same bytes"


def test_a_killed_conversion_leaves_the_same_lake(airflow: Any, clients: Clients, names: TableNames) -> None:
    run = airflow.start("dynalake_convert", tables=[TABLE])
    kill(airflow, "dynalake_convert", run, "convert", after=0.3)
    retry_now(airflow, "dynalake_convert", run, "convert")
    assert airflow.client.result("dynalake_convert", run, "report")["rows"] == ITEMS
    killed = look(clients, names)
    airflow.clear("dynalake_convert", run)
    assert look(clients, names) == killed
