"""Events of commits: nothing is forgotten, and a retry gets again what an earlier try may have lost."""

from __future__ import annotations

import json

import pytest
from pyiceberg.types import NestedField, StringType

from dynalake.lake.catalog.commit_events import CommitEvent, take_events
from dynalake.lake.catalog.iceberg import Change, Head
from tests.unit.lake.small_lake import SCHEMA, SmallLake


@pytest.fixture
def lake(small_lake: SmallLake) -> SmallLake:
    """A lake with both tables."""
    names = small_lake.names
    small_lake.create()
    small_lake.catalog.create(names.state_table, SCHEMA, names.uri(names.items_location), "dt", {})
    return small_lake


def commit(lake: SmallLake, work: str, *days: str) -> Head:
    """Commit a row for each day, as this work does."""
    note = {"dynalake": work, "dynalake.day": ",".join(days)}
    return lake.catalog.commit(lake.load(), Change(tuple(lake.file(day, [{"id": day}]) for day in days), note=note))


def kinds(events: tuple[CommitEvent, ...]) -> list[tuple[str, str]]:
    return [(event.kind, ",".join(event.days)) for event in events]


def test_each_kind_of_commit_is_an_event_once(lake: SmallLake) -> None:
    commit(lake, "convert", "20240102", "20240103")
    last = commit(lake, "convert", "20240101")
    commit(lake, "hold")
    commit(lake, "compact", "20240101")
    shown = commit(lake, "snapshot", "00000000")
    lake.catalog.commit(lake.table.items(), Change(note={"dynalake": "snapshot"}))
    folded = lake.catalog.commit(lake.table.items(), Change(note={"dynalake": "fold"}))

    events = take_events(lake.table, "run 1")

    assert kinds(events) == [
        ("commit", "20240101,20240102,20240103"),
        ("day", "20240101"),
        ("snapshot", "00000000"),
        ("fold", ""),
    ]
    assert [event.snapshot_id for event in events if event.kind != "day"] == [
        last.snapshot_id,
        shown.snapshot_id,
        folded.snapshot_id,
    ]
    size = sum(file.size for file in last.files())
    assert events[0].to_extra() == {
        "kind": "commit",
        "days": "20240101,20240102,20240103",
        "rows": 3,
        "bytes": size,
        "files": 3,
        "snapshot_id": str(last.snapshot_id),
        "new_columns": "",
    }
    assert take_events(lake.table, "run 2") == ()


def test_a_retry_takes_the_same_events_again_and_what_came_since(lake: SmallLake) -> None:
    commit(lake, "convert", "20240101")
    assert kinds(take_events(lake.table, "run 1")) == [("commit", "20240101")]
    assert kinds(take_events(lake.table, "run 1")) == [("commit", "20240101")]
    commit(lake, "convert", "20240102")
    assert kinds(take_events(lake.table, "run 1")) == [("commit", "20240101,20240102")]
    assert take_events(lake.table, "run 2") == ()
    commit(lake, "convert", "20240103")
    assert kinds(take_events(lake.table, "run 2")) == [("commit", "20240103")]


def test_columns_are_new_since_the_last_events(lake: SmallLake) -> None:
    commit(lake, "convert", "20240101")
    take_events(lake.table, "run 1")
    head = lake.load()
    wider = type(head.schema)(*head.schema.fields, NestedField(head.last_column_id + 1, "v", StringType()), schema_id=1)
    lake.catalog.commit(head, Change(schema=wider, note={"dynalake": "grow"}))
    assert take_events(lake.table, "run 2") == ()
    commit(lake, "convert", "20240102")
    (event,) = take_events(lake.table, "run 3")
    assert event.new_columns == ("v",)
    commit(lake, "convert", "20240103")
    (event,) = take_events(lake.table, "run 4")
    assert event.new_columns == ()


def test_a_table_that_was_made_again_begins_again(lake: SmallLake) -> None:
    commit(lake, "convert", "20240101")
    commit(lake, "convert", "20240102")
    take_events(lake.table, "run 1")
    lake.glue.delete_table(DatabaseName=lake.names.lake.database, Name=lake.names.changes_table)
    lake.catalog._catalog.known.clear()
    lake.create()
    commit(lake, "convert", "20240105")
    assert kinds(take_events(lake.table, "run 2")) == [("commit", "20240105")]


def test_extras_are_flat_json(lake: SmallLake) -> None:
    commit(lake, "convert", "20240101")
    for event in take_events(lake.table, "run 1"):
        extra = event.to_extra()
        assert json.loads(json.dumps(extra)) == extra
        hash(frozenset(extra.items()))  # as Airflow 3.1 does with it
