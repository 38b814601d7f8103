"""Airflow is stopped and started: waiting tasks continue, and requests made in the meantime are fulfilled."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.days import end_of_day
from dynalake.lake.catalog.table import Table
from dynalake.lake.hive.hive import list_partitions
from dynalake.lake.hive.json_table import shown_prefix
from dynalake.names import TableNames
from dynalake.record.change import encode_change
from infra.local.run.airflow import ANSWER_SECONDS, LOCK_SECONDS
from infra.local.run.process import LocalAws
from tests.support.airflow.small_lake import add_table, make_lake
from tests.support.aws.lake import convert
from tests.support.waiting import PATIENCE, eventually

EXPORTED = "EXPORTED"
ITEMS = 40
HISTORY = "history"
COMPACT = f"dynalake_compact_{HISTORY}"
DAYS = ["20240101", "20240102", "20240103"]


@dataclass(frozen=True)
class Restarted:
    """A table whose export was running during the restart, and one with a request to compact its history."""

    exported: TableNames
    export_run: str
    history: TableNames
    created: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def exported(make_set_up: Callable[..., TableNames], clients: Clients) -> TableNames:
    """A table with point-in-time recovery, and with items, one of them from after the hand-off."""

    def put(number: int, seconds: float) -> None:
        item = {"id": {"S": f"{number:04}"}, "updatedAt": {"N": f"{seconds:.0f}"}}
        clients.dynamodb.put_item(TableName=EXPORTED, Item=item)

    def fill() -> None:
        for number in range(1, ITEMS):
            put(number, 1_500_000_000)
        clients.dynamodb.update_continuous_backups(
            TableName=EXPORTED, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )

    names = make_set_up(EXPORTED, fill)
    after = time.time() + 1
    time.sleep(2)
    put(0, after)
    return names


@pytest.fixture(scope="module")
def history(clients: Clients) -> TableNames:
    """A lake with one table and three converted days; it needs no pipeline."""
    table = add_table(clients, make_lake(clients, HISTORY), "HISTORY")
    for number, day in enumerate(DAYS):
        at = round(end_of_day(day, table.names.lake.zone).timestamp() * 1000) - 1
        line = encode_change({"id": {"S": day}}, operation="INSERT", sequence_number=str(number + 1), event_time=at)
        clients.s3.put_object(Bucket=table.names.lake.bucket, Key=f"{table.names.raw_day(day)}1.json", Body=line)
    convert(table, days=DAYS)
    return table.names


@pytest.fixture(scope="module")
def restarted(
    airflow: Any, local_aws: LocalAws, clients: Clients, exported: TableNames, history: TableNames
) -> Restarted:
    def hold(held: bool) -> None:
        local_aws.call("POST", "/_dynalake/exports", {"held": held})

    hold(True)
    try:
        run = airflow.start("dynalake_backfill", table=EXPORTED, method="auto")
        eventually(lambda: airflow.states("dynalake_backfill", run), lambda states: states.get("export") == "deferred")
        # The run's other tasks end in a moment, and then no task holds a worker.
        eventually(
            lambda: airflow.client.call("GET", "/pools/default_pool"),
            lambda pool: pool["running_slots"] + pool["queued_slots"] == 0,
        )
        assert airflow.states("dynalake_backfill", run)["export"] == "deferred"
        # SQLite has one writer at a time, and the command gives up if that is the scheduler.
        with airflow.stopped():
            created = backfill(airflow, history)
        assert airflow.states("dynalake_backfill", run)["export"] == "deferred"
    finally:
        hold(False)
    return Restarted(exported, run, history, created)


BUSY_TIMEOUTS = """
import asyncio
from airflow import settings
async def ask():
    async with settings.async_engine.connect() as connection:
        found = (await connection.exec_driver_sql("PRAGMA busy_timeout")).scalar()
    await settings.async_engine.dispose()
    return found
with settings.engine.connect() as connection:
    print(connection.exec_driver_sql("PRAGMA busy_timeout").scalar(), asyncio.run(ask()))
