"""Commits: which land, which are refused, which are unknown, and that nothing is ever destroyed."""

from __future__ import annotations

from typing import Any

import pytest
from pyiceberg.io import InputFile
from pyiceberg.serializers import FromInputFile
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.types import DoubleType, NestedField, StringType

from dynalake.errors import CatalogError, ConflictError, UnknownOutcomeError
from dynalake.lake.catalog.commit import check_age, check_fields, check_live, commit_on, overlap
from dynalake.lake.catalog.iceberg import Change, Head, IcebergCatalog, News, Refused
from dynalake.lake.catalog.metadata_note import metadata_number, note_metadata, noted_metadata
from tests.unit.lake.small_lake import SmallLake


def append(lake: SmallLake, *ids: str, dt: str = "20240101") -> Head:
    return lake.catalog.commit(lake.load(), Change(add=(lake.file(dt, [{"id": i} for i in ids]),)))


def ids(lake: SmallLake) -> list[str]:
    return [row["id"] for row in lake.rows()]


def readable(lake: SmallLake, head: Head) -> bool:
    """Return whether everything that the head names exists."""
    snapshot = head.iceberg.metadata.current_snapshot()
    assert snapshot is not None
    named = {head.metadata_location, snapshot.manifest_list, *(f.path for f in head.files())}
    named |= {m.manifest_path for m in snapshot.manifests(head.iceberg.io)}
    return {path.removeprefix(lake.names.uri("")) for path in named} <= lake.keys()


def test_a_table_is_created_once_with_an_empty_snapshot(small_lake: SmallLake) -> None:
    head = small_lake.create()

    assert head.snapshot_id is not None
    assert head.files() == ()
    assert head.properties["dynalake.bound"] == "0"
    assert small_lake.create().uuid == head.uuid


def test_a_table_whose_creation_was_killed_gets_its_snapshot(small_lake: SmallLake) -> None:
    small_lake.glue.faults = ["drop"]
    with pytest.raises(UnknownOutcomeError):
        small_lake.create()

    assert small_lake.create().snapshot_id is not None


def test_files_properties_and_schema_change_together(small_lake: SmallLake) -> None:
    head = small_lake.create()
    old = small_lake.file("20240101", [{"id": "a", "n": 1}])
    head = small_lake.catalog.commit(head, Change(add=(old,)))
    fields = [f for f in head.schema.fields if f.name != "n"]
    wider = type(head.schema)(*fields, NestedField(head.last_column_id + 1, "n", DoubleType()), schema_id=1)
    new = small_lake.file("20240101", [{"id": "a", "n": 1.5}], wider)

    landed = small_lake.catalog.commit(
        head, Change((new,), (old,), properties={"dynalake.bound": "7"}, schema=wider, note={"why": "wider"})
    )

    assert [f.path for f in landed.files()] == [new.path]
    assert landed.properties["dynalake.bound"] == "7"
    assert landed.schema.find_field("n").field_id == head.last_column_id + 1
    assert landed.schema_id != head.schema_id
    assert small_lake.load().metadata_location == landed.metadata_location
    assert small_lake.rows()[0]["n"] == 1.5


def test_changing_only_a_property_makes_a_snapshot(small_lake: SmallLake) -> None:
    head = small_lake.create()

    landed = small_lake.catalog.commit(head, Change(properties={"dynalake.bound": "1"}))

    assert landed.snapshot_id != head.snapshot_id
    assert small_lake.load().properties["dynalake.bound"] == "1"


@pytest.mark.parametrize("also", [{}, {"properties": {"dynalake.bound": "9"}}])
def test_a_stale_commit_is_refused_and_leaves_the_table_as_it_was(small_lake: SmallLake, also: Any) -> None:
    stale = small_lake.create()
    new = small_lake.file("20240101", [{"id": "b"}])
    append(small_lake, "a")

    with pytest.raises(Refused):
        small_lake.catalog.commit(stale, Change(add=(new,), **also))

    assert ids(small_lake) == ["a"]
    assert readable(small_lake, small_lake.load())


def test_glue_notices_a_commit_between_reading_and_updating(small_lake: SmallLake) -> None:
    head = small_lake.create()
    new = small_lake.file("20240101", [{"id": "b"}])
    small_lake.glue.before = lambda: append(small_lake, "a")

    with pytest.raises(Refused):
        small_lake.catalog.commit(head, Change(add=(new,)))

    assert ids(small_lake) == ["a"]
    assert readable(small_lake, small_lake.load())


