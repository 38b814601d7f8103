"""A lake that needs no pipeline."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from dynalake.aws.clients import Clients
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.read import read_rows
from dynalake.lake.tables.make import make_tables
from dynalake.names import Lake
from dynalake.options.settings import TableSettings
from dynalake.record.change import encode_change
from dynalake.record.key import ItemKey, KeyAttribute
from tests.support.aws import lake as aws


def make_lake(clients: Clients, environment: str) -> Lake:
    """Make a bucket, a database and the parameter with their location."""
    lake = aws.make_lake(clients, environment)
    place = {"bucket": lake.bucket, "prefix": lake.prefix, "time_zone": lake.time_zone}
    clients.ssm.put_parameter(Name=lake.lake_parameter, Type="String", Value=json.dumps(place))
    return lake


NOW = datetime.now(UTC)
MADE = round(NOW.timestamp() * 1000) - 41 * 86_400_000
"""Time of the changes: before all days of the tests."""
KEY = ItemKey(KeyAttribute("id", "S"))


def add_table(clients: Clients, lake: Lake, name: str, *, iceberg: bool = True) -> Table:
    names = lake.table(name)
    settings = TableSettings(name).to_json()
    clients.ssm.put_parameter(Name=names.settings_parameter, Type="String", Value=settings)
    table = Table(clients, names)
    if iceberg:
        make_tables(table, KEY, "arn")
    return table


def put(table: Table, name: str, ids: Iterable[str], *, ago: int = 0, value: str = "x", more: str = "") -> str:
    """Put a raw object with a change for each of these items."""
    day = table.names.lake.day_of(NOW - timedelta(days=ago))
    lines = []
    for id in ids:
        image = {"id": {"S": id}, "v": {"S": value}}
        lines.append(encode_change(image, operation="INSERT", sequence_number=str(ord(id)), event_time=MADE))
    key = f"{table.names.raw_day(day)}{name}.gz"
    body = gzip.compress("\n".join([*lines, more, ""]).encode())
    table.clients.s3.put_object(Bucket=table.names.lake.bucket, Key=key, Body=body)
    return day


def converted_rows(table: Table) -> list[tuple[str, str]]:
    head = table.changes()
    return sorted((row["id"], row["v"]) for rows in read_rows(head, head.files()) for row in rows.to_pylist())
