"""AWS in this process, by moto."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws


@pytest.fixture(scope="session")
def one_session() -> boto3.Session:
    """One for all tests: a session reads and parses the services' models, which is most of what a test would take."""
    return boto3.Session("test", "test", region_name="us-east-1")


@pytest.fixture
def mocked(one_session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    """A session with an empty AWS behind it."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield one_session
