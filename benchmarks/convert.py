"""A day of change records → Parquet: dynalake, DuckDB, polars, PySpark and awswrangler, all within two cores.

dynalake does a full conversion: exact types, each change once, order, quarantine, manifests, commits. It reads from and
writes to an S3 and a Glue in the same process (moto), whose work counts as dynalake's. awswrangler reads
and writes the same S3; the others read and write local files. DuckDB and PySpark run twice: as a plain copy, and doing
the same work: each change once, in order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
from moto import mock_aws

from benchmarks.changes import CHANGES, HARD_PARTS, OBJECTS, as_texts, check_rows, hard_columns, prepare
from benchmarks.hard_numbers import COUNT, kept
from benchmarks.harness import HARD_NUMBERS, Benchmark, BenchmarkError, Column, Competitor, Row
from benchmarks.meter import MEGABYTE, Meter
from dynalake.aws.clients import Clients
from dynalake.convert.finish import convert_due
from dynalake.lake.catalog.table import Table
from dynalake.lake.tables.make import make_tables
from dynalake.names import Lake
from dynalake.record.change import OTHER
from infra.local.demo.receipts import KEY

DAY = "20190525"
CORES = 2
NAMES = Lake("bench", "123456789012", "us-east-1").table("RECEIPTS")
ORDER = "receiptId, __sequence_number"
EASIER = "awswrangler, easier input"


@contextmanager
def s3(objects: Path) -> Iterator[boto3.Session]:
    """Put the objects into a bucket of moto, as a day of the table."""
    with mock_aws():
        session = boto3.Session("test", "test", region_name="us-east-1")
        client = session.client("s3")
        client.create_bucket(Bucket=NAMES.lake.bucket)
        for path in sorted(objects.iterdir()):
            client.put_object(Bucket=NAMES.lake.bucket, Key=NAMES.raw_day(DAY) + path.name, Body=path.read_bytes())
        yield session


def dynalake(objects: str) -> Callable[[Meter, Path], Row]:
    """Return a run that does all that `dynalake_convert` does."""

    def run(meter: Meter, scratch: Path) -> Row:
        hard: dict[str, Any] = {}
        for part in range(HARD_PARTS):
            hard |= _convert(Meter(), scratch / f"hard-{part}", scratch / f"hard-dynalake-{part}")
        out = scratch / f"dynalake-{objects}"
        _convert(meter, scratch / objects, out)
        meter.mark_peak()
        rows = check_rows(scratch, sorted(out.iterdir()), unique=True)
        return {"rows": rows, "bytes": _size(out), "same": 1, **kept(hard_columns().values(), as_texts(hard))}

    return run


def _convert(meter: Meter, objects: Path, out: Path) -> dict[str, Any]:
    """Convert the objects. Return the first row, with its values that have no column."""
    out.mkdir(exist_ok=True)
    with s3(objects) as session:
        clients = Clients.of(session)
        clients.glue.create_database(DatabaseInput={"Name": NAMES.lake.database})
        table = Table(clients, NAMES)
        make_tables(table, KEY, "arn:aws:dynamodb:us-east-1:123456789012:table/RECEIPTS")
        clients.s3.put_object(Bucket=NAMES.lake.bucket, Key=NAMES.reported_day(DAY), Body=b"")
        with meter:
            convert_due(table, lambda: datetime.now(UTC))
        for number, file in enumerate(f for f in table.changes().files() if f.rows):
            key = file.path.removeprefix(NAMES.uri(""))
            clients.s3.download_file(NAMES.lake.bucket, key, str(out / f"{number:05d}.parquet"))
    (row,) = pq.ParquetFile(sorted(out.iterdir())[0]).read_row_group(0).slice(0, 1).to_pylist()
    return {**row, **dict(row.get(OTHER) or ())}  # a file leaves out columns of which no row has a value


def duckdb(same: bool) -> Callable[[Meter, Path], Row]:
    """Return a run of `COPY … read_json`."""

    def run(meter: Meter, scratch: Path) -> Row:
        import duckdb

        connection = duckdb.connect()
        connection.execute(f"SET threads = {CORES}")
        once = f"QUALIFY row_number() OVER (PARTITION BY {ORDER} ORDER BY __event_time DESC) = 1 ORDER BY {ORDER}"

        def convert(objects: Path, out: Path) -> None:
            source = f"read_json('{objects}/*.gz', format = 'newline_delimited')"
            connection.execute(
                f"COPY (SELECT * FROM {source} {once if same else ''}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)"
            )

        return _measure(meter, scratch, f"duckdb-{same}.parquet", convert, same)

    return run


def polars(meter: Meter, scratch: Path) -> Row:
    """Run `scan_ndjson().sink_parquet()` on the input without mixed types: it finds no schema for the other."""
    os.environ["POLARS_MAX_THREADS"] = str(CORES)
    import polars

    def convert(objects: Path, out: Path) -> None:
        polars.scan_ndjson(sorted(objects.iterdir())).sink_parquet(out, compression="zstd")

    def first(path: Path) -> dict[str, Any]:
        return polars.read_parquet(path).row(0, named=True)  # it writes integers that nothing else reads

    return _measure(meter, scratch, "polars.parquet", convert, same=False, objects="easy", first=first)


def spark(same: bool) -> Callable[[Meter, Path], Row]:
    """Return a run of PySpark, local[2], without its start. Case matters in names: by default Spark refuses these."""

    def run(meter: Meter, scratch: Path) -> Row:
        from pyspark.sql import SparkSession

        builder: Any = SparkSession.builder
        settings = {
            "spark.sql.caseSensitive": "true",
            "spark.sql.parquet.compression.codec": "zstd",
            "spark.sql.shuffle.partitions": str(2 * CORES),
            "spark.driver.memory": "3g",
            "spark.ui.enabled": "false",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.local.dir": str(scratch),
        }
        session = builder.master(f"local[{CORES}]").config(map=settings).getOrCreate()

        def convert(objects: Path, out: Path) -> None:
            frame = session.read.json(str(objects))
            if same:
                columns = ["receiptId", "__sequence_number"]
                frame = frame.dropDuplicates(columns).sort(columns)
            frame.write.mode("overwrite").parquet(str(out))

        try:
            return _measure(meter, scratch, f"spark-{same}", convert, same)
        finally:
            session.stop()

    return run


def awswrangler(meter: Meter, scratch: Path) -> Row:
    """Run `read_json` → `to_parquet` on the input that pandas can read."""
    import awswrangler as wr

    out = scratch / "awswrangler"
    out.mkdir(exist_ok=True)

    def convert(prefix: str, session: boto3.Session) -> None:
        source, target = NAMES.uri(NAMES.raw_day(DAY)), NAMES.uri(prefix)
        frame = wr.s3.read_json(source, lines=True, boto3_session=session)
        wr.s3.to_parquet(frame, f"{target}part.parquet", compression="zstd", boto3_session=session)

    texts = [""] * COUNT
    with s3(scratch / "hard") as session:
        try:
            convert("hard/", session)
        except (ValueError, ArithmeticError):
            pass  # an integer beyond 64 bits: all of them are refused
        else:
            first: Any = wr.s3.read_parquet(NAMES.uri("hard/"), boto3_session=session).to_dict("records")[0]
            texts = as_texts(first)
    with s3(scratch / "easy") as session:
        with meter:
            convert("out/", session)
        meter.mark_peak()
        session.client("s3").download_file(NAMES.lake.bucket, "out/part.parquet", str(out / "part.parquet"))
    rows = pq.read_metadata(out / "part.parquet").num_rows  # its sequence numbers are doubles now: nothing to compare
    return {"rows": rows, "bytes": _size(out), "same": 0, **kept(hard_columns().values(), texts)}


def _measure(
    meter: Meter,
    scratch: Path,
    name: str,
    convert: Callable[[Path, Path], None],
    same: bool,
    objects: str = "raw",
    first: Callable[[Path], dict[str, Any]] = lambda path: pq.read_table(path).to_pylist()[0],
) -> Row:
    """Convert, check the rows, then count the hard numbers by outcome."""
    out, hard = scratch / name, scratch / f"hard-{name}"
    with meter:
        convert(scratch / objects, out)
    meter.mark_peak()
    rows = check_rows(scratch, _parts(out), unique=same)
    convert(scratch / "hard", hard)
    texts = as_texts(first(_parts(hard)[0]))
    return {"rows": rows, "bytes": _size(out), "same": int(same), **kept(hard_columns().values(), texts)}


def _parts(out: Path) -> list[Path]:
    return sorted(p for p in out.rglob("*.parquet") if p.stat().st_size) if out.is_dir() else [out]


def _size(out: Path) -> int:
    return sum(path.stat().st_size for path in _parts(out))


def derive(rows: list[Row]) -> None:
    """Add each competitor's time relative to dynalake's, and its MB of JSON per second."""
    for row in rows:
        row["times_wall"] = round(row["wall_s"] / rows[0]["wall_s"], 2)
        row["times_cpu"] = round(row["cpu_s"] / rows[0]["cpu_s"], 2)
    if rows[0]["rows"] != CHANGES // OBJECTS * OBJECTS:
        raise BenchmarkError(f"{rows[0]['rows']:,} rows of {CHANGES:,} changes")


BENCHMARK = Benchmark(
    name="convert",
    title=f"convert: {CHANGES:,} RECEIPTS change records in {OBJECTS} gz objects → zstd Parquet, {CORES} cores",
    competitors=(
        Competitor("dynalake", dynalake("raw")),
        Competitor("DuckDB, plain copy", duckdb(same=False)),
        Competitor("DuckDB, the same work", duckdb(same=True)),
        Competitor("PySpark local[2], plain copy", spark(same=False), rounds=2),
        Competitor("PySpark local[2], the same work", spark(same=True), rounds=2),
        Competitor("dynalake, easier input", dynalake("easy")),
        Competitor("polars, plain copy, easier input", polars),
        Competitor(EASIER, awswrangler, rounds=2),
    ),
    columns=(
        Column("", lambda r: str(r["name"])),
        Column("wall s", lambda r: f"{r['wall_s']:.1f}"),
        Column("times", lambda r: f"{r['times_wall']:.1f}"),
        Column("CPU s", lambda r: f"{r['cpu_s']:.1f}"),
        Column("times", lambda r: f"{r['times_cpu']:.1f}"),
        Column("peak MB", lambda r: f"{r['peak_mb']:,.0f}"),
        Column("Parquet MB", lambda r: f"{r['bytes'] / MEGABYTE:.1f}"),
        Column("rows", lambda r: f"{r['rows']:,}"),
        *HARD_NUMBERS,
    ),
    prepare=prepare,
    derive=derive,
    notes=(
        "dynalake and 'the same work': each change once, in the order of key and sequence number. Rows are compared",
        "with the input. The easier input has no numbers beyond 64 bits and no attributes of mixed types.",
    ),
)
