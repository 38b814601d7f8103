"""Fixtures of all tests: local AWS, clients for it, and the rule for programs that a machine lacks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from dynalake.aws.clients import Clients
from infra.local.run.process import LocalAws
from infra.local.trino.jars import Installation, installed
from infra.local.trino.java import MissingPartError
from tests.support.aws.connect import connect
from tests.support.machine import REPOSITORY, lack

# Machines are noisy: a slow example is not a failure.
settings.register_profile("dynalake", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dynalake")


# Airflow reads its configuration when a test first imports it. Each version has a database.
AIRFLOW_HOME = REPOSITORY / ".local" / f"test-airflow-{version('apache-airflow')}"
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
