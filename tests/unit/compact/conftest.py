"""A registered table in moto."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from dynalake.catalog.register import register_table
from dynalake.clients import Clients
from dynalake.names import Lake
from tests.unit.compact.lake import KEY, TestLake


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestLake]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        clients = Clients.of(boto3.Session("test", "test", region_name="us-east-1"))
        names = Lake("dev", "123456789012", "us-east-1").table("RECEIPTS")
        clients.s3.create_bucket(Bucket=names.lake.bucket)
        clients.glue.create_database(DatabaseInput={"Name": names.lake.database})
        register_table(clients, names, KEY, source_arn="arn:aws:dynamodb:us-east-1:123456789012:table/RECEIPTS")
        yield TestLake(clients, names)
