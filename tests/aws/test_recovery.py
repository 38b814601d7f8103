"""The catalog is lost, or the bucket is copied: the lake is the same again, goes on, and loses nothing."""

from __future__ import annotations

import base64
import gzip
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.convert.batch import convert_or_wait
from dynalake.convert.snapshot import plan_snapshot, show_snapshot
from dynalake.errors import CatalogError, SettingsError
from dynalake.lake.catalog.iceberg import Change, Head
from dynalake.lake.catalog.table import BOUND, FOLDED_TO, Table, number, schema_of
from dynalake.lake.columns.pins import Pins
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.current.snapshot import number_run
from dynalake.lake.current.view_entries import read_entry, write_texts
from dynalake.lake.files.references import find_references
from dynalake.lake.hive.hive import list_partitions
from dynalake.lake.tables import restore
from dynalake.lake.tables.grow import pin_columns
from dynalake.lake.tables.make import make_tables
from dynalake.lake.tables.repair import repair_entries
from dynalake.lake.upkeep import collect as collecting
from dynalake.lake.upkeep.collect import collect
from dynalake.lake.upkeep.scrub import scrub
from dynalake.names import Lake
from dynalake.night.compact import compact_table
from dynalake.night.night import Requests, work
from dynalake.options.settings import TableSettings
from dynalake.record.change import encode_change, snapshot_encoder
from dynalake.record.key import ItemKey, KeyAttribute
from infra.local.engines.duckdb import connect, duckdb_rows
from infra.local.run.process import LocalAws
from tests.support.aws.lake import convert, make_lake, register
from tests.trino.pyiceberg_engine import pyiceberg_rows, reading_catalog

KEY = ItemKey(KeyAttribute("id", "S"))
NOW = datetime.now(UTC)
DAYS_AGO = [NOW - timedelta(days=days, minutes=1) for days in range(4)]


def tonight() -> datetime:
    """Return a time at which today is over: what has been written until now can be compacted."""
    return NOW + timedelta(days=1)


@dataclass
class Life:
    """A table that is written, converted, compacted and folded on local AWS."""

    table: Table
    sequence: int = 0

    def write(self, at: datetime, *images: Mapping[str, Any], operation: str = "MODIFY") -> None:
        """Put changes of a moment into the raw zone, and convert them."""
        lines = []
        for image in images:
            self.sequence += 1
            time = int(at.timestamp() * 1000) + self.sequence
            lines.append(encode_change(image, operation=operation, sequence_number=str(self.sequence), event_time=time))
        names = self.table.names
        key = f"{names.raw_day(names.lake.day_of(at))}{uuid.uuid4().hex}.gz"
        self.table.store.write(key, gzip.compress("\n".join(lines).encode()))
        assert convert(self.table) is not None

    def show_snapshot(self, run: str, *images: Mapping[str, Any]) -> None:
        names, encode = self.table.names, snapshot_encoder(int(DAYS_AGO[3].timestamp() * 1000))
        body = gzip.compress(b"".join(encode(image) for image in images))
        self.table.store.write(f"{names.snapshot_run(run)}0.gz", body)
        (batch,) = plan_snapshot(self.table, names.snapshot_run(run), NOW).batches
        convert_or_wait(self.table, batch)
        show_snapshot(self.table, number_run(self.table, run), batch.plan, [0])

    def night(self, *, now: datetime = NOW, **requests: Any) -> None:
        settings = TableSettings(self.table.names.table, orc_copy=True, fold_at_percent=100)
        said: list[str] = []
        faults = work(self.table, settings, lambda: now, said.append, Requests(**requests))
        assert faults == (), said

    def project(self) -> None:
        """Write the Hive tables, as a night does."""
        options = CompactOptions(orc_copy=True)
        report = compact_table(self.table, options, lambda: NOW)
        assert (report.faults, report.days) == ((), ())


def item(id: str, **attributes: Any) -> dict[str, Any]:
    return {"id": {"S": id}, **attributes}


