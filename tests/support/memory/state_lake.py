"""A lake in memory with both Iceberg tables, the views, hand-written changes, and DuckDB as reader of the views."""

from __future__ import annotations

import base64
import copy
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from dynalake.days import SNAPSHOT_DAY
from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.iceberg import Change as TableChange
from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.catalog.table import Table, schema_of
from dynalake.lake.columns.schema import KEY
from dynalake.lake.current.state import Merged, merge_late
from dynalake.lake.current.view_entries import read_entry, write_views
from dynalake.lake.files.folders import FolderManifest, Input, Part, new_folder
from dynalake.lake.files.parts import file_schema
from dynalake.lake.files.read import arrow_schema_of, read_rows
from dynalake.lake.tables.grow import grow_schema
from dynalake.lake.tables.make import make_tables
from dynalake.lake.types.key_text import key_text
from dynalake.lake.types.union import TEXT, Number, Type
from dynalake.names import Lake, TableNames
from dynalake.record.change import SNAPSHOT_SEQUENCE, pad_sequence_number
from dynalake.record.key import ItemKey, KeyAttribute
from tests.support.memory.aws import Clock, MemoryGlue, MemoryS3, memory_clients

BY_ID = ItemKey(KeyAttribute("id", "S"))
DAY_MS = 86_400_000
ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/RECEIPTS"
START = 19723 * DAY_MS  # 20240101 in UTC


class Event(NamedTuple):
    """A change of an item. `sequence` 0 is a snapshot's; `time`: milliseconds since the epoch."""

    key: Any
    sequence: int
    time: int
    operation: str = "MODIFY"
    value: str | None = None

    @property
    def number(self) -> str:
        return pad_sequence_number(str(self.sequence)) if self.sequence else SNAPSHOT_SEQUENCE

    @property
    def shown(self) -> str:
        return f"{self.operation} {self.sequence}" if self.value is None else self.value


class StateS3(MemoryS3):
    """Accepts files, and bodies that are read."""

    def upload_file(self, path: str, bucket: str, key: str) -> None:
        self.put_object(Bucket=bucket, Key=key, Body=Path(path).read_bytes())


