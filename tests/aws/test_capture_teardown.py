"""A teardown removes everything of a table except its data, and the data only after a typed confirmation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients
from dynalake.capture.lake.registry import find_settings, list_tables
from dynalake.capture.stacks.stacks import stack_state
from dynalake.capture.stored import delete_objects, table_prefixes
from dynalake.capture.teardown import (
    check_disabled,
    check_stopped,
    check_teardown,
    delete_catalog,
    delete_stack,
    last_canaries,
    stop_mapping,
    what_is_left,
)
from dynalake.errors import AccessError, SettingsError, StackError
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames
from dynalake.options.settings import TableSettings
from infra.local.run.process import LocalAws
from tests.aws.fault_matrix import DELIVERIES
from tests.aws.writer import Writer
from tests.support.aws.capture_steps import (
    REST,
    SOON,
    SetUp,
    break_changes,
    drain,
    make_table,
    patiently,
    raw_changes,
    rejected,
    set_up,
    wait_for_changes,
)
from tests.support.aws.lake import register

Client = Callable[[str], Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def fail(local_aws: LocalAws) -> Iterator[Any]:
    """Arms a fault on local AWS; all are cleared at the end."""
    yield lambda **fault: local_aws.call("POST", "/_dynalake/faults", fault)
    local_aws.call("DELETE", "/_dynalake/faults")


def set_up_with_catalog(clients: Clients, environment: str, settings: TableSettings) -> SetUp:
    setup = set_up(clients, environment, settings)
    register(clients, setup.names, setup.source.key)
    return setup


def tear_down(clients: Clients, names: TableNames, run: str = "run", *, delete_data: str = "") -> None:
    """Run the steps of `dynalake_teardown` in their order."""
    check_teardown(Table(clients, names), delete_data)
    drain(clients, names, run)
    delete_stack(Table(clients, names))
    if delete_data:
        delete_catalog(Table(clients, names))
        delete_objects(Table(clients, names))


def inventory(client: Client, names: TableNames) -> dict[str, set[str]]:
    """Return all resources of the table or its lake, by service."""
    environment = names.lake.environment

    def pages(service: str, operation: str, member: str, **arguments: Any) -> list[Any]:
        paginator = client(service).get_paginator(operation)
        return [entry for page in paginator.paginate(**arguments) for entry in page.get(member, [])]

    def own(ids: set[str]) -> set[str]:
        return {name for name in ids if environment in name}

    stacks = pages("cloudformation", "describe_stacks", "Stacks")
    firehose = client("firehose").list_delivery_streams(Limit=1000)["DeliveryStreamNames"]
    mappings = pages("lambda", "list_event_source_mappings", "EventSourceMappings")
    return {
        "stacks": own({s["StackName"] for s in stacks if s["StackStatus"] != "DELETE_COMPLETE"}),
        "streams": own(set(pages("kinesis", "list_streams", "StreamNames"))),
        "delivery streams": own(set(firehose)),
        "mappings": {m["UUID"] for m in mappings if m["FunctionArn"].endswith(f":{names.lake.forwarder}")},
        "alarms": own({a["AlarmName"] for a in pages("cloudwatch", "describe_alarms", "MetricAlarms")}),
        "log groups": own({g["logGroupName"] for g in pages("logs", "describe_log_groups", "logGroups")}),
        "parameters": own({p["Name"] for p in pages("ssm", "describe_parameters", "Parameters")}),
        "glue": {t["Name"] for t in pages("glue", "get_tables", "TableList", DatabaseName=names.lake.database)},
        "objects": {
            entry["Key"]
            for kind in ("Versions", "DeleteMarkers")
            for entry in pages("s3", "list_object_versions", kind, Bucket=names.lake.bucket)
        },
    }


def write(clients: Clients, table: str, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        clients.dynamodb.put_item(TableName=table, Item={"id": {"S": f"item-{number}"}})


@pytest.mark.parametrize("delivery", ["kinesis", "direct"])
def test_only_the_data_remains_and_setup_works_again(clients: Clients, client: Client, delivery: str) -> None:
    table, other = f"GONE-{delivery}", f"STAYS-{delivery}"
    environment = f"gone{delivery}"
    for name in (table, other):
        make_table(clients, name)
    other_setup = set_up_with_catalog(clients, environment, TableSettings(other))
    before = inventory(client, other_setup.names)
    setup = set_up_with_catalog(clients, environment, TableSettings(table, delivery=delivery))
    names = setup.names
    write(clients, table, 50)
    wait_for_changes(clients, names, 50)
    resources = inventory(client, names)
    written = {key for key in resources["objects"] if f"/{table}/" in key}
    registered = resources["glue"] - before["glue"]
    assert registered >= {names.changes_table, names.state_table, names.current_view}

    # Twice: the second teardown looks for the rest, and finds nothing.
    tear_down(clients, names)
    tear_down(clients, names, "again")
    after = inventory(client, names)
    assert after.pop("glue") == before.pop("glue") | registered
    objects = after.pop("objects")
    assert written <= objects
    before.pop("objects")
    assert len(after["mappings"]) == 1
    assert after == before
    assert len(raw_changes(clients, names)) == 50
    assert find_settings(Table(clients, names)) is None
    remaining = " ".join(what_is_left(Table(clients, names)))
    assert f"delete_data={table}" in remaining
    assert f"other tables are still captured: {other}" in remaining

    write(clients, table, 10, start=50)
    second = set_up_with_catalog(clients, environment, TableSettings(table, delivery=delivery))
    assert second.mapping_id != setup.mapping_id
    assert second.hand_off.at > setup.hand_off.at
    # The new mapping reads the stream from its beginning: it has the changes in between, and repeats are equal.
    changes = wait_for_changes(clients, second.names, 60)
    assert {change["id"] for change in changes} == {f"item-{number}" for number in range(60)}


def test_the_confirmation_deletes_every_version_and_no_data_of_other_tables(
    clients: Clients, client: Client, local_aws: LocalAws
) -> None:
    # Names that start alike: a prefix of one must not match the other.
    for table in ("WIPED", "WIPED2"):
        make_table(clients, table)
    other_setup = set_up_with_catalog(clients, "wiped", TableSettings("WIPED2"))
    write(clients, "WIPED2", 5)
    wait_for_changes(clients, other_setup.names, 5)
    before = inventory(client, other_setup.names)

    names = set_up_with_catalog(clients, "wiped", TableSettings("WIPED", max_record_kb=5)).names
    write(clients, "WIPED", 5)
    clients.dynamodb.put_item(TableName="WIPED", Item={"id": {"S": "large"}, "text": {"S": "x" * 9000}})
    wait_for_changes(clients, names, 6)
    break_changes(local_aws, "WIPED")
    clients.dynamodb.put_item(TableName="WIPED", Item={"id": {"S": "broken"}})
    patiently(lambda: rejected(clients, names))
    for key in (f"{names.change_folder('20190525', 'abc')}part-00000.parquet", f"{names.state_prefix}x.json"):
        for body in (b"1", b"2"):
            clients.s3.put_object(Bucket=names.lake.bucket, Key=key, Body=body)
        clients.s3.delete_object(Bucket=names.lake.bucket, Key=key)

    for wrong in ("yes", "wiped", "WIPED ", "WIPED2"):
        with pytest.raises(SettingsError, match=r"the table is 'WIPED'\. Needed: exactly 'WIPED'"):
            check_teardown(Table(clients, names), wrong)
    tear_down(clients, names, delete_data="WIPED")
    assert inventory(client, names) == before
    assert delete_objects(Table(clients, names)) == 0
    # Nothing is left to tear down, and the error says so.
    with pytest.raises(SettingsError, match=r"nothing of table 'WIPED'.*WIPED2"):
        check_teardown(Table(clients, names))
    assert len(raw_changes(clients, other_setup.names)) == 5


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_changes_in_flight_are_delivered_before_the_stack_is_deleted(
    clients: Clients, client: Client, delivery: str
) -> None:
    """Writes never pause, so the mapping still reads after it says Disabled, and its records come late."""
    table, environment = f"UNDERWAY-{delivery}", f"underway{delivery}"
    make_table(clients, table)
    # A buffer that outlasts the test, scaled, and four shards.
    settings = TableSettings(table, delivery=delivery, shards=4 if delivery == "kinesis" else 0, buffer_seconds=120)
    setup = set_up(clients, environment, settings)
    writer = Writer(clients, table)
    with writer.writing():
        writer.wait_for_more()
        drain(clients, setup.names)
        delete_stack(Table(clients, setup.names))
        assert inventory(client, setup.names)["streams"] == set()
    # The changes that the mapping read are in the lake, and the rest is in the stream.
    invocations = invoked(clients, setup.mapping_id)
    assert 0 < invocations < len(writer.written)
    changes = raw_changes(clients, setup.names)
    assert len({change["__sequence_number"] for change in changes}) == invocations


def invoked(clients: Clients, mapping_id: str) -> int:
    """Return the number of changes that the forwarder was called with."""
    now = datetime.now(UTC)
    metric: Any = {
        "Namespace": "AWS/Lambda",
        "MetricName": "InvokedEventCount",
        "Dimensions": [{"Name": "EventSourceMappingUUID", "Value": mapping_id}],
    }
    answer = clients.cloudwatch.get_metric_data(
        MetricDataQueries=[{"Id": "m", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
    )
    return int(sum(answer["MetricDataResults"][0]["Values"]))


def test_a_setup_during_a_teardown_keeps_the_table(clients: Clients) -> None:
    """The other way round, a setup enables a mapping that an unfinished teardown has disabled."""
    make_table(clients, "BOTH")
    setup = set_up(clients, "both", TableSettings("BOTH", buffer_seconds=SOON))
    stop_mapping(Table(clients, setup.names))
    check_disabled(Table(clients, setup.names))
    second = set_up(clients, "both", TableSettings("BOTH", buffer_seconds=SOON))
    assert second == setup
    with pytest.raises(StackError, match="is Enabled again"):
        check_stopped(Table(clients, setup.names), setup.mapping_id, datetime.now(UTC), REST)
    with pytest.raises(StackError, match="is Enabled again"):
        check_disabled(Table(clients, setup.names))
    clients.lambda_.delete_event_source_mapping(UUID=setup.mapping_id)
    check_disabled(Table(clients, setup.names))


def test_a_teardown_continues_after_a_kill_at_any_step(clients: Clients, client: Client) -> None:
    make_table(clients, "KILLED-TEARDOWN")
    names = set_up_with_catalog(clients, "killteardown", TableSettings("KILLED-TEARDOWN")).names
    write(clients, "KILLED-TEARDOWN", 3)
    wait_for_changes(clients, names, 3)
    # Each line is a run that was killed after its step; every run starts from the beginning.
    stop_mapping(Table(clients, names))
    assert stop_mapping(Table(clients, names))
    assert [canaries.delivery for canaries in last_canaries(Table(clients, names), "first", NOW)] == ["kinesis"]
    clients.cloudformation.delete_stack(StackName=names.stack)
    assert not delete_stack(Table(clients, names))
    assert stop_mapping(Table(clients, names)) == ""
    assert last_canaries(Table(clients, names), "second", NOW) == []
    clients.glue.delete_table(DatabaseName=names.lake.database, Name=names.current_view)
    assert names.changes_table in delete_catalog(Table(clients, names))
    first = table_prefixes(Table(clients, names))[0]
    keys = [e["Key"] for e in clients.s3.list_objects_v2(Bucket=names.lake.bucket, Prefix=first)["Contents"]]
    clients.s3.delete_object(Bucket=names.lake.bucket, Key=keys[0])
    tear_down(clients, names, delete_data=names.table)
    assert not [key for key in inventory(client, names)["objects"] if names.table in key]
    assert list_tables(clients, names.lake) == ()
    remaining = " ".join(what_is_left(Table(clients, names)))
    assert f"first {names.lake.forwarder_stack}, then {names.lake.storage_stack}" in remaining


def test_a_failed_deletion_is_explained(clients: Clients, fail: Any) -> None:
    make_table(clients, "STUCK")
    names = set_up_with_catalog(clients, "stuck", TableSettings("STUCK")).names
    clients.cloudformation.update_termination_protection(StackName=names.stack, EnableTerminationProtection=True)
    with pytest.raises(StackError, match=r"does not delete stack .*update-termination-protection"):
        delete_stack(Table(clients, names))
    clients.cloudformation.update_termination_protection(StackName=names.stack, EnableTerminationProtection=False)
    assert delete_stack(Table(clients, names))
    assert stack_state(clients, names.stack).status in ("", "DELETE_COMPLETE")
    keeping = Clients(lambda service: _Keeping(clients.s3) if service == "s3" else getattr(clients, service))
    with pytest.raises(AccessError, match=r"S3 keeps \d+ objects under .*STUCK/; the first is \S+: AccessDenied"):
        delete_objects(Table(keeping, names))


class _Keeping:
    """An S3 client whose bucket deletes nothing."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def delete_objects(self, Bucket: str, Delete: dict[str, Any]) -> dict[str, Any]:
        return {"Errors": [{**entry, "Code": "AccessDenied", "Message": "no"} for entry in Delete["Objects"]]}


def test_an_unknown_table_is_named(clients: Clients) -> None:
    make_table(clients, "THERE")
    names = set_up(clients, "there", TableSettings("THERE")).names
    with pytest.raises(SettingsError, match=r"nothing of table 'THEIR' in the lake 'there'\. Did you mean 'THERE'\?"):
        check_teardown(Table(clients, names.lake.table("THEIR")))
    with pytest.raises(ClientError):
        clients.s3.head_object(Bucket=names.lake.bucket, Key="nothing")
