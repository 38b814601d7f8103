"""Engines return the changes of the raw lines, each exactly once, whatever was repeated or optimized."""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.convert.batch import convert_batch
from dynalake.convert.finish import Finished, finish_table
from dynalake.convert.plan import ConvertLimits, plan_table
from dynalake.lake.catalog.iceberg import Change as Commit
from dynalake.lake.catalog.table import BOUND, Table
from dynalake.lake.tables.make import make_tables
from dynalake.names import Lake
from dynalake.record.change import encode_change
from dynalake.record.key import ItemKey, KeyAttribute
from infra.local.engines.trino import Trino
from tests.trino.readers import ReadTable

KEY = ItemKey(KeyAttribute("id", "S"), KeyAttribute("n", "N"))
NOON = datetime(2024, 1, 5, 12, tzinfo=UTC)
DIGITS = "12345678901234567890.123456789012345678"


class RawLake:
    """One table on local AWS, its raw objects, and the changes in them."""

    def __init__(self, clients: Clients) -> None:
        account, region = clients.sts.get_caller_identity()["Account"], clients.sts.meta.region_name
        self.names = Lake(f"c{uuid.uuid4().hex[:12]}", account, region).table("RECEIPTS")
        self.table = Table(clients, self.names)
        clients.s3.create_bucket(Bucket=self.names.lake.bucket)
        clients.glue.create_database(DatabaseInput={"Name": self.names.lake.database})
        make_tables(self.table, KEY, "arn")
        self.name = f"{self.names.lake.database}.{self.names.changes_table}"

    def put(self, ago: int, name: str, lines: Iterable[str]) -> None:
        key = f"{self.names.raw_day(self.day(ago))}{name}.gz"
        body = gzip.compress("\n".join([*lines, ""]).encode())
        self.table.clients.s3.put_object(Bucket=self.names.lake.bucket, Key=key, Body=body)

    def day(self, ago: int) -> str:
        return self.names.lake.day_of(NOON - timedelta(days=ago))

    def run(self) -> Finished | None:
        limits = ConvertLimits(batch_objects=1)
        batches = plan_table(self.table, limits, NOON).batches
        if not batches:
            return None
        results = {batch.number: convert_batch(self.table, batch) for batch in batches}
        return finish_table(self.table, batches[0].plan, results, limits, lambda: NOON)


@pytest.fixture
def raw(clients: Clients) -> RawLake:
    return RawLake(clients)


def line(number: int, ago: float, operation: str = "MODIFY", **attributes: Any) -> str:
    image = {"id": {"S": "a"}, "n": {"N": str(number)}, **attributes}
    time = round((NOON - timedelta(days=ago)).timestamp() * 1000)
    return encode_change(image, operation=operation, sequence_number=str(number), event_time=time)


NUMBERED = ("n", "dt", "price", "big", "tags", "meta", "flag", "bin", "__operation", "__types")


def numbered(rows: Iterable[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((tuple(row[name] for name in NUMBERED) for row in rows), key=lambda row: int(row[0]))


def test_engines_return_the_changes_that_were_put(raw: RawLake, read_table: ReadTable, trino: Trino) -> None:
    rich = line(
        1,
        0,
        "INSERT",
        price={"N": DIGITS},
        big={"N": "9007199254740993"},
        tags={"SS": ["y", "x"]},
        meta={"M": {"a": {"L": [{"N": "1"}, {"N": "2"}]}, "b": {"S": "é\n"}}},
        flag={"BOOL": True},
        bin={"B": b"\x00\xff"},
    )
    poor = line(2, 0)
    late = line(3, 1, price={"N": "0.5"})
    removed = line(4, 0, "REMOVE")
    ahead = line(5, 0, flag={"BOOL": False})  # in an object of three days before
    raw.table.catalog.commit(raw.table.changes(), Commit(properties={BOUND: str(round(NOON.timestamp() * 1000) - 1)}))
    raw.put(0, "a", [rich, poor])
    raw.put(1, "b", [late, rich, "broken", '{"__operation":"CANARY","__canary_id":"x"}'])
    first = raw.run()
    raw.put(0, "c", [removed, removed, poor])
    raw.put(3, "d", [ahead])
    second = raw.run()

    assert first is not None
    assert second is not None
    assert (first.sums.rows, first.sums.repeats, first.late) == (3, 1, 1)
    assert (second.sums.rows, second.sums.repeats, second.sums.duplicates) == (2, 1, 1)
    assert raw.run() is None
    types = '{"/bin":"B","/tags":"SS"}'
    expected = [
        (
            1,
            raw.day(0),
            Decimal(DIGITS),
            9007199254740993,
            ["x", "y"],
            {"a": [1, 2], "b": "é\n"},
            True,
            "AP8=",
            "INSERT",
            types,
        ),
        (2, raw.day(0), None, None, None, None, None, None, "MODIFY", None),
        (3, raw.day(1), Decimal("0.5"), None, None, None, None, None, "MODIFY", None),
        (4, raw.day(0), None, None, None, None, None, None, "REMOVE", None),
        (5, raw.day(1), None, None, None, None, False, None, "MODIFY", None),
    ]
    for engine in ("trino", "duckdb", "pyiceberg"):
        assert numbered(read_table(engine, raw.name)) == expected, engine
    assert trino(f"SELECT count(*) c FROM {raw.name} WHERE dt = '{raw.day(1)}'") == [{"c": 2}]
    state = f"{raw.names.lake.database}.{raw.names.state_table}"
    assert [row["n"] for row in read_table("trino", state)] == [3]


def test_an_optimize_by_trino_doubles_nothing(raw: RawLake, read_table: ReadTable, trino: Trino) -> None:
    for number in range(1, 5):
        raw.put(number % 2, f"o{number}", [line(number, 0, flag={"BOOL": True})])
        raw.run()
    trino(f"ALTER TABLE {raw.name} EXECUTE optimize")
    assert {f.folder for f in raw.table.changes().files()} == {""}

    second = raw.run()

    assert second is not None
    assert (second.sums.rows, second.sums.repeats, second.waiting) == (0, 4, ())
    assert raw.run() is None
    raw.put(0, "more", [line(n, 0, flag={"BOOL": True}) for n in range(3, 7)])
    raw.run()
    for engine in ("trino", "duckdb", "pyiceberg"):
        assert sorted(int(row["n"]) for row in read_table(engine, raw.name)) == [1, 2, 3, 4, 5, 6], engine
