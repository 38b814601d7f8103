"""Runs a DAG as Airflow does, on local AWS."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from infra.local.run.process import LocalAws
from tests.airflow.dag_bag import load_bag, store_bag


@pytest.fixture(scope="session")
def bag() -> Any:
    return load_bag()


@pytest.fixture(scope="session")
def stored(bag: Any) -> None:
    """The DAGs in Airflow's database, which their runs need."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.utils.db import initdb

    initdb()
    # Airflow does not say what its manager's constructor returns.
    bundles: Any = DagBundlesManager
    bundles().sync_bundles_to_db()
    store_bag(bag)


@pytest.fixture
def run(stored: None, local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs a DAG in this process; returns the state of the run and of each task, and the tasks' results."""
    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)

    def test(dag: str, **conf: Any) -> dict[str, Any]:
        # Each run has its own DAG, because `test` leaves the run's parameters in it.
        dag_run = load_bag().dags[dag].test(run_conf=conf)
        states = {
            f"{task.task_id}{f'[{task.map_index}]' if task.map_index >= 0 else ''}": str(task.state)
            for task in dag_run.get_task_instances()
        }
        return {"run": str(dag_run.state), **states}

    return test


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """The log messages of the test's tasks."""
    caplog.set_level(logging.INFO, logger="dynalake")
    return lambda: caplog.text
