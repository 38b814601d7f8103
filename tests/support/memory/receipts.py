"""A lake in memory with real schemas: items become rows as in a conversion, and are read back as values."""

from __future__ import annotations

import copy
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Context, Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import ReadTimeoutError
from pyiceberg.schema import Schema

from dynalake.lake.catalog.commit import check_fields, commit_on
from dynalake.lake.catalog.iceberg import Change, DataFile, Head, News
from dynalake.lake.catalog.table import SCHEMA, Table
from dynalake.lake.columns.column import DAY, KEY
from dynalake.lake.columns.iceberg_schema import iceberg_schema
from dynalake.lake.columns.retype import json_value, parse_json
from dynalake.lake.columns.schema import TableSchema, merge_observed
from dynalake.lake.current.state_schema import state_columns
from dynalake.lake.files.folders import FolderManifest, Input, Sums, new_folder, read_manifests, write_manifest
from dynalake.lake.files.parts import Folder, PartWriter, Writing, parts_of
from dynalake.lake.files.read import arrow_schema_of
from dynalake.lake.tables.grow import grow_schema, schema_of
from dynalake.lake.types.arrow import converter, json_text
from dynalake.lake.types.budget import LIMITS
from dynalake.lake.types.union import holds, observe, type_to_json
from dynalake.names import Lake
from dynalake.record.change import EVENT_TIME, METADATA, OPERATION, OTHER, SEQUENCE_NUMBER
from dynalake.record.key import ItemKey, KeyAttribute
from tests.support.memory.aws import Clock, MemoryGlue, MemoryS3, memory_clients

Item = dict[str, Any]

BY_ID = ItemKey(KeyAttribute("id", "S"))
_EXACT = Context(prec=1000)
DAY_1, DAY_2, DAY_3 = "20231229", "20231230", "20231231"


class ReceiptsS3(MemoryS3):
    """A bucket that accepts uploads of files."""

    def upload_file(self, path: str, bucket: str, key: str) -> None:
        self.put_object(Bucket=bucket, Key=key, Body=Path(path).read_bytes())


@dataclass
class ReceiptsGlue(MemoryGlue):
    """A database with partitions. A request may change some of them and be refused for others."""

    def batch_create_partition(self, **request: Any) -> dict[str, Any]:
        self.on_call("glue", "batch_create_partition", request)
        return self._each(request, request["PartitionInputList"], self._create, "PartitionValues")

    def batch_update_partition(self, **request: Any) -> dict[str, Any]:
        self.on_call("glue", "batch_update_partition", request)
        assert len(request["Entries"]) <= 100
        return self._each(request, request["Entries"], self._update, "PartitionValueList")

    def batch_delete_partition(self, **request: Any) -> dict[str, Any]:
        self.on_call("glue", "batch_delete_partition", request)
        assert len(request["PartitionsToDelete"]) <= 25
        return self._each(request, request["PartitionsToDelete"], self._delete, "PartitionValues")

    def by_day(self, table: str) -> dict[str, dict[str, Any]]:
        """Return the partitions of a table."""
        return {p["Values"][0]: p for p in self.partitions.get(table, [])}

    def _each(self, request: Any, entries: Any, act: Callable[[str, Any], str], values: str) -> dict[str, Any]:
        self._find(request["TableName"], "Partitions")
        errors = []
        for entry in entries:
            code = act(request["TableName"], copy.deepcopy(entry))
            if code:
                errors.append({values: entry.get("Values", entry.get(values)), "ErrorDetail": {"ErrorCode": code}})
        return {"Errors": errors}

    def _create(self, table: str, entry: Any) -> str:
        if entry["Values"][0] in self.by_day(table):
            return "AlreadyExistsException"
        self.partitions.setdefault(table, []).append(entry)
        return ""

    def _update(self, table: str, entry: Any) -> str:
        by_day = self.by_day(table)
        if entry["PartitionValueList"][0] not in by_day:
            return "EntityNotFoundException"
        self.partitions[table] = list({**by_day, entry["PartitionValueList"][0]: entry["PartitionInput"]}.values())
        return ""

    def _delete(self, table: str, entry: Any) -> str:
        by_day = self.by_day(table)
        if entry["Values"][0] not in by_day:
            return "EntityNotFoundException"
        del by_day[entry["Values"][0]]
        self.partitions[table] = list(by_day.values())
        return ""


