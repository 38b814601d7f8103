"""Tables and views are created once, by the first process, and restored if they were lost."""

from __future__ import annotations

import boto3
import pytest
from moto import mock_aws

from dynalake.aws.clients import Clients
from dynalake.errors import CatalogError, NameTakenError, SourceError
from dynalake.lake.catalog.iceberg import Change
from dynalake.lake.catalog.table import (
    BOUND,
    COLLECTED_AT,
    DYNAMODB_TABLE,
    FOLDED_TO,
    HISTORY_FROM,
    SHOWN_RUN,
    SNAPSHOT_RUN,
    SOURCE,
    TIME_ZONE,
    Table,
    number,
)
from dynalake.lake.current.fold import fold
from dynalake.lake.tables.grow import schema_of
from dynalake.lake.tables.identity import check_table, table_id_of
from dynalake.lake.tables.make import glue_names, make_tables
from dynalake.record.key import ItemKey, KeyAttribute
from tests.support.kills import killed_anywhere
from tests.support.memory.receipts import Receipts
from tests.support.memory.state_lake import ARN, DAY_MS, START, Event, StateLake, replay

pytestmark = pytest.mark.slow

BY_BOTH = ItemKey(KeyAttribute("id", "S"), KeyAttribute("at", "N"))


def make(lake: StateLake) -> None:
    make_tables(lake.table, lake.key, ARN)


def test_tables_of_a_recreated_table_are_refused() -> None:
    """Also if Glue has lost them: they are restored with the id of their DynamoDB table."""
    lake = StateLake(BY_BOTH)
    for _ in range(2):
        make_tables(lake.table, lake.key, ARN, table_id="first")
    for head in (lake.table.changes(), lake.table.items()):
        assert table_id_of(head) == "first"
    check_table(lake.table, "first")
    with pytest.raises(SourceError, match=r"deleted and made again.*first.*second.*delete_data.*another environment"):
        check_table(lake.table, "second")
    with pytest.raises(SourceError, match="deleted and made again"):
        make_tables(lake.table, lake.key, ARN, table_id="second")
    for name in (lake.names.changes_table, lake.names.state_table):
        del lake.glue.tables[name]
    for refuses in (check_table, lambda table, found: make_tables(table, lake.key, ARN, table_id=found)):
        with pytest.raises(SourceError, match="deleted and made again"):
            refuses(lake.table, "second")
    make_tables(lake.table, lake.key, ARN, table_id="first")


def test_a_new_lake_has_no_bucket_yet() -> None:
    with mock_aws():
        table = Table(Clients.of(boto3.Session("k", "s", region_name="eu-west-1")), StateLake().names)

        check_table(table, "first")


def test_both_tables_and_the_views_exist_and_are_empty() -> None:
    lake = StateLake(BY_BOTH, "Europe/Berlin")
    make(lake)

    changes, state = lake.table.changes(), lake.table.items()
    assert changes.snapshot_id is not None
    assert state.snapshot_id is not None
    for head in (changes, state):
        assert head.properties[DYNAMODB_TABLE] == "RECEIPTS"
        assert head.properties[SOURCE] == ARN
        assert head.properties[TIME_ZONE] == "Europe/Berlin"
        assert schema_of(head).key == BY_BOTH
        assert number(head, COLLECTED_AT) == 0
        for column in ("__key", "__event_time", "__sequence_number"):
            assert head.properties[f"write.metadata.metrics.column.{column}"] == "full"
    assert changes.properties["write.metadata.metrics.column.dt"] == "full"
    assert [number(changes, name) for name in (BOUND, SHOWN_RUN)] == [0, 0]
    assert [number(state, name) for name in (FOLDED_TO, SNAPSHOT_RUN)] == [0, 0]
    names = lake.names
    assert set(lake.glue.tables) == {
        names.changes_table,
        names.state_table,
        names.current_view,
        names.removed_view,
        names.history_view,
    }
    assert lake.current() == lake.state() == {}
    assert lake.removed() == set()
    assert lake.history() == []


def test_a_second_run_writes_nothing() -> None:
    lake = StateLake().make()
    lake.append(Event("a", 1, START))
    before = {name: entry["VersionId"] for name, entry in lake.glue.tables.items()}

    make(lake)

    assert {name: entry["VersionId"] for name, entry in lake.glue.tables.items()} == before
    assert lake.current() == {"a": "MODIFY 1"}


def test_a_kill_before_any_call_is_repaired() -> None:
    for lake in killed_anywhere(StateLake, make, above=10):
        lake.make()
        assert len(lake.glue.tables) == 5
        lake.append(Event("a", 1, START))
        assert lake.current() == {"a": "MODIFY 1"}


@pytest.mark.parametrize("place", range(8))
def test_a_name_of_another_table_stops_it_before_anything_is_created(place: int) -> None:
    lake = StateLake()
    name = glue_names(lake.names)[place]
    for parameters in ({}, {DYNAMODB_TABLE: "Receipts"}):
        lake.glue.tables = {name: {"Name": name, "VersionId": "1", "Parameters": parameters}}

        with pytest.raises(NameTakenError, match=f"dynalake_dev.{name}, which belongs to"):
            make(lake)
        assert set(lake.glue.tables) == {name}
    assert lake.s3.keys() == set()


def test_the_names_are_those_of_all_tables_and_views() -> None:
    assert glue_names(StateLake().names) == (
        "receipts",
        "receipts_state",
        "receipts_current",
        "receipts_removed",
        "receipts_history",
        "receipts_parquet",
        "receipts_json",
        "receipts_orc",
    )