def test_a_commit_whose_answer_was_lost_counts(small_lake: SmallLake) -> None:
    small_lake.create()
    small_lake.glue.faults = ["lose"]

    append(small_lake, "a")

    assert ids(small_lake) == ["a"]
    assert readable(small_lake, small_lake.load())


def test_a_commit_whose_answer_was_lost_counts_even_after_later_commits(small_lake: SmallLake) -> None:
    small_lake.create()
    new = small_lake.file("20240101", [{"id": "a"}])
    glue, update = small_lake.glue, small_lake.glue.update_table

    def land_then_others(**request: Any) -> Any:
        glue.update_table = update  # type: ignore[method-assign]
        update(**request)
        append(small_lake, "b")
        append(small_lake, "c")
        glue.faults = ["drop"]
        return update(**request)

    glue.update_table = land_then_others  # type: ignore[method-assign]
    small_lake.catalog.commit(small_lake.load(), Change(add=(new,)))

    assert ids(small_lake) == ["a", "b", "c"]


def test_a_commit_that_did_not_land_is_unknown_and_keeps_its_files(small_lake: SmallLake) -> None:
    small_lake.create()
    small_lake.glue.faults = ["late"]
    before = small_lake.keys()

    with pytest.raises(UnknownOutcomeError):
        append(small_lake, "a")
    assert before <= small_lake.keys()

    assert small_lake.glue.land() == ["landed"]
    assert ids(small_lake) == ["a"]
    assert readable(small_lake, small_lake.load())


def test_glue_refuses_a_late_call_after_another_commit(small_lake: SmallLake) -> None:
    small_lake.create()
    small_lake.glue.faults = ["late"]
    with pytest.raises(UnknownOutcomeError):
        append(small_lake, "a")
    append(small_lake, "b")

    assert small_lake.glue.land() == ["ConcurrentModificationException"]
    assert ids(small_lake) == ["b"]


def test_a_live_file_is_not_added_again(small_lake: SmallLake) -> None:
    head = small_lake.create()
    new = small_lake.file("20240101", [{"id": "a"}])
    head = small_lake.catalog.commit(head, Change(add=(new,)))

    with pytest.raises(ConflictError, match="has the file"):
        small_lake.catalog.commit(head, Change(add=(new,)))


def test_a_missing_file_is_not_replaced(small_lake: SmallLake) -> None:
    head = small_lake.create()
    old = small_lake.file("20240101", [{"id": "a"}])
    head = small_lake.catalog.commit(head, Change(add=(old,)))
    head = small_lake.catalog.commit(head, Change(remove=(old,)))

    with pytest.raises(ConflictError, match="does not have all files"):
        small_lake.catalog.commit(head, Change((small_lake.file("20240101", [{"id": "b"}]),), (old,)))


def test_files_without_rows_are_live(small_lake: SmallLake) -> None:
    head = small_lake.create()
    empty = small_lake.file("20240101", [])

    landed = small_lake.catalog.commit(head, Change(add=(empty,)))

    assert [(f.rows, f.bounds("id")) for f in landed.files({"20240101"})] == [(0, None)]


def test_only_the_requested_partitions_are_read(small_lake: SmallLake) -> None:
    small_lake.create()
    for day in range(1, 9):
        append(small_lake, "x", dt=f"2024010{day}")
    head = small_lake.load()

    assert [f.partition for f in head.files({"20240102"}, since="20240107")] == ["20240108", "20240107", "20240102"]
    assert len(head.files()) == 8


def test_bounds_and_overlaps(small_lake: SmallLake) -> None:
    small_lake.create()
    first = small_lake.file("20240101", [{"id": "a", "__event_time": 1}, {"id": "b", "__event_time": 5}])
    other = small_lake.file("20240101", [{"id": "c", "__event_time": 5}])
    later = small_lake.file("20240101", [{"id": "d", "__event_time": 6}])
    unknown, empty = small_lake.file("20240101", [{"id": "e"}]), small_lake.file("20240101", [])

    assert first.bounds("__event_time") == (1, 5)
    assert overlap(first, other, "__event_time")
    assert not overlap(first, later, "__event_time")
    assert overlap(first, unknown, "__event_time")
    assert not overlap(first, empty, "__event_time")


