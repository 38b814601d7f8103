"""Batches of raw lines, read by either reader, and their expected rows."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients
from dynalake.convert.options import ReadOptions
from dynalake.convert.read import placing
from dynalake.convert.read.compiled import blocks, columns, parse
from dynalake.convert.read.quarantine import RejectedLines
from dynalake.convert.read.raw import BadLine
from dynalake.convert.read.raw_batch import read_batch
from dynalake.convert.read.records import Record, RecordParser
from dynalake.convert.rows import place, runs
from dynalake.convert.rows.words import element_counter
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.column import KEY as KEY_COLUMN
from dynalake.lake.columns.schema import METADATA_TYPES, TableSchema
from dynalake.lake.files.folders import Input, Sums
from dynalake.lake.types.arrow import json_text
from dynalake.lake.types.budget import BUDGET, Budget
from dynalake.lake.types.union import Type, holds
from dynalake.names import Lake
from dynalake.record.change import OTHER, RESERVED_KEYS, attribute_name
from dynalake.record.key import ItemKey, KeyAttribute
from tests.support.values.recover import plain, recover

NAMES = Lake("dev", "123456789012", "us-east-1").table("RECEIPTS")
DAY = "20240101"
TEXT_KEY = ItemKey(KeyAttribute("id", "S"))
KEYS = (
    TEXT_KEY,
    ItemKey(KeyAttribute("id", "S"), KeyAttribute("n", "N")),
    ItemKey(KeyAttribute("n", "N")),
    ItemKey(KeyAttribute("n", "N"), KeyAttribute("id", "S")),
)


class Bucket:
    """The part of S3 that readers use: objects by key."""

    def __init__(self, bodies: Mapping[str, bytes]) -> None:
        self.bodies = dict(bodies)
        self.put: dict[str, bytes] = {}

    def get_object(self, *, Bucket: str, Key: str, IfMatch: str) -> dict[str, Any]:
        if Key not in self.bodies:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        if IfMatch != "etag":
            raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "GetObject")
        return {"Body": io.BytesIO(self.bodies[Key])}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, IfNoneMatch: str) -> dict[str, Any]:
        assert IfNoneMatch == "*"
        if Key in self.put:
            raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "PutObject")
        self.put[Key] = Body
        return {"ETag": "etag"}

    def clients(self) -> Clients:
        return Clients(lambda service: self)

    def objects(self) -> list[Input]:
        return [Input(key, "etag", len(body)) for key, body in self.bodies.items()]


def bucket(bodies: Sequence[bytes]) -> Bucket:
    return Bucket({f"{NAMES.raw_day(DAY)}{i:03d}.gz": body for i, body in enumerate(bodies)})


class Found(NamedTuple):
    """The results of reading a batch."""

    observed: Mapping[str, Type]
    schema: TableSchema
    rejected: RejectedLines
    put: Mapping[str, bytes]
    rows: list[dict[str, Any]]
    columns: tuple[str, ...]
    misfits: Mapping[str, Any]
    without: int
    sums: Sums


def find(
    bodies: Sequence[bytes],
    table: TableSchema,
    budget: Budget = BUDGET,
    *,
    compiled: bool,
    schema: TableSchema | None = None,
    memory_mb: int = 1,
) -> Found:
    """Read a batch and its rows under a schema (default: the one that it requests)."""
    store = bucket(bodies)
    options = ReadOptions(memory_mb=memory_mb, compiled_from_mb=0 if compiled else 1 << 20)
    with tempfile.TemporaryDirectory() as directory:
        batch = read_batch(Table(store.clients(), NAMES), store.objects(), table, options, Path(directory), budget)
        tables = list(batch.tables(schema))
    for rows in tables:
        rows.validate(full=True)
    together = pa.concat_tables(tables) if tables else pa.table({})
    return Found(
        batch.observed,
        batch.schema,
        batch.rejected,
        store.put,
        together.to_pylist(),
        tuple(together.column_names),
        batch.misfits,
        batch.without_column,
        batch.sums,
    )


def check_alike(
    bodies: Sequence[bytes], table: TableSchema, budget: Budget = BUDGET, schema: TableSchema | None = None
) -> Found:
    """Check that both readers return the same, and exactly what is in the lines."""
    compiled = find(bodies, table, budget, compiled=True, schema=schema)
    exact = find(bodies, table, budget, compiled=False, schema=schema)
    assert compiled.schema == exact.schema
    assert compiled[2:] == exact[2:]
    check_rows(bodies, exact, exact.schema if schema is None else schema)
    return compiled


def check_rows(bodies: Sequence[bytes], found: Found, schema: TableSchema) -> None:
    """Check that each change appears once, in order, with each exact value in its column or in `__other`."""
    expected = winners(bodies, schema.key)
    assert len(found.rows) == len(expected) == found.sums.rows
    assert found.sums.add_up
    for row, record in zip(found.rows, expected, strict=True):
        check_row(row, record, schema)


def check_row(row: Mapping[str, Any], record: Record, schema: TableSchema) -> None:
    for name in METADATA_TYPES:
        assert row[name] == record.values.get(name)
    if KEY_COLUMN in schema.identity:
        assert row[KEY_COLUMN] == record.order[0]
    other = dict(row[OTHER] or ())
    assert [key for key, _ in row[OTHER] or ()] == sorted(other)
    checked = 0
    words = 0
    for key, value in record.values.items():
        if key in RESERVED_KEYS or value is None:
            continue
        attribute = attribute_name(key)
        column = schema.known.get(attribute)
        if column is not None and holds(column.type, value):
            count = element_counter(column.type)
            extra = 0 if count is None else count(value)[1]
            if words + extra <= place.DENSE:
                words += extra
                assert attribute not in other
                assert recover(row[column.name], column.type) == plain(value), column
                continue
        checked += 1
        assert column is None or row.get(column.name) is None
        assert other[attribute] == json_text(value)
        assert plain(json.loads(other[attribute], parse_float=Decimal)) == plain(value)
    assert len(other) == checked


def winners(bodies: Sequence[bytes], key: ItemKey) -> list[Record]:
    """Return the last record of each change, in order, by Python alone. Bodies are whole lines, not compressed."""
    parse = RecordParser(key)
    last: dict[Any, Record] = {}
    for line in (line for body in bodies for line in body.split(b"\n") if line.strip()):
        try:
            record = parse(line)
        except BadLine:
            continue
        if record is not None and (record.identity not in last or last[record.identity].order < record.order):
            last[record.identity] = record
    return [last[identity] for identity in sorted(last)]


@contextmanager
def small(block: int = 1 << 20, slots: int = 10_000, pieces: int = 8, dense: int | None = None) -> Iterator[None]:
    """Make all pieces small, so that a few lines hit every boundary."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", block)
        patch.setattr(blocks, "_WIDE", 4)
        patch.setattr(parse, "_SAMPLE_BYTES", 1 << 9)
        patch.setattr(placing, "_SAMPLE", 2)
        patch.setattr(columns, "_SLOTS_AT_ONCE", slots)
        patch.setattr(columns, "_EXTRAS", 1)
        patch.setattr(runs, "SHARE", 1 << 8)
        patch.setattr(runs, "PIECES", pieces)
        patch.setattr(runs, "MERGED", 2)
        if dense is not None:
            patch.setattr(place, "DENSE", dense)
            patch.setattr(columns, "DENSE", dense)
            patch.setattr("dynalake.convert.read.compiled.compiled.DENSE", dense)
        yield


def table_of(key: ItemKey, items: Sequence[Mapping[str, Any]], budget: Budget) -> TableSchema:
    """Return the schema of a table created for these items."""
    from dynalake.lake.columns.gather import Gathering

    table = TableSchema.of_new_table(key)
    gathering = Gathering(table, budget)
    for item in items:
        gathering.record(dict(item))
    return table.admit(gathering.observed, budget)


def change(values: Mapping[str, Any], sequence: int, made: int = 0, operation: str = "INSERT") -> dict[str, Any]:
    """Return a change record as its JSON value."""
    return {
        "__operation": operation,
        "__sequence_number": f"{sequence:040d}",
        "__event_time": 1_600_000_000_000 + made,
        **values,
    }


def line_of(record: Mapping[str, Any]) -> bytes:
    """Return the line as the forwarder writes it: metadata first, then the attributes by name."""
    metadata = {k: v for k, v in record.items() if k in METADATA_TYPES}
    return json_text(metadata | ordered({k: v for k, v in record.items() if k not in METADATA_TYPES})).encode()


def ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: ordered(value[k]) for k in sorted(value)}
    return list(map(ordered, value)) if isinstance(value, list) else value
