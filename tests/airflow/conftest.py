"""Runs a DAG as Airflow does, on local AWS."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from tests.airflow.lake_page import page, running_page  # noqa: F401  fixtures
from tests.support.airflow.dag_bag import bag, run, stored  # noqa: F401  fixtures


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """The log messages of the test's tasks."""
    caplog.set_level(logging.INFO, logger="dynalake")
    return lambda: caplog.text
