"""Fixtures of all tests: local AWS and clients for it; the rule for programs that a machine lacks; shares of sweeps."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Callable, Generator, Iterator
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from dynalake.aws.clients import Clients
from infra.local.run.process import LocalAws
from infra.local.trino.jars import Installation, installed
from infra.local.trino.java import MissingPartError
from tests.support import sweep
from tests.support.aws.connect import connect
from tests.support.machine import REPOSITORY, lack

# Machines are noisy: a slow example is not a failure.
settings.register_profile("dynalake", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dynalake")


def _hold(home: Path) -> bool:
    """Take a home of Airflow for this session, unless another session has it now."""
    home.mkdir(parents=True, exist_ok=True)
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    return True  # the process holds it until it ends


# Airflow reads its configuration when a test first imports it. The database stays for a later session.
_HOMES = (REPOSITORY / ".local" / f"test-airflow-{version('apache-airflow')}-{number}" for number in count())
AIRFLOW_HOME = next(filter(_hold, _HOMES))
os.environ.update(
    {
        "AIRFLOW_HOME": str(AIRFLOW_HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{AIRFLOW_HOME / 'airflow.db'}",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps({"conn_type": "aws"}),
    }
)


def pytest_report_header() -> str:
    return f"sweeps: {sweep.VARIABLE}={sweep.SHARE} plays this share again, `make test-all` all of them"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the session's share of each test whose cases are a sweep. One that is named alone is played."""
    sweeps: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sweep"):
            sweeps.setdefault(item.nodeid.partition("[")[0], []).append(item)
    played = {item for cases in sweeps.values() for item in sweep.played(cases)}
    left = {item for cases in sweeps.values() for item in cases} - played
    config.hook.pytest_deselected(items=[item for item in items if item in left])
    items[:] = [item for item in items if item not in left]


def pytest_runtest_setup() -> None:
    sweep.point = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say how the point at which a sweep failed is played alone."""
    report = yield
    if report.failed and sweep.point is not None:
        command = f"{sweep.VARIABLE}=@{sweep.point} {sys.executable} -m pytest '{item.nodeid}'"
        report.sections.append(("This point alone", command))
    return report


@pytest.fixture(scope="session")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """One local AWS for the whole session; tests use different names."""
    with LocalAws(tmp_path_factory.mktemp("local-aws") / "server.log") as aws:
        yield aws


@pytest.fixture(scope="session")
def installation() -> Installation:
    """The jars of Trino and Spark; without a JDK or Maven the test is skipped by name, in CI it fails."""
    try:
        return installed()
    except MissingPartError as missing:
        lack(str(missing))


@pytest.fixture(scope="session")
def client(local_aws: LocalAws) -> Callable[[str], Any]:
    """Makes a boto3 client of the named service that talks to local AWS."""
    return connect(local_aws)


@pytest.fixture(scope="session")
def clients(client: Callable[[str], Any]) -> Clients:
    """The product's clients on local AWS."""
    return Clients(client)
