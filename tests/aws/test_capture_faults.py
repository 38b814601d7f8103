"""At least once, never less: whatever fails, each change is in the lake or lies aside with its reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dynalake.capture.lake import find_settings
from dynalake.clients import Clients
from dynalake.names import TableNames
from dynalake.settings import TableSettings
from infra.local.process import LocalAws
from tests.aws.capture_steps import make_table, set_up, wait_for_changes


@pytest.fixture
def fail(local_aws: LocalAws) -> Iterator[Any]:
    """Arms a fault on local AWS; all are cleared at the end."""
    yield lambda **fault: local_aws.call("POST", "/_dynalake/faults", fault)
    local_aws.call("DELETE", "/_dynalake/faults")


def write(clients: Clients, table: str, count: int) -> set[str]:
    for number in range(count):
        item = {"id": {"S": f"item-{number}"}, "filler": {"S": "x" * 2000}}
        clients.dynamodb.put_item(TableName=table, Item=item)
    return {f"item-{number}" for number in range(count)}


def put_aside(clients: Clients, names: TableNames) -> list[dict[str, Any]]:
    listed = clients.s3.list_objects_v2(Bucket=names.lake.bucket, Prefix=names.rejected("forwarder"))
    keys = [entry["Key"] for entry in listed.get("Contents", [])]
    return [json.loads(clients.s3.get_object(Bucket=names.lake.bucket, Key=key)["Body"].read()) for key in keys]


@pytest.mark.parametrize("delivery", ["kinesis", "direct"])
def test_partly_throttled_streams_lose_nothing(clients: Clients, fail: Any, delivery: str) -> None:
    table = f"THROTTLED-{delivery}"
    make_table(clients, table)
    settings = TableSettings(table, delivery=delivery, max_record_kb=5)
    names = set_up(clients, "throttled", settings).names
    if delivery == "kinesis":
        code = "ProvisionedThroughputExceededException"
        fail(service="kinesis", operation="PutRecords", code=code, fraction=0.5, times=20, resource=names.stream)
    else:
        stream = names.direct_delivery_stream
        code = "ServiceUnavailableException"
        fail(service="firehose", operation="PutRecordBatch", code=code, fraction=0.5, times=20, resource=stream)
    written = write(clients, table, 200)
    changes = wait_for_changes(clients, names, 200)
    assert {change["id"] for change in changes} == written
    # Only the failed entries were sent again: nothing is twice in the lake.
    assert len(changes) == 200


def test_a_function_that_dies_loses_nothing(clients: Clients, fail: Any) -> None:
    make_table(clients, "KILLED")
    names = set_up(clients, "killed", TableSettings("KILLED")).names
    fail(service="lambda", operation="Invoke", code="Runtime.ExitError", times=6, resource=names.lake.forwarder)
    written = write(clients, "KILLED", 100)
    assert {change["id"] for change in wait_for_changes(clients, names, 100)} == written


def test_settings_that_cannot_be_read_only_delay(clients: Clients, fail: Any) -> None:
    make_table(clients, "UNREAD")
    names = set_up(clients, "unread", TableSettings("UNREAD")).names
    fail(service="ssm", operation="GetParameter", code="ThrottlingException", times=4)
    written = write(clients, "UNREAD", 30)
    assert {change["id"] for change in wait_for_changes(clients, names, 30)} == written
    assert find_settings(clients, names) is not None


def test_an_item_over_the_limit_lies_aside_and_blocks_nothing(clients: Clients) -> None:
    make_table(clients, "LARGE")
    names = set_up(clients, "large", TableSettings("LARGE", max_record_kb=5)).names
    clients.dynamodb.put_item(TableName="LARGE", Item={"id": {"S": "large"}, "text": {"S": "x" * 300_000}})
    written = write(clients, "LARGE", 50)
    assert {change["id"] for change in wait_for_changes(clients, names, 50)} == written
    (aside,) = put_aside(clients, names)
    assert "limit is" in aside["reason"]
    assert aside["record"]["dynamodb"]["NewImage"]["text"]["S"] == "x" * 300_000


def test_the_largest_item_arrives_with_the_default_settings(clients: Clients) -> None:
    make_table(clients, "LARGEST")
    names = set_up(clients, "largest", TableSettings("LARGEST")).names
    clients.dynamodb.put_item(TableName="LARGEST", Item={"id": {"S": "a"}, "data": {"B": b"\x00" * 399_000}})
    (change,) = wait_for_changes(clients, names, 1)
    assert len(change["data"]) == 532_000
    assert put_aside(clients, names) == []


def test_what_fails_for_good_lies_with_its_payload_at_the_destination(clients: Clients, fail: Any) -> None:
    make_table(clients, "HOPELESS")
    settings = TableSettings("HOPELESS", max_retries=1)
    names = set_up(clients, "hopeless", settings).names
    fail(service="lambda", operation="Invoke", code="Runtime.ExitError", times=8, resource=names.lake.forwarder)
    written = write(clients, "HOPELESS", 60)
    found: dict[str, str] = {}
    changes = wait_for_changes(clients, names, 60, seconds=8.0)
    listed = clients.s3.list_objects_v2(Bucket=names.lake.bucket, Prefix="aws/lambda/")
    for entry in listed.get("Contents", []):
        body = json.loads(clients.s3.get_object(Bucket=names.lake.bucket, Key=entry["Key"])["Body"].read())
        for record in json.loads(body["payload"])["Records"]:
            found[record["dynamodb"]["Keys"]["id"]["S"]] = body["requestContext"]["condition"]
    assert found
    assert {change["id"] for change in changes} | set(found) == written
