"""A registered table in moto."""

from __future__ import annotations

import boto3
import pytest

from dynalake.catalog.register import register_table
from dynalake.clients import Clients
from dynalake.names import Lake
from tests.unit.compact.lake import KEY, TestLake


@pytest.fixture
def lake(mocked: boto3.Session) -> TestLake:
    clients = Clients.of(mocked)
    names = Lake("dev", "123456789012", "us-east-1").table("RECEIPTS")
    clients.s3.create_bucket(Bucket=names.lake.bucket)
    clients.glue.create_database(DatabaseInput={"Name": names.lake.database})
    register_table(clients, names, KEY, source_arn="arn:aws:dynamodb:us-east-1:123456789012:table/RECEIPTS")
    return TestLake(clients, names)
