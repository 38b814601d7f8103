"""A fold: changes are merged into a state of 1 GB, beside Spark's `MERGE INTO`, pyiceberg's `upsert` and DuckDB.

0.1 %, 1 % and 10 % of the items change, at random or in one range of keys; of a hundred changes 90 modify an item, 5
insert one and 5 remove one. dynalake folds changes that are already converted, on local AWS: the wall time includes
that server's work, the CPU time does not. The others read the same rows from local files and write there. Spark and
pyiceberg commit to an Iceberg table, copy on write; DuckDB writes all rows again.

Each competitor begins with the same state, and the items in its result are counted and added up.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from benchmarks.harness import Benchmark, BenchmarkError, Column, Competitor, Row
from benchmarks.meter import MEGABYTE, Meter
from dynalake.aws.clients import Clients
from dynalake.convert.finish import convert_due
from dynalake.lake.catalog.table import Table
from dynalake.lake.current.fold import fold
from dynalake.lake.tables.make import make_tables
from dynalake.names import Lake
from dynalake.record.change import OPERATION, encode_change
from infra.local.demo.receipts import KEY
from infra.local.run.process import LocalAws
from infra.local.trino.jars import JarsError, installed
from infra.local.trino.java import MissingPartError

pc: Any = pyarrow.compute  # its stubs take no chunked arrays where it does

STATE_MB = int(os.environ.get("FOLD_STATE_MB", "1000"))
PAYLOAD = 400
"""Random bytes of an item, which no codec makes smaller: an item takes about as much of a file."""
ITEMS = STATE_MB * MEGABYTE // (PAYLOAD + 30)
AMOUNTS = 1_000_003
OBJECT = 50_000
"""Records of a raw object."""
LAKE = Lake("bench", "000000000000", "us-east-1")
NAMES = LAKE.table("RECEIPTS")
FIRST = datetime(2025, 1, 1, 12, tzinfo=UTC)
FILE_MB = 128
COLUMNS = ("receiptid", "amount", "payload")
CORES = 2


@dataclass(frozen=True)
class Case:
    """Changes: the share of the items, and whether these are neighbours."""

    share: float
    in_range: bool

    def __str__(self) -> str:
        return f"{self.share:.1%} {'in one range' if self.in_range else 'at random'}"

    @property
    def number(self) -> int:
        return CASES.index(self)

    def chosen(self) -> list[int]:
        """Return the items that change, in order; always the same."""
        count = max(20, round(ITEMS * self.share))
        if self.in_range:
            return list(range(ITEMS // 2, ITEMS // 2 + count))
        return sorted(Random(self.number).sample(range(ITEMS), count))

    def changes(self) -> Iterator[tuple[str, str, int]]:
        """Yield operation, key and new amount of each change; 0 of a removed item."""
        for place, item in enumerate(self.chosen()):
            match place % 20:
                case 0:
                    yield "REMOVE", key_of(item), 0
                case 1:
                    yield "INSERT", f"{key_of(item)}-new", (item + self.number) % AMOUNTS
                case _:
                    yield "MODIFY", key_of(item), (item * 31 + self.number) % AMOUNTS

    def expected(self, *, removes: bool = True) -> tuple[int, int]:
        """Return how many items there are afterwards, and the sum of their amounts. `removes`: removals count too."""
        items, total = ITEMS, sum(map(amount_of, range(ITEMS)))
        for operation, key, amount in self.changes():
            if operation == "REMOVE" and not removes:
                continue
            before = amount_of(int(key[2:11])) if operation != "INSERT" else 0
            items += {"REMOVE": -1, "INSERT": 1, "MODIFY": 0}[operation]
            total += amount - before
        return items, total


CASES = [Case(share, in_range) for share in (0.001, 0.01, 0.1) for in_range in (False, True)]


def key_of(item: int) -> str:
    return f"R-{item:09d}"


def amount_of(item: int) -> int:
    return item * 7_919 % AMOUNTS


@contextmanager
def prepare(scratch: Path) -> Iterator[Mapping[str, str]]:
    """Start local AWS, bring the items into the state, and write the same rows for the others."""
    try:
        jars = installed().spark_jars
    except (MissingPartError, JarsError) as error:
        raise BenchmarkError(str(error)) from error
    with LocalAws(scratch / "local-aws.log") as aws:
        clients = Clients.of(
            boto3.Session(aws.key, aws.key, region_name=LAKE.region), endpoint_url=lambda service: aws.endpoint_url
        )
        clients.s3.create_bucket(Bucket=LAKE.bucket)
        clients.glue.create_database(DatabaseInput={"Name": LAKE.database})
        table = Table(clients, NAMES)
        make_tables(table, KEY, "arn:aws:dynamodb:us-east-1:000000000000:table/RECEIPTS")
        random = Random(7)
        items = (("INSERT", key_of(item), amount_of(item)) for item in range(ITEMS))
        _bring(table, items, FIRST, random)
        _delete_raw(table)
        fold(table, _ms(FIRST + timedelta(hours=1)))
        entries: list[Any] = [clients.glue.get_table(DatabaseName=LAKE.database, Name=n)["Table"] for n in _tables()]
        inputs = [{"Name": e["Name"], **{k: e[k] for k in _KEPT if k in e}} for e in entries]
        (scratch / "tables.json").write_text(json.dumps(inputs))
        (scratch / "state").mkdir()
        for number, file in enumerate(table.items().files({False})):
            clients.s3.download_file(LAKE.bucket, _key(file.path), str(scratch / "state" / f"{number:04d}.parquet"))
        for case in CASES:
            _land(table, scratch, case)
            convert_due(table, lambda: FIRST + timedelta(days=1, hours=2))
            files = [f for f in table.changes().files(since=f"{FIRST + timedelta(days=1):%Y%m%d}") if f.rows]
            (scratch / f"changes-{case.number}").mkdir()
            for number, file in enumerate(files):
                target = scratch / f"changes-{case.number}" / f"{number:04d}.parquet"
                clients.s3.download_file(LAKE.bucket, _key(file.path), str(target))
        yield {**aws.env(), "BENCH_JARS": os.pathsep.join(map(str, jars))}


_KEPT = ("TableType", "Parameters", "StorageDescriptor", "Owner", "Description", "PartitionKeys")


def _tables() -> tuple[str, str]:
    return NAMES.changes_table, NAMES.state_table


def _bring(table: Table, changes: Iterable[tuple[str, str, int]], at: datetime, random: Random) -> None:
    """Land changes that are made at a time, and convert them."""
    held: list[str] = []
    objects = 0

    def put() -> None:
        nonlocal objects
        key = f"{table.names.raw_day(f'{at:%Y%m%d}')}{objects:05d}.gz"
        body = gzip.compress("".join(held).encode(), compresslevel=1)
        table.clients.s3.put_object(Bucket=LAKE.bucket, Key=key, Body=body)
        objects += 1
        held.clear()

    for number, (operation, key, amount) in enumerate(changes):
        image: dict[str, Any] = {"receiptId": {"S": key}}
        if operation != "REMOVE":
            image |= {"amount": {"N": str(amount)}, "payload": {"B": random.randbytes(PAYLOAD)}}
        sequence = f"{_ms(at)}{number:012d}"
        held.append(f"{encode_change(image, operation=operation, sequence_number=sequence, event_time=_ms(at))}\n")
        if len(held) == OBJECT:
            put()
    if held:
        put()
    convert_due(table, lambda: at + timedelta(hours=2))


def _delete_raw(table: Table) -> None:
    table.store.delete_listed(list(table.store.list(table.names.raw_prefix)))


def _land(table: Table, scratch: Path, case: Case) -> None:
    """Put the tables back to how they were after the first fold, and convert a case's changes."""
    for entry in json.loads((scratch / "tables.json").read_text()):
        table.clients.glue.update_table(DatabaseName=LAKE.database, TableInput=entry)
    _delete_raw(table)
    _bring(table, case.changes(), FIRST + timedelta(days=1), Random(case.number))


