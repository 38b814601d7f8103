"""Airflow's own backfill converts history again: a run for each day, through `airflow backfill create`."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from dynalake.catalog.partitions import list_partitions
from dynalake.clients import Clients
from dynalake.names import TableNames
from tests.airflow.small_lake import add_table, make_lake
from tests.unit.compact.lake import noon

ENVIRONMENT = "history"
DAYS = ["20240101", "20240102", "20240103"]


@pytest.fixture
def names(clients: Clients) -> TableNames:
    """A lake with one table and three days, compacted; set up without a pipeline, which it does not need."""
    table = add_table(clients, make_lake(clients, ENVIRONMENT), "HISTORY", DAYS)
    for number, day in enumerate(DAYS):
        table.put(day, "1.gz", table.lines([{"id": {"S": day}, "n": {"N": str(number)}}]))
    table.run(noon("20240104"))
    return table.names


@pytest.mark.timeout(900)
def test_a_backfill_converts_its_days_again(airflow: Any, clients: Clients, names: TableNames) -> None:
    def versions() -> dict[str, str]:
        return {day: p.location for day, p in list_partitions(clients, names, names.parquet_table).items()}

    before = versions()
    assert list(before) == DAYS
    conf = json.dumps({"environment": ENVIRONMENT, "tables": [names.table], "codec": "snappy", "sort_by": ["n"]})
    dates = ["--from-date", "2024-01-02", "--to-date", "2024-01-03T12:00:00"]
    # SQLite has one writer at a time, and the command gives up when the scheduler is that one.
    with airflow.stopped():
        created = subprocess.run(
            ["airflow", "backfill", "create", "--dag-id", "dynalake_compact", *dates, "--dag-run-conf", conf],
            env=dict(airflow.environment),
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert created.returncode == 0, created.stdout + created.stderr
    runs = wait_for_backfill(airflow, 2)
    after = versions()
    # The first day's run is that of 02:00 on the day after it; the third day's was not asked for.
    assert [day for day in DAYS if after[day] != before[day]] == DAYS[:2]
    labels = set()
    for run in runs:
        tasks = airflow.client.tasks("dynalake_compact", run)
        labels |= {task["rendered_map_index"] for task in tasks if task["task_id"] in ("convert", "publish")}
    assert {f"HISTORY dt={DAYS[0]}", f"HISTORY dt={DAYS[1]}", "HISTORY"} <= labels
    parameters = {d: p.parameters for d, p in list_partitions(clients, names, names.parquet_table).items()}
    written = [json.loads(parameters[day]["dynalake.written"]) for day in DAYS]
    assert [(one["codec"], one["sort_by"]) for one in written] == [("snappy", ["n"])] * 2 + [("zstd", [])]


def wait_for_backfill(airflow: Any, count: int) -> list[str]:
    """The backfill's runs, once all of them succeeded."""
    deadline = time.monotonic() + 600
    while True:
        runs = [run for run in airflow.client.runs("dynalake_compact") if run["run_type"] == "backfill"]
        if len(runs) == count and all(run["state"] in ("success", "failed") for run in runs):
            failures = {run["dag_run_id"]: airflow.failures("dynalake_compact", run["dag_run_id"]) for run in runs}
            assert {run["state"] for run in runs} == {"success"}, failures
            return [run["dag_run_id"] for run in runs]
        assert time.monotonic() < deadline, runs
        time.sleep(0.5)
