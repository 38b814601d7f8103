"""One table's lake in memory: hand-written raw objects, conversions as the tasks run them, and the readers' view."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dynalake.aws.clients import Clients
from dynalake.convert.batch import BatchResult, convert_batch
from dynalake.convert.finish import Finished, finish_table, read_results
from dynalake.convert.plan import Batch, ConvertLimits, TablePlan, plan_table
from dynalake.convert.read.quarantine import RejectedLines
from dynalake.convert.read.raw import stream_lines
from dynalake.convert.read.records import RecordParser
from dynalake.errors import ConflictError
from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.catalog.table import BOUND, Table
from dynalake.lake.columns.schema import METADATA_TYPES, Observed, TableSchema
from dynalake.lake.files.folders import Sums
from dynalake.lake.tables.make import make_tables
from dynalake.lake.types.arrow import arrow_type
from dynalake.lake.types.union import TEXT
from dynalake.names import Lake, TableNames
from dynalake.record.change import EVENT_TIME, SEQUENCE_NUMBER
from dynalake.record.key import ItemKey, KeyAttribute
from tests.support.memory.aws import Clock, MemoryGlue, MemoryS3, memory_clients

KEY = ItemKey(KeyAttribute("id", "S"))
HOUR, DAY_MS = 3_600_000, 86_400_000


class Change(NamedTuple):
    """A change of an item, made at `time` (milliseconds since the epoch). `values` are text attributes."""

    id: str
    sequence: int
    time: int
    value: str = "v"
    operation: str = "MODIFY"

    def line(self) -> str:
        record = {
            "__operation": self.operation,
            "__sequence_number": f"{self.sequence:040d}",
            "__event_time": self.time,
            "id": self.id,
            "value": self.value,
        }
        return json.dumps(record)


class Row(NamedTuple):
    """A row that a reader sees."""

    id: str
    sequence: int
    time: int
    value: str
    day: str


class ConvertS3(MemoryS3):
    """Accepts ETags with and without quotes, as S3 does, and files."""

    def get_object(self, **request: Any) -> dict[str, Any]:
        if "IfMatch" in request:
            request["IfMatch"] = f'"{request["IfMatch"].strip(chr(34))}"'
        return super().get_object(**request)

    def upload_file(self, path: str, bucket: str, key: str) -> None:
        self.put_object(Bucket=bucket, Key=key, Body=Path(path).read_bytes())


class SimpleRows:
    """Reads lines with Python, and keeps their attributes as text: types do not matter here."""

    def __init__(self, table: Table, batch: Batch, schema: TableSchema) -> None:
        parse = RecordParser(schema.key)
        winners: dict[Any, dict[str, Any]] = {}
        self._lines = self._canaries = self._rejected = 0
        self.misfits: dict[str, Any] = {}
        for raw in batch.inputs:
            try:
                answer = table.clients.s3.get_object(Bucket=table.names.lake.bucket, Key=raw.key, IfMatch=raw.etag)
            except Exception as error:
                raise ConflictError(f"{raw.key} has changed") from error
            for line in stream_lines(answer["Body"]):
                self._lines += 1
                try:
                    record = parse(line)
                except ValueError:
                    self._rejected += 1
                    continue
                if record is None:
                    self._canaries += 1
                else:
                    winners[record.identity] = record.values
        self._rows = [winners[place] for place in sorted(winners)]
        names = {name for row in self._rows for name in row if not name.startswith("__")}
        self.observed: Observed = dict.fromkeys(sorted(names), TEXT)

    @property
    def rejected(self) -> RejectedLines:
        return RejectedLines(self._rejected, {"broken": self._rejected} if self._rejected else {})

    @property
    def sums(self) -> Sums:
        rows = len(self._rows)
        duplicates = self._lines - self._canaries - self._rejected - rows
        return Sums(self._lines, rows, duplicates, 0, self._canaries, self._rejected)

    def tables(self, schema: TableSchema) -> Iterator[pa.Table]:
        columns = {name: arrow_type(kind) for name, kind in METADATA_TYPES.items()}
        columns |= {c.name: pa.string() for c in schema.columns if c.attribute in self.observed}
        if self._rows:
            yield pa.table({n: pa.array([r.get(n) for r in self._rows], kind) for n, kind in columns.items()})


def read_simply(table: Table, batch: Batch, schema: TableSchema, directory: Path) -> SimpleRows:
    return SimpleRows(table, batch, schema)


@dataclass
class State:
    """The part of the state that a conversion knows: the late changes merged into it."""

    merged: set[tuple[str, int]] = field(default_factory=set)

    def merge_late(self, table: Table, head: Head, state: Head, files: Sequence[DataFile]) -> None:
        bound = int(head.properties[BOUND])
        for file in files:
            key = file.path.removeprefix(table.names.uri(""))
            body = table.clients.s3.get_object(Bucket=table.names.lake.bucket, Key=key)["Body"].read()
            for row in pq.read_table(io.BytesIO(body)).to_pylist():
                if row[EVENT_TIME] <= bound:
                    self.merged.add((row["id"], int(row[SEQUENCE_NUMBER])))


class ConvertLake:
    """The table RECEIPTS."""

    def __init__(self, clients: Clients | None = None, time_zone: str = "UTC") -> None:
        self.clock = Clock()
        self.s3, self.glue = ConvertS3(self.clock), MemoryGlue(self.clock)
        self.names: TableNames = Lake("dev", "123456789012", "eu-west-1", time_zone=time_zone).table("RECEIPTS")
        self.table = Table(clients or memory_clients(self.s3, self.glue), self.names)
        self.limits = ConvertLimits()
        self.state = State()
        self.read: Callable[..., Any] = read_simply

    def create(self, key: ItemKey = KEY) -> Head:
        make_tables(self.table, key, "arn:aws:dynamodb:eu-west-1:123456789012:table/RECEIPTS")
        return self.table.changes()

    def other(self) -> Table:
        """Return the table as another process sees it."""
        return Table(memory_clients(self.s3, self.glue), self.names)

    @property
    def now(self) -> int:
        """Return the milliseconds since the epoch."""
        return round(self.clock.now * 1000)

    @property
    def today(self) -> str:
        return self.names.lake.day_of(self.clock.moment)

    def day(self, ago: int) -> str:
        return self.names.lake.day_of(self.clock.moment - timedelta(days=ago))

    def put(self, day: str, name: str, changes: Iterable[Change | str]) -> str:
        """Put changes, or unchanged lines, as a raw object. Return its key."""
        lines = [c if isinstance(c, str) else c.line() for c in changes]
        key = f"{self.names.raw_day(day)}{name}.gz"
        body = gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
        self.table.clients.s3.put_object(Bucket=self.names.lake.bucket, Key=key, Body=body)
        return key

    # -- what the tasks do -----------------------------------------------------------------------------------------

    def plan(self, days: Iterable[str] = (), table: Table | None = None) -> TablePlan:
        return plan_table(table or self.table, self.limits, self.clock.moment, days)

    def convert(self, batch: Batch, table: Table | None = None) -> BatchResult:
        return convert_batch(table or self.table, batch, self.read)

    def finish(self, plan: TablePlan, table: Table | None = None) -> Finished:
        table, name = table or self.table, plan.batches[0].plan
        return finish_table(
            table,
            name,
            read_results(table, name, [batch.number for batch in plan.batches]),
            self.limits,
            lambda: self.clock.moment,
            read=self.read,
            merge=self.state.merge_late,
        )

    def run(self, days: Iterable[str] = (), table: Table | None = None) -> Finished | None:
        """Do a whole run, one task after the other. Return None if nothing was due."""
        plan = self.plan(days, table)
        if not plan.batches:
            return None
        for batch in plan.batches:
            try:
                self.convert(batch, table)
            except ConflictError:
                continue
        return self.finish(plan, table)

    # -- what readers see ------------------------------------------------------------------------------------------

    def rows(self, head: Head | None = None) -> list[Row]:
        """Return the rows in the order of item, sequence number and day."""
        rows = []
        for file in (head or self.table.changes()).files():
            for row in self._read(file):
                number = int(row[SEQUENCE_NUMBER])
                rows.append(Row(row["id"], number, row[EVENT_TIME], row.get("value", ""), row["dt"]))
                assert row["dt"] == file.partition
        return sorted(rows)

    def _read(self, file: DataFile) -> list[dict[str, Any]]:
        key = file.path.removeprefix(self.names.uri(""))
        body = self.table.clients.s3.get_object(Bucket=self.names.lake.bucket, Key=key)["Body"].read()
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(body)).to_pylist()
        return rows

    def folders(self) -> set[str]:
        return {f.folder for f in self.table.changes().files()}
