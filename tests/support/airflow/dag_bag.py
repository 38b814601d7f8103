"""The DAGs as Airflow loads them, in every supported version of Airflow."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynalake.options.lakes import LAKES
from infra.local.run.process import LocalAws
from tests.support.machine import REPOSITORY

DAGS = REPOSITORY / "dags"


def load_bag(place: Path = DAGS) -> Any:
    """Read a folder with DAGs, by default the repository's, or one file of it, and return its bag."""
    folder = place if place.is_dir() else place.parent
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag as OldDagBag

        make: Any = OldDagBag
        return make(str(place), bundle_path=folder)
    return DagBag(str(place), bundle_name="dags-folder", bundle_path=folder)


def store_bag(bag: Any) -> None:
    """Store the DAGs in Airflow's database, which their runs need."""
    try:
        from airflow.dag_processing.dagbag import sync_bag_to_db
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import sync_bag_to_db  # type: ignore[no-redef]
    sync_bag_to_db(bag, "dags-folder", None)


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


def newest_note(dag: str) -> str:
    """Return the note that the scheduler gives the last run at its end; `DAG.test` has no session for it."""
    from airflow.listeners.listener import get_listener_manager
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        query = session.query(DagRun).filter(DagRun.dag_id == dag).order_by(DagRun.id.desc())
        dag_run = query.first()
        assert dag_run is not None
        hooks = get_listener_manager().hook
        if str(dag_run.state) == "success":
            hooks.on_dag_run_success(dag_run=dag_run, msg="success")
        else:
            hooks.on_dag_run_failed(dag_run=dag_run, msg="task_failure")
        session.commit()
        return str(dag_run.note)


def _store_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `DAG.test` not store all DAGs again, which took a third of a run's time. The fixture `stored` did."""
    try:
        from airflow.dag_processing import dagbag
    except ImportError:  # Airflow 3.1 does not
        return
    monkeypatch.setattr(dagbag, "BundleDagBag", lambda **_: None)
    monkeypatch.setattr(dagbag, "sync_bag_to_db", lambda *_: None)


@pytest.fixture
def run(stored: None, local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs a DAG in this process; returns the state of the run and of each task, and the tasks' results.

    If the test names no lakes in DYNALAKE_LAKES, Airflow has the one of the run.
    """
    lakes: str | None = None
    for name, value in local_aws.env().items():
        monkeypatch.setenv(name, value)
    _store_once(monkeypatch)

    def test(dag: str, **conf: Any) -> dict[str, Any]:
        nonlocal lakes
        if "environment" in conf and os.environ.get(LAKES) == lakes:
            lakes = json.dumps({conf["environment"]: {}})
            monkeypatch.setenv(LAKES, lakes)
        # Each run has its own DAG, because `test` leaves the run's parameters in it.
        file = DAGS / f"{'_'.join(dag.split('_')[:2])}.py"
        dag_run = load_bag(file).dags[dag].test(run_conf=conf)
        states = {
            f"{task.task_id}{f'[{task.map_index}]' if task.map_index >= 0 else ''}": str(task.state)
            for task in dag_run.get_task_instances()
        }
        return {"run": str(dag_run.state), **states}

    return test
