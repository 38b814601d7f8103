"""One table's lake in memory, with both Iceberg tables and a clock that only the test moves."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.types import BooleanType, LongType, NestedField, StringType

from dynalake.aws.clients import Clients
from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.iceberg import Change, DataFile, Head, News
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.folders import FolderManifest, Input, Part, new_folder, write_manifest
from dynalake.names import Lake, TableNames
from tests.support.memory.aws import Clock, MemoryGlue, MemoryS3, memory_clients

CHANGES = Schema(
    NestedField(1, "dt", StringType(), required=False),
    NestedField(2, "id", StringType(), required=False),
    NestedField(3, "__event_time", LongType(), required=False),
    NestedField(4, "n", LongType(), required=False),
)
ITEMS = Schema(
    NestedField(1, "__deleted", BooleanType(), required=False),
    NestedField(2, "id", StringType(), required=False),
    NestedField(3, "n", LongType(), required=False),
)

FULL_BOUNDS = {f"write.metadata.metrics.column.{c}": "full" for c in ("dt", "id", "__event_time")}


class MemoryLake:
    """The table RECEIPTS. `clients` may be another process's view of the same S3 and Glue."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.s3, self.glue = MemoryS3(self.clock), MemoryGlue(self.clock)
        self.names: TableNames = Lake("dev", "123456789012", "eu-west-1").table("RECEIPTS")
        self.table = self.of(memory_clients(self.s3, self.glue))

    def of(self, clients: Clients) -> Table:
        """Return the table as a process with these clients sees it."""
        return Table(clients, self.names)

    def create(self) -> None:
        catalog = self.table.catalog
        location = self.names.uri(self.names.changes_location)
        catalog.create(self.names.changes_table, CHANGES, location, "dt", FULL_BOUNDS)
        catalog.create(
            self.names.state_table, ITEMS, self.names.uri(self.names.items_location), "__deleted", FULL_BOUNDS
        )

    def put_raw(self, day: str, name: str, body: bytes = b"{}", run: str = "") -> Input:
        """Put a raw object of a day, or of a backfill's run."""
        prefix = self.names.snapshot_run(run) if run else self.names.raw_day(day)
        key = f"{prefix}{name}"
        return Input(key, self.s3.put_object(Bucket="b", Key=key, Body=body)["ETag"], len(body))

    def write(
        self,
        day: str,
        rows: Sequence[dict[str, Any]],
        inputs: Sequence[Input] = (),
        *,
        table: Table | None = None,
        folder: str = "",
    ) -> DataFile:
        """Write a folder of the changes without a commit: its file, then its manifest."""
        table = table or self.table
        head = table.changes()
        folder = folder or new_folder()
        file = put_file(table, head, f"{self.names.change_folder(day, folder)}part-00000.parquet", day, rows, "dt")
        made_at = round(self.clock.now * 1000)
        parts = (Part(file.path, file.size, file.rows),)
        write_manifest(Table(table.clients, self.names), FolderManifest(folder, day, made_at, tuple(inputs), parts))
        return file

    def append(self, day: str, *ids: str, inputs: Sequence[Input] = (), time: int = 0) -> DataFile:
        """Write and commit a folder of rows with these keys."""
        file = self.write(day, [{"id": i, "__event_time": time or self.milliseconds} for i in ids], inputs)
        self.commit(Change(add=(file,)))
        return file

    def commit(self, change: Change, name: str = "") -> Head:
        """Commit a change, and note the location of the metadata."""
        return commit_change(self.table, name or self.names.changes_table, lambda head, news: change)

    def put_items(self, *ids: str, deleted: bool = False) -> DataFile:
        """Write and commit a file of the state."""
        head = self.table.items()
        key = f"{self.names.items_folder(new_folder())}part-00000.parquet"
        file = put_file(self.table, head, key, deleted, [{"id": i} for i in ids], "__deleted")
        self.commit(Change(add=(file,)), self.names.state_table)
        return file

    @property
    def milliseconds(self) -> int:
        return round(self.clock.now * 1000)

    @property
    def today(self) -> str:
        return self.names.lake.day_of(self.clock.moment)

    def day(self, ago: int) -> str:
        """Return the day that many days ago."""
        return self.names.lake.day_of(self.clock.moment - timedelta(days=ago))

    def key(self, file: DataFile) -> str:
        return file.path.removeprefix(self.names.uri(""))

    def rows(self) -> list[str]:
        """Return the ids that a reader of the current snapshot sees."""
        ids: list[Any] = []
        for file in self.table.changes().files():
            ids += pq.read_table(io.BytesIO(self.s3.objects[self.key(file)].body)).column("id").to_pylist()
        return sorted(ids)

    def missing(self) -> set[str]:
        """Return the files that the current snapshots name and the bucket lacks."""
        named: set[str] = set()
        for head in (self.table.changes(), self.table.items()):
            named |= {head.metadata_location, *(f.path for f in head.files())}
            for snapshot in head.iceberg.metadata.snapshots:
                named.add(snapshot.manifest_list)
                named |= {m.manifest_path for m in snapshot.manifests(head.iceberg.io)}
        return {path.removeprefix(self.names.uri("")) for path in named} - self.s3.objects.keys()


def use_clock(patch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Create snapshots at the clock's time."""
    patch.setattr("pyiceberg.table.snapshots.time", SimpleNamespace(time=lambda: clock.now))


def put_file(
    table: Table, head: Head, key: str, partition: Any, rows: Sequence[dict[str, Any]], by: str, padding: int = 0
) -> DataFile:
    """Write a file of rows. `by`: the partition's column."""
    arrow = pa.Table.from_pylist([{by: partition, **row} for row in rows], schema=schema_to_pyarrow(head.schema))
    body = io.BytesIO()
    pq.write_table(arrow, body)
    table.clients.s3.put_object(Bucket=table.names.lake.bucket, Key=key, Body=body.getvalue())
    return head.data_file(table.names.uri(key), partition, pq.read_metadata(body), len(body.getvalue()), head.schema)


def commit_change(table: Table, name: str, build: Callable[[Head, News], Change | None]) -> Head:
    """Commit without waiting between attempts."""
    head = table.catalog.load(name)
    landed = commit_on(table.catalog, table.names, head, build, pause=lambda _: None)
    return landed or head