EVENTS = [
    Event("a", 1, START + 1, "INSERT"),
    Event("b", 2, START + 2, "INSERT"),
    Event("a", 3, START + 3),
    Event("b", 4, START + 4, "REMOVE"),
    Event("c", 5, START + DAY_MS, "INSERT"),
]


def lose(lake: StateLake, name: str) -> None:
    lake.glue.delete_table(DatabaseName=lake.names.lake.database, Name=name)


@pytest.mark.parametrize("which", ["changes_table", "state_table"])
@pytest.mark.parametrize("how", ["dropped", "parameters", "old note"])
def test_a_table_lost_by_glue_is_restored(which: str, how: str) -> None:
    lake = StateLake().make()
    lake.append(*EVENTS[:4])
    fold(lake.table, START + 4)
    lake.append(EVENTS[4])
    name = getattr(lake.names, which)
    uuid = lake.table.catalog.load(name).uuid
    note = lake.names.metadata_note(name)
    kept = lake.s3.objects[note]
    lake.append(Event("a", 2, START + 2), Event("d", 1, START + 3))
    if how == "old note":
        lake.s3.objects[note] = kept
    if how == "parameters":
        entry = lake.glue.tables[name]
        lake.glue.tables[name] = {**entry, "Parameters": {"crawler": "x"}, "Description": "All of them"}
    else:
        lose(lake, name)

    make(lake)

    assert lake.table.catalog.load(name).uuid == uuid
    assert lake.table.catalog.load(name).properties[DYNAMODB_TABLE] == "RECEIPTS"
    if how == "parameters":
        assert lake.glue.tables[name]["Parameters"]["crawler"] == "x"
        assert lake.glue.tables[name]["Description"] == "All of them"
    if which == "changes_table" and how == "old note":
        return  # later commits are converted again, from the raw objects that no live folder names
    assert lake.current() == {**replay(EVENTS), "d": "MODIFY 1"}
    fold(lake.table, START + DAY_MS)
    assert lake.current() == {**replay(EVENTS), "d": "MODIFY 1"}


def test_a_kill_while_a_lost_state_is_restored() -> None:
    before = StateLake().make()
    before.append(*EVENTS[:4])
    fold(before.table, START + 4)
    kept = before.s3.objects[before.names.metadata_note(before.names.state_table)]
    before.append(Event("a", 9, START + 2), Event("d", 1, START + 3))
    before.s3.objects[before.names.metadata_note(before.names.state_table)] = kept
    lose(before, before.names.state_table)
    for lake in killed_anywhere(before.copy, make, above=10):
        make(lake)
        assert lake.current() == {"a": "MODIFY 9", "d": "MODIFY 1"}


def snapshot(lake: StateLake) -> None:
    """Mark a backfill's snapshot as shown."""
    rows = [Event("a", 0, START, "SNAPSHOT"), Event("s", 0, START, "SNAPSHOT")]
    file = lake.write("00000000", rows)
    lake.commit(Change(add=(file,), properties={SHOWN_RUN: "3"}))
    lake.commit_state(Change(properties={SNAPSHOT_RUN: "3"}))


def forget(lake: StateLake) -> None:
    """Remove the state with all its metadata."""
    lose(lake, lake.names.state_table)
    lake.s3._delete(lake.names.metadata_note(lake.names.state_table))
    lose_metadata(lake)


def lose_metadata(lake: StateLake) -> None:
    for key in lake.s3.keys(f"{lake.names.items_location}/metadata/"):
        lake.s3._delete(key)


def test_a_state_is_derived_again_if_nothing_of_it_is_left() -> None:
    lake = StateLake().make()
    snapshot(lake)
    lake.append(*EVENTS[:4])
    fold(lake.table, START + 4)
    lake.append(EVENTS[4])
    forget(lake)

    make(lake)

    assert lake.state() == {"a": "MODIFY 3", "b": "REMOVE 4", "s": "SNAPSHOT 0"}
    assert {row["__run"] for row in lake.items() if row["id"] == "s"} == {3}
    assert number(lake.table.items(), SNAPSHOT_RUN) == 3
    assert number(lake.table.items(), FOLDED_TO) == START + 4
    assert lake.current() == {**replay(EVENTS), "s": "SNAPSHOT 0"}


def test_a_kill_while_a_state_is_derived_again() -> None:
    before = StateLake().make()
    snapshot(before)
    before.append(*EVENTS[:4])
    fold(before.table, START + 4)
    forget(before)
    for lake in killed_anywhere(before.copy, make, above=20):
        make(lake)
        assert lake.current() == {"a": "MODIFY 3", "s": "SNAPSHOT 0"}


def test_a_state_is_never_created_again_after_history_was_dropped() -> None:
    lake = StateLake().make()
    lake.append(*EVENTS)
    lake.commit(Change(properties={HISTORY_FROM: "20240102"}))
    forget(lake)

    with pytest.raises(CatalogError, match="no longer has the changes before 20240102"):
        make(lake)
    assert lake.names.state_table not in lake.glue.tables


def test_an_error_names_metadata_that_is_missing_too() -> None:
    lake = StateLake().make()
    lake.append(*EVENTS)
    lose(lake, lake.names.state_table)
    lose_metadata(lake)

    with pytest.raises(CatalogError, match="gone or damaged, and no metadata of it is left"):
        make(lake)


def test_an_error_says_that_a_table_lost_its_schema_property() -> None:
    lake = Receipts()
    head = lake.table.changes()
    del head.iceberg.metadata.properties["dynalake.schema"]
    with pytest.raises(CatalogError, match=r"receipts has lost its property dynalake\.schema"):
        schema_of(head)
