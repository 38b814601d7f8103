"""`dynalake_watch` as Airflow runs it, on local AWS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dynalake.catalog.register import register_table
from dynalake.clients import Clients
from dynalake.settings import TableSettings
from dynalake.watch.status import load_overview
from infra.local.process import LocalAws
from tests.airflow.dag_bag import load_bag, store_bag
from tests.aws.capture_steps import SetUp, make_table, set_up, wait_for_changes


@pytest.fixture
def run(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Runs the DAG in this process: the state of the run, and of each task by its id and its label."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.utils.db import initdb

    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)
    initdb()
    # Airflow does not say what its manager's constructor returns.
    bundles: Any = DagBundlesManager
    bundles().sync_bundles_to_db()
    store_bag(load_bag())

    def test(**conf: Any) -> dict[str, str]:
        done = load_bag().dags["dynalake_watch"].test(run_conf=conf)
        found = {one.rendered_map_index or one.task_id: str(one.state) for one in done.get_task_instances()}
        return {"run": str(done.state), **found}

    return test


def captured(clients: Clients, table: str) -> SetUp:
    make_table(clients, table)
    done = set_up(clients, "watchdag", TableSettings(table))
    register_table(clients, done.names, done.source.key, source_arn=done.source.arn)
    return done


def test_there_is_nothing_to_watch_before_there_is_a_lake(run: Any) -> None:
    done = run(environment="nowhere")
    assert (done["run"], done["tables"], done["report"]) == ("success", "success", "success")


def test_each_table_has_a_task_that_fails_where_somebody_is_needed(
    clients: Clients, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    well, stopped = captured(clients, "DAG-WELL"), captured(clients, "DAG-STOPPED")
    clients.dynamodb.put_item(TableName="DAG-WELL", Item={"id": {"S": "1"}, "fresh": {"N": "1"}})
    wait_for_changes(clients, well.names, 1)
    clients.lambda_.update_event_source_mapping(UUID=stopped.mapping_id, Enabled=False)
    done = run(environment="watchdag")
    assert done == {
        "run": "failed",
        "tables": "success",
        "DAG-WELL: attention": "success",
        "DAG-STOPPED: stopped": "failed",
        "report": "failed",
    }
    said = capsys.readouterr().out
    assert "New columns: fresh" in said
    assert "DAG-STOPPED is stopped: The mapping that reads the stream is Disab" in said

    # The page reads one object, in which both are.
    overview = load_overview(clients, well.names.lake)
    assert overview is not None
    assert [(status.table, status.state) for status in overview.tables] == [
        ("DAG-STOPPED", "stopped"),
        ("DAG-WELL", "attention"),
    ]
