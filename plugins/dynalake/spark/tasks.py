"""What Spark's executors do: read raw objects, and write one range of records as one part.

Both are generators over Arrow record batches, as `DataFrame.mapInArrow` takes them; nothing here needs a JVM.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from dynalake.catalog.discover import observe_record
from dynalake.catalog.raw import RawObject
from dynalake.catalog.schema import TableSchema
from dynalake.catalog.types import Type, type_from_json, type_to_json
from dynalake.clients import Clients
from dynalake.compact.look import MINUTE, Look
from dynalake.compact.manifest import Part
from dynalake.compact.options import CompactOptions
from dynalake.compact.read import Record, RecordParser, Rejected, read_records
from dynalake.compact.repeats import Repeats
from dynalake.compact.write import count_rows, tables_of, write_parts
from dynalake.names import TableNames
from dynalake.record.change import METADATA, json_key
from dynalake.record.key import ItemKey
from dynalake.spark.order import identity_bytes, place_bytes

LINES = "place binary, identity binary, event_time bigint, line binary, summary string"
"""One row per record, in which `summary` is null, and one per task, in which all else is."""

PARTS = "part int, key string, rows bigint, size bigint, records bigint, repeats bigint"

_LINES: dict[str, pa.DataType] = {
    "place": pa.binary(),
    "identity": pa.binary(),
    "event_time": pa.int64(),
    "line": pa.binary(),
    "summary": pa.string(),
}
_PARTS: dict[str, pa.DataType] = {
    "part": pa.int32(),
    "key": pa.string(),
    "rows": pa.int64(),
    "size": pa.int64(),
    "records": pa.int64(),
    "repeats": pa.int64(),
}

_BATCH_BYTES = 4 << 20
_ONE_PART = 1 << 30
"""MB: a range of records is one part, however large it becomes."""

MakeClients = Callable[[], Clients]


@dataclass
class Summary:
    """What one task has read: counts, types, the minutes in which the changes were made, rejected lines, and a place
    for each so many bytes of lines."""

    read: int
    canaries: int
    size: int
    observed: dict[str, Type]
    minutes: set[int]
    rejected: list[dict[str, Any]]
    samples: list[bytes]

    def to_json(self) -> str:
        values = {
            **vars(self),
            "observed": {name: type_to_json(kind) for name, kind in self.observed.items()},
            "minutes": sorted(self.minutes),
            "samples": [sample.hex() for sample in self.samples],
        }
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> Summary:
        values = json.loads(text)
        values["observed"] = {name: type_from_json(kind) for name, kind in values["observed"].items()}
        values["minutes"] = set(values["minutes"])
        values["samples"] = [bytes.fromhex(sample) for sample in values["samples"]]
        return cls(**values)


@dataclass(frozen=True)
class ReadObjects:
    """Turns rows of `objects` (a JSON list of raw objects: one task) into `LINES`."""

    make_clients: MakeClients
    names: TableNames
    key: ItemKey
    options: CompactOptions
    sample_bytes: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        clients = self.make_clients()
        for batch in batches:
            for text in batch.column("objects").to_pylist():
                yield from self._read(clients, [RawObject(*one) for one in json.loads(str(text))])

    def _read(self, clients: Clients, objects: list[RawObject]) -> Iterator[pa.RecordBatch]:
        rejected = Rejected(self.options.max_quarantined)
        seen = Summary(0, 0, 0, {}, set(), rejected.entries, [])
        order = [name if name in METADATA else json_key(name) for name in self.options.sort_by]
        rows: list[tuple[bytes, bytes, int, bytes, None]] = []
        held = 0
        for record in read_records(clients, self.names, objects, self.key, rejected):
            seen.read += 1
            if record is None:
                seen.canaries += 1
                continue
            observe_record(seen.observed, record.values, self.options.max_struct_fields)
            seen.minutes.add(record.order[-2] // MINUTE)
            identity = identity_bytes(record.identity)
            place = place_bytes((record.values.get(name) for name in order), identity)
            if seen.size // self.sample_bytes != (seen.size + len(record.line)) // self.sample_bytes:
                seen.samples.append(place)
            seen.size += len(record.line)
            rows.append((place, identity, record.order[-2], record.line, None))
            held += len(place) + len(identity) + len(record.line)
            if held >= _BATCH_BYTES:
                yield _batch(rows, _LINES)
                rows, held = [], 0
        yield _batch([*rows, (None, None, None, None, seen.to_json())], _LINES)


@dataclass(frozen=True)
class WriteRanges:
    """Turns `part, identity, line` in the order of part, place, event time and line into `PARTS`.

    Each range of places, which are in one task whole, becomes one object under its number. What a task writes
    follows from its rows, so a task that Spark runs again, or twice at once, writes the same.
    """

    make_clients: MakeClients
    names: TableNames
    schema: TableSchema
    options: CompactOptions
    look: Look
    prefix: str

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        clients = self.make_clients()
        for number, rows in groupby(_rows(batches), key=itemgetter(0)):
            part, records, repeats = self.write(clients, number, (line for _, line in last_of_each(rows)))
            yield _batch([(number, part.key, part.rows, part.size, records, repeats)], _PARTS)

    def write(self, clients: Clients, number: int, lines: Iterable[bytes]) -> tuple[Part, int, int]:
        """One part from lines that are in order and have no duplicates; how many there were, and repeats in them."""
        written = 0
        parse = RecordParser(self.schema.key)

        def records() -> Iterator[Record]:
            nonlocal written
            for line in lines:
                record = parse(line)
                assert record is not None  # canaries are left out where objects are read
                written += 1
                yield record

        repeats = Repeats(clients, self.names, self.schema, self.look)
        key = f"{self.prefix}part-{number:05d}.{self.options.format}"
        with TemporaryDirectory(prefix="dynalake-") as scratch:
            whole = replace(self.options, part_mb=_ONE_PART)
            rows = repeats.drop(tables_of(records(), self.schema))
            for path in write_parts(rows, self.schema, whole, Path(scratch)):
                size = path.stat().st_size
                clients.s3.upload_file(str(path), self.names.lake.bucket, key)
        part = Part(key, count_rows(clients, self.names.lake.bucket, key, size), size)
        return part, written, repeats.dropped


def last_of_each(rows: Iterable[tuple[int, bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Of rows in order, identity and line of the last of each identity: the one that `compact` keeps."""
    for identity, same in groupby(rows, key=itemgetter(1)):
        for _, _, line in same:
            last = line
        yield identity, last


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, bytes, bytes]]:
    for batch in batches:
        columns = (batch.column(name).to_pylist() for name in ("part", "identity", "line"))
        yield from zip(*columns, strict=True)


def _batch(rows: list[tuple[Any, ...]], types: dict[str, pa.DataType]) -> pa.RecordBatch:
    columns = zip(types.items(), zip(*rows, strict=True), strict=True)
    return pa.RecordBatch.from_pydict({name: pa.array(values, of) for (name, of), values in columns})
