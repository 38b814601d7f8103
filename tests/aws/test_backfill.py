"""A backfill on local AWS: real segments, conditional writes, the catalog, and SQL over the snapshot."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.aws.s3 import Store
from dynalake.backfill.commit.commit import commit_backfill
from dynalake.backfill.commit.snapshot import snapshot_since
from dynalake.backfill.plan.run import BackfillPlan, plan_backfill
from dynalake.backfill.scan.scan import scan_segment
from dynalake.backfill.scan.share import active_prefix
from dynalake.days import SNAPSHOT_DAY
from dynalake.errors import ConflictError
from dynalake.lake.catalog.table import Table
from dynalake.lake.hive.json_table import shown_prefix
from dynalake.names import TableNames
from dynalake.options.backfill import BackfillOptions
from dynalake.record.key import ItemKey, KeyAttribute
from infra.local.demo.items import generated
from infra.local.demo.lake import LakeReader
from infra.local.demo.writing import create_table, write_items
from infra.local.run.process import LocalAws
from tests.support.aws.capture_steps import make_table
from tests.support.aws.lake import make_lake, register, show

ITEMS = 1200


@pytest.fixture(scope="module")
def names(clients: Clients) -> Iterator[TableNames]:
    """Make a table of receipts in its own lake."""
    table_names, loaded = make_lake(clients, "backfill").table("BACKFILLED"), generated(ITEMS)
    create_table(clients.dynamodb, table_names.table, loaded.key)
    assert write_items(clients.dynamodb, table_names.table, loaded.items) == ITEMS
    register(clients, table_names, loaded.key)
    yield table_names
    clients.dynamodb.delete_table(TableName=table_names.table)


@pytest.fixture(autouse=True)
def small_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make objects so small that a few hundred items fill several."""
    monkeypatch.setattr(BackfillPlan, "target_text_bytes", 100_000)


def objects(clients: Clients, names: TableNames, run: str) -> dict[str, bytes]:
    listed = clients.s3.list_objects_v2(Bucket=names.lake.bucket, Prefix=names.snapshot_run(run)).get("Contents", [])
    return {o["Key"]: clients.s3.get_object(Bucket=names.lake.bucket, Key=o["Key"])["Body"].read() for o in listed}


def backfill(clients: Clients, names: TableNames, run: str, *, hand_off: str = "", **options: Any) -> Any:
    plan = plan_backfill(Table(clients, names), run, BackfillOptions(method="scan", **options), hand_off=hand_off)
    with ThreadPoolExecutor(plan.segments) as threads:
        list(threads.map(lambda n: scan_segment(Table(clients, names), run=run, segment=n), range(plan.segments)))
    committed = commit_backfill(Table(clients, names), run=run)
    assert show(Table(clients, names), run).shown
    return committed


def shown(clients: Clients, names: TableNames) -> tuple[str, int]:
    """Return the prefix of the snapshot's raw objects, and its number of rows."""
    table = Table(clients, names)
    changes = table.changes()
    return shown_prefix(table, changes), sum(file.rows for file in changes.files({SNAPSHOT_DAY}))


def test_all_items_arrive_and_a_second_run_changes_nothing(clients: Clients, names: TableNames) -> None:
    committed = backfill(clients, names, "first", segments=3, consistent_read=True)
    before = objects(clients, names, "first")
    records = [json.loads(line) for data in before.values() for line in gzip.decompress(data).splitlines()]
    assert len({record["receiptId"] for record in records}) == len(records) == ITEMS
    assert len(before) > 3
    assert shown(clients, names) == (names.snapshot_run("first"), ITEMS)
    read_at = datetime.fromtimestamp(committed.ledger.plan.read_at_ms / 1000, UTC)
    assert snapshot_since(Table(clients, names), read_at) == "first"
    assert snapshot_since(Table(clients, names), read_at + timedelta(seconds=1)) is None
    backfill(clients, names, "first", segments=3)
    assert shown(clients, names) == (names.snapshot_run("first"), ITEMS)
    assert objects(clients, names, "first") == before


