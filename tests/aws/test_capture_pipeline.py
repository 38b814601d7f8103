"""A table's pipeline on local AWS: writes to DynamoDB arrive, once and unchanged."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients
from dynalake.capture.lake.registry import list_tables, load_lake, load_settings
from dynalake.capture.proof.canaries import Canaries, send_canaries
from dynalake.capture.proof.hand_off import load_hand_off
from dynalake.capture.proof.verify import check_delivery
from dynalake.capture.stacks.stacks import stack_state
from dynalake.errors import ConflictError, NameTakenError, NotReadyError, SettingsError, StackError
from dynalake.lake.catalog.table import Table
from dynalake.options.settings import TableSettings
from tests.aws.writer import Writer
from tests.support.aws.capture_steps import (
    SOON,
    await_canaries,
    lake_for,
    leave,
    make_table,
    prove,
    raw_changes,
    set_up,
    wait_for_changes,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ITEM: dict[str, Any] = {
    "id": {"S": "a"},
    "text": {"S": 'quote " backslash \\ newline \n é'},
    "number": {"N": "12345678901234567890123456789012345678"},
    "small": {"N": "0.0000000000000000000000000000000000000001"},
    "binary": {"B": b"\x00\xff"},
    "flag": {"BOOL": True},
    "nothing": {"NULL": True},
    "list": {"L": [{"S": ""}, {"N": "1"}, {"L": []}]},
    "map": {"M": {"x": {"M": {}}}},
    "texts": {"SS": ["b", "a"]},
    "numbers": {"NS": ["10", "9"]},
    "binaries": {"BS": [b"b", b"a"]},
    "__operation": {"S": "an attribute of its own"},
}


@pytest.mark.parametrize("delivery", ["kinesis", "direct"])
def test_writes_arrive(clients: Clients, delivery: str) -> None:
    make_table(clients, f"ARRIVES-{delivery}")
    # This item is older than the pipeline, but the stream still has it.
    clients.dynamodb.put_item(TableName=f"ARRIVES-{delivery}", Item=ITEM)
    names = set_up(clients, "arrives", TableSettings(f"ARRIVES-{delivery}", delivery=delivery)).names
    _, search = prove(clients, names, delivery)
    for uri in search.found.values():
        assert uri.startswith(f"s3://{names.lake.bucket}/dynamodb/json/ARRIVES-{delivery}/dt=")
        assert uri.endswith(".gz")

    for number in range(300):
        clients.dynamodb.put_item(TableName=names.table, Item={"id": {"S": f"item-{number}"}, "n": {"N": "1.50"}})
    clients.dynamodb.put_item(TableName=names.table, Item={"id": {"S": "item-0"}, "n": {"N": "2"}})
    clients.dynamodb.delete_item(TableName=names.table, Key={"id": {"S": "a"}})
    changes = wait_for_changes(clients, names, 303)

    numbers = [change["__sequence_number"] for change in changes]
    assert len(changes) == len(set(numbers)) == 303
    operations = [change["__operation"] for change in changes]
    assert {name: operations.count(name) for name in set(operations)} == {"INSERT": 301, "MODIFY": 1, "REMOVE": 1}
    first, last = (change for change in sorted(changes, key=lambda c: c["__sequence_number"]) if change["id"] == "a")
    assert (first["__operation"], last["__operation"]) == ("INSERT", "REMOVE")
    assert first["number"] == 12345678901234567890123456789012345678
    assert first["___operation"] == "an attribute of its own"
    assert first["texts"] == ["a", "b"]
    assert first["numbers"] == [9, 10]
    # The old image comes with the removal.
    assert {k: v for k, v in last.items() if not k.startswith("__")} == {
        k: v for k, v in first.items() if not k.startswith("__")
    }


def test_setting_up_twice_changes_nothing(clients: Clients) -> None:
    make_table(clients, "TWICE")
    first = set_up(clients, "twice", TableSettings("TWICE"))
    lake = first.names.lake
    stacks = [lake.storage_stack, lake.forwarder_stack, first.names.stack]
    events = [clients.cloudformation.describe_stack_events(StackName=name)["StackEvents"] for name in stacks]
    assert set_up(clients, "twice", TableSettings("TWICE")) == first
    assert events == [clients.cloudformation.describe_stack_events(StackName=name)["StackEvents"] for name in stacks]
    assert load_hand_off(Table(clients, first.names)) == first.hand_off


def test_two_tables_share_a_lake_and_nothing_else(clients: Clients) -> None:
    for table in ("LEFT", "RIGHT.table_2"):
        make_table(clients, table)
    left = set_up(clients, "shared", TableSettings("LEFT"))
    right = set_up(clients, "shared", TableSettings("RIGHT.table_2", delivery="direct", max_record_kb=5))
    assert left.mapping_id != right.mapping_id
    for side in (left, right):
        for number in range(50):
            item = {"id": {"S": f"{side.names.table}-{number}"}, "filler": {"S": "x" * 1000}}
            clients.dynamodb.put_item(TableName=side.names.table, Item=item)
    for side in (left, right):
        changes = wait_for_changes(clients, side.names, 50)
        assert {change["id"] for change in changes} == {f"{side.names.table}-{number}" for number in range(50)}
    lake = load_lake(clients, "shared")
    assert lake == left.names.lake
    assert list(list_tables(clients, lake)) == ["LEFT", "RIGHT.table_2"]
    assert load_settings(Table(clients, right.names)).max_record_kb == 5


def test_settings_change_only_if_the_run_requests_it(clients: Clients) -> None:
    make_table(clients, "CHANGED")
    before = set_up(clients, "changed", TableSettings("CHANGED", shards=1))
    settings = TableSettings("CHANGED", shards=2, batch_size=50)
    with pytest.raises(
        SettingsError, match=r"shards is 1, requested is 2; batch_size is 1000, requested is 50.*update_settings"
    ):
        set_up(clients, "changed", settings)
    after = set_up(clients, "changed", settings, update=True)
    assert load_settings(Table(clients, after.names)) == settings
    mapping = clients.lambda_.get_event_source_mapping(UUID=after.mapping_id)
    assert mapping["BatchSize"] == 50
    # The mapping is the same one, so it continues where it was, and the hand-off stays.
    assert (after.mapping_id, after.hand_off) == (before.mapping_id, before.hand_off)


@pytest.mark.parametrize(("first", "second"), [("kinesis", "direct"), ("direct", "kinesis")])
def test_the_delivery_changes_in_place_and_nothing_is_lost(clients: Clients, first: str, second: str) -> None:
    """Writes never pause, and the former delivery is removed when it is empty."""
    table, environment = f"MOVED-{first}", f"moved{first}"
    make_table(clients, table)
    setup = set_up(clients, environment, TableSettings(table, delivery=first))
    writer = Writer(clients, table)
    with writer.writing():
        writer.wait_for_more()
        setup = set_up(clients, environment, TableSettings(table, delivery=second), update=True)
        writer.wait_for_more()
        assert stack_state(clients, setup.names.stack).parameters["Beside"] == first
    leave(setup.stack)
    state = stack_state(clients, setup.names.stack)
    assert (state.parameters["Delivery"], state.parameters["Beside"]) == (second, "none")
    with pytest.raises(ClientError, match="ResourceNotFound"):
        clients.firehose.describe_delivery_stream(DeliveryStreamName=setup.names.firehose(first))
    # The stream refuses a forwarder that still uses the old settings, which then reads them again.
    clients.dynamodb.put_item(TableName=table, Item={"id": {"S": "late"}})
    changes = wait_for_changes(clients, setup.names, len(writer.written) + 1)
    assert {change["id"] for change in changes} == {*writer.written, "late"}


def test_changes_wait_until_the_delivery_is_proven(clients: Clients) -> None:
    """Each line is a run that was killed after its step; every run starts from the beginning."""
    make_table(clients, "WAITS")
    clients.dynamodb.put_item(TableName="WAITS", Item={"id": {"S": "early"}})
    stack = lake_for(clients, "waits", TableSettings("WAITS", shards=4))
    for _ in range(2):
        mapping = stack.prepare()["MappingId"]
        assert clients.lambda_.get_event_source_mapping(UUID=mapping)["State"] == "Disabled"
    with pytest.raises(ConflictError, match="made again after its proof"):
        stack.start("another stream")
    streams, search = prove(clients, stack.table.names, "kinesis")
    assert len(search.found) == 4
    assert raw_changes(clients, stack.table.names) == []
    for _ in range(2):
        assert stack.start(streams)["MappingId"] == mapping
    assert [change["id"] for change in wait_for_changes(clients, stack.table.names, 1)] == ["early"]
    # A run for other settings does not undo changes that it does not know.
    direct = replace(stack, settings=TableSettings("WAITS", delivery="direct"))
    with pytest.raises(ConflictError, match="'direct' of table 'WAITS' was proven, but is gone"):
        direct.start(streams)
    direct.prepare()
    parameters = stack_state(clients, stack.table.names.stack).parameters
    assert (parameters["Delivery"], parameters["Beside"], parameters["Shards"]) == ("kinesis", "direct", "4")
    assert load_settings(Table(clients, stack.table.names)).delivery == "kinesis"
    # Firehose's own metrics say that the other delivery is at rest, so a run that returns to the old one removes it.
    leave(stack)
    assert stack_state(clients, stack.table.names.stack).parameters["Beside"] == "none"


def test_a_shard_that_is_split_in_the_meantime_is_proven_too(clients: Clients) -> None:
    make_table(clients, "SPLIT")
    stack = lake_for(clients, "split", TableSettings("SPLIT", shards=1))
    stack.prepare()
    streams = check_delivery(Table(clients, stack.table.names), "kinesis")
    search = await_canaries(clients, stack.table.names, Canaries.of("kinesis", streams, "run", datetime.now(UTC)))
    clients.kinesis.update_shard_count(
        StreamName=stack.table.names.stream, TargetShardCount=2, ScalingType="UNIFORM_SCALING"
    )
    assert len(search.missing()) == 2


def test_a_deleted_stream_is_named_and_can_be_replaced(clients: Clients) -> None:
    make_table(clients, "DELETED")
    setup = set_up(clients, "deleted", TableSettings("DELETED", delivery="direct", buffer_seconds=SOON))
    clients.firehose.delete_delivery_stream(DeliveryStreamName=setup.names.direct_delivery_stream)
    with pytest.raises(StackError, match=r"delivery 'direct' of table 'DELETED' is gone.*delivery=kinesis"):
        check_delivery(Table(clients, setup.names), "direct")
    # The message's advice works.
    setup = set_up(clients, "deleted", TableSettings("DELETED", buffer_seconds=SOON), update=True)
    leave(setup.stack)
    parameters = stack_state(clients, setup.names.stack).parameters
    assert (parameters["Delivery"], parameters["Beside"]) == ("kinesis", "none")


def test_two_tables_with_one_glue_name_are_refused(clients: Clients) -> None:
    for table in ("Receipts", "RECEIPTS", "receipts_json"):
        make_table(clients, table)
    set_up(clients, "taken", TableSettings("Receipts"))
    with pytest.raises(NameTakenError, match="'RECEIPTS' and 'Receipts' would share"):
        set_up(clients, "taken", TableSettings("RECEIPTS"))
    with pytest.raises(NameTakenError, match="'receipts_json' and 'Receipts'"):
        set_up(clients, "taken", TableSettings("receipts_json"))


def test_a_lake_or_table_that_is_not_set_up_is_named(clients: Clients) -> None:
    with pytest.raises(SettingsError, match=r"no lake 'nowhere'.*dynalake_setup"):
        load_lake(clients, "nowhere")
    make_table(clients, "KNOWN")
    names = set_up(clients, "known", TableSettings("KNOWN")).names
    with pytest.raises(SettingsError, match=r"'OTHER' is not set up.*KNOWN"):
        load_settings(Table(clients, names.lake.table("OTHER")))
    with pytest.raises(SettingsError, match="has no hand-off"):
        load_hand_off(Table(clients, names.lake.table("OTHER")))
    assert raw_changes(clients, names) == []


def test_a_canary_for_a_table_that_is_not_set_up_is_an_error(clients: Clients) -> None:
    make_table(clients, "SINGING")
    names = set_up(clients, "singing", TableSettings("SINGING")).names
    with pytest.raises(NotReadyError, match="settings of table 'MUTE' cannot be read"):
        send_canaries(Table(clients, names.lake.table("MUTE")), Canaries.of("direct", "", "run", NOW), {"0": ""})
