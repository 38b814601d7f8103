"""A real Airflow on local AWS for the whole session, and what its tests ask of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from infra.local.airflow import AirflowClient, LocalAirflow
from infra.local.process import LocalAws

DAGS = {f"dynalake_{name}" for name in ("setup", "backfill", "compact", "redrive", "teardown")}
ENDED = {"success", "failed"}


@dataclass(frozen=True)
class Airflow:
    """A running Airflow: `run` triggers a DAG and waits for its end."""

    client: AirflowClient
    url: str
    password: str
    stopped: Callable[[], AbstractContextManager[None]]
    environment: Mapping[str, str]

    def start(self, dag: str, **conf: object) -> str:
        return self.client.trigger(dag, conf)

    def wait(self, dag: str, run: str, seconds: float = 240) -> str:
        """The state in which the run ended."""
        deadline = time.monotonic() + seconds
        while (state := self.client.run_state(dag, run)) not in ENDED:
            assert time.monotonic() < deadline, f"{dag} {run} is still {state}: {self.states(dag, run)}"
            time.sleep(0.5)
        return state

    def run(self, dag: str, **conf: object) -> str:
        """A run that succeeded."""
        run = self.start(dag, **conf)
        assert self.wait(dag, run) == "success", self.failures(dag, run)
        return run

    def clear(self, dag: str, run: str) -> None:
        """Runs every task of a finished run again, as somebody would by clearing it in the UI."""
        body = {"dry_run": False, "dag_run_id": run, "only_failed": False, "reset_dag_runs": True}
        self.client.call("POST", f"/dags/{dag}/clearTaskInstances", body)
        assert self.wait(dag, run) == "success", self.failures(dag, run)

    def states(self, dag: str, run: str) -> dict[str, str]:
        return {task["task_id"]: task["state"] for task in self.client.tasks(dag, run)}

    def failures(self, dag: str, run: str) -> dict[str, str]:
        """The logs of the tasks that failed."""
        return {
            task["task_id"]: self.client.log(dag, run, task["task_id"], task["try_number"], task["map_index"])
            for task in self.client.tasks(dag, run)
            if task["state"] == "failed"
        }


@pytest.fixture(scope="session")
def airflow(local_aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    home = tmp_path_factory.mktemp("airflow")
    with LocalAirflow(home, local_aws.env()) as running:
        for _ in running.wait_ready(DAGS):
            pass
        for dag in DAGS:
            running.client.unpause(dag)

        @contextmanager
        def stopped() -> Iterator[None]:
            running.stop()
            yield
            running.start()
            for _ in running.wait_ready(DAGS):
                pass

        yield Airflow(running.client, running.url, running.password, stopped, running.environment())


@pytest.fixture(scope="session")
def make_table(client: Callable[[str], Any]) -> Callable[..., str]:
    """Makes a DynamoDB table with the key `id` and a stream; `view_type` None: without one."""
    dynamodb = client("dynamodb")

    def make(name: str, view_type: str | None = "NEW_AND_OLD_IMAGES") -> str:
        stream: dict[str, Any] = {"StreamEnabled": view_type is not None}
        if view_type:
            stream["StreamViewType"] = view_type
        dynamodb.create_table(
            TableName=name,
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification=stream,
        )
        return name

    return make


def pretty(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True, default=str)