def live(clients: Clients, lake: Lake, name: str, *, folded: bool) -> Life:
    """Return a table with a snapshot, four days, a widened type, a dropped column, folds and compactions."""
    life = Life(register(clients, lake.table(name), KEY))
    life.show_snapshot("first", item("a", n={"N": "0"}), item("s", n={"N": "9"}, gone={"S": "x"}))
    life.write(DAYS_AGO[3], item("a", n={"N": "1"}), item("b", m={"M": {"x": {"N": "1"}}}), operation="INSERT")
    life.write(DAYS_AGO[2], item("a", n={"N": "1.5"}), item("c", gone={"S": "y"}))
    assert pin_columns(life.table, Pins(never=("gone",)))
    life.night(fold=True)
    life.write(DAYS_AGO[1], item("b"), operation="REMOVE")
    life.write(DAYS_AGO[2], item("d", n={"N": "7"}, l={"L": [{"S": "x"}]}))  # late: it goes into the state first
    life.write(DAYS_AGO[0], item("e", n={"N": "8"}))
    life.night(fold=folded)
    return life


@dataclass(frozen=True)
class Picture:
    """What readers and runs see of a table, without the bucket's name."""

    rows: Any
    items: Any
    current: Any
    schemas: Any
    properties: Any
    snapshots: Any
    partitions: Any
    copies: Any
    views: Any


class Reader:
    """Reads tables with pyiceberg's own catalog and with DuckDB."""

    def __init__(self, aws: LocalAws) -> None:
        self.catalog, self.duckdb = reading_catalog(aws.env()), connect(aws.env())

    def look(self, table: Table) -> Picture:
        names, heads = table.names, (table.changes(), table.items())
        changes, state = (self.catalog.load_table((names.lake.database, head.name)) for head in heads)
        place = {head.name: f"iceberg_scan('{head.metadata_location}')" for head in heads}
        for head in heads:
            count = duckdb_rows(self.duckdb, f"SELECT count(*) AS n FROM {place[head.name]}")
            assert count == [{"n": sum(f.rows for f in head.files())}]
        current = write_texts(names, *heads, None, lambda _, name: place[name])["duckdb"]
        own = {names.uri(""): "s3://", names.lake.database: "database", names.lake.bucket: "bucket"}
        return Picture(
            rows=_sorted(pyiceberg_rows(changes)),
            items=_sorted(pyiceberg_rows(state)),
            current=_sorted(duckdb_rows(self.duckdb, current)),
            schemas=[(h.uuid, h.schema_id, h.last_column_id, str(h.schema), schema_of(h).to_json()) for h in heads],
            properties=[dict(head.properties) for head in heads],
            snapshots=[(head.snapshot_id, sorted(head.tags.items())) for head in heads],
            copies={day: p.parameters["numRows"] for day, p in list_partitions(table, names.orc_table).items()},
            partitions=_plain(
                {
                    name: {day: (p.location, dict(p.parameters)) for day, p in list_partitions(table, name).items()}
                    for name in (names.parquet_table, names.json_table)
                },
                own,
            ),
            views=_plain([_view(table, name) for name in (names.current_view, names.removed_view)], own),
        )