class Receipts:
    """The table RECEIPTS with the key `id`. Sequence numbers of changes rise automatically."""

    def __init__(self, key: ItemKey = BY_ID, table: Table | None = None) -> None:
        """`table`: one that already exists elsewhere; then nothing is in memory."""
        self.clock = Clock()
        self.key = key
        self._number = 0
        self.committed: Counter[str] = Counter()
        """The changes that a reader must see, each as text."""
        if table is not None:
            self.table, self.names = table, table.names
            return
        self.s3, self.glue = ReceiptsS3(self.clock), ReceiptsGlue(self.clock)
        self.names = Lake("dev", "123456789012", "eu-west-1").table("RECEIPTS")
        self.table = self._process()
        schema = TableSchema.of_new_table(key)
        place = {SCHEMA: schema.to_json(), **{f"write.metadata.metrics.column.{n}": "full" for n in ("id", DAY)}}
        changes, items = iceberg_schema(schema, None, 0), iceberg_schema(schema, None, 0, own=state_columns(schema))
        catalog, uri = self.table.catalog, self.names.uri
        catalog.create(self.names.changes_table, changes, uri(self.names.changes_location), DAY, place)
        catalog.create(self.names.state_table, items, uri(self.names.items_location), "__deleted", place)

    def _process(self) -> Table:
        """Return the table as another process sees it, with its own clients."""
        return Table(memory_clients(self.s3, self.glue), self.names)

    def copy(self) -> Receipts:
        """Return a copy of the lake as it is now."""
        new = copy.copy(self)
        new.clock = Clock(self.clock.now)
        new.s3, new.glue = copy.copy(self.s3), copy.copy(self.glue)
        new.s3.objects, new.s3._keys = dict(self.s3.objects), list(self.s3._keys)
        for name in ("tables", "partitions", "optimizers", "late"):
            setattr(new.glue, name, copy.deepcopy(getattr(self.glue, name)))
        new.s3.clock = new.glue.clock = new.clock
        new.committed = Counter(self.committed)
        new.table = new._process()
        return new

    @property
    def now(self) -> Callable[[], Any]:
        return lambda: self.clock.moment

    @property
    def milliseconds(self) -> int:
        return round(self.clock.now * 1000)

    # -- writing ---------------------------------------------------------------------------------------------------

    def records(self, *items: Item) -> list[Item]:
        """Return changes that put these items."""
        changes = []
        for item in items:
            self._number += 1
            changes.append(
                {
                    OPERATION: "MODIFY",
                    SEQUENCE_NUMBER: f"{self._number:040d}",
                    EVENT_TIME: 1_700_000_000_000 + self._number,
                    **item,
                }
            )
        return changes

    def append(self, day: str, *items: Item, raw: str = "") -> FolderManifest:
        """Convert changes of these items from a raw object, as `dynalake_convert` does. They are not sorted."""
        records = self.records(*items)
        manifest, files, schema = self.write(day, records, raw or f"{day}-{self._number}")

        def build(head: Head, news: News) -> Change:
            check_fields(schema, head)
            return Change(files)

        commit_on(self.table.catalog, self.names, self.table.changes(), build, pause=lambda _: None)
        self.committed.update(as_text(r) for r in records)
        return manifest

    def write(self, day: str, records: Sequence[Item], raw: str) -> tuple[FolderManifest, tuple[DataFile, ...], Schema]:
        """Write a folder of changes and its manifest without a commit; new attributes get their columns."""
        attributes = [{a: v for a, v in r.items() if a not in METADATA} for r in records]
        observed = merge_observed(({a: observe(v) for a, v in item.items()} for item in attributes), LIMITS)
        head = grow_schema(self.table, self.table.changes(), observed)
        schema = schema_of(head)
        rows = encode(records, schema, arrow_schema_of(head.schema), day)
        file_schema = head.schema.select(*[n for n in rows.column_names if rows[n].null_count < len(rows) or n == DAY])
        folder = new_folder()
        with TemporaryDirectory() as scratch:
            place = Folder(self.names.change_folder(day, folder), day)
            writer = PartWriter(
                Table(self.table.clients, self.names), head, file_schema, place, Writing(), Path(scratch)
            )
            files = writer.write([rows])
        key = f"{self.names.raw_day(day)}{raw}.gz"
        self.table.clients.s3.put_object(Bucket=self.names.lake.bucket, Key=key, Body=b"")
        manifest = FolderManifest(
            folder,
            day,
            round(self.clock.now * 1000),
            (Input(key, "e", 0),),
            parts_of(files),
            Sums(len(rows), len(rows)),
            misfits_of(rows),
        )
        write_manifest(Table(self.table.clients, self.names), manifest)
        return manifest, files, file_schema

    def put_items(self, *items: Item, deleted: bool = False) -> DataFile:
        """Write a file of the state with these items as a fold does, with the columns of the changes."""
        from dynalake.lake.current.state_schema import grow_state

        head = grow_state(self.table, self.table.changes(), self.table.items())
        schema = schema_of(head)
        rows = encode(self.records(*items), schema, arrow_schema_of(head.schema), None)
        place = rows.column_names.index("__deleted")
        rows = rows.set_column(place, "__deleted", pa.array([deleted] * len(rows)))
        with TemporaryDirectory() as scratch:
            folder = Folder(self.names.items_folder(new_folder()), deleted)
            writer = PartWriter(
                Table(self.table.clients, self.names), head, head.schema, folder, Writing(), Path(scratch)
            )
            files = writer.write([rows])
        commit_on(self.table.catalog, self.names, head, lambda head, news: Change(files), pause=lambda _: None)
        return files[0]

    def optimize(self, day: str) -> None:
        """Move the rows of a day to another file as another engine does: in no folder of ours, unsorted."""
        head = self.table.changes()
        files = head.files({day})
        if not files:
            return
        rows = pa.concat_tables([self._whole(head, f) for f in files])
        body = io.BytesIO()
        from dynalake.lake.files.parts import file_schema

        pq.write_table(rows.cast(file_schema(head.schema)), body)
        key = f"{self.names.changes_location}/data/dt={day}/{new_folder()}.parquet"
        self.s3.put_object(Bucket=self.names.lake.bucket, Key=key, Body=body.getvalue())
        size = len(body.getvalue())
        new = head.data_file(self.names.uri(key), day, pq.read_metadata(body), size, head.schema)
        self.table.catalog.commit(head, Change((new,), files))

    def _whole(self, head: Head, file: DataFile) -> pa.Table:
        from dynalake.lake.files.read import read_rows

        return pa.concat_tables([arrow_schema_of(head.schema).empty_table(), *read_rows(head, [file])])

    # -- reading ---------------------------------------------------------------------------------------------------

    def rows(self, day: str = "") -> Counter[str]:
        """Return what a reader of the current snapshot sees in pyiceberg's own scan: each change as text."""
        head = self.table.changes()
        scan = head.iceberg.scan(row_filter=f"dt = '{day}'") if day else head.iceberg.scan()
        return Counter(as_text(r) for r in decode(scan.to_arrow(), schema_of(head)))

    def items(self) -> Counter[str]:
        """Return the state's rows."""
        head = self.table.items()
        return Counter(as_text(r) for r in decode(head.iceberg.scan().to_arrow(), schema_of(head)))

    def folder_rows(self, location: str) -> Counter[str]:
        """Return the rows of all files below a location as a Hive table reads them: columns by name."""
        prefix = location.removeprefix(self.names.uri(""))
        schema = schema_of(self.table.changes())
        counts: Counter[str] = Counter()
        for key in self.s3.keys(prefix):
            table = pq.read_table(io.BytesIO(self.s3.objects[key].body))
            counts.update(as_text(r) for r in decode(table, schema))
        return counts

    def named(self) -> set[str]:
        """Return the raw objects named in the manifests of live folders."""
        folders = {f.folder for f in self.table.changes().files() if f.folder}
        manifests = read_manifests(Table(self.table.clients, self.names), folders)
        return {i.key for m in manifests.values() if m is not None for i in m.inputs}

    def missing(self) -> set[str]:
        """Return the live files that do not exist."""
        heads = (self.table.changes(), self.table.items())
        paths = {f.path.removeprefix(self.names.uri("")) for head in heads for f in head.files()}
        return paths - self.s3.objects.keys()

    # -- faults ----------------------------------------------------------------------------------------------------

    @contextmanager
    def at_call(self, number: int, act: Callable[[str, dict[str, Any]], Any]) -> Iterator[list[str]]:
        """Act before the call with that number (from 1) to S3 or Glue. Yield the names of the calls so far."""
        calls: list[str] = []

        def on_call(service: str, call: str, request: dict[str, Any]) -> None:
            calls.append(f"{service}.{call}")
            if len(calls) == number:
                self.s3.on_call = self.glue.on_call = lambda *_: None
                self.table = self._process()
                act(call, request)
                self.s3.on_call = self.glue.on_call = on_call

        self.s3.on_call = self.glue.on_call = on_call
        try:
            yield calls
        finally:
            self.s3.on_call = self.glue.on_call = lambda *_: None

    def lose(self, call: str, request: dict[str, Any]) -> None:
        """Let an update of a table land and lose its answer."""
        if call == "update_table":
            self.glue.update(request)
            raise ReadTimeoutError(endpoint_url="https://glue")

    def delay(self, call: str, request: dict[str, Any]) -> None:
        """Delay an update of a table until `land`; nobody waits for its answer."""
        if call == "update_table":
            self.glue.late.append(request)
            raise ReadTimeoutError(endpoint_url="https://glue")

    def land(self) -> None:
        """Deliver late updates."""
        from tests.support.memory.aws import ConcurrentModificationException

        for request in self.glue.late:
            try:
                self.glue.update(request)
            except ConcurrentModificationException:
                pass
        self.glue.late.clear()


