"""Manifests are merged, snapshots and schemas expire, and no file of the table changes."""

from __future__ import annotations

import copy
import time
from datetime import timedelta
from typing import Any

import pytest
from pyiceberg.expressions import visitors
from pyiceberg.schema import Schema
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import ManageSnapshots
from pyiceberg.typedef import Record
from pyiceberg.types import NestedField, StringType

from dynalake.errors import ConflictError
from dynalake.lake.catalog.iceberg import Change, DataFile, Head, Refused
from dynalake.lake.catalog.manifests import FULL, Listed, plan_merge
from dynalake.lake.upkeep.expire import plan_expiry
from tests.support.memory.flat_lake import MemoryLake


def listed(path: str, low: Any, files: int = 1, size: int = 1000, high: Any = None) -> Listed:
    return Listed(path, size, files, low, high or low)


def days(count: int, first: int = 1) -> list[str]:
    return [f"202401{d:02d}" for d in range(first, first + count)]


def test_small_manifests_are_merged_when_that_saves_some() -> None:
    few = [listed(f"m{d}", d) for d in days(8)]
    assert plan_merge(few) == frozenset()
    assert plan_merge([*few, listed("m9", "20240109")]) == {f"m{d}" for d in days(8)} | {"m9"}


def test_full_manifests_are_kept_and_huge_ones_split() -> None:
    small = [listed(f"m{d}", d) for d in days(20)]
    assert "full" not in plan_merge([*small, listed("full", "20231201", FULL)])
    assert plan_merge([listed("huge", "20231201", 5 * FULL)]) == {"huge"}


def test_manifests_that_are_far_apart_are_not_merged_into_one() -> None:
    apart = [listed(f"m{year}", f"{year}0101") for year in range(2005, 2025)]
    assert plan_merge(apart) == frozenset()
    assert plan_merge([listed("s", "00000000"), *(listed(f"m{d}", d) for d in days(9))]) != frozenset()


def test_one_commit_reads_a_bounded_number_of_bytes() -> None:
    chosen = plan_merge([listed(f"m{d}", d, size=1 << 20) for d in days(28)])
    assert len(chosen) == 16


def fill(lake: MemoryLake, count: int) -> list[DataFile]:
    """Make commits of one file each, over 300 days."""
    file = lake.write("20240101", [{"id": "a"}])
    files = []
    for i in range(count):
        copied = copy.deepcopy(file)
        copied.iceberg._data[1] = f"{file.path}{i:05d}"
        copied.iceberg._data[3] = Record(f"2024{1 + i % 300 // 25:02d}{1 + i % 25:02d}")
        lake.table.catalog.commit(lake.table.changes(), Change(add=(copied,)))
        files.append(copied)
    return files


def entries(head: Head) -> dict[str, tuple[Any, ...]]:
    """Return path → what must stay of each live file."""
    kept = {}
    for manifest in head._manifests():
        for e in manifest.fetch_manifest_entry(head.iceberg.io):
            file = e.data_file
            bounds = (file.lower_bounds, file.upper_bounds, file.record_count, file.partition[0])
            kept[file.file_path] = (e.snapshot_id, e.sequence_number, e.file_sequence_number, *bounds)
    return kept


def test_merging_keeps_each_entry_as_it_was() -> None:
    lake = MemoryLake()
    lake.create()
    before_all = lake.table.changes()
    files = fill(lake, 40)
    lake.commit(Change(remove=tuple(files[:5])))
    head = lake.table.changes()
    before = entries(head)
    assert len(list(head._manifests())) > 30

    landed = lake.commit(Change(merge=head.plan_merge(), note={"dynalake": "merged"}))

    assert entries(landed) == before
    assert len(list(landed._manifests())) <= 4
    snapshot = landed.iceberg.metadata.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    assert snapshot.summary.operation is Operation.REPLACE
    assert snapshot.summary["total-data-files"] == "35"
    assert landed.plan_merge() == frozenset()
    assert {f.path for f in landed.news(before_all).added} == before.keys()
    after = lake.commit(Change(remove=(files[10],)))
    assert entries(after).keys() == before.keys() - {files[10].path}
    assert landed.files({files[7].partition})[0].path == files[7].path