@pytest.mark.parametrize(("count", "size"), [(0, 0), (1, 10), (7, 399 * 1024)], ids=["none", "one", "items of 400 KB"])
def test_small_tables_and_huge_items(clients: Clients, names: TableNames, count: int, size: int) -> None:
    """With a limit, so that every segment registers in the bucket and counts the others."""
    table = names.lake.table(f"OF-{count}")
    make_table(clients, table.table)
    for number in range(count):
        item = {"id": {"S": f"{number}"}, "text": {"S": "é" * (size // 2)}}
        clients.dynamodb.put_item(TableName=table.table, Item=item)
    register(clients, table, ItemKey(KeyAttribute("id", "S")))
    committed = backfill(clients, table, "small", segments=2, max_read_capacity=1000, consistent_read=True)
    objects_by_key = objects(clients, table, "small")
    records = [json.loads(line) for data in objects_by_key.values() for line in gzip.decompress(data).splitlines()]
    assert sorted(record["id"] for record in records) == [str(number) for number in range(count)]
    assert all(record["text"] == "é" * (size // 2) for record in records)
    assert committed.ledger.total.kept == count
    assert shown(clients, table) == (names.lake.table(f"OF-{count}").snapshot_run("small"), count)
    state = clients.s3.list_objects_v2(Bucket=names.lake.bucket, Prefix=active_prefix(table, "small"))
    assert state["KeyCount"] == 0, "segments that ended have unregistered"


def test_conditional_writes(clients: Clients, names: TableNames) -> None:
    store = Store(clients, names.lake.bucket)
    key = names.backfill_state("conditions") + "x.json"
    first = store.create_json(key, {"n": 1})
    assert store.create_json(key, {"n": 2}).value == {"n": 1}
    second = store.replace_json(key, {"n": 2}, first)
    for before in (first, None):
        with pytest.raises(ConflictError, match="Somebody else"):
            store.replace_json(key, {"n": 3}, before)
    assert store.read_json(key) == second
    assert store.read_json(key + "?") is None


def test_the_snapshot_equals_the_table_in_sql(clients: Clients, names: TableNames, local_aws: LocalAws) -> None:
    backfill(clients, names, "sql", segments=2, updated_before="2020-01-01T00:00:00Z")
    comparison = LakeReader(Table(clients, names), local_aws.env()).compare()
    assert comparison.same, comparison.text()
    assert comparison.items == comparison.rows == ITEMS
    assert comparison.long_numbers >= 2 * ITEMS


def test_items_with_an_invalid_time_are_kept(clients: Clients, names: TableNames, local_aws: LocalAws) -> None:
    """Whatever type the attribute has, they are in the lake like all others, and the note names some."""
    table = names.lake.table("ODD-TIMES")
    make_table(clients, table.table)
    odd: list[Any] = [{"S": ""}, {"S": "0000-00-00 00:00:00"}, {"BOOL": True}, {"M": {}}, {"B": b"1"}, {"N": "1E+20"}]
    for number, value in enumerate([{"N": "1558778400"}, {"S": "2019-05-25T10:00:00Z"}, *odd]):
        clients.dynamodb.put_item(TableName=table.table, Item={"id": {"S": f"{number}"}, "updatedAt": value})
    register(clients, table, ItemKey(KeyAttribute("id", "S")))
    committed = backfill(clients, table, "odd", segments=2, consistent_read=True, hand_off="2020-01-01T00:00:00Z")
    assert f"{len(odd)} kept and 0 dropped whose updatedAt is not a time" in committed.ledger.note()
    comparison = LakeReader(Table(clients, table), local_aws.env()).compare()
    assert comparison.same, comparison.text()
    assert comparison.items == comparison.rows == 2 + len(odd)
