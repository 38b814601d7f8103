"""A scrub finds missing, damaged, forgotten and foreign data, reports days to convert, and changes nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import DataFileContent

from dynalake.days import SNAPSHOT_DAY
from dynalake.errors import CatalogError
from dynalake.lake.catalog.iceberg import Change, DataFile, Head
from dynalake.lake.catalog.metadata_note import note_metadata
from dynalake.lake.catalog.table import HISTORY_FROM, Table
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.compaction.day import compact_day
from dynalake.lake.files.folders import FolderManifest
from dynalake.lake.hive.parquet_table import project_parquet
from dynalake.lake.upkeep import scrub_tables
from dynalake.lake.upkeep.retention import _note as allow
from dynalake.lake.upkeep.scrub import Scrubbed, read_scrub, scrub
from dynalake.lake.upkeep.scrub_tables import check_deletes, check_settings, count_overlaps
from tests.support.memory.receipts import DAY_1, DAY_2, Item, Receipts

pytestmark = pytest.mark.slow

TODAY = "20240101"


class ScrubLake(Receipts):
    """A lake whose folders name their raw objects with the current ETags."""

    def write(self, day: str, records: Sequence[Item], raw: str) -> Any:
        manifest, files, schema = super().write(day, records, raw)
        key = manifest.inputs[0].key
        etag = self.s3.put_object(Key=key, Body=raw.encode())["ETag"].strip('"')
        place = self.names.folder_manifest(manifest.folder)
        values = json.loads(self.s3.objects[place].body)
        self.s3.put_object(Key=place, Body=json.dumps({**values, "inputs": [[key, etag, len(raw)]]}).encode())
        return FolderManifest.from_json(self.s3.objects[place].body), files, schema

    def scrub(self, **options: Any) -> Scrubbed:
        return scrub(self.table, lambda: self.clock.moment, **options)

    def found(self, **options: Any) -> dict[str, tuple[str, int]]:
        """Return kind → day and count of each finding; each kind once."""
        findings = self.scrub(**options).findings
        assert len({f.kind for f in findings}) == len(findings)
        return {f.kind: (f.day, f.count) for f in findings}

    def key_of(self, file: DataFile) -> str:
        return file.path.removeprefix(self.names.uri(""))

    def file(self, day: str) -> DataFile:
        return self.table.changes().files({day})[0]

    def commit(self, **change: Any) -> Head:
        head = self.table.catalog.commit(self.table.changes(), Change(**change))
        note_metadata(Table(self.table.clients, self.names), head)
        return head


@pytest.fixture
def lake(prepared: ScrubLake) -> ScrubLake:
    lake = prepared.copy()
    assert isinstance(lake, ScrubLake)
    return lake


@pytest.fixture(scope="module")
def prepared() -> ScrubLake:
    """Make two compacted days that `_parquet` shows, an open one, the snapshot, and a state."""
    lake = ScrubLake()
    lake.append(DAY_1, {"id": "a", "n": 1}, {"id": "b"})
    lake.append(DAY_1, {"id": "b", "n": 2})
    lake.append(DAY_2, {"id": "c"})
    lake.append(SNAPSHOT_DAY, {"id": "z"}, raw="run/0")
    lake.append(TODAY, {"id": "c", "n": 3})
    lake.put_items({"id": "a"}, {"id": "c"})
    lake.put_items({"id": "d"}, {"id": "e"})
    lake.clock.move(days=6)
    for day in (SNAPSHOT_DAY, DAY_1, DAY_2, TODAY):
        compact_day(lake.table, day, CompactOptions(), lake.now)
    project_parquet(lake.table, CompactOptions(), lake.now)
    return lake


def test_an_intact_lake_has_no_findings(lake: ScrubLake) -> None:
    done = lake.scrub()

    assert done.findings == ()
    assert (done.days, done.objects, done.files, done.told) == (4, 5, 4, ())
    assert done.counts == {}
    assert read_scrub(lake.table) == done


def test_the_report_can_be_read_again(lake: ScrubLake) -> None:
    assert read_scrub(lake.table) is None
    lake.s3.put_object(Key=f"{lake.names.raw_day(DAY_1)}late.gz", Body=b"late")
    lake.clock.move(days=2)

    done = lake.scrub()

    assert done.counts == {"unconverted": 1}
    assert read_scrub(lake.table) == done
    assert Scrubbed.from_dict(json.loads(json.dumps(done.to_dict()))) == done


def test_unconverted_objects_are_reported(lake: ScrubLake) -> None:
    for name in ("1.gz", "2.gz", "_hidden.gz", ".part"):
        lake.s3.put_object(Key=f"{lake.names.raw_day('20230301')}{name}", Body=b"late")
    lake.s3.put_object(Key=f"{lake.names.raw_day('20230301')}empty.gz", Body=b"")
    lake.clock.move(days=2)
    lake.s3.put_object(Key=f"{lake.names.raw_day('20230302')}young.gz", Body=b"young")

    done = lake.scrub()

    assert [(f.kind, f.day, f.count) for f in done.findings] == [("unconverted", "20230301", 2)]
    assert done.told == ("20230301",)
    assert lake.s3.keys(lake.names.reported_days) == {lake.names.reported_day("20230301")}


def test_an_overwritten_object_is_reported(lake: ScrubLake) -> None:
    key = next(iter(lake.s3.keys(lake.names.raw_day(DAY_2))))
    lake.s3.put_object(Key=key, Body=b"other bytes")
    lake.clock.move(days=2)

    assert lake.found() == {"changed-raw": (DAY_2, 1)}
    assert lake.names.reported_day(DAY_2) in lake.s3.objects


def test_nothing_is_reported_for_a_day_without_history(lake: ScrubLake) -> None:
    lake.s3.put_object(Key=f"{lake.names.raw_day('20230301')}old.gz", Body=b"old")
    lake.commit(properties={HISTORY_FROM: "20230401"})
    lake.clock.move(days=2)

    assert lake.scrub().told == ()


def test_objects_of_other_backfills_are_ignored(lake: ScrubLake) -> None:
    lake.s3.put_object(Key=f"{lake.names.snapshot_run('other')}0.gz", Body=b"other")
    lake.clock.move(days=2)

    assert lake.scrub().findings == ()


def test_unexpectedly_missing_raw_objects_are_found_and_rows_stay(lake: ScrubLake) -> None:
    before = lake.rows()
    for key in lake.s3.keys(lake.names.raw_day(DAY_1)):
        lake.s3.delete_object(Key=key)

    assert lake.found() == {"raw-gone": (DAY_1, 2)}
    assert lake.rows() == before
    allow(lake.table, DAY_1)
    assert lake.found() == {}


def test_a_snapshot_with_a_missing_object_keeps_its_rows(lake: ScrubLake) -> None:
    allow(lake.table, TODAY)
    for key in lake.s3.keys(lake.names.raw_day(SNAPSHOT_DAY)):
        lake.s3.delete_object(Key=key)

    assert lake.found() == {"raw-gone": (SNAPSHOT_DAY, 1)}
    assert sum(lake.rows(SNAPSHOT_DAY).values()) == 1


def test_a_missing_manifest_is_named_with_its_day(lake: ScrubLake) -> None:
    lake.s3.delete_object(Key=lake.names.folder_manifest(lake.file(DAY_2).folder))

    assert lake.found() == {"no-manifest": (DAY_2, 1), "unconverted": (DAY_2, 1)}


def test_missing_and_changed_files_are_found(lake: ScrubLake) -> None:
    lake.s3.delete_object(Key=lake.key_of(lake.file(DAY_1)))
    key = lake.key_of(lake.file(DAY_2))
    lake.s3.put_object(Key=key, Body=lake.s3.objects[key].body + b"more")

    findings = {(f.kind, f.day) for f in lake.scrub(compared_days=0).findings}

    assert findings == {("missing-files", DAY_1), ("torn-folder", DAY_1), ("changed-files", DAY_2)}


def test_files_of_other_engines_are_found_anywhere(lake: ScrubLake) -> None:
    lake.optimize(DAY_1)
    foreign = lake.file(DAY_1)

    findings = {f.kind: f for f in lake.scrub().findings}
    assert findings.keys() == {"foreign-files", "other-partition", "unconverted"}
    assert "whole folder" in findings["other-partition"].what
    assert foreign.path in findings["foreign-files"].what
    lake.s3.delete_object(Key=lake.key_of(foreign))
    assert "missing-files" in {f.kind for f in lake.scrub(compared_days=0).findings}


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda partitions: partitions.pop(0), "no-partition"),
        (lambda partitions: partitions[0]["StorageDescriptor"].update(Location="s3://b/elsewhere/"), "other-partition"),
    ],
)
def test_missing_and_misplaced_partitions_are_found(
    lake: ScrubLake, damage: Callable[[list[Any]], object], kind: str
) -> None:
    day = lake.glue.partitions["receipts_parquet"][0]["Values"][0]
    damage(lake.glue.partitions["receipts_parquet"])

    assert lake.found() == {kind: (day, 1)}


def test_a_folder_with_an_unreferenced_file_is_found(lake: ScrubLake) -> None:
    folder = lake.key_of(lake.file(DAY_2)).rpartition("/")[0]
    lake.s3.put_object(Key=f"{folder}/stray.parquet", Body=b"stray")

    assert lake.found() == {"torn-folder": (DAY_2, 1)}


def test_recent_days_may_wait_for_their_partition(lake: ScrubLake) -> None:
    lake.glue.partitions.clear()
    lake.clock.move(days=-4)

    assert {f.day for f in lake.scrub().findings} <= {SNAPSHOT_DAY, DAY_1, DAY_2}


def test_every_day_lacks_its_partition_without_the_hive_table(lake: ScrubLake) -> None:
    lake.glue.delete_table(DatabaseName="d", Name="receipts_parquet")

    assert {(f.kind, f.day) for f in lake.scrub().findings} == {
        ("no-partition", day) for day in (SNAPSHOT_DAY, DAY_1, DAY_2, TODAY)
    }


def test_only_named_days_are_checked(lake: ScrubLake) -> None:
    lake.glue.partitions.clear()

    done = lake.scrub(days=[DAY_1])

    assert [(f.kind, f.day) for f in done.findings] == [("no-partition", DAY_1)]
    assert (done.days, done.files) == (1, 1)


def test_changed_properties_are_found(lake: ScrubLake) -> None:
    lake.commit(properties={"commit.retry.num-retries": "4", "my.own": "x"})

    (finding,) = lake.scrub().findings

    assert (finding.kind, finding.table) == ("changed-property", "receipts")
    assert "commit.retry.num-retries" in finding.what


def test_a_changed_format_or_partitioning_is_found(lake: ScrubLake) -> None:
    metadata = SimpleNamespace(format_version=3)
    spec = SimpleNamespace(fields=[])
    head: Any = SimpleNamespace(
        name="receipts", properties={}, iceberg=SimpleNamespace(metadata=metadata, spec=lambda: spec)
    )

    assert [f.kind for f in check_settings(head, "dt")] == ["changed-format", "changed-partitions"]
    assert list(check_settings(lake.table.changes(), "dt")) == []


def test_equality_deletes_are_found(lake: ScrubLake) -> None:
    files = [SimpleNamespace(content=c, file_path="s3://b/d.parquet") for c in DataFileContent]
    head: Any = SimpleNamespace(name="receipts", delete_files=lambda: files)

    assert [(f.kind, f.count) for f in check_deletes(head)] == [("equality-deletes", 1)]
    assert list(check_deletes(lake.table.changes())) == []


def test_overlapping_files_of_the_state_are_found(lake: ScrubLake) -> None:
    lake.put_items({"id": "b"}, {"id": "c"})

    assert lake.found() == {"overlapping-ranges": ("", 1)}


def test_ranges_overlap_if_one_begins_before_another_ends() -> None:
    assert count_overlaps([("a", "b"), ("b", "c"), ("d", "d")]) == 0
    assert count_overlaps([("a", "z"), ("b", "c"), ("d", "e")]) == 2
    assert count_overlaps([]) == 0


def test_enabled_optimizers_are_found(lake: ScrubLake) -> None:
    lake.glue.optimizers["receipts_state", "compaction"] = {"enabled": True}

    assert [(f.kind, f.table) for f in lake.scrub().findings] == [("foreign-optimizer", "receipts_state")]


def test_a_glue_entry_that_was_set_back_is_found(lake: ScrubLake) -> None:
    older = lake.glue.tables["receipts"]
    lake.commit(properties={"x": "1"})
    lake.glue.tables["receipts"] = older

    assert lake.found() == {"other-metadata": ("", 1)}


def test_a_duplicate_change_is_found(lake: ScrubLake) -> None:
    head = lake.table.changes()
    file = lake.file(DAY_2)
    body = lake.s3.objects[lake.key_of(file)].body
    rows = pq.read_table(io.BytesIO(body))
    rows = rows.set_column(rows.column_names.index("dt"), rows.schema.field("dt"), pa.array([TODAY] * len(rows)))
    again = io.BytesIO()
    pq.write_table(rows, again)
    key = f"{lake.names.change_folder(TODAY, 'again')}part-00000.parquet"
    lake.s3.put_object(Key=key, Body=again.getvalue())
    size = len(again.getvalue())
    twice = head.data_file(lake.names.uri(key), TODAY, pq.read_metadata(again), size, head.schema)
    lake.commit(add=(twice,))

    repeats = {f.day for f in lake.scrub(compared_days=9).findings if f.kind == "repeats"}
    assert repeats == {DAY_2, TODAY}
    assert "repeats" not in {f.kind for f in lake.scrub(compared_days=0).findings}


def test_a_sample_of_many_rows_is_chosen_by_sequence_number(lake: ScrubLake, monkeypatch: pytest.MonkeyPatch) -> None:
    head = lake.table.changes()
    twice = [lake.file(DAY_2), *head.files()]  # the change that ends in 4
    assert scrub_tables.count_repeats(head, twice) == 1
    for most, count in ((1, 0), (3, 0), (4, 1)):
        monkeypatch.setattr(scrub_tables, "MOST_ROWS", most)
        assert scrub_tables.count_repeats(head, twice) == count


def test_a_missing_table_is_an_error(lake: ScrubLake) -> None:
    lake.glue.delete_table(DatabaseName="d", Name="receipts")

    with pytest.raises(CatalogError):
        lake.scrub()


def test_a_named_day_takes_few_calls_whatever_other_days_have(lake: ScrubLake) -> None:
    calls: list[str] = []
    lake.s3.on_call = lambda service, call, request: calls.append(call)

    lake.scrub(days=[DAY_1])

    assert calls.count("list_objects_v2") == 3  # the time, the day's raw objects, its files