"""


def test_the_parts_of_airflow_wait_for_one_another(airflow: Any) -> None:
    """SQLite has one writer at a time, and by default others wait 5 s for it, which is too short on a busy machine.

    The scheduler then stops for good.
    """
    process = subprocess.run(
        [sys.executable, "-c", BUSY_TIMEOUTS], env=dict(airflow.environment), check=True, capture_output=True, text=True
    )
    assert process.stdout.split()[-2:] == [f"{LOCK_SECONDS * 1000:.0f}"] * 2
    assert 5 < LOCK_SECONDS < ANSWER_SECONDS / 2, "a client waits for longer than a lock"


def backfill(airflow: Any, names: TableNames) -> subprocess.CompletedProcess[str]:
    """Ask Airflow to compact two days."""
    conf = json.dumps({"environment": HISTORY, "tables": [names.table]})
    dates = ["--from-date", "2024-01-02", "--to-date", "2024-01-03T12:00:00", "--reprocess-behavior", "completed"]
    return subprocess.run(
        ["airflow", "backfill", "create", "--dag-id", COMPACT, *dates, "--dag-run-conf", conf],
        env=dict(airflow.environment),
        check=False,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )


def test_the_wait_for_an_export_survives_a_restart_of_airflow(
    airflow: Any, clients: Clients, restarted: Restarted
) -> None:
    """It holds no worker, and the run reports in the end what it did."""
    run = restarted.export_run
    assert airflow.wait("dynalake_backfill", run) == "success", airflow.failures("dynalake_backfill", run)
    states = airflow.states("dynalake_backfill", run)
    assert (states["scan"], states["convert"], states["remove_export"]) == ("skipped", "success", "success")
    committed = airflow.client.result("dynalake_backfill", run, "commit")
    # Also the item from after the hand-off, which is within the margin between clocks.
    counts = [committed[name] for name in ("read", "kept", "filtered", "manifest")]
    assert counts == [ITEMS, ITEMS, 0, ITEMS]
    names = restarted.exported
    table = Table(clients, names)
    assert names.uri(shown_prefix(table, table.changes())) == committed["location"]
    arn = clients.dynamodb.describe_table(TableName=EXPORTED)["Table"]["TableArn"]
    (export,) = clients.dynamodb.list_exports(TableArn=arn)["ExportSummaries"]
    assert export["ExportStatus"] == "COMPLETED"
    note = airflow.client.call("GET", f"/dags/dynalake_backfill/dagRuns/{run}")["note"]
    assert f"Read {ITEMS} = kept {ITEMS} + filtered 0" in note


def test_a_backfill_of_airflow_compacts_history(airflow: Any, clients: Clients, restarted: Restarted) -> None:
    """Airflow's own, `airflow backfill create`: a run for each day."""
    created, table = restarted.created, Table(clients, restarted.history)
    assert created.returncode == 0, created.stdout + created.stderr
    runs = wait_for_backfill(airflow, 2)
    partitions = list_partitions(table, table.names.parquet_table)
    folders = {file.partition: file.folder for file in table.changes().files()}
    assert sorted(partitions) == sorted(folders) == DAYS
    assert all(f"/v={folders[day]}" in partitions[day].location for day in DAYS)
    tasks = [task for run in runs for task in airflow.client.tasks(COMPACT, run)]
    assert {task["rendered_map_index"] for task in tasks if task["task_id"] == "compact"} == {"HISTORY"}


def wait_for_backfill(airflow: Any, count: int) -> list[str]:
    """Return the backfill's runs as soon as all of them have succeeded."""

    def backfills() -> dict[str, str]:
        runs = airflow.client.runs(COMPACT)
        return {run["dag_run_id"]: run["state"] for run in runs if run["run_type"] == "backfill"}

    states = eventually(
        backfills,
        lambda states: len(states) == count and set(states.values()) <= {"success", "failed"},
        0.5,
        4 * PATIENCE,
    )
    failures = {run: airflow.failures(COMPACT, run) for run in states}
    assert set(states.values()) == {"success"}, failures
    return list(states)
