"""The folders of a table's live files come from its manifests, each of which is read once."""

from __future__ import annotations

from typing import Any

import pytest

from dynalake.errors import ConflictError
from dynalake.lake.catalog.iceberg import Change, Head
from tests.unit.lake.small_lake import SmallLake


def append(lake: SmallLake, *days: str) -> Head:
    return lake.catalog.commit(lake.load(), Change(add=tuple(lake.file(day, [{"id": day}]) for day in days)))


def test_the_folders_are_those_of_live_files_of_the_given_days(small_lake: SmallLake) -> None:
    small_lake.create()
    append(small_lake, "20240101")
    append(small_lake, "20240102", "20240103")
    head = append(small_lake, "20240103")

    names = head.folders("20240102")

    files = {(f.partition, f.folder) for f in head.files(since="20240102")}
    assert {pair for folders in names.values() for pair in folders} == files
    assert {len(folders) for folders in names.values()} == {1, 2}
    head = small_lake.catalog.commit(head, Change(remove=head.files({"20240102"})))
    days = {day for folders in head.folders("20240102").values() for day, _ in folders}
    assert days == {"20240103"}


@pytest.mark.parametrize("commits", [2, 9])
def test_a_known_manifest_is_not_read_again(
    small_lake: SmallLake, commits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_lake.create()
    for _ in range(commits):
        head = append(small_lake, "20240101")
    before = head.folders("20240101")
    head = append(small_lake, "20240101")
    read: list[str] = []
    get = small_lake.clients.s3.get_object

    def count(**request: Any) -> object:
        read.append(request["Key"])
        return get(**request)

    monkeypatch.setattr(small_lake.clients.s3, "get_object", count)

    after = head.folders("20240101", before)

    assert len(after) == len(before) + 1
    assert len([key for key in read if "-m" in key]) == 1, read


def test_news_can_be_read_since_a_snapshot_id(small_lake: SmallLake) -> None:
    before = small_lake.create()
    append(small_lake, "20240101")
    after = append(small_lake, "20240102")

    assert [f.partition for f in after.news_since(before.uuid, before.snapshot_id).added] == ["20240102", "20240101"]
    with pytest.raises(ConflictError, match="rolled back"):
        after.news_since(before.uuid, 1)
    with pytest.raises(ConflictError, match="made again"):
        after.news_since("another", before.snapshot_id)
