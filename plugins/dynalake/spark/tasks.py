"""What Spark's executors do: read raw objects, and write one range of records as one part.

Both are generators over Arrow record batches, as `DataFrame.mapInArrow` takes them; nothing here needs a JVM.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynalake.clients import Clients
from dynalake.compact.look import Look
from dynalake.compact.manifest import Part
from dynalake.compact.repeats import Repeats
from dynalake.convert.options import CompactOptions
from dynalake.convert.read.raw import RawObject
from dynalake.convert.read.records import Record, RecordParser, Rejected, read_records
from dynalake.convert.rows.minutes import MINUTE
from dynalake.convert.rows.write import count_rows, tables_of, write_parts
from dynalake.lake.schema import TableSchema, observe_record
from dynalake.names import TableNames
from dynalake.record.change import METADATA, json_key
from dynalake.spark.order import identity_bytes, place_bytes
from dynalake.spark.summary import Summary

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


@dataclass(frozen=True)
class ReadObjects:
    """Turns rows of `objects` (a JSON list of raw objects: one task) into `LINES`.

    `table`: the types as they are known. `compiled`: whether the compiled reader is worth its start.
    """

    make_clients: MakeClients
    names: TableNames
    table: TableSchema
    options: CompactOptions
    sample_bytes: int
    compiled: bool

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        clients = self.make_clients()
        for batch in batches:
            for text in batch.column("objects").to_pylist():
                yield from self._read(clients, [RawObject(*one) for one in json.loads(str(text))])

    def _read(self, clients: Clients, objects: list[RawObject]) -> Iterator[pa.RecordBatch]:
        seen = Summary(slow=find_obstacle() if self.compiled else "")
        if self.compiled and not seen.slow:
            from dynalake.convert.read.parse import Undecided
            from dynalake.spark.compiled import read_lines

            found = read_lines(clients, self.names, objects, self.table, self.options, self.sample_bytes, seen)
            try:
                for lines in found:
                    yield from lines.append_column("summary", pa.nulls(lines.num_rows, pa.string())).to_batches()
            except Undecided:
                # Too many lines are rejected: nothing but these counts any more, and they are to be the same ones.
                seen = Summary()
                yield from self._read_exactly(clients, objects, seen)
        else:
            yield from self._read_exactly(clients, objects, seen)
        yield _batch([(None, None, None, None, seen.to_json())], _LINES)

    def _read_exactly(self, clients: Clients, objects: list[RawObject], seen: Summary) -> Iterator[pa.RecordBatch]:
        rejected = Rejected(self.options.max_quarantined, seen.rejected)
        order = [name if name in METADATA else json_key(name) for name in self.options.sort_by]
        rows: list[tuple[bytes, bytes, int, bytes, None]] = []
        held = 0
        for record in read_records(clients, self.names, objects, self.table.key, rejected):
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
        if rows:
            yield _batch(rows, _LINES)


@dataclass(frozen=True)
class WriteRanges:
    """Turns `part, identity, line` in the order of part, place, event time and line into `PARTS`.

    Each range of places, which are in one task whole, becomes one object under its number. What a task writes
    follows from its rows, so a task that Spark runs again, or twice at once, writes the same.

    `read_as`: types that hold all records, for the compiled reader; None where it is not worth its start.
    """

    make_clients: MakeClients
    names: TableNames
    schema: TableSchema
    options: CompactOptions
    look: Look
    prefix: str
    read_as: TableSchema | None

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        clients = self.make_clients()
        for number, pieces in groupby(last_of_each(batches), key=itemgetter(0)):
            part, records, repeats = self.write(clients, number, (lines for _, lines in pieces))
            yield _batch([(number, part.key, part.rows, part.size, records, repeats)], _PARTS)

    def write(self, clients: Clients, number: int, pieces: Iterable[Any]) -> tuple[Part, int, int]:
        """One part from lines that are in order and have no duplicates; how many there were, and repeats in them."""
        written = 0

        def counted() -> Iterator[Any]:
            nonlocal written
            for lines in pieces:
                written += len(lines)
                yield lines

        repeats = Repeats(clients, self.names, self.schema, self.look)
        key = f"{self.prefix}part-{number:05d}.{self.options.format}"
        with TemporaryDirectory(prefix="dynalake-") as scratch:
            whole = replace(self.options, part_mb=_ONE_PART)
            rows = repeats.drop(self._tables(counted()))
            for path in write_parts(rows, self.schema, whole, Path(scratch)):
                size = path.stat().st_size
                clients.s3.upload_file(str(path), self.names.lake.bucket, key)
        part = Part(key, count_rows(clients, self.names.lake.bucket, key, size), size)
        return part, written, repeats.dropped

    def _tables(self, pieces: Iterable[Any]) -> Iterator[pa.Table]:
        if self.read_as is None or find_obstacle():
            return tables_of(_parsed(RecordParser(self.schema.key), pieces), self.schema)
        from dynalake.spark.compiled import tables_of_lines

        return tables_of_lines(pieces, self.read_as, self.schema, self.options.max_struct_fields)


def find_obstacle() -> str:
    """Why the compiled reader cannot be used here; '' where it can."""
    try:
        import numba  # noqa: F401
    except ImportError as error:
        return f"numba cannot be imported ({error})"
    return ""


def last_of_each(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, Any]]:
    """Of rows in order, the lines of the last of each identity, which `compact` keeps: pieces of parts, by number."""
    held: list[pa.RecordBatch] = []  # the last row that came
    for batch in batches:
        table = pa.Table.from_batches([*held, batch]).combine_chunks()
        identity: Any = table["identity"].combine_chunks()
        yield from _pieces(table[:-1].filter(pc.not_equal(identity[:-1], identity[1:])))
        held = table[-1:].to_batches()
    yield from _pieces(pa.Table.from_batches(held)) if held else ()


def _pieces(table: pa.Table) -> Iterator[tuple[int, Any]]:
    if not table.num_rows:
        return
    numbers = np.asarray(table["part"])
    starts = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(numbers)]
    for start, end in pairwise(starts):
        yield int(numbers[start]), table["line"][start:end].combine_chunks()


def _parsed(parse: RecordParser, pieces: Iterable[Any]) -> Iterator[Record]:
    for lines in pieces:
        for line in lines.to_pylist():
            record = parse(line)
            assert record is not None  # canaries are left out where objects are read
            yield record


def _batch(rows: list[tuple[Any, ...]], types: dict[str, pa.DataType]) -> pa.RecordBatch:
    columns = zip(types.items(), zip(*rows, strict=True), strict=True)
    return pa.RecordBatch.from_pydict({name: pa.array(values, of) for (name, of), values in columns})