def test_manual_changes_in_glue_are_kept(small_lake: SmallLake) -> None:
    small_lake.create()
    name = {"DatabaseName": small_lake.names.lake.database}
    entry = small_lake.glue.get_table(**name, Name="receipts")["Table"]
    table = {k: entry[k] for k in ("Name", "TableType", "Parameters", "StorageDescriptor")}
    table["StorageDescriptor"]["Columns"][1]["Comment"] = "the key"
    table["Parameters"]["team"] = "billing"
    small_lake.glue.update_table(**name, TableInput={**table, "Description": "All receipts", "Owner": "ana"})

    append(small_lake, "a")

    entry = small_lake.glue.get_table(**name, Name="receipts")["Table"]
    assert (entry["Description"], entry["Owner"], entry["Parameters"]["team"]) == ("All receipts", "ana", "billing")
    assert entry["StorageDescriptor"]["Columns"][1]["Comment"] == "the key"


def test_glue_has_only_the_current_columns(small_lake: SmallLake) -> None:
    head = small_lake.create()
    other = type(head.schema)(*head.schema.fields[:3], NestedField(9, "new", StringType()), schema_id=1)
    small_lake.catalog.commit(head, Change(schema=other))

    entry = small_lake.glue.get_table(DatabaseName=small_lake.names.lake.database, Name="receipts")["Table"]

    assert [c["Name"] for c in entry["StorageDescriptor"]["Columns"]] == ["dt", "id", "__event_time", "new"]


def test_news_are_the_later_commits_of_others(small_lake: SmallLake) -> None:
    before = small_lake.create()
    append(small_lake, "a")
    old = small_lake.file("20240102", [{"id": "b"}])
    small_lake.catalog.commit(small_lake.load(), Change(add=(old,)))
    new = small_lake.file("20240102", [{"id": "c"}])
    small_lake.catalog.commit(small_lake.load(), Change((new,), (old,)))

    news = small_lake.load().news(before)

    assert {f.partition for f in news.added} == {"20240101", "20240102"}
    assert old.path not in {f.path for f in news.added}
    assert small_lake.load().news(small_lake.load()) == News((), False)


def test_news_of_another_table_with_that_name_are_refused(small_lake: SmallLake) -> None:
    before = small_lake.create()
    small_lake.glue.delete_table(DatabaseName=small_lake.names.lake.database, Name="receipts")
    after = small_lake.create()

    with pytest.raises(ConflictError, match="made again"):
        after.news(before)


def test_a_refused_commit_lands_on_the_new_head(small_lake: SmallLake) -> None:
    planned = small_lake.create()
    file = small_lake.file("20240101", [{"id": "m"}])
    counts: list[int] = []
    small_lake.glue.before = lambda: append(small_lake, "a")

    def build(head: Head, news: News) -> Change:
        counts.append(len(news.added))
        return Change(add=(file,))

    landed = commit_on(small_lake.catalog, small_lake.names, planned, build, pause=lambda _: None)

    assert landed is not None
    assert counts == [0, 1]
    assert ids(small_lake) == ["a", "m"]
    assert noted_metadata(small_lake.table, "receipts") == landed.metadata_location