# -- the competitors -----------------------------------------------------------------------------------------------


def dynalake(case: Case) -> Callable[[Meter, Path], Row]:
    def run(meter: Meter, scratch: Path) -> Row:
        table = Table(Clients.of(boto3.Session()), NAMES)
        _land(table, scratch, case)
        with meter:
            folded = fold(table, _ms(FIRST + timedelta(days=1, hours=1)))
        meter.mark_peak()
        out = scratch / f"folded-{case.number}"
        out.mkdir(exist_ok=True)
        for number, file in enumerate(table.items().files({False})):
            table.clients.s3.download_file(LAKE.bucket, _key(file.path), str(out / f"{number:04d}.parquet"))
        _check(case, f"SELECT count(*), sum(amount) FROM '{out}/*.parquet'")
        _remove(out)
        return {"written_mb": folded.merged.written / MEGABYTE, **_changed(scratch, case)}

    return run


def spark(case: Case) -> Callable[[Meter, Path], Row]:
    """Return a run of `MERGE INTO`, local[2], without the start of Spark and the making of the table."""

    def run(meter: Meter, scratch: Path) -> Row:
        from pyspark.sql import SparkSession

        warehouse = scratch / "spark-warehouse"
        settings = {
            "spark.driver.extraClassPath": os.environ["BENCH_JARS"],
            "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
            "spark.sql.catalog.b": "org.apache.iceberg.spark.SparkCatalog",
            "spark.sql.catalog.b.type": "hadoop",
            "spark.sql.catalog.b.warehouse": str(warehouse),
            "spark.sql.shuffle.partitions": str(2 * CORES),
            "spark.driver.memory": "4g",
            "spark.ui.enabled": "false",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.local.dir": str(scratch),
        }
        builder: Any = SparkSession.builder
        session = builder.master(f"local[{CORES}]").config(map=settings).getOrCreate()
        try:
            names = ", ".join(COLUMNS)
            session.read.parquet(str(scratch / "state")).selectExpr(*COLUMNS).createOrReplaceTempView("items")
            session.read.parquet(str(scratch / f"changes-{case.number}")).selectExpr(
                *COLUMNS, f"{OPERATION} AS operation"
            ).createOrReplaceTempView("changes")
            session.sql("DROP TABLE IF EXISTS b.d.t PURGE")
            session.sql(f"CREATE TABLE b.d.t USING iceberg TBLPROPERTIES {_PROPERTIES} AS SELECT {names} FROM items")
            session.sql("ALTER TABLE b.d.t WRITE ORDERED BY receiptid")
            before = _paths(warehouse)
            with meter:
                session.sql(
                    "MERGE INTO b.d.t t USING changes c ON t.receiptid = c.receiptid "
                    "WHEN MATCHED AND c.operation = 'REMOVE' THEN DELETE "
                    "WHEN MATCHED THEN UPDATE SET amount = c.amount, payload = c.payload "
                    f"WHEN NOT MATCHED AND c.operation <> 'REMOVE' THEN INSERT ({names}) "
                    "VALUES (c.receiptid, c.amount, c.payload)"
                )
            meter.mark_peak()
            written = sum(path.stat().st_size for path in _paths(warehouse) - before)
            result = session.sql("SELECT count(*), sum(amount) FROM b.d.t").collect()[0]
            _compare((int(result[0]), int(result[1])), case.expected())
            session.sql("DROP TABLE b.d.t PURGE")
        finally:
            session.stop()
        return {"written_mb": written / MEGABYTE, **_changed(scratch, case)}

    return run


