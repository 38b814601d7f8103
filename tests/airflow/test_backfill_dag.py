"""`dynalake_backfill` by export as Airflow runs it, its trigger included, on local AWS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.lake.catalog.table import SHOWN_RUN, Table, number
from dynalake.lake.hive.json_table import shown_prefix
from dynalake.names import TableNames
from dynalake.operators.task.note_text import MARK
from dynalake.options.settings import TableSettings
from tests.support.airflow.dag_bag import newest_note
from tests.support.aws.capture_steps import make_table, set_up
from tests.support.aws.lake import deploy_job, register
from tests.support.machine import need

TABLE = "DAG-BACKFILL"


@pytest.fixture(scope="module")
def names(clients: Clients) -> TableNames:
    make_table(clients, TABLE)
    for item in range(20):
        clients.dynamodb.put_item(TableName=TABLE, Item={"id": {"S": str(item)}, "updatedAt": {"N": "1500000000"}})
    setup = set_up(clients, "dagfill", TableSettings(TABLE))
    register(clients, setup.names, setup.source.key)
    return setup.names


def snapshot(clients: Clients, names: TableNames) -> tuple[int, int, int]:
    """Return the number of the backfill that the Iceberg tables show, and its rows in both."""
    changes, items = Table(clients, names).changes(), Table(clients, names).items()
    return (
        number(changes, SHOWN_RUN),
        sum(f.rows for f in changes.files({"00000000"})),
        sum(f.rows for f in items.files()),
    )


def test_export_and_scan_each_skip_the_other(
    clients: Clients, names: TableNames, run: Any, logs: Callable[[], str]
) -> None:
    where = {"table": TABLE, "environment": "dagfill", "segments": 1}
    states = run("dynalake_backfill", **where)
    assert states["scan[0]"] == states["commit"] == "success"
    assert states["export"] == states["convert"] == states["remove_export"] == "skipped"
    assert states["convert_snapshot[0]"] == states["show_snapshot"] == "success"
    assert snapshot(clients, names) == (1, 20, 20)
    table = Table(clients, names)
    by_scan = shown_prefix(table, table.changes())

    states = run("dynalake_backfill", **where, method="export", enable_pitr=True)
    assert states["run"] == states["export"] == states["convert[0]"] == states["commit"] == "success"
    assert (states["scan"], states["remove_export"]) == ("skipped", "success")
    assert shown_prefix(table, table.changes()) not in ("", by_scan)
    assert snapshot(clients, names) == (2, 20, 20)
    assert "20 items by the manifests, in 4 files" in logs()
    note = newest_note("dynalake_backfill")
    assert note.startswith(f"{MARK}{TABLE}: 20 items are brought in, by export\n\nRead 20 = kept 20 + filtered 0")
    assert f"Query: dynalake_dagfill.dag_backfill_current\n\nRaw objects: s3://{names.lake.bucket}/" in note

    states = run("dynalake_backfill", **where, dry_run=True)
    assert {task for task, state in states.items() if state == "success"} == {"run", "plan"}
    answer = newest_note("dynalake_backfill")
    assert answer.startswith(f"{MARK}{TABLE}: estimated, and nothing is read\n\n")
    assert "**export**" in answer, "the table has point-in-time recovery by now"
    assert "| scan |" in answer
    assert "| export |" in answer


@pytest.mark.newest
def test_the_snapshot_is_shown_on_glue(
    clients: Clients, names: TableNames, run: Any, monkeypatch: pytest.MonkeyPatch, logs: Callable[[], str]
) -> None:
    need("java")
    monkeypatch.setattr("dynalake.operators.waits.spark_run.POLL_SECONDS", 1)
    deploy_job(clients, names.lake)

    states = run("dynalake_backfill", table=TABLE, environment="dagfill", segments=1, method="scan", engine="spark")

    assert states["run"] == states["show_snapshot"] == "success", states
    (job,) = clients.glue.get_job_runs(JobName=names.lake.spark_job)["JobRuns"]
    assert (job["JobRunState"], job["Arguments"]["--work"]) == ("SUCCEEDED", "snapshot")
    snapshot_number, *rows = snapshot(clients, names)
    assert rows == [20, 20]
    assert f"The snapshot is that of this run, number {snapshot_number}" in logs()
