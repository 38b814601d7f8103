"""Compare the lake's tables, as read by SQL, with the written values.

On AWS, Athena reads them. Local AWS has no Athena, so DuckDB reads the same files, and the report says so.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow.parquet as pq

from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.hive.hive import list_partitions
from dynalake.lake.tables.grow import schema_of
from dynalake.record.change import OPERATION, SEQUENCE_NUMBER
from infra.conformance.place import Place
from infra.local.demo.check import Comparison, Difference, compare_items, lake_item, scan_table
from infra.local.demo.items import Change
from infra.local.demo.lake import LakeReader
from infra.local.demo.receipts import Item
from infra.local.demo.writing import KeyValues, key_values

Rows = list[dict[str, Any]]


class Engine(Protocol):
    """A reader of the lake's tables and views."""

    name: str

    def rows(self, table: str) -> Rows: ...


class Athena:
    """Athena in the lake's workgroup, through awswrangler. UNLOAD writes Parquet, which keeps every type."""

    name = "Athena"

    def __init__(self, place: Place) -> None:
        self._place = place

    def rows(self, table: str) -> Rows:
        import awswrangler

        place, prefix = self._place, f"athena/{table}/"
        awswrangler.athena.unload(
            f'SELECT * FROM "{table}"',
            path=f"s3://{place.base['Bucket']}/{prefix}",
            database=place.lake.database,
            workgroup=place.lake.workgroup,
            boto3_session=place.session,
        )
        s3, bucket = place.client("s3"), place.base["Bucket"]
        rows: Rows = []
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", []):
                body = io.BytesIO(s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read())
                rows += pq.read_table(body).to_pylist(maps_as_pydicts="strict")
        return rows


class DuckDb:
    """DuckDB on Iceberg's files, on the view's SQL, and on the files of the Hive table's partitions."""

    name = "DuckDB (local AWS has no Athena)"

    def __init__(self, place: Place, table: Table) -> None:
        self._table, self._reader = table, LakeReader(table, place.aws)

    def rows(self, table: str) -> Rows:
        names = self._table.names
        if table == names.current_view:
            return self._reader.read(lambda now: now.current)
        if table == names.changes_table:
            return self._reader.read(lambda now: now.changes)
        places = [f"{partition.location.rstrip('/')}/*" for partition in list_partitions(self._table, table).values()]
        return self._reader.rows(f"SELECT * FROM read_parquet({places!r}, union_by_name = true)")


@dataclass(frozen=True)
class Compared:
    """A comparison of one table or view: the numbers of rows and values, and the first differences."""

    table: str
    engine: str
    rows: int
    values: int
    difference_count: int
    differences: tuple[Difference, ...]


def compare_lake(engine: Engine, table: Table, first: Sequence[Item], changes: Sequence[Change]) -> list[Compared]:
    """Compare `{t}_current` and `{t}_parquet` with the DynamoDB table, and `{t}` with the table and every write.

    Nothing may write to the table any more. `{t}_parquet` has only the snapshot, because the run's day is not over;
    rows of that day, if there are any, are ignored.
    """
    names, schema = table.names, schema_of(table.changes())
    items: Rows = [dict(item) for item in scan_table(table.clients, names)]

    def summed(name: str, pairs: Iterable[tuple[Sequence[Item], Rows]]) -> Compared:
        return _summed(name, engine, [compare_items(names, name, schema, *pair) for pair in pairs])

    current, changed, parquet = (
        engine.rows(name) for name in (names.current_view, names.changes_table, names.parquet_table)
    )
    snapshots = [_items(schema, (r for r in rows if r[OPERATION] == "SNAPSHOT")) for rows in (changed, parquet)]
    images, written = _images(schema, first, changes), _written(schema, changed)
    most = max(map(len, [*images.values(), *written.values()]))
    # The first change of each item, then the second, and so on: one row for each key at a time.
    in_turn = [(_nth(images, number), _nth(written, number)) for number in range(most)]
    return [
        summed(names.current_view, [(items, _items(schema, current))]),
        summed(names.changes_table, [(items, snapshots[0]), *in_turn]),
        summed(names.parquet_table, [(items, snapshots[1])]),
    ]


def _nth(of_keys: Mapping[KeyValues, Rows], number: int) -> Rows:
    return [of_key[number] for of_key in of_keys.values() if len(of_key) > number]


def _written(schema: TableSchema, rows: Rows) -> dict[KeyValues, Rows]:
    """Return the items in the stream's rows by key, in order."""
    stream = sorted((row for row in rows if row[OPERATION] != "SNAPSHOT"), key=lambda row: str(row[SEQUENCE_NUMBER]))
    written: dict[KeyValues, Rows] = defaultdict(list)
    for item in _items(schema, stream):
        written[tuple(item[key] for key in schema.key.names)].append(item)
    return written


def _items(schema: TableSchema, rows: Iterable[Mapping[str, Any]]) -> Rows:
    # A day's file has no column for an attribute that none of its rows has.
    return [lake_item(schema, defaultdict(lambda: None, row)) for row in rows]


def _images(schema: TableSchema, first: Sequence[Item], changes: Sequence[Change]) -> dict[KeyValues, list[Item]]:
    """Return the images in the change records by key, in order; a removal's record has the old image."""
    images: dict[KeyValues, list[Item]] = defaultdict(list)
    for item in first:
        images[key_values(schema.key, item)].append(item)
    for change in changes:
        of_key = images[key_values(schema.key, change.item)]
        of_key.append(of_key[-1] if change.operation == "REMOVE" else change.item)
    return images


def _summed(name: str, engine: Engine, parts: Sequence[Comparison]) -> Compared:
    return Compared(
        name,
        engine.name,
        sum(part.rows for part in parts),
        sum(sum(part.values.values()) for part in parts),
        sum(part.difference_count for part in parts),
        tuple(difference for part in parts for difference in part.differences)[:10],
    )
