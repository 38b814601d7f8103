"""A lake under a prefix and in a time zone of its own: everything goes there, and stays there."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest
from dynalake.catalog.partitions import list_partitions, register_days
from dynalake.catalog.register import register_table
from dynalake.compact.convert import compact_day
from dynalake.compact.plan import plan_table
from dynalake.compact.publish import finish_table
from dynalake.operators.days import coming_days

from dynalake.capture.lake import load_lake, plan_lake
from dynalake.clients import Clients
from dynalake.convert.options import CompactOptions
from dynalake.days import SNAPSHOT_DAY, end_of_day, parse_day
from dynalake.errors import SettingsError
from dynalake.lake_options import LakeOptions
from dynalake.names import TableNames
from dynalake.settings import TableSettings
from infra.local.process import LocalAws
from tests.aws.capture_steps import (
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


# At any hour one of them has another day than UTC.
@pytest.mark.parametrize(("zone", "delivery"), [("Pacific/Auckland", "kinesis"), ("Pacific/Pago_Pago", "direct")])
def test_everything_is_under_the_prefix_and_the_day_of_the_zone(
    clients: Clients, local_aws: LocalAws, zone: str, delivery: str
) -> None:
    table, environment = f"PLACED-{delivery}", f"placed-{delivery}"
    make_table(clients, table)
    options = LakeOptions.parse({"prefix": "lake/raw", "time_zone": zone})
    settings = TableSettings(table, delivery=delivery, max_record_kb=5, buffer_seconds=SOON)
    done = set_up(clients, environment, settings, options=options)
    names = done.names
    # The next run names neither, and finds both.
    assert names.lake == load_lake(clients, environment) == plan_lake(clients, environment)
    register_table(clients, names, done.source.key, source_arn=done.source.arn)

    began = names.lake.day_of(datetime.now(UTC))
    _, canary = prove(clients, names, "canary-1")
    for number in range(3):
        clients.dynamodb.put_item(TableName=table, Item={"id": {"S": str(number)}})
    longest = "\x01" * (LARGEST - len("idlargetext"))
    clients.dynamodb.put_item(TableName=table, Item={"id": {"S": "large"}, "text": {"S": longest}})
    assert len(wait_for_changes(clients, names, 4)) == 4
    break_changes(local_aws, table)
    clients.dynamodb.put_item(TableName=table, Item={"id": {"S": "broken"}})
    patiently(lambda: rejected(clients, names))
    ended = names.lake.day_of(datetime.now(UTC))

    assert canary.uri.startswith(f"s3://{names.lake.bucket}/lake/raw/json/{table}/dt=")
    assert parse_day(canary.uri) in (began, ended)
    keys = {k for k in objects(clients, names) if not k.startswith(names.lake.code_prefix)}
    assert {key.partition("/dt=")[0] for key in keys} == {
        f"lake/raw/json/{table}",
        f"lake/raw-errors/forwarder/{table}",
        f"lake/raw-state/{table}/hand-off.json",
        f"lake/raw-state/{table}/lease.json",
    }
    days = {day for key in keys if (day := parse_day(key))}
    assert days <= {began, ended}

    # The day is due when it is over where the lake is, and can be named before.
    register_days(clients, names, coming_days(names.lake))
    over = end_of_day(ended, names.lake.zone) + timedelta(hours=1)
    compaction = CompactOptions()
    assert ended not in {p.day for p in plan_table(clients, names, compaction, over - timedelta(seconds=1))}
    assert ended in {p.day for p in plan_table(clients, names, compaction, over)}
    now = datetime.now(UTC)
    named = plan_table(clients, names, compaction, now, days=sorted(days))
    converted = [compact_day(clients, names, each.day, compaction) for each in named]
    assert sum(each.rows for each in converted) == 4
    assert set(finish_table(clients, names, converted, compaction, now).days) == days
    for day, partition in list_partitions(clients, names, names.typed_table).items():
        assert partition.location.startswith(f"s3://{names.lake.bucket}/lake/raw/parquet/{table}/dt={day}/v=")
    assert finish_table(clients, names, [], compaction, over).through == ended
    assert SNAPSHOT_DAY not in days
    # The change that went past Firehose is in Parquet with the others.
    parts = [key for key in objects(clients, names) if key.endswith(".parquet")]
    bodies = [clients.s3.get_object(Bucket=names.lake.bucket, Key=key)["Body"].read() for key in parts]
    rows = [row for body in bodies for row in pq.read_table(io.BytesIO(body)).to_pylist()]
    assert {row["id"]: row.get("text") for row in rows} == {"0": None, "1": None, "2": None, "large": longest}

    for other in ({"prefix": "dynamodb"}, {"time_zone": "UTC"}, {"bucket": "another"}):
        with pytest.raises(SettingsError, match=rf"has {next(iter(other))} '.*asks for '{next(iter(other.values()))}'"):
            plan_lake(clients, environment, **other)


def test_a_lake_that_says_neither_has_the_defaults(clients: Clients) -> None:
    clients.ssm.put_parameter(Name="/dynalake/older/lake", Type="String", Value='{"bucket":"older-bucket"}')
    lake = load_lake(clients, "older")
    assert (lake.bucket, lake.prefix, lake.time_zone) == ("older-bucket", "dynamodb", "UTC")
    assert plan_lake(clients, "older", prefix="dynamodb", time_zone="UTC") == lake


def objects(clients: Clients, names: TableNames) -> list[str]:
    pages = clients.s3.get_paginator("list_objects_v2").paginate(Bucket=names.lake.bucket)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]
