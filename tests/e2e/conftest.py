"""A real Airflow on local AWS and a browser for the whole session, with fixtures that use them."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.names import TableNames
from dynalake.options.settings import TableSettings
from infra.local.run.airflow import AirflowClient, LocalAirflow
from infra.local.run.process import LocalAws
from tests.e2e.again import AGAIN, AGAIN_ITEMS
from tests.support.aws.capture_steps import set_up
from tests.support.aws.lake import register
from tests.support.machine import REPOSITORY, need
from tests.support.waiting import PATIENCE, eventually

DAGS = {
    *(f"dynalake_{name}" for name in ("setup", "backfill", "convert", "compact", "redrive", "teardown")),
    *("dynalake_compact_history", "dynalake_convert_iam-air", "dynalake_compact_iam-air"),
}
ENDED = {"success", "failed"}
SHOTS = REPOSITORY / ".local" / "screenshots"


@dataclass(frozen=True)
class Airflow:
    """A running Airflow: `run` triggers a DAG and waits for its end."""

    client: AirflowClient
    url: str
    password: str
    stopped: Callable[[], AbstractContextManager[None]]
    environment: Mapping[str, str]
    log: Path

    def start(self, dag: str, **conf: object) -> str:
        return self.client.trigger(dag, conf)

    def wait(self, dag: str, run: str) -> str:
        """Return the state in which the run ended. If it does not end, Airflow is at fault, and no more tests run."""
        try:
            return eventually(lambda: self.client.run_state(dag, run), ENDED.__contains__, 0.5, 3 * PATIENCE)
        except AssertionError:
            tail = "\n".join(self.log.read_text().splitlines()[-300:])
            pytest.exit(f"{dag} {run} does not end: {self.states(dag, run)}. The end of Airflow's log:\n{tail}", 1)

    def run(self, dag: str, **conf: object) -> str:
        """Run a DAG that must succeed."""
        run = self.start(dag, **conf)
        assert self.wait(dag, run) == "success", self.failures(dag, run)
        return run

    def clear(self, dag: str, run: str) -> None:
        """Run every task of a finished run again, as a user does by clearing it in the UI."""
        body = {"dry_run": False, "dag_run_id": run, "only_failed": False, "reset_dag_runs": True}
        self.client.call("POST", f"/dags/{dag}/clearTaskInstances", body)
        assert self.wait(dag, run) == "success", self.failures(dag, run)

    def states(self, dag: str, run: str) -> dict[str, str]:
        return {task["task_id"]: task["state"] for task in self.client.tasks(dag, run)}

    def failures(self, dag: str, run: str) -> dict[str, str]:
        """Return the logs of the failed tasks."""
        return {
            task["task_id"]: self.client.log(dag, run, task["task_id"], task["try_number"], task["map_index"])
            for task in self.client.tasks(dag, run)
            if task["state"] == "failed"
        }


def _states(client: AirflowClient, dag: str) -> set[str]:
    return {run["state"] for run in client.runs(dag)}


# A scheduled conversion would change the lake between a test's comparisons.
RARELY = {"convert_every_minutes": 1440}
LAKES = {
    "dev": RARELY,
    "history": RARELY,
    "iam-air": {**RARELY, "connection": "aws_secured"},
    "stranger": {"connection": "aws_stranger"},
    "nobody": {"connection": "aws_of_nobody"},
}
"""The lakes of this Airflow: the tests' names, and connections that may do nothing or do not exist."""
CONVERTS = ("dynalake_convert", "dynalake_convert_iam-air")


ONCE = """
import sys

if "scheduler" in sys.argv:
    import boto3
    import pyarrow.compute
    import pyarrow.parquet
    import pyiceberg.catalog.glue
    import airflow.providers.amazon.aws.hooks.base_aws
    import dynalake.backfill.commit.commit
    import dynalake.capture.table_stack
    import dynalake.convert.finish
    import dynalake.night.night
    import dynalake.watch.gather
"""
"""The scheduler imports what its forks, the tasks, need. The tasks of `make demo` import it themselves."""


@pytest.fixture(scope="session")
def airflow(local_aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    home = tmp_path_factory.mktemp("airflow")
    (home / "config").mkdir()
    (home / "config" / "airflow_local_settings.py").write_text(ONCE)
    environment = {**local_aws.env(), "DYNALAKE_LAKES": json.dumps(LAKES)}
    with LocalAirflow(home, environment) as running:
        for _ in running.wait_ready(DAGS):
            pass
        for dag in DAGS:
            running.client.unpause(dag)
        # Airflow starts one run at once. It finds nothing yet, so it disturbs no test.
        for dag in CONVERTS:
            eventually(partial(_states, running.client, dag), lambda states: states and states <= ENDED)

        @contextmanager
        def stopped() -> Iterator[None]:
            running.stop(to_start_again=True)
            yield
            running.start()
            for _ in running.wait_ready(DAGS):
                pass

        yield Airflow(
            running.client,
            running.url,
            running.identity.password,
            stopped,
            running.environment(),
            running.log,
        )


@pytest.fixture(scope="session")
def make_table(client: Callable[[str], Any]) -> Callable[..., str]:
    """Makes a DynamoDB table with the key `id` and a stream, or with `view_type` None without a stream."""
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


@pytest.fixture(scope="session")
def make_set_up(make_table: Callable[..., str], clients: Clients) -> Callable[..., TableNames]:
    """Makes a table, fills it and sets it up without Airflow, which is much slower."""

    def make(name: str, fill: Callable[[], None] = lambda: None) -> TableNames:
        make_table(name)
        fill()
        setup = set_up(clients, "dev", TableSettings(name))
        register(clients, setup.names, setup.source.key, setup.source.arn)
        return setup.names

    return make


@pytest.fixture(scope="session")
def finished_setup(airflow: Airflow, make_table: Callable[..., str], clients: Clients) -> str:
    """The run that set up the table AGAIN and started a backfill, which has ended."""
    make_table(AGAIN)
    for number in range(AGAIN_ITEMS):
        item = {"id": {"S": f"{number:04}"}, "amount": {"N": f"{number}.5"}, "updatedAt": {"N": "1500000000"}}
        clients.dynamodb.put_item(TableName=AGAIN, Item=item)
    run = airflow.run("dynalake_setup", table=AGAIN)
    backfill = airflow.client.runs("dynalake_backfill")[0]["dag_run_id"]
    assert airflow.wait("dynalake_backfill", backfill) == "success"
    return run


@pytest.fixture(scope="session")
def logged_in(airflow: Airflow) -> Iterator[Any]:
    """A page of Chromium, logged in to Airflow."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=need("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(airflow.url)
        page.fill("input[name=username]", "admin")
        page.fill("input[name=password]", airflow.password)
        page.keyboard.press("Enter")
        page.get_by_role("link", name="Dags").first.wait_for()
        yield page
        browser.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add a picture of the page to a failure on it."""
    report = yield
    open_page = getattr(item, "funcargs", {}).get("page")
    if report.failed and open_page:
        report.sections.append((f"{open_page.url} shows", open_page.inner_text("body")))
    return report


@pytest.fixture
def page(logged_in: Any) -> Iterator[Any]:
    """The page for one test, closed afterwards, since open pages of Airflow poll and draw all the time."""
    yield logged_in
    logged_in.goto("about:blank")


@pytest.fixture
def shot(page: Any) -> Callable[[str], None]:
    """Takes a picture of the page for a human."""

    def take(name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(SHOTS / f"{name}.png"))

    return take
