"""A backfill by export: the wait holds no worker and outlives Airflow, and the run says what it did."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dynalake.catalog.partitions import register_days, snapshot_location
from dynalake.catalog.register import register_table
from dynalake.clients import Clients
from dynalake.names import TableNames
from dynalake.operators.days import coming_days
from dynalake.settings import TableSettings
from infra.local.process import LocalAws
from tests.aws.capture_steps import set_up

TABLE = "EXPORTED"
ITEMS = 40


@pytest.fixture
def names(make_table: Callable[..., str], clients: Clients) -> TableNames:
    """A table with items and point-in-time recovery, set up without Airflow; one of them is of after the hand-off."""
    make_table(TABLE)

    def put(number: int, seconds: float) -> None:
        item = {"id": {"S": f"{number:04}"}, "updatedAt": {"N": f"{seconds:.0f}"}}
        clients.dynamodb.put_item(TableName=TABLE, Item=item)

    for number in range(1, ITEMS):
        put(number, 1_500_000_000)
    clients.dynamodb.update_continuous_backups(
        TableName=TABLE, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    done = set_up(clients, "dev", TableSettings(TABLE))
    register_table(clients, done.names, done.source.key, source_arn=done.source.arn)
    register_days(clients, done.names, coming_days(done.names.lake))
    after = done.hand_off.at.timestamp() + 1
    time.sleep(max(0.0, after + 1 - time.time()))
    put(0, after)
    return done.names


@pytest.fixture
def held(local_aws: LocalAws) -> Iterator[Callable[[bool], None]]:
    """Holds exports, or lets them end."""

    def hold(held: bool) -> None:
        local_aws.call("POST", "/_dynalake/exports", {"held": held})

    yield hold
    hold(False)


def test_the_wait_for_an_export_outlives_airflow(
    airflow: Any, clients: Clients, names: TableNames, held: Callable[[bool], None]
) -> None:
    held(True)
    run = airflow.start("dynalake_backfill", table=TABLE, method="auto")
    deadline = time.monotonic() + 120
    while (states := airflow.states("dynalake_backfill", run)).get("export") != "deferred":
        assert time.monotonic() < deadline, states
        time.sleep(0.3)
    # The other tasks of the run end in a moment, and then nothing holds a worker.
    while (pool := airflow.client.call("GET", "/pools/default_pool"))["running_slots"] + pool["queued_slots"]:
        assert time.monotonic() < deadline, pool
        time.sleep(0.3)
    assert airflow.states("dynalake_backfill", run)["export"] == "deferred"
    with airflow.stopped():
        pass
    assert airflow.states("dynalake_backfill", run)["export"] == "deferred"
    held(False)
    assert airflow.wait("dynalake_backfill", run) == "success", airflow.failures("dynalake_backfill", run)
    states = airflow.states("dynalake_backfill", run)
    assert (states["scan"], states["convert"], states["remove_export"]) == ("skipped", "success", "success")
    committed = airflow.client.result("dynalake_backfill", run, "commit")
    assert (committed["read"], committed["kept"], committed["filtered"], committed["manifest"]) == (ITEMS, 39, 1, ITEMS)
    assert snapshot_location(clients, names) == committed["location"]
    arn = clients.dynamodb.describe_table(TableName=TABLE)["Table"]["TableArn"]
    (export,) = clients.dynamodb.list_exports(TableArn=arn)["ExportSummaries"]
    assert export["ExportStatus"] == "COMPLETED"
    note = airflow.client.call("GET", f"/dags/dynalake_backfill/dagRuns/{run}")["note"]
    assert f"read {ITEMS} = kept 39 + filtered 1" in note
