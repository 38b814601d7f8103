"""A lake with its own prefix and time zone: everything goes there, and stays there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dynalake.aws.clients import Clients
from dynalake.capture.lake.registry import load_lake, plan_lake
from dynalake.days import end_of_day, parse_day
from dynalake.errors import SettingsError
from dynalake.lake.hive.hive import list_partitions
from dynalake.names import TableNames
from dynalake.options.lake_options import LakeOptions
from dynalake.options.settings import TableSettings
from infra.local.demo.lake import LakeReader
from infra.local.run.process import LocalAws
from tests.support.aws.capture_steps import (
    LARGEST,
    SOON,
    break_changes,
    make_table,
    patiently,
    prove,
    rejected,
    set_up,
    wait_for_changes,
)
from tests.support.aws.lake import convert, night, register


# At any hour, the day in one of them differs from UTC's.
@pytest.mark.parametrize(("zone", "delivery"), [("Pacific/Auckland", "kinesis"), ("Pacific/Pago_Pago", "direct")])
def test_everything_is_under_the_prefix_and_the_day_of_the_zone(
    clients: Clients, local_aws: LocalAws, zone: str, delivery: str
) -> None:
    table, environment = f"PLACED-{delivery}", f"placed-{delivery}"
    make_table(clients, table)
    options = LakeOptions.parse({"prefix": "lake/raw", "time_zone": zone})
    settings = TableSettings(table, delivery=delivery, max_record_kb=5, buffer_seconds=SOON)
    setup = set_up(clients, environment, settings, options=options)
    names = setup.names
    # The next run names neither, and finds both.
    assert names.lake == load_lake(clients, environment) == plan_lake(clients, environment)
    lake = register(clients, names, setup.source.key)

    began = names.lake.day_of(datetime.now(UTC))
    _, search = prove(clients, names, delivery)
    for number in range(3):
        clients.dynamodb.put_item(TableName=table, Item={"id": {"S": str(number)}})
    longest = "\x01" * (LARGEST - len("idlargetext"))
    clients.dynamodb.put_item(TableName=table, Item={"id": {"S": "large"}, "text": {"S": longest}})
    assert len(wait_for_changes(clients, names, 4)) == 4
    break_changes(local_aws, table)
    clients.dynamodb.put_item(TableName=table, Item={"id": {"S": "broken"}})
    patiently(lambda: rejected(clients, names))
    written_day = names.lake.day_of(datetime.now(UTC))

    for uri in search.found.values():
        assert uri.startswith(f"s3://{names.lake.bucket}/lake/raw/json/{table}/dt=")
        assert parse_day(uri) in (began, written_day)
    keys = {k for k in objects(clients, names) if not k.startswith(names.lake.code_prefix)}
    folders = {key.partition("/dt=")[0].partition("/metadata/")[0] for key in keys}
    assert {folder for folder in folders if "raw-state" not in folder} == {
        f"lake/raw/json/{table}",
        f"lake/raw-errors/forwarder/{table}",
        f"lake/raw/parquet/{table}/changes",
        f"lake/raw/parquet/{table}/items",
    }
    own = (f"lake/raw-state/{table}/", f"lake/raw-state/_/{table}/")
    assert all(key.startswith(own) for key in keys if "raw-state" in key)
    days = {day for key in keys if (day := parse_day(key))}
    assert days <= {began, written_day}

    finished = convert(lake)
    assert finished is not None
    assert finished.sums.rows == 4
    # A day is over when it is over in the lake's time zone.
    over = end_of_day(written_day, names.lake.zone) + timedelta(hours=1)
    assert night(lake, lambda: over - timedelta(seconds=1)) == ()
    folders = {file.folder for file in lake.changes().files({written_day})}
    assert night(lake, lambda: over) == ()
    (compacted,) = {file.folder for file in lake.changes().files({written_day})}
    assert compacted not in folders
    partitions = list_partitions(lake, names.parquet_table)
    assert written_day in partitions
    assert set(partitions) <= days
    for day, partition in partitions.items():
        folder = f"s3://{names.lake.bucket}/lake/raw/parquet/{table}/changes/dt={day}/v="
        assert partition.location.startswith(folder)
    # The change that bypassed Firehose is in Parquet with the others.
    rows = LakeReader(lake, local_aws.env()).read(lambda now: now.changes)
    assert {row["id"]: row["text"] for row in rows} == {"0": None, "1": None, "2": None, "large": longest}

    for placement in ({"prefix": "dynamodb"}, {"time_zone": "UTC"}, {"bucket": "another"}):
        with pytest.raises(
            SettingsError, match=rf"has {next(iter(placement))} '.*requests '{next(iter(placement.values()))}'"
        ):
            plan_lake(clients, environment, **placement)


def test_a_lake_without_prefix_and_zone_has_the_defaults(clients: Clients) -> None:
    clients.ssm.put_parameter(Name="/dynalake/older/lake", Type="String", Value='{"bucket":"older-bucket"}')
    lake = load_lake(clients, "older")
    assert (lake.bucket, lake.prefix, lake.time_zone) == ("older-bucket", "dynamodb", "UTC")
    assert plan_lake(clients, "older", prefix="dynamodb", time_zone="UTC") == lake


def objects(clients: Clients, names: TableNames) -> list[str]:
    pages = clients.s3.get_paginator("list_objects_v2").paginate(Bucket=names.lake.bucket)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]