def test_a_commit_is_tried_again_if_another_thread_reads_a_later_version(
    small_lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads share a catalog, which keeps the last entry read."""
    planned = small_lake.create()
    file = small_lake.file("20240101", [{"id": "m"}])
    glue: Any = small_lake.catalog._catalog.glue
    update = glue.update_table
    raced: list[bool] = []

    def race(**request: Any) -> Any:
        if not raced:
            raced.append(True)
            append(small_lake, "a")
            small_lake.load()
        return update(**request)

    monkeypatch.setattr(glue, "update_table", race)
    commit_on(
        small_lake.catalog, small_lake.names, planned, lambda head, news: Change(add=(file,)), pause=lambda _: None
    )

    assert raced
    assert ids(small_lake) == ["a", "m"]


def test_a_throttled_commit_waits(small_lake: SmallLake) -> None:
    planned = small_lake.create()
    file = small_lake.file("20240101", [{"id": "m"}])
    small_lake.glue.faults = ["throttle", "throttle"]
    pauses: list[float] = []

    commit_on(small_lake.catalog, small_lake.names, planned, lambda *_: Change(add=(file,)), pause=pauses.append)

    assert len(pauses) == 2
    assert ids(small_lake) == ["m"]


def test_a_replaced_file_must_be_live(small_lake: SmallLake) -> None:
    head = small_lake.create()
    old = small_lake.file("20240101", [{"id": "a"}])
    head = small_lake.catalog.commit(head, Change(add=(old,)))
    check_live(head, (old,), News((), False))
    with pytest.raises(ConflictError, match="delete files"):
        check_live(head, (old,), News((), True))
    head = small_lake.catalog.commit(head, Change(remove=(old,)))

    with pytest.raises(ConflictError, match="no longer part of it"):
        check_live(head, (old,), News((), False))


def test_the_noted_metadata_only_moves_forward(small_lake: SmallLake) -> None:
    first = small_lake.create()
    second = append(small_lake, "a")

    note_metadata(small_lake.table, second)
    note_metadata(small_lake.table, first)

    kept = noted_metadata(small_lake.table, "receipts")
    assert kept == second.metadata_location
    assert metadata_number(first.metadata_location) < metadata_number(kept)


def test_a_lost_entry_is_registered_again(small_lake: SmallLake) -> None:
    small_lake.create()
    head = append(small_lake, "a")
    small_lake.glue.delete_table(DatabaseName=small_lake.names.lake.database, Name="receipts")

    again = small_lake.catalog.register("receipts", head.metadata_location)

    assert (again.uuid, again.schema) == (head.uuid, head.schema)
    assert ids(small_lake) == ["a"]


def test_an_error_names_an_entry_that_lost_its_parameters(small_lake: SmallLake) -> None:
    small_lake.create()
    name = {"DatabaseName": small_lake.names.lake.database}
    small_lake.glue.update_table(**name, TableInput={"Name": "receipts", "StorageDescriptor": {"Columns": []}})

    with pytest.raises(CatalogError, match="no longer an Iceberg table"):
        small_lake.load()


def test_an_error_names_missing_metadata(small_lake: SmallLake) -> None:
    head = small_lake.create()
    key = head.metadata_location.removeprefix(small_lake.names.uri(""))
    small_lake.clients.s3.delete_object(Bucket=small_lake.names.lake.bucket, Key=key)

    with pytest.raises(CatalogError, match="metadata that is gone"):
        IcebergCatalog(small_lake.clients, small_lake.names.lake).load(head.name)


def test_metadata_is_read_once(small_lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata at one location never changes; our own commit is known too, another one is read."""
    small_lake.create()
    read: list[str] = []
    parse = FromInputFile.table_metadata

    def note_and_parse(file: InputFile) -> TableMetadata:
        read.append(file.location)
        return parse(file)

    monkeypatch.setattr(FromInputFile, "table_metadata", note_and_parse)

    own = small_lake.catalog.commit(small_lake.load(), Change(properties={"a": "1"}))
    assert small_lake.load().metadata_location == own.metadata_location
    assert read == []

    other = IcebergCatalog(small_lake.clients, small_lake.names.lake)
    foreign = other.commit(other.load(own.name), Change(properties={"a": "2"}))
    assert [small_lake.load().iceberg.properties["a"] for _ in range(2)] == ["2", "2"]
    assert read == [own.metadata_location, foreign.metadata_location]


def test_old_metadata_is_deleted(small_lake: SmallLake) -> None:
    head = small_lake.create()
    head = small_lake.catalog.commit(head, Change(properties={"write.metadata.previous-versions-max": "3"}))
    for i in range(6):
        head = small_lake.catalog.commit(head, Change(properties={"dynalake.bound": str(i)}))

    metadata = small_lake.keys()
    kept = [key for key in metadata if key.endswith(".metadata.json")]
    assert len(kept) <= 5
    assert readable(small_lake, head)


def test_each_field_of_a_file_must_exist_with_its_type(small_lake: SmallLake) -> None:
    head = small_lake.create()
    schema = head.schema
    grown = type(schema)(*schema.fields, NestedField(head.last_column_id + 1, "more", StringType()), schema_id=1)
    head = small_lake.catalog.commit(head, Change(schema=grown))
    check_fields(schema, head)

    for fields in (schema.fields[:1] + schema.fields[2:], (*schema.fields[:-1], NestedField(5, "gone", StringType()))):
        other = type(schema)(*fields, schema_id=head.schema_id + 1)
        head = small_lake.catalog.commit(head, Change(schema=other))
        with pytest.raises(ConflictError, match="has changed in the meantime"):
            check_fields(schema, head)


def test_files_old_enough_to_be_collected_are_not_committed(small_lake: SmallLake) -> None:
    head = small_lake.create()
    half = 84 * 3_600_000

    check_age(head, 1_000, 1_000 + half)
    with pytest.raises(ConflictError, match="84 hours ago"):
        check_age(head, 1_000, 1_001 + half)
