"""A lake with tables that need no pipeline: raw objects put by hand, settings where setup would leave them."""

from __future__ import annotations

import json

from dynalake.catalog.partitions import register_days
from dynalake.catalog.register import register_table
from tests.unit.compact.lake import KEY, TestLake

from dynalake.clients import Clients
from dynalake.names import Lake
from dynalake.settings import TableSettings


def make_lake(clients: Clients, environment: str) -> Lake:
    """A bucket, a database and the parameter that says where they are."""
    account = clients.sts.get_caller_identity()["Account"]
    lake = Lake(environment, account, clients.sts.meta.region_name)
    clients.s3.create_bucket(Bucket=lake.bucket)
    clients.glue.create_database(DatabaseInput={"Name": lake.database})
    place = {"bucket": lake.bucket, "prefix": lake.prefix, "time_zone": lake.time_zone}
    clients.ssm.put_parameter(Name=lake.lake_parameter, Type="String", Value=json.dumps(place))
    return lake


def add_table(clients: Clients, lake: Lake, table: str, days: list[str]) -> TestLake:
    """A table that is registered with these days."""
    names = lake.table(table)
    settings = TableSettings(table).to_json()
    clients.ssm.put_parameter(Name=names.settings_parameter, Type="String", Value=settings)
    register_table(clients, names, KEY, source_arn="arn")
    register_days(clients, names, days)
    return TestLake(clients, names)
