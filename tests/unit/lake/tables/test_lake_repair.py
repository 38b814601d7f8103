"""Entries that Glue lost, or that were set back, are restored from the bucket, but only to known commits."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from dynalake.errors import CatalogError
from dynalake.lake.catalog.iceberg import Change, Head, Refused
from dynalake.lake.catalog.metadata_note import metadata_number, note_metadata, noted_metadata, read_note
from dynalake.lake.catalog.table import BOUND, FOLDED_TO, Table, number
from dynalake.lake.current.fold import fold
from dynalake.lake.current.snapshot import swap_snapshot
from dynalake.lake.files.references import find_references
from dynalake.lake.tables.copied import readdress
from dynalake.lake.tables.repair import repair_entries, restore_catalog
from dynalake.lake.tables.restore import find_last, order_known
from dynalake.lake.upkeep.collect import collect
from tests.support.kills import killed_anywhere
from tests.support.memory.aws import ConcurrentModificationException
from tests.support.memory.state_lake import DAY_MS, START, Event, StateLake

pytestmark = pytest.mark.slow

NAMES = ("receipts", "receipts_state")

EVENTS = [
    Event("a", 1, START + 1, "INSERT"),
    Event("b", 2, START + 2, "INSERT"),
    Event("a", 3, START + 3),
    Event("b", 4, START + 4, "REMOVE"),
    Event("c", 5, START + DAY_MS, "INSERT"),
]


@pytest.fixture(scope="module")
def prepared() -> StateLake:
    lake = StateLake().make()
    swap_snapshot(lake.table, 3, [lake.backfill(3, "a", "s")], clock=lake.now)
    lake.append(*EVENTS[:4])
    fold(lake.table, START + 4)
    lake.append(EVENTS[4])
    return lake


@pytest.fixture
def lake(prepared: StateLake) -> StateLake:
    return prepared.copy()


def kinds(lake: StateLake) -> list[str]:
    return [f.kind for f in repair_entries(lake.table)]


def versions(lake: StateLake) -> dict[str, str]:
    return {name: entry["VersionId"] for name, entry in lake.glue.tables.items()}


def key_of(lake: StateLake, location: str) -> str:
    return location.removeprefix(lake.names.uri(""))


def rows_of(lake: StateLake) -> list[str]:
    return sorted(str(row) for row in lake.rows())


def test_intact_tables_are_left_alone(lake: StateLake) -> None:
    before = versions(lake), lake.s3.keys()

    assert kinds(lake) == []
    assert (versions(lake), lake.s3.keys()) == before


def test_everything_is_registered_again_from_the_bucket(lake: StateLake) -> None:
    rows, state, current = rows_of(lake), lake.state(), lake.current()
    heads = {name: lake.table.catalog.load(name) for name in ("receipts", "receipts_state")}
    lake.glue.tables.clear()  # a person dropped the database and created it again

    findings = repair_entries(lake.table)

    assert [(f.kind, f.table) for f in findings] == [
        ("restored-entry", "receipts"),
        ("restored-entry", "receipts_state"),
    ]
    for name, head in heads.items():
        again = lake.table.catalog.load(name)
        assert (again.uuid, again.schema, again.location) == (head.uuid, head.schema, head.location)
    assert rows_of(lake) == rows
    assert lake.state() == {**state, "c": "INSERT 5"}  # it was merged again, as all since the state's last commit
    assert lake.current() == current
    assert kinds(lake) == []


@pytest.mark.parametrize("name", ["receipts", "receipts_state"])
def test_an_entry_overwritten_by_a_crawler_is_updated(lake: StateLake, name: str) -> None:
    entry = lake.glue.tables[name]
    lake.glue.tables[name] = {**entry, "Parameters": {"classification": "parquet"}, "Description": "Mine"}

    assert kinds(lake) == ["restored-entry"]

    assert lake.glue.tables[name]["Parameters"]["classification"] == "parquet"
    assert lake.glue.tables[name]["Description"] == "Mine"
    assert lake.current()["a"] == "MODIFY 3"
    assert lake.current()["c"] == "INSERT 5"


@pytest.mark.parametrize("name", ["receipts", "receipts_state"])
def test_an_entry_that_was_set_back_moves_forward_again(lake: StateLake, name: str) -> None:
    older = copy.deepcopy(lake.glue.tables[name])
    rows = rows_of(lake)
    lake.append(Event("a", 2, START + 2), Event("d", 6, START + 3))
    current, committed = lake.current(), rows_of(lake)
    assert committed != rows
    lake.glue.tables[name] = {**older, "VersionId": "900"}

    (finding,) = repair_entries(lake.table)

    assert (finding.kind, finding.table) == ("put-back", name)
    assert rows_of(lake) == committed
    assert lake.current() == current
    assert kinds(lake) == []


def test_commits_on_an_entry_that_was_set_back_are_left_to_a_person(lake: StateLake) -> None:
    older = copy.deepcopy(lake.glue.tables["receipts"])
    lake.append(Event("d", 6, START + 3))
    lake.glue.tables["receipts"] = {**older, "VersionId": "900"}
    lake.append(Event("e", 7, START + 3))
    rows, before = rows_of(lake), versions(lake)

    (finding,) = repair_entries(lake.table)

    assert finding.kind == "two-histories"
    assert (rows_of(lake), versions(lake)) == (rows, before)
    done = collect(lake.table, lambda: lake.clock.moment, pause=lambda _: None)
    assert [f.kind for f in done.findings] == ["not-collected"]


def test_a_commit_during_the_repair_of_an_entry_is_not_lost(lake: StateLake) -> None:
    entry = lake.glue.tables["receipts"]
    lake.glue.tables["receipts"] = {**entry, "Parameters": {}}
    calls = 0

    def others_first(service: str, call: str, request: dict[str, Any]) -> None:
        nonlocal calls
        calls += call == "get_table" and request["Name"] == "receipts"
        if calls == at:
            lake.s3.on_call = lake.glue.on_call = lambda *_: None
            lake.glue.tables["receipts"] = {**entry, "VersionId": "901"}
            lake.append(Event("d", 6, START + 3))

    for at in range(2, 5):
        calls = 0
        lake.glue.tables["receipts"] = {**entry, "Parameters": {}, "VersionId": "800"}
        lake.s3.on_call = lake.glue.on_call = others_first
        try:
            repair_entries(lake.table)
        except (ConcurrentModificationException, CatalogError):
            pass  # the task fails, and is tried again
        lake.s3.on_call = lake.glue.on_call = lambda *_: None
        assert any(row["id"] == "d" for row in lake.rows()) or calls < at
        entry = lake.glue.tables["receipts"]


def test_another_table_with_the_name_is_left_to_a_person(lake: StateLake) -> None:
    note = lake.names.metadata_note("receipts")
    body = lake.s3.objects[note].body.replace(lake.table.changes().uuid.encode(), b"0" * 36)
    lake.s3.put_object(Key=note, Body=body)
    before = versions(lake)

    assert kinds(lake) == ["other-table"]
    assert versions(lake) == before


def test_an_error_names_tables_that_were_never_created() -> None:
    assert kinds(StateLake()) == ["missing-table", "missing-table"]


def test_missing_metadata_is_replaced_by_its_predecessor(lake: StateLake) -> None:
    name = "receipts"
    before = lake.table.catalog.load(name)
    refused = refuse(lake, before)
    lake.append(Event("d", 6, START + DAY_MS + 1))
    last = lake.table.catalog.load(name)
    lake.s3.delete_object(Key=key_of(lake, last.metadata_location))
    lake.table = Table(lake.table.clients, lake.names)  # another process

    (finding,) = repair_entries(lake.table)

    again = lake.table.catalog.load(name)
    assert finding.kind == "restored-entry"
    # No other metadata names its predecessor, so the one before that is used: inputs of both are converted again.
    assert metadata_number(again.metadata_location) < metadata_number(last.metadata_location)
    assert again.metadata_location not in refused
    assert again.metadata_location in [e.metadata_file for e in last.iceberg.metadata.metadata_log]


def refuse(lake: StateLake, head: Head) -> set[str]:
    """Make a commit that writes its metadata and is refused. Return the locations of its metadata."""
    directory = f"{lake.names.changes_location}/metadata/"
    before = lake.s3.keys(directory)

    def others_first(service: str, call: str, request: dict[str, Any]) -> None:
        if call == "update_table":
            lake.glue.on_call = lambda *_: None
            raise ConcurrentModificationException({"Error": {"Code": "ConcurrentModificationException"}}, "UpdateTable")

    lake.glue.on_call = others_first
    with pytest.raises(Refused):
        lake.table.catalog.commit(head, Change(properties={"refused": "1"}))
    lake.glue.on_call = lambda *_: None
    return {lake.names.uri(key) for key in lake.s3.keys(directory) - before if key.endswith(".metadata.json")}


def test_a_refused_commit_is_not_used_as_the_last_one(lake: StateLake) -> None:
    head = lake.table.changes()
    refused = refuse(lake, head)
    lake.glue.tables.clear()

    repair_entries(lake.table)

    assert metadata_number(min(refused)) == metadata_number(head.metadata_location) + 1
    assert lake.table.changes().metadata_location == head.metadata_location


def test_a_commit_without_a_note_counts_once_another_builds_on_it(lake: StateLake) -> None:
    noted = lake.table.changes()
    first = lake.table.catalog.commit(noted, Change(properties={"one": "1"}))
    lake_of_one = lake.copy()
    lake.table.catalog.commit(first, Change(properties={"two": "2"}))
    assert noted_metadata(Table(lake.table.clients, lake.names), "receipts") == noted.metadata_location
    for damaged, last in ((lake_of_one, noted), (lake, first)):
        damaged.glue.tables.clear()
        repair_entries(damaged.table)
        assert damaged.table.changes().metadata_location == last.metadata_location


def test_metadata_whose_files_are_missing_is_not_used(lake: StateLake) -> None:
    noted = lake.table.changes()
    first = lake.table.catalog.commit(noted, Change(properties={"one": "1"}))
    lake.table.catalog.commit(first, Change(properties={"two": "2"}))
    snapshot_of = first.iceberg.metadata.current_snapshot()
    assert snapshot_of is not None
    lake.s3.delete_object(Key=key_of(lake, snapshot_of.manifest_list))

    last = find_last(lake.table, "receipts", read_note(Table(lake.table.clients, lake.names), "receipts"))

    assert last is not None
    assert last.metadata_location == noted.metadata_location


def test_a_deleted_database_is_made_again(lake: StateLake) -> None:
    rows, current = rows_of(lake), lake.current()
    lake.glue.tables.clear()
    lake.glue.database = False

    assert kinds(lake) == ["restored-entry", "restored-entry"]

    assert lake.glue.database
    assert (rows_of(lake), lake.current()) == (rows, current)


def test_a_bound_that_was_left_out_is_set_again(lake: StateLake) -> None:
    """Below the bound a change goes into the state first. One that passed it by would be in no view."""
    noted = lake.s3.objects[lake.names.metadata_note("receipts")]
    lake.append(Event("a", 5, START + DAY_MS + 2))
    fold(lake.table, START + DAY_MS + 3)
    folded, current = number(lake.table.items(), FOLDED_TO), lake.current()
    lake.s3.objects[lake.names.metadata_note("receipts")] = noted
    lake.glue.tables.clear()

    for killed in killed_anywhere(lake.copy, lambda copy: repair_entries(copy.table), above=10):
        repair_entries(killed.table)
        assert number(killed.table.changes(), BOUND) == number(killed.table.items(), FOLDED_TO) == folded
        killed.append(Event("late", 1, START + DAY_MS + 1))
        assert killed.current() == {**current, "late": "MODIFY 1"}


def test_two_histories_without_a_note_are_left_to_a_person(lake: StateLake) -> None:
    older = copy.deepcopy(lake.glue.tables["receipts"])
    for number_of in range(2):
        lake.append(Event("d", 6 + number_of, START + 3))
    lake.glue.tables["receipts"] = {**older, "VersionId": "900"}
    for number_of in range(2):
        lake.append(Event("e", 7 + number_of, START + 3))
    lake.s3.delete_object(Key=lake.names.metadata_note("receipts"))
    lake.glue.tables.clear()

    with pytest.raises(CatalogError, match="two histories of it are there"):
        repair_entries(lake.table)
    assert lake.glue.tables == {}


def copied(lake: StateLake) -> StateLake:
    """Return the lake as it is in a copy of its bucket, in an account without its catalog."""
    moved = lake.copy()
    moved.names = replace(lake.names.lake, bucket="copy").table("RECEIPTS")
    moved.table = Table(moved.table.clients, moved.names)
    moved.glue.tables.clear()
    return moved


def test_a_copied_bucket_gets_its_own_addresses_after_a_kill_anywhere(lake: StateLake) -> None:
    rows, current = rows_of(lake), lake.current()
    snapshots = {name: lake.table.catalog.load(name).iceberg.metadata.snapshots for name in NAMES}
    for moved in killed_anywhere(lambda: copied(lake), lambda begun: repair_entries(begun.table), above=30):
        repair_entries(moved.table)
        assert (rows_of(moved), moved.current()) == (rows, current)
        for name in NAMES:
            head = moved.table.catalog.load(name)
            assert all(path.startswith("s3://copy/") for path in find_references(head).paths)
            kept = {snapshot.snapshot_id for snapshot in head.iceberg.metadata.snapshots}
            assert kept >= {snapshot.snapshot_id for snapshot in snapshots[name]}
        moved.append(Event("d", 7, START + 3))
        assert moved.current() == {**current, "d": "MODIFY 7"}
        assert kinds(moved) == []


def test_a_copy_with_files_that_hold_addresses_or_at_another_place_is_refused(
    lake: StateLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = copied(lake)
    head = moved.table.catalog.read("receipts", lake.table.changes().metadata_location)
    elsewhere = Table(moved.table.clients, replace(moved.names.lake, prefix="other").table("RECEIPTS"))
    with pytest.raises(CatalogError, match="the prefix that the original had"):
        readdress(elsewhere, head)
    monkeypatch.setattr(Head, "delete_files", lambda _: [SimpleNamespace(file_path="s3://old/delete.parquet")])
    with pytest.raises(CatalogError, match=r"s3://old/delete\.parquet.*run dynalake_compact on the original"):
        repair_entries(moved.table)
    assert moved.glue.tables == {}


def test_a_catalog_is_restored_only_of_a_table_that_the_bucket_has(lake: StateLake) -> None:
    current = lake.current()
    lake.glue.tables.clear()
    assert [f.kind for f in restore_catalog(lake.table)] == ["restored-entry", "restored-entry"]
    assert lake.current() == current
    assert restore_catalog(lake.table) == ()
    absent = Table(lake.table.clients, lake.names.lake.table("ABSENT"))
    with pytest.raises(CatalogError, match=r"There is no object s3://.*/iceberg/absent\.json.*bucket and prefix"):
        restore_catalog(absent)


def test_without_any_metadata_the_error_says_what_to_restore(lake: StateLake) -> None:
    for key in lake.s3.keys(f"{lake.names.changes_location}/metadata/"):
        lake.s3.delete_object(Key=key)

    with pytest.raises(CatalogError, match="no metadata of it is left"):
        repair_entries(lake.table)


@pytest.mark.parametrize("what", ["state", "both"])
def test_later_changes_are_merged_again_into_a_state_restored_from_an_older_commit(lake: StateLake, what: str) -> None:
    note = lake.names.metadata_note("receipts_state")
    kept = lake.s3.objects[note]
    lake.append(Event("a", 9, START + 2), Event("d", 1, START + 3))
    lake.append(Event("b", 8, START + 2))
    expected, folded = lake.current(), number(lake.table.items(), FOLDED_TO)
    lake.s3.objects[note] = kept
    del lake.glue.tables["receipts_state"]
    if what == "both":
        del lake.glue.tables["receipts"]
    for killed in killed_anywhere(lake.copy, lambda copy: repair_entries(copy.table), above=10):
        repair_entries(killed.table)
        assert killed.current() == expected
    repair_entries(lake.table)

    assert lake.current() == expected
    assert number(lake.table.items(), FOLDED_TO) <= folded
    fold(lake.table, START + DAY_MS)
    assert lake.current() == expected


def test_the_chosen_metadata_was_current_and_is_not_older_than_the_note() -> None:
    for seed in range(500):
        check_order(random.Random(seed))


def check_order(chance: random.Random) -> None:
    """A chain of commits: refused ones write metadata too, some landed ones are not noted, old metadata is deleted."""
    landed = ["/00000-0.metadata.json"]
    logs: dict[str, tuple[str, ...]] = {landed[0]: ()}
    noted = landed[0]
    for step in range(1, chance.randint(2, 40)):
        path = f"/{len(landed):05d}-{step}.metadata.json"
        logs[path] = tuple(landed[-5:])
        if chance.random() < 0.6:
            landed.append(path)
            if chance.random() < 0.7:
                noted = path
    stored = {path: log for path, log in logs.items() if path == noted or chance.random() < 0.9}

    last, *rest = order_known(stored, noted)

    assert last in landed
    assert landed.index(last) >= landed.index(noted)
    assert all(path in landed for path in rest)
    unproven = {path: log for path, log in stored.items() if path != noted}
    for path in order_known(unproven, noted):
        assert path in landed or len(unproven) == 1


def test_a_missing_note_is_written(lake: StateLake) -> None:
    head = lake.table.changes()
    lake.s3.delete_object(Key=lake.names.metadata_note("receipts"))

    assert kinds(lake) == []
    assert noted_metadata(Table(lake.table.clients, lake.names), "receipts") == head.metadata_location
    note_metadata(Table(lake.table.clients, lake.names), head)
