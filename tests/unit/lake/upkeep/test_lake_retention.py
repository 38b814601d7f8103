"""Raw objects are deleted by age, but only once live rows have their contents."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from dynalake.days import SNAPSHOT_DAY
from dynalake.errors import AccessError, SettingsError
from dynalake.lake.catalog.iceberg import Change
from dynalake.lake.catalog.table import HISTORY_FROM, SHOWN_RUN, SNAPSHOT_RUN
from dynalake.lake.current.snapshot import read_run_numbers
from dynalake.lake.files.folders import Input
from dynalake.lake.upkeep.retention import (
    RawDeleted,
    Retained,
    delete_raw,
    find_replaced,
    plan_replaced,
    read_retained,
)
from tests.support.memory.aws import error
from tests.support.memory.flat_lake import MemoryLake, use_clock


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> MemoryLake:
    lake = MemoryLake()
    use_clock(monkeypatch, lake.clock)
    lake.create()
    return lake


def convert(lake: MemoryLake, day: str, name: str) -> Input:
    """Put a raw object and commit a folder that names it."""
    raw = lake.put_raw(day, name, name.encode())
    lake.append(day, name, inputs=[Input(raw.key, raw.etag.strip('"'), raw.size)])
    return raw


def delete(lake: MemoryLake, days: int = 30) -> RawDeleted:
    return delete_raw(lake.table, lake.clock.moment, days)


def test_converted_objects_are_deleted_by_age(lake: MemoryLake) -> None:
    old = convert(lake, lake.today, "old.gz")
    lake.clock.move(days=20)
    young = convert(lake, lake.today, "young.gz")
    lake.clock.move(days=12)

    done = delete(lake)

    assert (done.days, done.objects, done.bytes, done.kept) == ((old.key.split("dt=")[1][:8],), 1, old.size, 0)
    assert old.key not in lake.s3.objects
    assert young.key in lake.s3.objects
    assert lake.rows() == ["old.gz", "young.gz"]
    assert delete(lake).objects == 0
    assert RawDeleted.from_dict(json.loads(json.dumps(done.to_dict()))) == done


def test_objects_that_live_rows_do_not_hold_are_kept_and_counted(lake: MemoryLake) -> None:
    day = lake.today
    convert(lake, day, "converted.gz")
    unconverted = lake.put_raw(day, "unconverted.gz", b"x")
    again = convert(lake, day, "again.gz")
    lake.put_raw(day, "again.gz", b"other bytes")
    never = lake.put_raw(day, "never.gz", b"never")
    lake.write(day, [{"id": "never"}], [never])  # a folder that was not committed
    lake.clock.move(days=40)

    done = delete(lake)

    assert (done.objects, done.kept) == (1, 3)
    assert {unconverted.key, again.key, never.key} <= lake.s3.objects.keys()


def test_the_age_of_a_late_object_counts_from_its_landing(lake: MemoryLake) -> None:
    day = lake.today
    lake.clock.move(days=40)
    late = convert(lake, day, "late.gz")

    assert delete(lake).objects == 0
    assert late.key in lake.s3.objects


def test_days_without_history_are_deleted_whole(lake: MemoryLake) -> None:
    day = lake.today
    dropped = lake.put_raw(day, "dropped.gz", b"x")
    lake.clock.move(days=40)
    lake.commit(Change(properties={HISTORY_FROM: lake.day(10)}))

    assert delete(lake).objects == 1
    assert dropped.key not in lake.s3.objects


def test_nothing_is_deleted_unless_requested(lake: MemoryLake) -> None:
    convert(lake, lake.today, "a.gz")
    lake.clock.move(days=400)

    assert delete(lake, 0) == RawDeleted("RECEIPTS")
    with pytest.raises(SettingsError, match="raw_retention_days is 7"):
        delete(lake, 7)
    assert delete(lake, 500).objects == 0


def test_only_objects_of_the_shown_snapshot_are_deleted_by_age(lake: MemoryLake) -> None:
    shown = lake.put_raw(SNAPSHOT_DAY, "0.gz", b"1", run="run-1")
    coming = lake.put_raw(SNAPSHOT_DAY, "0.gz", b"2", run="run-2")
    lake.append(SNAPSHOT_DAY, "a", inputs=[shown])
    lake.clock.move(days=40)

    done = delete(lake)

    assert (done.days, done.objects) == ((SNAPSHOT_DAY,), 1)
    assert coming.key in lake.s3.objects
    assert read_retained(lake.table) == Retained("", snapshot=True)


def test_deletions_are_noted_before_they_happen(lake: MemoryLake) -> None:
    first = convert(lake, lake.today, "a.gz")
    lake.clock.move(days=1)
    second_day = lake.today
    convert(lake, second_day, "b.gz")
    lake.clock.move(days=40)
    assert not read_retained(lake.table).allows(second_day)

    def refuse(service: str, call: str, request: object) -> None:
        if call == "delete_objects":
            raise error("AccessDenied", "DeleteObjects", 403)

    lake.s3.on_call = refuse
    with pytest.raises(Exception, match="AccessDenied"):
        delete(lake)
    lake.s3.on_call = lambda *_: None
    assert first.key in lake.s3.objects
    assert not read_retained(lake.table).allows(second_day)

    delete(lake)

    retained = read_retained(lake.table)
    assert (retained.through, retained.allows(second_day), retained.allows(lake.today)) == (second_day, True, False)
    assert not retained.allows(SNAPSHOT_DAY)


def test_an_object_overwritten_during_its_deletion_is_kept(lake: MemoryLake) -> None:
    old = convert(lake, lake.today, "old.gz")
    lake.clock.move(days=40)

    def overwrite(service: str, call: str, request: object) -> None:
        if call == "delete_objects":
            lake.s3.on_call = lambda *_: None
            lake.s3.put_object(Key=old.key, Body=b"other")

    lake.s3.on_call = overwrite
    done = delete(lake)

    assert (done.objects, done.changed) == (0, (old.key,))
    assert lake.s3.objects[old.key].body == b"other"


def test_an_object_that_s3_refuses_to_delete_is_named(lake: MemoryLake, monkeypatch: pytest.MonkeyPatch) -> None:
    old = convert(lake, lake.today, "old.gz")
    lake.clock.move(days=40)
    refused = {"Errors": [{"Key": old.key, "Code": "AccessDenied", "Message": "locked"}]}
    monkeypatch.setattr(lake.s3, "delete_objects", lambda **_: refused)

    with pytest.raises(AccessError, match="AccessDenied"):
        delete(lake)


def test_nothing_is_deleted_if_commits_may_be_lost(lake: MemoryLake) -> None:
    older = lake.glue.tables[lake.names.changes_table]
    old = convert(lake, lake.today, "old.gz")
    lake.clock.move(days=40)
    lake.glue.tables[lake.names.changes_table] = older

    assert delete(lake).objects == 0
    assert old.key in lake.s3.objects


def test_replaced_backfills_are_those_that_nothing_needs() -> None:
    written = {"one": 1, "two": 2, "three": 3, "four": 40, "import": 5}
    numbers = {"one": 1, "two": 2, "three": 3, "four": 4}

    assert plan_replaced(written, numbers, 2, {"two"}, 10) == ("import", "one", "three")
    assert plan_replaced(written, numbers, 2, {"two", "one"}, 10) == ("import", "three")
    assert plan_replaced(written, numbers, 0, (), 10) == ()
    assert plan_replaced(written, {}, 2, (), 10) == ()


def test_the_shown_backfill_is_found_by_its_number_and_by_its_rows_objects(lake: MemoryLake) -> None:
    for number, name in enumerate(("run-1", "run-2"), 1):
        body = json.dumps({"number": number, "name": name}).encode()
        lake.s3.put_object(Key=lake.names.snapshot_number(number), Body=body)
    second = lake.put_raw(SNAPSHOT_DAY, "0.gz", b"2", run="run-2")
    lake.append(SNAPSHOT_DAY, "a", inputs=[second])
    lake.commit(Change(properties={SHOWN_RUN: "2"}))
    written = {"run-1": 1, "run-2": 1}
    later = lake.milliseconds + timedelta(days=14) // timedelta(milliseconds=1)

    assert dict(read_run_numbers(lake.table)) == {"run-1": 1, "run-2": 2}
    assert find_replaced(lake.table, written, later) == ()  # being swapped in
    lake.commit(Change(properties={SNAPSHOT_RUN: "2"}), lake.names.state_table)
    assert find_replaced(lake.table, written, later) == ("run-1",)
    folder = next(iter(lake.table.changes().files({SNAPSHOT_DAY}))).folder
    lake.s3.delete_object(Key=lake.names.folder_manifest(folder))
    assert find_replaced(lake.table, written, later) == ()
