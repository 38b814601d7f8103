"""AWS in this process, by moto; and pyiceberg's files, whose schemas are resolved once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from pyiceberg.avro import file as avro


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


@pytest.fixture(scope="session", autouse=True)
def _readers() -> Iterator[None]:
    """Resolve the schema of a file of pyiceberg once. It does so for each file, which takes most of its reading."""
    get_schema, schemas = avro.AvroFileHeader.get_schema, dict[str, Any]()

    def get_schema_once(header: avro.AvroFileHeader) -> Any:
        text = header.meta["avro.schema"]
        return schemas[text] if text in schemas else schemas.setdefault(text, get_schema(header))

    def once(resolve: Callable[..., Any]) -> Callable[..., Any]:
        readers: dict[Any, Any] = {}

        def resolve_once(*args: Any) -> Any:
            key = tuple(tuple(a.items()) if isinstance(a, dict) else id(a) for a in args)
            if key not in readers:
                readers[key] = resolve(*args), args  # which stay, so that nothing else gets their ids
            return readers[key][0]

        return resolve_once

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(avro.AvroFileHeader, "get_schema", get_schema_once)
        for name in ("construct_reader", "resolve_reader"):
            patch.setattr(avro, name, once(getattr(avro, name)))
        yield
