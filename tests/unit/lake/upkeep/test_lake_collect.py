"""Garbage is deleted late and never early: named, young, and newly noted files are kept for at least a day."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from pyiceberg.table.update.snapshot import ManageSnapshots

from dynalake.aws.s3 import StoredObject
from dynalake.errors import ConflictError, UnknownOutcomeError
from dynalake.lake.catalog.commit import check_age
from dynalake.lake.catalog.iceberg import Change, DataFile
from dynalake.lake.catalog.metadata_note import metadata_number, noted_metadata
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.folders import new_folder
from dynalake.lake.upkeep import collect as collecting
from dynalake.lake.upkeep.collect import Collected, Garbage, collect, find_garbage, plan_garbage
from tests.support.kills import killed_before
from tests.support.memory.flat_lake import MemoryLake, use_clock

pytestmark = pytest.mark.slow


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> MemoryLake:
    lake = MemoryLake()
    use_clock(monkeypatch, lake.clock)
    lake.create()
    return lake


def run(lake: MemoryLake, **options: Any) -> Collected:
    return collect(lake.table, lambda: lake.clock.moment, pause=lambda _: None, **options)


def nights(lake: MemoryLake, count: int) -> list[Collected]:
    """Run collections a day apart, each after a day."""
    done = []
    for _ in range(count):
        lake.clock.move(days=1, seconds=60)
        done.append(run(lake))
    return done


def is_there(lake: MemoryLake, file: DataFile) -> bool:
    return lake.key(file) in lake.s3.objects


def stored(*keys: str) -> list[StoredObject]:
    return [StoredObject(key, 1, '"e"', 0) for key in keys]


def test_garbage_is_noted_a_day_before_it_is_deleted() -> None:
    due, waiting = plan_garbage(stored("a", "b", "c", "n"), {"n"}.__contains__, {"a": 5, "b": 6, "gone": 1}, 5, 10)

    assert [o.key for o in due] == ["a"]
    assert waiting == {"b": 6, "c": 10}


def test_an_uncommitted_folder_is_deleted_a_day_after_the_grace(lake: MemoryLake) -> None:
    uncommitted = lake.write(lake.today, [{"id": "lost"}])
    manifest = lake.names.folder_manifest(uncommitted.folder)

    done = nights(lake, 6)
    assert sum(c.deleted for c in done) == 0
    assert is_there(lake, uncommitted)
    (waits,) = nights(lake, 1)
    assert waits.waiting >= 2
    assert is_there(lake, uncommitted)
    (goes,) = nights(lake, 1)

    assert goes.deleted >= 2
    assert goes.bytes >= uncommitted.size
    assert not is_there(lake, uncommitted)
    assert manifest not in lake.s3.objects
    assert lake.missing() == set()


def test_garbage_can_be_found_without_deleting_or_committing(lake: MemoryLake) -> None:
    lake.write(lake.today, [{"id": "lost"}])
    deleted = 0
    for _ in range(9):
        lake.clock.move(days=1, seconds=60)
        before = dict(lake.s3.objects)
        due, _ = find_garbage(lake.table, (lake.table.changes(), lake.table.items()), lambda: lake.clock.moment)
        assert lake.s3.objects == before
        done = run(lake)
        assert (len(due), sum(o.size for o in due)) == (done.deleted, done.bytes)
        deleted += done.deleted
    assert deleted >= 2


def test_replaced_files_are_kept_while_a_snapshot_names_them(lake: MemoryLake) -> None:
    old = lake.append(lake.today, "a")
    new = lake.write(lake.today, [{"id": "a"}])
    lake.commit(Change((new,), (old,)))

    nights(lake, 7)
    assert is_there(lake, old)
    nights(lake, 2)

    assert not is_there(lake, old)
    assert lake.names.folder_manifest(old.folder) not in lake.s3.objects
    assert lake.names.folder_manifest(new.folder) in lake.s3.objects
    assert lake.rows() == ["a"]
    assert lake.missing() == set()


def test_files_of_a_tagged_snapshot_are_kept(lake: MemoryLake) -> None:
    old = lake.append(lake.today, "a")
    head = lake.table.changes()
    transaction = head.iceberg.transaction()
    ManageSnapshots(transaction).create_tag(head.snapshot_id or 0, "pin").commit()
    transaction.commit_transaction()
    lake.commit(Change(remove=(old,)))

    nights(lake, 20)

    assert is_there(lake, old)
    assert lake.names.folder_manifest(old.folder) in lake.s3.objects
    assert lake.missing() == set()


def test_files_of_a_glue_partition_are_kept(lake: MemoryLake) -> None:
    old = lake.append(lake.today, "a")
    location = old.path.rpartition("/")[0]
    lake.glue.create_table(DatabaseName="d", TableInput={"Name": lake.names.parquet_table})
    lake.glue.partitions[lake.names.parquet_table] = [{"StorageDescriptor": {"Location": location}}]
    lake.commit(Change(remove=(old,)))

    nights(lake, 20)
    assert is_there(lake, old)
    assert lake.names.folder_manifest(old.folder) in lake.s3.objects
    lake.glue.partitions.clear()
    nights(lake, 2)

    assert not is_there(lake, old)


def test_metadata_and_manifests_of_refused_and_old_commits_are_deleted(lake: MemoryLake) -> None:
    for number in range(12):
        lake.append(lake.today, f"a{number}")
    catalog, stale = lake.table.catalog, lake.table.changes()
    lake.append(lake.today, "b")
    with pytest.raises(Exception, match="changed"):
        catalog.commit(stale, Change(add=(lake.write(lake.today, [{"id": "refused"}]),)))
    metadata = f"{lake.names.changes_location}/metadata/"
    before = lake.s3.keys(metadata)

    nights(lake, 20)

    deleted = before - lake.s3.keys(metadata)
    assert len([key for key in deleted if key.endswith(".avro")]) > 20
    assert lake.missing() == set()
    assert lake.rows() == sorted(["b", *(f"a{number}" for number in range(12))])
    assert len(lake.s3.keys(metadata)) < 60


def test_nothing_else_in_the_bucket_is_touched(lake: MemoryLake) -> None:
    others = [
        f"{lake.names.lake.prefix}/parquet/RECEIPTS_2/changes/dt=20240101/v=x/part-00000.parquet",
        f"{lake.names.changes_location}2/data.parquet",
        f"{lake.names.parquet_prefix}other.parquet",
        f"{lake.names.raw_day('20230101')}object.gz",
        lake.names.reported_day("20230101"),
        lake.names.named_objects,
        lake.names.hand_off,
    ]
    for key in others:
        lake.s3.put_object(Key=key, Body=b"x")

    nights(lake, 20)

    assert set(others) <= lake.s3.objects.keys()


def test_plans_of_ended_conversions_are_deleted(lake: MemoryLake) -> None:
    plan = lake.names.conversion_batch(new_folder(), 0)
    lake.s3.put_object(Key=plan, Body=b"{}")

    nights(lake, 6)
    assert plan in lake.s3.objects
    nights(lake, 2)
    assert plan not in lake.s3.objects


def test_both_tables_are_cleaned(lake: MemoryLake) -> None:
    old = lake.put_items("a", "b")
    lake.commit(Change(remove=(old,)), lake.names.state_table)

    nights(lake, 12)

    assert not is_there(lake, old)
    assert lake.missing() == set()


def test_much_garbage_is_deleted_in_batches_and_reported(lake: MemoryLake) -> None:
    lake.s3.page = 700
    for number in range(2500):
        lake.s3.put_object(Key=f"{lake.names.changes_location}/dt=20230101/v=x/part-{number:05d}.parquet", Body=b"x")

    done = nights(lake, 8)[-1]

    assert done.deleted >= 2500
    assert [(f.kind, f.count >= 2500) for f in done.findings] == [("much-garbage", True)]
    assert Collected.from_dict(done.to_dict()) == done


def test_a_machine_with_a_fast_clock_deletes_nothing(lake: MemoryLake) -> None:
    young = lake.write(lake.today, [{"id": "young"}])
    days = iter([9, 9, 9, 12, 12, 12])

    def ahead() -> datetime:
        return lake.clock.moment + timedelta(days=next(days))

    done = [collect(lake.table, ahead, pause=lambda _: None) for _ in range(2)]

    assert [c.deleted for c in done] == [0, 0]
    assert is_there(lake, young)


def test_nothing_is_deleted_while_a_table_is_missing(lake: MemoryLake) -> None:
    uncommitted = lake.write(lake.today, [{"id": "lost"}])
    nights(lake, 7)
    lake.glue.delete_table(DatabaseName="d", Name=lake.names.state_table)

    (done,) = nights(lake, 1)

    assert done.deleted == 0
    assert [f.kind for f in done.findings] == ["not-collected"]
    assert is_there(lake, uncommitted)


def test_nothing_is_deleted_if_it_is_another_table(lake: MemoryLake) -> None:
    file = lake.append(lake.today, "a")
    nights(lake, 7)
    for name in (lake.names.changes_table, lake.names.state_table):
        lake.glue.delete_table(DatabaseName="d", Name=name)
    lake.create()

    done = nights(lake, 3)

    assert [c.deleted for c in done] == [0, 0, 0]
    assert {f.kind for c in done for f in c.findings} == {"not-collected"}
    assert is_there(lake, file)


def test_nothing_is_deleted_if_glue_was_set_back_to_older_metadata(lake: MemoryLake) -> None:
    older = lake.glue.tables[lake.names.changes_table]
    file = lake.append(lake.today, "a")
    nights(lake, 7)
    lake.glue.tables[lake.names.changes_table] = {**older, "VersionId": "77"}

    done = nights(lake, 3)

    assert [c.deleted for c in done] == [0, 0, 0]
    assert "does not follow" in done[-1].findings[0].what
    assert is_there(lake, file)


def test_nothing_is_deleted_if_the_location_of_the_table_has_other_files(lake: MemoryLake) -> None:
    raw = lake.put_raw("20230101", "object.gz")
    metadata = lake.table.changes().metadata_location.removeprefix(lake.names.uri(""))
    body = lake.s3.objects[metadata].body
    place = lake.names.uri(lake.names.changes_location)
    lake.s3.put_object(
        Key=metadata, Body=body.replace(f'"location":"{place}"'.encode(), f'"location":"{lake.names.uri("")}"'.encode())
    )
    lake.table = lake.of(lake.table.clients)
    assert lake.table.changes().location != place

    done = nights(lake, 9)

    assert {f.kind for c in done for f in c.findings} == {"not-collected"}
    assert raw.key in lake.s3.objects


def test_nothing_is_deleted_if_a_kept_snapshot_is_damaged(lake: MemoryLake) -> None:
    uncommitted = lake.write(lake.today, [{"id": "lost"}])
    lake.append(lake.today, "a")
    nights(lake, 7)
    manifest = next(iter(lake.table.changes()._manifests())).manifest_path
    lake.s3.delete_object(Key=manifest.removeprefix(lake.names.uri("")))

    (done,) = nights(lake, 1)

    assert [f.kind for f in done.findings] == ["not-collected"]
    assert is_there(lake, uncommitted)


def test_a_running_commit_is_refused_once_its_files_are_garbage(lake: MemoryLake) -> None:
    made_at = lake.milliseconds
    uncommitted = lake.write(lake.today, [{"id": "late"}])
    late: list[dict[str, Any]] = []

    def delay(service: str, call: str, request: dict[str, Any]) -> None:
        if call == "update_table":
            late.append(request)
            lake.glue.on_call = lambda *_: None
            raise TimeoutError

    lake.glue.on_call = delay
    head = lake.table.changes()
    with pytest.raises((UnknownOutcomeError, TimeoutError)):
        lake.table.catalog.commit(head, Change(add=(uncommitted,)))
    nights(lake, 10)
    assert not is_there(lake, uncommitted)

    with pytest.raises(Exception, match="ConcurrentModification"):
        lake.glue.update(late[0])
    with pytest.raises(ConflictError):
        check_age(lake.table.changes(), made_at, lake.milliseconds)
    assert lake.missing() == set()


def test_a_reader_who_began_yesterday_still_finds_all_files(lake: MemoryLake) -> None:
    old = lake.append(lake.today, "a")
    lake.commit(Change(remove=(old,)))
    lake.clock.move(days=6.9)
    snapshots = {s.snapshot_id for s in lake.table.changes().iceberg.metadata.snapshots}
    lake.clock.move(seconds=3 * 3600)
    run(lake)
    assert not snapshots <= {s.snapshot_id for s in lake.table.changes().iceberg.metadata.snapshots}
    lake.clock.move(seconds=12 * 3600)
    run(lake)

    assert is_there(lake, old)


def test_concurrent_and_killed_runs_do_no_harm(lake: MemoryLake) -> None:
    uncommitted = lake.write(lake.today, [{"id": "lost"}])
    lake.append(lake.today, "a")
    nights(lake, 7)
    lake.clock.move(days=1, seconds=60)
    for at in range(19):
        with killed_before(lake, at):
            run(lake)
        assert lake.missing() == set()
    run(lake)

    assert not is_there(lake, uncommitted)
    assert lake.missing() == set()
    assert lake.rows() == ["a"]


def test_garbage_noted_by_another_run_in_the_meantime_is_kept(lake: MemoryLake) -> None:
    lake.write(lake.today, [{"id": "lost"}])
    nights(lake, 7)
    before = lake.table.store.read(lake.names.garbage)
    assert before is not None
    own = Garbage.from_bytes(before.body)
    other = Garbage(own.uuids, {"theirs": 1})
    collecting._write(lake.table, other, before)
    collecting._write(lake.table, own, before)

    assert lake.s3.objects[lake.names.garbage].body == other.to_bytes()


def test_upkeep_is_one_noted_commit_per_table(lake: MemoryLake) -> None:
    for number in range(12):
        lake.append(lake.today, f"a{number}")
    lake.clock.move(days=8)
    before = lake.table.changes()

    run(lake, snapshot_days=3)

    head = lake.table.changes()
    assert len(list(head._manifests())) == 1
    assert len(head.iceberg.metadata.snapshots) == 2
    assert int(head.properties["dynalake.collected-at"]) == lake.milliseconds
    assert noted_metadata(Table(lake.table.clients, lake.names), head.name) == head.metadata_location
    assert metadata_number(head.metadata_location) == metadata_number(before.metadata_location) + 1