def _sorted(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(str(sorted(row.items(), key=lambda pair: pair[0])) for row in rows)


def _view(table: Table, name: str) -> Any:
    entry = read_entry(table, name)
    assert entry is not None
    text = json.loads(base64.b64decode(entry["ViewOriginalText"].removeprefix("/* Presto View: ")[:-3]))
    return text["originalSql"], text["columns"], [(c["Name"], c.get("Comment")) for c in _columns(entry)]


def _columns(entry: Mapping[str, Any]) -> Any:
    return entry["StorageDescriptor"]["Columns"]


def _plain(value: Any, own: Mapping[str, str]) -> str:
    """Return the value as text, without the names of the lake."""
    text = json.dumps(value, sort_keys=True, default=str)
    for name, plain in own.items():
        text = text.replace(name, plain)
    return text


@pytest.fixture(scope="module")
def reader(local_aws: LocalAws) -> Reader:
    return Reader(local_aws)


@pytest.fixture
def collects_now(monkeypatch: pytest.MonkeyPatch) -> Callable[[Table], None]:
    """Collect everything that nothing names, as if a week had passed."""

    def run(table: Table) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(collecting, "GRACE", timedelta(0))
            patch.setattr(collecting, "WAIT", -timedelta(days=1))
            collected = collect(table, lambda: datetime.now(UTC), snapshot_days=0)
        assert {finding.kind for finding in collected.findings} <= {"much-garbage"}

    return run


def go_on(life: Life, reader: Reader, collects_now: Callable[[Table], None]) -> None:
    """Write, convert, compact, fold and collect, and find every row again."""
    before = reader.look(life.table)
    assert pin_columns(life.table, Pins(never=("gone",), closed=True))
    life.write(DAYS_AGO[0], item("f", n={"N": "3"}, new={"BOOL": True}))
    life.write(DAYS_AGO[2], item("a", n={"N": "4"}))  # late
    collects_now(life.table)
    life.night(fold=True, now=tonight())
    for head in (life.table.changes(), life.table.items()):
        assert "new" not in head.schema.column_names
        assert {"new": "true"} in others(head)
    life.night(now=tonight(), allow_schema_changes=True)
    for head in (life.table.changes(), life.table.items()):
        assert "new" in head.schema.column_names
        assert {"new": "true"} not in others(head)
    collects_now(life.table)
    after = reader.look(life.table)
    assert len(after.rows) == len(before.rows) + 2
    assert len(after.current) == len(before.current) + 1
    assert _ids(after.current) == {*_ids(before.current), "f"}
    assert scrub(life.table, tonight).findings == ()
    for head in (life.table.changes(), life.table.items()):
        for path in find_references(head).paths:
            assert life.table.store.head(path.removeprefix(life.table.names.uri(""))) is not None, path


def others(head: Head) -> list[Any]:
    """Return what is in `__other`, row by row."""
    rows = head.iceberg.scan(selected_fields=("__other",)).to_arrow()["__other"]
    return [dict(other) for other in rows.to_pylist() if other]


def _ids(rows: list[str]) -> set[str]:
    return {row.partition("('id', '")[2].partition("'")[0] for row in rows}


def lose_catalog(table: Table) -> Clients:
    """Delete the database with all tables. Return new clients, as those of another process."""
    table.clients.glue.delete_database(Name=table.names.lake.database)
    with pytest.raises(Exception, match="EntityNotFound"):
        table.clients.glue.get_database(Name=table.names.lake.database)
    return table.clients


def test_a_night_brings_a_deleted_database_back(
    clients: Clients, reader: Reader, collects_now: Callable[[Table], None]
) -> None:
    lake = make_lake(clients)
    lives = [live(clients, lake, name, folded=folded) for name, folded in (("ORDERS", True), ("RECEIPTS", False))]
    before = [reader.look(life.table) for life in lives]
    heads = [(life.table.changes(), life.table.items()) for life in lives]
    objects = {stored.key for stored in lives[0].table.store.list("")}
    lose_catalog(lives[0].table)

    for life in lives:
        life.table = Table(clients, life.table.names)
        assert [finding.kind for finding in repair_entries(life.table)] == ["restored-entry"] * 2
        life.project()

    after = [reader.look(life.table) for life in lives]
    assert after[0] == before[0]
    assert [life.table.changes().metadata_location for life in lives] == [
        changes.metadata_location for changes, _ in heads
    ]
    assert lives[0].table.items().metadata_location == heads[0][1].metadata_location
    # What was not folded yet is merged into a restored state again: it might have been.
    state = {name: getattr(after[1], name) for name in ("items", "snapshots")}
    assert after[1] == replace(before[1], **state)
    assert heads[1][1].metadata_location in chain_of(lives[1].table.items())
    gone = objects - {stored.key for stored in lives[0].table.store.list("")}
    assert not [key for key in gone if "/metadata/" not in key]
    go_on(lives[1], reader, collects_now)


def chain_of(head: Head) -> list[str]:
    return [head.metadata_location, *(entry.metadata_file for entry in head.iceberg.metadata.metadata_log)]


def test_only_metadata_that_was_current_and_is_whole_is_taken(
    clients: Clients, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that crashed has left newer metadata in the bucket, with all its files."""
    life = live(clients, make_lake(clients), "RECEIPTS", folded=True)
    table, names = life.table, life.table.names
    before, head = reader.look(table), table.changes()
    crashing = Crashing(clients)
    with pytest.raises(Crash):
        Table(crashing, table.names).catalog.commit(head, Change(properties={BOUND: "1"}, remove=head.files()))
    prefix = f"{table.names.changes_location}/metadata/"
    newest = max(stored.key for stored in table.store.list(prefix) if stored.key.endswith(".metadata.json"))
    assert newest > head.metadata_location.removeprefix(table.names.uri(""))
    lose_catalog(table)

    findings = repair_entries(Table(clients, table.names))

    assert [finding.kind for finding in findings] == ["restored-entry"] * 2
    assert table.changes().metadata_location == head.metadata_location
    table.store.delete(table.names.metadata_note(table.names.changes_table))
    lose_catalog(table)
    # Without a note, it is the last that another one names, and the crashed commit's names this one.
    repair_entries(Table(clients, table.names))
    assert table.changes().metadata_location == head.metadata_location
    life.project()
    assert reader.look(table) == before
    # The last commits of a copy may lack files, but not older ones.
    life.write(DAYS_AGO[0], item("z", n={"N": "1"}))
    last = table.changes()
    (added,) = {f.path for f in last.files()} - {f.path for f in head.files()}
    table.store.delete(added.removeprefix(table.names.uri("")))
    lose_catalog(table)

    repair_entries(Table(clients, table.names))

    assert table.changes().metadata_location in chain_of(head)
    finished = convert(table)
    assert finished is not None
    assert finished.sums.rows == 1
    assert number(table.changes(), BOUND) >= number(table.items(), FOLDED_TO)
    # A file of long ago is gone: the table of that time is not what the bucket should have.
    monkeypatch.setattr(restore, "_BACK", 0)
    oldest = min(table.changes().files(), key=lambda f: f.partition).path.removeprefix(table.names.uri(""))
    table.store.delete(oldest)
    lose_catalog(table)
    with pytest.raises(CatalogError, match=f"names {oldest}, which is gone"):
        repair_entries(Table(clients, table.names))
    # Without metadata, an empty table in their place would make garbage of the files.
    for prefix in (names.changes_location, names.items_location):
        table.store.delete_all(o.key for o in list(table.store.list(f"{prefix}/metadata/")))
    with pytest.raises(CatalogError, match="no metadata of it is left"):
        register(clients, names, KEY)
    table.store.delete(names.metadata_note(names.changes_table))
    with pytest.raises(CatalogError, match=r"data files are there, but no metadata of it.*delete all objects below"):
        register(clients, names, KEY)


class Crash(BaseException):
    """The end of a process."""


class Crashing(Clients):
    """Clients of a process that dies when it commits."""

    def __init__(self, clients: Clients) -> None:
        super().__init__(clients._make)

    @property
    def glue_once(self) -> Any:
        return self

    def update_table(self, **request: Any) -> Any:
        raise Crash


def test_a_copied_bucket_becomes_the_same_lake_under_its_own_name(
    clients: Clients, reader: Reader, collects_now: Callable[[Table], None]
) -> None:
    """In another environment here, as it would be in another account or region. The original is then gone."""
    life = live(clients, make_lake(clients), "RECEIPTS", folded=True)
    original = life.table
    before = reader.look(original)
    lake = replace(
        original.names.lake, environment=f"{original.names.lake.environment}c", bucket=f"copy-{uuid.uuid4()}"
    )
    clients.s3.create_bucket(Bucket=lake.bucket)
    for stored in list(original.store.list("")):
        source: Any = {"Bucket": original.names.lake.bucket, "Key": stored.key}
        clients.s3.copy_object(Bucket=lake.bucket, Key=stored.key, CopySource=source)
    lose_catalog(original)
    original.store.delete_all(stored.key for stored in list(original.store.list("")))

    with pytest.raises(SettingsError, match="time zone UTC"):
        make_tables(Table(clients, replace(lake, time_zone="Europe/Berlin").table("RECEIPTS")), KEY, "arn")
    copy = Life(register(clients, lake.table("RECEIPTS"), KEY), life.sequence)
    copy.project()

    assert reader.look(copy.table) == before
    for head in (copy.table.changes(), copy.table.items()):
        assert head.location.startswith(copy.table.names.uri(""))
        assert all(path.startswith(copy.table.names.uri("")) for path in find_references(head).paths)
        assert len(head.iceberg.metadata.snapshots) > 5, "earlier versions of the tables can be read, too"
    go_on(copy, reader, collects_now)
