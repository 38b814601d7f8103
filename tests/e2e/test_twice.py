"""Setup, backfill, conversion and compaction, run twice or cleared and run again, change nothing except the canary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.capture.lake.registry import load_lake
from dynalake.days import SNAPSHOT_DAY
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames
from tests.e2e.again import AGAIN, AGAIN_ITEMS
from tests.e2e.lake_state import look
from tests.support.aws.capture_steps import raw_days
from tests.support.aws.lake import night


@pytest.fixture(scope="module")
def names(finished_setup: str, clients: Clients) -> TableNames:
    """A night has passed, so that the Hive tables follow."""
    table_names = load_lake(clients, "dev").table(AGAIN)
    assert night(Table(clients, table_names)) == ()
    return table_names


def test_setup_twice(airflow: Any, clients: Clients, names: TableNames) -> None:
    before = look(clients, names)
    backfills = len(airflow.client.runs("dynalake_backfill"))
    run = airflow.run("dynalake_setup", table=AGAIN)
    assert airflow.states("dynalake_setup", run)["start_backfill"] == "skipped", "the snapshot exists already"
    assert len(airflow.client.runs("dynalake_backfill")) == backfills
    assert look(clients, names) == before


def test_setup_cleared_and_run_again(airflow: Any, clients: Clients, names: TableNames, finished_setup: str) -> None:
    before = look(clients, names)
    airflow.clear("dynalake_setup", finished_setup)
    assert look(clients, names) == before


def test_backfill_cleared_and_run_again_writes_the_same_bytes(
    airflow: Any, clients: Clients, names: TableNames
) -> None:
    before = look(clients, names)
    assert before.snapshot
    assert len([key for key in before.objects if key.endswith(".gz")]) >= 1
    run = next(r["dag_run_id"] for r in airflow.client.runs("dynalake_backfill") if r["conf"]["table"] == AGAIN)
    airflow.clear("dynalake_backfill", run)
    assert look(clients, names) == before


def test_conversion_and_compaction_twice_and_cleared(airflow: Any, clients: Clients, names: TableNames) -> None:
    converted = airflow.run("dynalake_convert", tables=[AGAIN])
    assert airflow.client.result("dynalake_convert", converted, "report")["rows"] >= AGAIN_ITEMS
    before = look(clients, names)
    nothing_due = airflow.run("dynalake_convert", tables=[AGAIN])
    assert airflow.states("dynalake_convert", nothing_due)["report"] == "skipped"
    airflow.clear("dynalake_convert", converted)
    assert look(clients, names) == before

    days = raw_days(clients, names)
    assert SNAPSHOT_DAY in days
    assert len(days) >= 2
    run = airflow.run("dynalake_compact", tables=[AGAIN], days=days)
    compacted = look(clients, names)
    assert (compacted.changes, compacted.items) == (before.changes, before.items)
    # The snapshot, and no open day.
    assert set(compacted.partitions[names.parquet_table]) == {SNAPSHOT_DAY}
    airflow.run("dynalake_compact", tables=[AGAIN])
    assert look(clients, names) == compacted
    # The days are named, so they are compacted once more, into new folders.
    airflow.clear("dynalake_compact", run)
    second = look(clients, names)
    assert set(second.partitions[names.parquet_table]) == {SNAPSHOT_DAY}
    assert replace(second, partitions=compacted.partitions) == compacted


def test_a_plan_changes_nothing(airflow: Any, clients: Clients, names: TableNames) -> None:
    before = look(clients, names)
    run = airflow.run("dynalake_setup", table=AGAIN, dry_run=True, buffer_seconds=300, update_settings=True)
    states = airflow.states("dynalake_setup", run)
    assert states["plan"] == "success"
    assert {state for name, state in states.items() if name not in ("choose_tables", "check_source", "plan")} == {
        "skipped"
    }
    log = airflow.client.log("dynalake_setup", run, "plan", 1)
    assert f"{names.stack}: will be changed" in log
    note = airflow.client.call("GET", f"/dags/dynalake_setup/dagRuns/{run}")["note"]
    for part in (f"**{AGAIN}** by `kinesis`, 1 shard: the stream's peak of the last", "Recommended: **direct**"):
        assert part in note
    assert f"{names.lake.forwarder_stack}: no changes" in log
    assert look(clients, names) == before


def test_a_dry_backfill_reads_nothing(airflow: Any, clients: Clients, names: TableNames) -> None:
    before = look(clients, names)
    run = airflow.run("dynalake_backfill", table=AGAIN, dry_run=True)
    assert airflow.states("dynalake_backfill", run)["commit"] == "skipped"
    assert "read units (estimate)" in airflow.client.log("dynalake_backfill", run, "plan", 1)
    assert look(clients, names) == before