_PROPERTIES = f"('write.target-file-size-bytes'='{FILE_MB << 20}', 'write.parquet.compression-codec'='zstd')"


def pyiceberg(case: Case) -> Callable[[Meter, Path], Row]:
    """Return a run of `Table.upsert`, which has no deletions: the removed items stay."""

    def run(meter: Meter, scratch: Path) -> Row:
        from pyiceberg.catalog.sql import SqlCatalog

        warehouse = scratch / "pyiceberg-warehouse"
        warehouse.mkdir(exist_ok=True)
        catalog = SqlCatalog("b", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=f"file://{warehouse}")
        catalog.create_namespace_if_not_exists("d")
        if catalog.table_exists("d.t"):
            catalog.drop_table("d.t")
        items = _plain(pq.read_table(scratch / "state", columns=list(COLUMNS)))
        table = catalog.create_table("d.t", schema=items.schema)
        for batch in items.to_batches(max_chunksize=FILE_MB * MEGABYTE // (PAYLOAD + 30)):
            table.append(pa.Table.from_batches([batch]))
        changes = pq.read_table(scratch / f"changes-{case.number}", columns=[*COLUMNS, OPERATION])
        upserted = _plain(changes.filter(pc.not_equal(changes[OPERATION], "REMOVE")).select(list(COLUMNS)))
        before = _paths(warehouse)
        with meter:
            table.upsert(upserted, join_cols=["receiptid"])
        meter.mark_peak()
        written = sum(path.stat().st_size for path in _paths(warehouse) - before)
        result = table.scan(selected_fields=("amount",)).to_arrow()
        _compare((result.num_rows, pc.sum(result["amount"]).as_py()), case.expected(removes=False))
        return {"written_mb": written / MEGABYTE, **_changed(scratch, case)}

    return run


def duckdb(case: Case) -> Callable[[Meter, Path], Row]:
    """Return a run that writes all rows again, in order."""

    def run(meter: Meter, scratch: Path) -> Row:
        import duckdb

        connection = duckdb.connect()
        connection.execute(f"SET threads = {CORES}")
        out, names = scratch / "duckdb.parquet", ", ".join(COLUMNS)
        changes = f"'{scratch}/changes-{case.number}/*.parquet'"
        with meter:
            connection.execute(
                f"COPY (SELECT {names} FROM '{scratch}/state/*.parquet' ANTI JOIN {changes} USING (receiptid) "
                f"UNION ALL SELECT {names} FROM {changes} WHERE {OPERATION} <> 'REMOVE' ORDER BY receiptid) "
                f"TO '{out}' (FORMAT parquet, COMPRESSION zstd)"
            )
        meter.mark_peak()
        _check(case, f"SELECT count(*), sum(amount) FROM '{out}'")
        written = out.stat().st_size
        out.unlink()
        return {"written_mb": written / MEGABYTE, **_changed(scratch, case)}

    return run


def _check(case: Case, sql: str) -> None:
    import duckdb

    count, total = duckdb.connect().execute(sql).fetchall()[0]
    _compare((int(count), int(total)), case.expected())


def _compare(found: tuple[int, int], expected: tuple[int, int]) -> None:
    if found != expected:
        raise BenchmarkError(f"The items and the sum of their amounts are {found}, not {expected}")


def _plain(rows: Any) -> Any:
    """Return rows without the field ids of dynalake's files, which are not those of pyiceberg's table."""
    return rows.cast(pa.schema([pa.field(f.name, f.type) for f in rows.schema]))


def _changed(scratch: Path, case: Case) -> Row:
    return {"changed_mb": sum(p.stat().st_size for p in (scratch / f"changes-{case.number}").iterdir()) / MEGABYTE}


def _paths(folder: Path) -> set[Path]:
    return set(folder.rglob("*.parquet"))


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _key(path: str) -> str:
    return path.removeprefix(NAMES.uri(""))


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def derive(rows: list[Row]) -> None:
    """Add MB of changes folded in a second, bytes written per byte of change, and the ratio to dynalake's times."""
    ours = {row["name"].rpartition(", ")[2]: row for row in rows if row["name"].startswith("dynalake")}
    for row in rows:
        own = ours[row["name"].rpartition(", ")[2]]
        row["folded_mb_per_s"] = round(row["changed_mb"] / row["wall_s"], 2)
        row["amplification"] = round(row["written_mb"] / row["changed_mb"], 1)
        row["times_wall"] = round(row["wall_s"] / own["wall_s"], 2)
        row["times_cpu"] = round(row["cpu_s"] / own["cpu_s"], 2)


BENCHMARK = Benchmark(
    name="fold",
    title=f"fold: a state of {ITEMS:,} items, {STATE_MB:,} MB, {CORES} cores",
    competitors=(
        *(Competitor(f"dynalake, {case}", dynalake(case)) for case in CASES),
        *(Competitor(f"Spark MERGE local[{CORES}], {case}", spark(case), rounds=1) for case in CASES),
        *(Competitor(f"DuckDB, all rows written again, {case}", duckdb(case), rounds=1) for case in CASES[::2]),
        *(Competitor(f"pyiceberg upsert, {case}", pyiceberg(case), rounds=1) for case in CASES[:2]),
    ),
    columns=(
        Column("", lambda r: str(r["name"])),
        Column("MB of changes", lambda r: f"{r['changed_mb']:,.1f}"),
        Column("wall s", lambda r: f"{r['wall_s']:.1f}"),
        Column("times", lambda r: f"{r['times_wall']:.1f}"),
        Column("CPU s", lambda r: f"{r['cpu_s']:.1f}"),
        Column("times", lambda r: f"{r['times_cpu']:.1f}"),
        Column("MB/s of changes", lambda r: f"{r['folded_mb_per_s']:.1f}"),
        Column("MB written", lambda r: f"{r['written_mb']:,.0f}"),
        Column("per MB of changes", lambda r: f"{r['amplification']:,.1f}"),
        Column("peak MB", lambda r: f"{r['peak_mb']:,.0f}"),
    ),
    prepare=prepare,
    derive=derive,
    notes=(
        "Local AWS's own work is in dynalake's wall time, and not in its CPU time; the others use local files.",
        "pyiceberg's upsert removes nothing, and is run for the two smallest cases.",
    ),
)
