"""Several lakes in one Airflow, on local AWS: two that are set up in different regions, and one out of reach."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import boto3
import pytest

from dynalake.aws.clients import Clients
from dynalake.days import SNAPSHOT_DAY
from dynalake.errors import AccessError
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.read import read_rows
from dynalake.operators.task.note_text import MARK
from dynalake.operators.waits.triggers import ExportTrigger
from dynalake.options.lakes import LAKES
from dynalake.options.settings import TableSettings
from dynalake.ui.data import read_content
from infra.local.run.process import LocalAws
from tests.airflow.lake_page import Page
from tests.support.airflow.dag_bag import DAGS, load_bag, newest_note, store_bag
from tests.support.aws.capture_steps import SOON, make_table, set_up, wait_for_changes
from tests.support.aws.lake import register

TABLE = "ORDERS"
REGIONS = {"north": "us-east-1", "south": "eu-central-1"}
ENTRIES = {
    "north": {},
    "south": {"connection": "aws_south", "region": "eu-central-1"},
    "away": {"connection": "aws_of_nobody"},
}


@pytest.fixture(scope="module")
def tables(local_aws: LocalAws, stored: None) -> Iterator[dict[str, Table]]:
    """A table of the same name in each region, captured by the lake there, with a change; and the lakes' DAGs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LAKES, json.dumps(ENTRIES))
        patch.setenv("AIRFLOW_CONN_AWS_SOUTH", json.dumps({"conn_type": "aws"}))
        store_bag(load_bag(DAGS / "dynalake_convert.py"))
        tables = {}
        for environment, region in REGIONS.items():
            make: Any = boto3.Session(local_aws.key, local_aws.key, region_name=region).client
            clients = Clients(partial(make, endpoint_url=local_aws.endpoint_url))
            make_table(clients, TABLE)
            setup = set_up(clients, environment, TableSettings(TABLE, buffer_seconds=SOON))
            register(clients, setup.names, setup.source.key, setup.source.arn)
            clients.dynamodb.put_item(TableName=TABLE, Item={"id": {"S": f"of {environment}"}})
            wait_for_changes(clients, setup.names, 1)
            tables[environment] = Table(clients, setup.names)
        yield tables


def rows(table: Table) -> list[str]:
    head = table.changes()
    return sorted(row["id"] for batch in read_rows(head, head.files()) for row in batch.to_pylist())


@pytest.mark.newest
def test_each_lake_s_dags_work_on_its_own_tables(
    tables: dict[str, Table], run: Callable[..., dict[str, Any]], running_page: Page, logs: Callable[[], str]
) -> None:
    assert run("dynalake_convert_away")["run"] == "failed", "its connection does not exist"
    assert "AccessError: There is no Airflow connection 'aws_of_nobody'" in logs()
    assert "(or set AIRFLOW_CONN_AWS_OF_NOBODY), or name another one for the lake 'away' in DYNALAKE_LAKES" in logs()

    assert {name: rows(table) for name, table in tables.items()} == {"north": [], "south": []}
    assert run("dynalake_convert")["run"] == "success"
    assert {name: rows(table) for name, table in tables.items()} == {"north": ["of north"], "south": []}
    assert run("dynalake_convert_south")["run"] == "success"
    assert {name: rows(table) for name, table in tables.items()} == {"north": ["of north"], "south": ["of south"]}
    note = newest_note("dynalake_convert_south")
    assert note.startswith(f"{MARK}{TABLE} converted: 1 row of ")
    assert "/dynalake/?environment=south)" in note
    assert "/dynalake/?environment=north)" in newest_note("dynalake_convert")

    read_content.cache.clear()
    for environment, region in REGIONS.items():
        text = running_page.get(f"/?environment={environment}").text
        assert f"<span>{region}</span>" in text
        assert f">{TABLE}</a>" in text
        assert ">away</a>" in text
    text = running_page.get(f"/tables/{TABLE}?environment=south").text
    assert "dags/dynalake_convert_south/runs/" in text
    assert "dags/dynalake_convert/runs/" not in text
    answer = running_page.get("/?environment=away")
    assert answer.status_code == 400
    assert "There is no Airflow connection 'aws_of_nobody'" in html.unescape(answer.text)
    with pytest.raises(AccessError):
        read_content("away")


def test_a_dag_for_all_lakes_works_in_the_region_of_the_run_s_lake(
    tables: dict[str, Table], run: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trigger too, which waits for the export."""
    make, hooks = ExportTrigger.hook, list[Any]()

    def hook(trigger: ExportTrigger) -> Any:
        hooks.append(make(trigger))
        return hooks[-1]

    monkeypatch.setattr(ExportTrigger, "hook", hook)
    where = {"table": TABLE, "environment": "south", "segments": 1}
    states = run("dynalake_backfill", **where, method="export", enable_pitr=True)
    assert states["run"] == states["export"] == "success"
    assert {(hook.aws_conn_id, hook.region_name) for hook in hooks} == {("aws_south", "eu-central-1")}
    snapshots = {name: sum(f.rows for f in t.changes().files({SNAPSHOT_DAY})) for name, t in tables.items()}
    assert snapshots == {"north": 0, "south": 1}
