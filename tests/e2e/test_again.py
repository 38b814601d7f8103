"""Setup, backfill and compaction, run twice or cleared and run again: nothing changes but the canary."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from dynalake.capture.lake import load_lake
from dynalake.clients import Clients
from dynalake.names import TableNames
from tests.e2e.lake_state import look

TABLE = "AGAIN"
ITEMS = 300


@pytest.fixture(scope="module")
def set_up(airflow: Any, make_table: Callable[..., str], client: Callable[[str], Any], clients: Clients) -> str:
    """A table with items that is set up; the setup's run."""
    make_table(TABLE)
    for number in range(ITEMS):
        item = {"id": {"S": f"{number:04}"}, "amount": {"N": f"{number}.5"}, "updatedAt": {"N": "1500000000"}}
        client("dynamodb").put_item(TableName=TABLE, Item=item)
    run: str = airflow.run("dynalake_setup", table=TABLE)
    backfill = airflow.client.runs("dynalake_backfill")[0]["dag_run_id"]
    assert airflow.wait("dynalake_backfill", backfill) == "success"
    return run


@pytest.fixture(scope="module")
def names(set_up: str, clients: Clients) -> TableNames:
    return load_lake(clients, "dev").table(TABLE)


def test_setup_twice(airflow: Any, clients: Clients, names: TableNames) -> None:
    before = look(clients, names)
    backfills = len(airflow.client.runs("dynalake_backfill"))
    run = airflow.run("dynalake_setup", table=TABLE)
    assert airflow.states("dynalake_setup", run)["start_backfill"] == "skipped", "the snapshot is there already"
    assert len(airflow.client.runs("dynalake_backfill")) == backfills
    assert look(clients, names) == before


def test_setup_cleared_and_run_again(airflow: Any, clients: Clients, names: TableNames, set_up: str) -> None:
    before = look(clients, names)
    airflow.clear("dynalake_setup", set_up)
    assert look(clients, names) == before


def test_backfill_cleared_and_run_again_writes_the_same_bytes(
    airflow: Any, clients: Clients, names: TableNames
) -> None:
    before = look(clients, names)
    assert before.snapshot
    assert len([key for key in before.objects if key.endswith(".gz")]) >= 1
    run = next(r["dag_run_id"] for r in airflow.client.runs("dynalake_backfill") if r["conf"]["table"] == TABLE)
    airflow.clear("dynalake_backfill", run)
    assert look(clients, names) == before


def test_compaction_twice_and_cleared(airflow: Any, clients: Clients, names: TableNames) -> None:
    today = datetime.now(UTC).strftime("%Y%m%d")
    conf = {"tables": [TABLE], "days": ["00000000", today]}
    run = airflow.run("dynalake_compact", **conf)
    before = look(clients, names)
    assert set(before.partitions[names.parquet_table]) >= {"00000000", today}
    assert airflow.client.result("dynalake_compact", run, "report")["rows"] >= ITEMS
    airflow.run("dynalake_compact", **conf)
    assert look(clients, names) == before
    airflow.clear("dynalake_compact", run)
    assert look(clients, names) == before
    nothing_due = airflow.run("dynalake_compact", tables=[TABLE])
    assert airflow.client.result("dynalake_compact", nothing_due, "report")["partitions"] == 0
    assert look(clients, names) == before


def test_a_plan_changes_nothing(airflow: Any, clients: Clients, names: TableNames) -> None:
    before = look(clients, names)
    run = airflow.run("dynalake_setup", table=TABLE, plan_only=True, buffer_seconds=300, update_settings=True)
    states = airflow.states("dynalake_setup", run)
    assert states["plan"] == "success"
    assert {state for name, state in states.items() if name not in ("check_source", "plan")} == {"skipped"}
    log = airflow.client.log("dynalake_setup", run, "plan", 1)
    assert f"{names.stack}: will be changed" in log
    assert "no changes" in log
    assert look(clients, names) == before


def test_a_dry_backfill_reads_nothing(airflow: Any, clients: Clients, names: TableNames) -> None:
    before = look(clients, names)
    run = airflow.run("dynalake_backfill", table=TABLE, dry_run=True)
    assert airflow.states("dynalake_backfill", run)["commit"] == "skipped"
    assert "read units (estimate)" in airflow.client.log("dynalake_backfill", run, "plan", 1)
    assert look(clients, names) == before
