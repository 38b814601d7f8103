"""A task's process killed by the machine (`kill -9`) in the middle of its work: the run ends as if nothing had been."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dynalake.capture.lake import load_lake
from dynalake.clients import Clients
from dynalake.names import TableNames
from tests.e2e.lake_state import look

TABLE = "KILLED"
ITEMS = 16


@pytest.fixture(scope="module")
def names(airflow: Any, make_table: Callable[..., str], client: Callable[[str], Any], clients: Clients) -> TableNames:
    make_table(TABLE)
    for number in range(ITEMS):
        client("dynamodb").put_item(TableName=TABLE, Item={"id": {"S": f"{number:04}"}, "n": {"N": str(number)}})
    airflow.run("dynalake_setup", table=TABLE, backfill="none")
    return load_lake(clients, "dev").table(TABLE)


def kill(airflow: Any, dag: str, run: str, task: str, after: float) -> None:
    """Kills the process that runs the first instance of `task`, `after` seconds from when it is seen to run."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for instance in airflow.client.tasks(dag, run):
            if instance["task_id"] == task and instance["state"] == "running":
                for pid in _processes(f"airflow worker -- {instance['id']}"):
                    time.sleep(after)
                    os.kill(pid, signal.SIGKILL)
                    return
        time.sleep(0.1)
    raise AssertionError(f"{task} of {dag} was never seen running: {airflow.states(dag, run)}")


def _processes(title: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cmdline").read_bytes().startswith(title.encode()):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile
    return found


def retry_now(airflow: Any, dag: str, run: str, task: str) -> None:
    """What Airflow would do after the retry's delay, at once."""
    deadline = time.monotonic() + 60
    while airflow.states(dag, run)[task] != "up_for_retry":
        assert time.monotonic() < deadline, airflow.states(dag, run)
        time.sleep(0.2)
    body = {"dry_run": False, "dag_run_id": run, "task_ids": [task], "only_failed": False, "reset_dag_runs": False}
    airflow.client.call("POST", f"/dags/{dag}/clearTaskInstances", body)
    assert airflow.wait(dag, run) == "success", airflow.failures(dag, run)


def test_a_killed_scan_leaves_the_same_snapshot(airflow: Any, clients: Clients, names: TableNames) -> None:
    # A page of less than 4 KB costs half a unit: at one unit per second, the scan takes some seconds.
    run = airflow.start("dynalake_backfill", table=TABLE, segments=1, max_read_capacity=1)
    kill(airflow, "dynalake_backfill", run, "scan", after=2)
    retry_now(airflow, "dynalake_backfill", run, "scan")
    assert airflow.client.result("dynalake_backfill", run, "commit")["read"] == ITEMS
    killed = look(clients, names)
    assert killed.snapshot
    airflow.clear("dynalake_backfill", run)
    assert look(clients, names) == killed, "undisturbed, it writes the same bytes"


def test_a_killed_conversion_leaves_the_same_lake(airflow: Any, clients: Clients, names: TableNames) -> None:
    today = datetime.now(UTC).strftime("%Y%m%d")
    run = airflow.start("dynalake_compact", tables=[TABLE], days=[today])
    kill(airflow, "dynalake_compact", run, "convert", after=0.3)
    retry_now(airflow, "dynalake_compact", run, "convert")
    assert airflow.client.result("dynalake_compact", run, "report")["rows"] == ITEMS
    killed = look(clients, names)
    airflow.clear("dynalake_compact", run)
    assert look(clients, names) == killed
