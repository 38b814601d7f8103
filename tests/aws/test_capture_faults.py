"""At least once: whatever fails, each change is in the lake, or rejected with a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.capture.lake.registry import find_settings
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames
from dynalake.options.settings import TableSettings
from infra.local.run.process import LocalAws
from tests.aws.fault_matrix import DELIVERIES, FAULTS, Fault, Outcome, run, show
from tests.support.aws.capture_steps import break_changes, make_table, set_up, wait_for_changes

_outcomes: list[Outcome] = []


@pytest.fixture(scope="module", autouse=True)
def table_of_outcomes() -> Iterator[None]:
    """Prints what became of every change (visible with `pytest -s`)."""
    yield
    if _outcomes:
        print(f"\n{show(_outcomes)}")


@pytest.mark.sweep
@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.happen.__name__)
def test_every_change_is_in_the_lake_or_rejected(
    local_aws: LocalAws, clients: Clients, fault: Fault, delivery: str
) -> None:
    outcome, _ = run(local_aws, clients, FAULTS.index(fault), fault, delivery)
    _outcomes.append(outcome)
    assert outcome.lost == 0
    assert outcome.written >= 200
    if fault.rejected is not None:
        assert outcome.rejected == fault.rejected
        assert outcome.both == 0
    if fault.name == "partly throttled":
        # Only the failed entries were sent again, so nothing is in the lake twice.
        assert outcome.duplicates == 0
    assert bool(outcome.reasons) == bool(outcome.rejected)
    assert all(outcome.reasons)


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


def list_rejected(clients: Clients, names: TableNames) -> list[dict[str, Any]]:
    listed = clients.s3.list_objects_v2(Bucket=names.lake.bucket, Prefix=names.rejected("forwarder"))
    keys = [entry["Key"] for entry in listed.get("Contents", [])]
    return [json.loads(clients.s3.get_object(Bucket=names.lake.bucket, Key=key)["Body"].read()) for key in keys]


def test_unreadable_settings_only_delay_changes(clients: Clients, fail: Any) -> None:
    make_table(clients, "UNREAD")
    names = set_up(clients, "unread", TableSettings("UNREAD")).names
    fail(service="ssm", operation="GetParameter", code="ThrottlingException", times=4)
    written = write(clients, "UNREAD", 30)
    assert {change["id"] for change in wait_for_changes(clients, names, 30)} == written
    assert find_settings(Table(clients, names)) is not None


def test_a_malformed_change_is_rejected_and_blocks_nothing(clients: Clients, local_aws: LocalAws) -> None:
    make_table(clients, "BROKEN-ONE")
    names = set_up(clients, "brokenone", TableSettings("BROKEN-ONE")).names
    break_changes(local_aws, "BROKEN-ONE")
    clients.dynamodb.put_item(TableName="BROKEN-ONE", Item={"id": {"S": "broken"}})
    written = write(clients, "BROKEN-ONE", 50)
    assert {change["id"] for change in wait_for_changes(clients, names, 50)} == written
    (rejected,) = list_rejected(clients, names)
    assert "no NewImage" in rejected["reason"]
    assert rejected["record"]["dynamodb"]["Keys"] == {"id": {"S": "broken"}}
