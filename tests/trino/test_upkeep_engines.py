"""Each engine reads a table with merged manifests and expired snapshots that was registered again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.io.pyarrow import schema_to_pyarrow

from dynalake.aws.clients import Clients
from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.iceberg import Change, DataFile, Head
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.folders import FolderManifest, Part, new_folder, write_manifest
from dynalake.lake.tables.make import make_tables
from dynalake.lake.tables.repair import repair_entries
from dynalake.lake.upkeep import collect as collecting
from dynalake.lake.upkeep.collect import collect
from dynalake.names import Lake
from dynalake.record.key import ItemKey, KeyAttribute
from infra.local.engines.trino import Trino
from tests.trino.readers import ENGINES, ReadTable

ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/RECEIPTS"
DAYS = [f"202401{day:02d}" for day in range(1, 13)]


@pytest.fixture
def table(clients: Clients, database: str) -> Table:
    """Both tables, with one commit a day, one of them undone."""
    lake = Lake(f"up{database[1:13]}", "000000000000", "us-east-1", bucket=database)
    clients.glue.create_database(DatabaseInput={"Name": lake.database})
    receipts = Table(clients, lake.table("RECEIPTS"))
    make_tables(receipts, ItemKey(KeyAttribute("id", "S")), ARN)
    for day in DAYS:
        commit(receipts, Change(add=(write(receipts, day, [f"{day}-a", f"{day}-b"]),)))
    files = receipts.changes().files({DAYS[3]})
    commit(receipts, Change(add=(write(receipts, DAYS[3], [f"{DAYS[3]}-c"]),), remove=files))
    return receipts


def commit(table: Table, change: Change) -> Head:
    committed = commit_on(table.catalog, table.names, table.changes(), lambda head, news: change)
    assert committed is not None
    return committed


def write(table: Table, day: str, ids: Sequence[str]) -> DataFile:
    """Write a day's folder with rows of these keys, and its manifest."""
    head, folder = table.changes(), new_folder()
    rows = [{"dt": day, "id": i, "__event_time": 1, "__sequence_number": f"{n:040d}"} for n, i in enumerate(ids)]
    body = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema_to_pyarrow(head.schema)), body)
    key = f"{table.names.change_folder(day, folder)}part-00000.parquet"
    table.clients.s3.put_object(Bucket=table.names.lake.bucket, Key=key, Body=body.getvalue())
    size = len(body.getvalue())
    write_manifest(table, FolderManifest(folder, day, 0, (), (Part(table.names.uri(key), size, len(ids)),)))
    return head.data_file(table.names.uri(key), day, pq.read_metadata(body), size, head.schema)


EXPECTED = sorted([f"{DAYS[3]}-c", *(f"{day}-{part}" for day in DAYS if day != DAYS[3] for part in "ab")])


def ids(read_table: ReadTable, engine: str, table: Table, where: str | None = None) -> list[str]:
    name = f"{table.names.lake.database}.{table.names.changes_table}"
    return sorted(row["id"] for row in read_table(engine, name, where))


def check(read_table: ReadTable, table: Table) -> None:
    for engine in ENGINES:
        assert ids(read_table, engine, table) == EXPECTED, engine
        assert ids(read_table, engine, table, f"dt = '{DAYS[5]}'") == [f"{DAYS[5]}-a", f"{DAYS[5]}-b"], engine


def test_engines_read_a_table_after_upkeep_and_repair(
    table: Table, read_table: ReadTable, trino: Trino, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{table.names.lake.database}.{table.names.changes_table}"
    before = table.changes()
    assert len(list(before._manifests())) >= len(DAYS)
    replaced = {key for key in keys(table) if f"dt={DAYS[3]}" in key}
    assert len(replaced) == 2

    collect(table, lambda: datetime.now(UTC))

    merged = table.changes()
    assert len(list(merged._manifests())) <= 2
    operations = trino(f'SELECT operation FROM "{name.split(".")[0]}"."{table.names.changes_table}$snapshots"')
    assert "replace" in [row["operation"] for row in operations]
    check(read_table, table)
    old = trino(f"SELECT count(*) AS n FROM {name} FOR VERSION AS OF {before.snapshot_id}")
    assert old == [{"n": len(EXPECTED)}]

    # A week later: no other snapshot is kept, and unreferenced files are deleted.
    monkeypatch.setattr(collecting, "GRACE", timedelta(0))
    monkeypatch.setattr(collecting, "WAIT", -timedelta(days=1))
    collected = collect(table, lambda: datetime.now(UTC), snapshot_days=0)

    assert collected.findings == ()
    assert collected.deleted > len(DAYS)
    assert len(replaced & keys(table)) == 1
    check(read_table, table)
    trino(f"INSERT INTO {name} (dt, id) VALUES ('20240201', 'trino')")
    trino(f"DELETE FROM {name} WHERE dt = '20240201'")
    check(read_table, table)

    assert repair_entries(table) == ()  # notes what Trino has committed
    forget(table, lambda names: [names.changes_table, names.state_table])
    assert {f.kind for f in repair_entries(table)} == {"restored-entry"}
    check(read_table, table)


def forget(table: Table, chosen: Callable[[Any], list[str]]) -> None:
    for name in chosen(table.names):
        table.clients.glue.delete_table(DatabaseName=table.names.lake.database, Name=name)


def keys(table: Table) -> set[str]:
    pages = table.clients.s3.get_paginator("list_objects_v2").paginate(Bucket=table.names.lake.bucket)
    return {o["Key"] for page in pages for o in page.get("Contents", ())}
