"""A table's pipeline on local AWS: what is written to DynamoDB arrives, once and as it was."""

from __future__ import annotations

from typing import Any

import pytest

from dynalake.capture.hand_off import load_hand_off
from dynalake.capture.lake import list_tables, load_lake, load_settings
from dynalake.capture.stacks import stack_state
from dynalake.clients import Clients
from dynalake.errors import NameTakenError, NotReadyError, SettingsError
from dynalake.settings import TableSettings
from tests.aws.capture_steps import make_table, prove, raw_changes, set_up, wait_for_changes
from tests.aws.writer import Writer

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
def test_what_is_written_arrives(clients: Clients, delivery: str) -> None:
    make_table(clients, f"ARRIVES-{delivery}")
    # This one was there before the pipeline: the stream still has it.
    clients.dynamodb.put_item(TableName=f"ARRIVES-{delivery}", Item=ITEM)
    names = set_up(clients, "arrives", TableSettings(f"ARRIVES-{delivery}", delivery=delivery)).names
    canary, found = prove(clients, names, "canary-1")
    assert canary.delivery == delivery
    assert found.uri.startswith(f"s3://{names.lake.bucket}/dynamodb/json/ARRIVES-{delivery}/dt=")
    assert found.uri.endswith(".gz")

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
    assert load_hand_off(clients, first.names) == first.hand_off


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
    assert load_settings(clients, right.names).max_record_kb == 5


def test_settings_change_only_where_the_run_asks_for_it(clients: Clients) -> None:
    make_table(clients, "CHANGED")
    before = set_up(clients, "changed", TableSettings("CHANGED", shards=1))
    wanted = TableSettings("CHANGED", shards=2, batch_size=50)
    with pytest.raises(
        SettingsError, match=r"shards is 1, asked is 2; batch_size is 1000, asked is 50.*update_settings"
    ):
        set_up(clients, "changed", wanted)
    after = set_up(clients, "changed", wanted, update=True)
    assert load_settings(clients, after.names) == wanted
    mapping = clients.lambda_.get_event_source_mapping(UUID=after.mapping_id)
    assert mapping["BatchSize"] == 50
    # The mapping is the same one, so it goes on where it stood, and the hand-off stays.
    assert (after.mapping_id, after.hand_off) == (before.mapping_id, before.hand_off)


def test_the_delivery_changes_in_place_and_nothing_is_lost(clients: Clients) -> None:
    """It is written to all the time."""
    make_table(clients, "MOVED")
    names = set_up(clients, "moved", TableSettings("MOVED")).names
    writer = Writer(clients, "MOVED")
    with writer.writing():
        writer.wait_for_more()
        for delivery in ("direct", "kinesis"):
            set_up(clients, "moved", TableSettings("MOVED", delivery=delivery), update=True)
            writer.wait_for_more()
    assert writer.error is None
    changes = wait_for_changes(clients, names, len(writer.written))
    assert sorted(change["id"] for change in changes) == sorted(writer.written)
    # The delivery that was left stays until what is under way in it has arrived.
    assert stack_state(clients, names.stack).parameters["Draining"] == "direct"


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
        load_settings(clients, names.lake.table("OTHER"))
    with pytest.raises(SettingsError, match="has no hand-off"):
        load_hand_off(clients, names.lake.table("OTHER"))
    assert raw_changes(clients, names) == []


def test_a_canary_for_a_table_that_is_not_set_up_is_an_error(clients: Clients) -> None:
    make_table(clients, "SINGING")
    names = set_up(clients, "singing", TableSettings("SINGING")).names
    with pytest.raises(NotReadyError, match="settings of table 'MUTE' cannot be read"):
        prove(clients, names.lake.table("MUTE"), "canary-1")