class StateLake:
    """The table RECEIPTS in one lake."""

    def __init__(self, key: ItemKey = BY_ID, zone: str = "UTC") -> None:
        self.key = key
        self.clock = Clock()
        self.s3, self.glue = StateS3(self.clock), MemoryGlue(self.clock)
        self.names: TableNames = Lake("dev", "123456789012", "eu-west-1", time_zone=zone).table("RECEIPTS")
        self.table = Table(memory_clients(self.s3, self.glue), self.names)

    def make(self) -> StateLake:
        make_tables(self.table, self.key, ARN)
        self.grow()
        write_views(self.table)
        return self

    def copy(self) -> StateLake:
        """Return a copy of the lake as it is now."""
        other = StateLake(self.key, self.names.lake.time_zone)
        other.clock.now = self.clock.now
        other.s3.objects = dict(self.s3.objects)
        other.s3._keys = list(self.s3._keys)
        other.glue.tables = copy.deepcopy(self.glue.tables)
        return other

    def day(self, time: int) -> str:
        """Return the `dt` of a change that is delivered at once."""
        return self.names.lake.day_of(datetime.fromtimestamp(time / 1000, UTC))

    def row(self, event: Event) -> dict[str, Any]:
        parts = event.key if isinstance(event.key, tuple) else (event.key,)
        values = dict(zip(self.key.names, parts, strict=True))
        return {
            "__operation": event.operation,
            "__sequence_number": event.number,
            "__event_time": event.time,
            KEY: key_text(parts),
            **values,
            **({"value": event.shown} if event.operation != "REMOVE" else {}),
        }

    def grow(self) -> Head:
        """Return the changes with the columns of the rows."""
        numbers: dict[str, Type] = {a.name: Number(1, 0, 1, True) for a in self.key.attributes if a.type == "N"}
        return grow_schema(self.table, self.table.changes(), {"value": TEXT, **numbers})

    def write(
        self, day: str, events: Iterable[Event], head: Head | None = None, table: Table | None = None
    ) -> DataFile:
        """Write a sorted file of these changes into a folder of its own without a commit."""
        head = head or self.grow()
        schema = file_schema(head.schema)
        rows = [{"dt": day, **self.row(e)} for e in events]
        identity = schema_of(head).identity
        rows.sort(key=lambda r: (*(r[name] for name in identity), r["__sequence_number"]))
        of = pa.Table.from_pylist([{n: r.get(n) for n in schema.names} for r in rows], schema=schema)
        return self.put(of, f"{self.names.change_folder(day, new_folder())}part-00000.parquet", day, head, table)

    def put(self, rows: pa.Table, key: str, partition: Any, head: Head, table: Table | None = None) -> DataFile:
        body = io.BytesIO()
        pq.write_table(rows, body, store_schema=False)
        s3 = (table or self.table).clients.s3
        s3.put_object(Bucket=self.names.lake.bucket, Key=key, Body=body.getvalue())
        return head.data_file(self.names.uri(key), partition, pq.read_metadata(body), len(body.getvalue()), head.schema)

    def append(self, *events: Event, day: str = "") -> Merged:
        """Commit changes as a conversion does, one file per day: late changes reach the state first."""
        by_day: dict[str, list[Event]] = {}
        for event in events:
            by_day.setdefault(day or self.day(event.time), []).append(event)
        head = self.grow()
        files = [self.write(d, chosen, head) for d, chosen in by_day.items()]
        merged = merge_late(self.table, head, self.table.items(), files)
        self.commit(TableChange(add=tuple(files)))
        return merged

    def backfill(self, run: int, *keys: Any, files: int = 1, table: Table | None = None) -> FolderManifest:
        """Write a folder of a backfill's items without a commit, as its conversion hands it over."""
        head, folder = self.grow(), new_folder()
        schema = file_schema(head.schema)
        parts = []
        for number in range(files):
            rows = [self.row(Event(k, 0, START + run, "SNAPSHOT", f"snapshot {run}")) for k in keys[number::files]]
            of = pa.Table.from_pylist(
                [{n: {**r, "dt": SNAPSHOT_DAY}.get(n) for n in schema.names} for r in rows], schema=schema
            )
            key = f"{self.names.change_folder(SNAPSHOT_DAY, folder)}part-{number:05d}.parquet"
            file = self.put(of, key, SNAPSHOT_DAY, head, table)
            parts.append(Part(file.path, file.size, file.rows))
        inputs = (Input(f"{self.names.snapshot_run(f'r{run}')}0.gz", "e", 1),)
        return FolderManifest(folder, SNAPSHOT_DAY, self.now(), inputs, tuple(parts), run=run)

    def now(self) -> int:
        """Return the time of the lake's clock in milliseconds."""
        return int(self.clock.now * 1000)

    def commit(self, change: TableChange, head: Head | None = None) -> Head:
        landed = commit_on(
            self.table.catalog, self.names, head or self.table.changes(), lambda now, news: change, pause=lambda s: None
        )
        assert landed is not None
        return landed

    def commit_state(self, change: TableChange) -> Head:
        landed = commit_on(self.table.catalog, self.names, self.table.items(), lambda now, news: change)
        assert landed is not None
        return landed

    def rows(self, head: Head | None = None) -> list[dict[str, Any]]:
        """Return what a reader of `{t}` sees."""
        head = head or self.table.changes()
        return [row for rows in read_rows(head, head.files()) for row in rows.to_pylist()]

    def items(self) -> list[dict[str, Any]]:
        """Return what a reader of `{t}_state` sees."""
        head = self.table.items()
        return [row for rows in read_rows(head, head.files()) for row in rows.to_pylist()]

    def state(self) -> dict[Any, str]:
        """Return item → its winning change, as `Event.shown`; `REMOVE n` if removed. No item may appear twice."""
        winners: dict[Any, str] = {}
        for row in self.items():
            key = self._key(row)
            assert key not in winners, f"{key} is in the state twice"
            assert row["__deleted"] == (row["__operation"] == "REMOVE")
            removal = f"REMOVE {int(row['__sequence_number'])}"
            winners[key] = removal if row["__deleted"] else row["value"]
        return winners

    def current(self) -> dict[Any, str]:
        """Return item → its image according to the text of the view in Glue."""
        images: dict[Any, str] = {}
        for row in self.ask(self.text("current_view")):
            key = self._key(row)
            assert key not in images, f"{key} is in the view twice"
            images[key] = row["value"]
        return images

    def removed(self) -> set[Any]:
        return {self._key(row) for row in self.ask(self.text("removed_view"))}

    def history(self) -> list[dict[str, Any]]:
        return self.ask(self.text("history_view"))

    def text(self, view: str) -> str:
        """Return the SQL in a view's entry, which must match the tables."""
        entry = read_entry(self.table, getattr(self.names, view))
        assert entry is not None
        return view_text(entry)

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows that DuckDB gives for a statement over both tables."""
        with duckdb.connect() as connection:
            connection.execute(f'CREATE SCHEMA "{self.names.lake.database}"')
            for head in (self.table.changes(), self.table.items()):
                place = f'"{self.names.lake.database}"."{head.name}"'
                for as_of in {"", *re.findall(rf"{place}( FOR VERSION AS OF \d+)", sql)}:
                    rows = self.rows_as_of(head, int(as_of.split()[-1]) if as_of else None)
                    connection.register("here", rows)
                    connection.execute(f'CREATE TABLE {place[:-1]}{as_of}" AS SELECT * FROM here')
            result = connection.execute(re.sub(r'"( FOR VERSION AS OF \d+)', r'\1"', sql))
            names = [column[0] for column in result.description]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def rows_as_of(self, head: Head, snapshot: int | None) -> pa.Table:
        """Return a table's rows, or those of one of its snapshots with its columns of that time."""
        if snapshot is None:
            tables = list(read_rows(head, head.files()))
            return pa.concat_tables(tables) if tables else arrow_schema_of(head.schema).empty_table()
        schema = head.schema_at(snapshot)
        snapshot_metadata = head.iceberg.metadata.snapshot_by_id(snapshot)
        assert snapshot_metadata is not None
        io = head.iceberg.io
        entries = [e for m in snapshot_metadata.manifests(io) for e in m.fetch_manifest_entry(io)]
        tables = list(read_rows(head, [DataFile(e.data_file, schema) for e in entries], schema=schema))
        return pa.concat_tables(tables) if tables else arrow_schema_of(schema).empty_table()

    def _key(self, row: dict[str, Any]) -> Any:
        parts = tuple(row[name] for name in self.key.names)
        return parts if len(parts) > 1 else parts[0]


def view_text(entry: Mapping[str, Any]) -> str:
    """Return the SQL in the Glue entry of a view."""
    definition = json.loads(base64.b64decode(entry["ViewOriginalText"].removeprefix("/* Presto View: ")[:-3]))
    return str(definition["originalSql"])


def replay(events: Sequence[Event]) -> dict[Any, str]:
    """Return the items that exist after all these changes."""
    newest: dict[Any, Event] = {}
    for event in events:
        if event.key not in newest or event.sequence > newest[event.key].sequence:
            newest[event.key] = event
    return {key: e.shown for key, e in newest.items() if e.operation != "REMOVE"}
