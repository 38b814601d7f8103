"""AWS in this process, by moto."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws


@pytest.fixture(scope="session")
def one_session() -> boto3.Session:
    """Return one session for all tests: reading and parsing the services' models takes most of a test's time."""
    return boto3.Session("test", "test", region_name="us-east-1")


@pytest.fixture
def mocked(one_session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    """Return a session of an empty AWS."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield one_session