def encode(records: Sequence[Item], schema: TableSchema, arrow: pa.Schema, day: str | None) -> pa.Table:
    """Return changes as a conversion writes them: values that fit in their columns, all others in `__other`."""
    rows = []
    for record in records:
        row: Item = {name: value for name, value in record.items() if name in METADATA}
        row |= {} if day is None else {DAY: day}
        row |= {KEY: str(record["id"])} if KEY in arrow.names else {}
        other = []
        for attribute, value in record.items():
            if attribute in METADATA or value is None:
                continue
            column = schema.column(attribute)
            if column is None or not holds(column.type, value):
                other.append((attribute, json_text(value)))
            else:
                row[column.name] = converter(column.type)(value)
        row[OTHER] = other or None
        rows.append(row)
    return pa.Table.from_pylist(rows, arrow)


def decode(rows: pa.Table, schema: TableSchema) -> list[Item]:
    """Return the rows as a reader understands them. A null in an object means a missing key."""
    records = []
    for row in rows.to_pylist():
        record = {name: row[name] for name in METADATA if row.get(name) is not None and name != OTHER}
        record |= {a: parse_json(text) for a, text in row.get(OTHER) or ()}
        for column in schema.columns:
            if row.get(column.name) is not None:
                assert column.attribute not in record
                record[column.attribute] = json_value(column.type)(row[column.name])
        records.append(record)
    return records


def misfits_of(rows: pa.Table) -> dict[str, Any]:
    """Return the values that wait in `__other` as a manifest records them."""
    entries = [entry for entries_of_row in rows[OTHER].to_pylist() for entry in entries_of_row or ()]
    observed = merge_observed(({a: observe(parse_json(text))} for a, text in entries), LIMITS)
    counts = Counter(a for a, _ in entries)
    return {a: {"type": type_to_json(kind), "count": counts[a]} for a, kind in observed.items()}


def as_text(value: Any) -> str:
    """Return a text that is equal for equal values: numbers as numbers, no nulls in objects."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{k!r}:{as_text(v)}' for k, v in sorted(value.items()) if v is not None)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(as_text, value))}]"
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return format(_EXACT.normalize(Decimal(value)), "f")
    return repr(value)