def test_files_are_found_in_their_manifests_whatever_the_order_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyiceberg reads manifests in threads, which share the cache of the current manifest."""
    lake = MemoryLake()
    lake.create()
    files = fill(lake, 30)
    visit = visitors.visit

    def interrupted(*args: Any) -> Any:
        time.sleep(0.001)  # another thread's turn
        return visit(*args)

    monkeypatch.setattr(visitors, "visit", interrupted)
    for file in files[10:15]:
        lake.commit(Change(remove=(file,)))
    assert len(lake.table.changes().files()) == 25


def test_the_next_attempt_sees_an_earlier_commit() -> None:
    lake = MemoryLake()
    lake.create()
    fill(lake, 12)
    head = lake.table.changes()
    fill(lake, 1)

    with pytest.raises(Refused):
        lake.table.catalog.commit(head, Change(merge=head.plan_merge()))


def test_merging_and_removing_files_are_two_commits() -> None:
    lake = MemoryLake()
    lake.create()

    with pytest.raises(AssertionError):
        Change(merge=frozenset({"m"}), remove=(lake.write("20240101", [{"id": "a"}]),))


def test_new_files_come_with_a_merge() -> None:
    lake = MemoryLake()
    lake.create()
    fill(lake, 12)
    head = lake.table.changes()
    files = {f.path for f in head.files()}
    new = lake.write("20240113", [{"id": "a"}])

    landed = lake.table.catalog.commit(head, Change(add=(new,), merge=head.plan_merge()))

    assert {f.path for f in landed.files()} == files | {new.path}
    assert [f.path for f in landed.news(head).added] == [new.path]
    assert len(landed._manifests()) == 2
    snapshot = landed.iceberg.current_snapshot()
    assert snapshot is not None
    summary = snapshot.summary
    assert summary is not None
    assert (summary.operation.value, summary["total-data-files"], summary["added-data-files"]) == ("append", "13", "1")


def expire(lake: MemoryLake, head: Head, days: int = 7) -> Change:
    expired = plan_expiry(head, lake.clock.moment, days)
    return Change(expire=expired.snapshots, drop_schemas=expired.schemas)


def test_old_snapshots_expire_unless_a_ref_names_them() -> None:
    lake = MemoryLake()
    lake.create()
    lake.append("20240101", "a")
    pinned = lake.table.changes()
    assert pinned.snapshot_id is not None
    table = pinned.iceberg
    transaction = table.transaction()
    ManageSnapshots(transaction).create_tag(pinned.snapshot_id, "pin").commit()
    transaction.commit_transaction()
    lake.append("20240101", "b")
    current = lake.append("20240101", "c")
    head = lake.table.changes()
    later = lake.clock.moment.now(lake.clock.moment.tzinfo) + timedelta(days=8)

    expired = plan_expiry(head, later)
    landed = lake.commit(Change(expire=expired.snapshots))

    kept = {s.snapshot_id for s in landed.iceberg.metadata.snapshots}
    assert kept == {pinned.snapshot_id, head.snapshot_id, landed.snapshot_id}
    assert current.path in {f.path for f in landed.files()}
    assert lake.rows() == ["a", "b", "c"]
    assert plan_expiry(head, later - timedelta(days=2)).snapshots == ()
    with pytest.raises(ConflictError, match="expired"):
        landed.news_since(landed.uuid, expired.snapshots[0])


def test_the_plan_is_made_again_if_another_process_expired_snapshots() -> None:
    lake = MemoryLake()
    lake.create()
    lake.append("20240101", "a")
    head = lake.table.changes()
    expired = head.iceberg.metadata.snapshots[0].snapshot_id
    head.iceberg.maintenance.expire_snapshots().by_id(expired).commit()  # moves no branch

    with pytest.raises(Refused):
        lake.table.catalog.commit(head, Change(expire=(expired,)))


def test_schemas_that_no_kept_snapshot_needs_are_removed() -> None:
    lake = MemoryLake()
    lake.create()
    for number in range(2):
        head = lake.table.changes()
        new = NestedField(head.last_column_id + 1, f"c{number}", StringType(), required=False)
        lake.commit(Change(schema=Schema(*head.schema.fields, new)))
    head = lake.table.changes()
    now = lake.clock.moment.now(lake.clock.moment.tzinfo)

    assert plan_expiry(head, now).schemas == ()
    expired = plan_expiry(head, now + timedelta(days=8))
    landed = lake.commit(Change(expire=expired.snapshots, drop_schemas=expired.schemas))

    assert [s.schema_id for s in landed.iceberg.metadata.schemas] == [head.schema_id]
    assert lake.table.changes().schema == head.schema
