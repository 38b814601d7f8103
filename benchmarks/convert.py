"""A day of change records → Parquet: dynalake, DuckDB, polars, PySpark and awswrangler, all within two cores.

dynalake does a full conversion: exact types, each change once, order, quarantine, manifests, commits. It reads from and
writes to an S3 and a Glue in the same process (moto), whose work counts as dynalake's. awswrangler reads
and writes the same S3; the others read and write local files. DuckDB and PySpark run twice: as a plain copy, and doing
the same work: each change once, in order.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
from moto import mock_aws

from benchmarks.changes import HARD_PARTS, OBJECTS, RECEIPTS, Shape, as_texts, check_rows, hard_columns
from benchmarks.hard_numbers import COUNT, kept
from benchmarks.harness import HARD_NUMBERS, Benchmark, Column, Competitor, Row
from benchmarks.meter import MEGABYTE, Meter
from dynalake.aws.clients import Clients
from dynalake.convert.batch import convert_or_wait
from dynalake.convert.finish import convert_due
from dynalake.convert.options import ReadOptions
from dynalake.convert.plan import Batch, ConvertLimits, plan_table
from dynalake.convert.read.raw_batch import RawBatch, read_batch
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.tables.make import make_tables
from dynalake.names import TableNames
from dynalake.record.change import OTHER

DAY = "20190525"
CORES = 2


@contextmanager
def s3(objects: Path, names: TableNames, days: Sequence[str] = (DAY,)) -> Iterator[boto3.Session]:
    """Put the objects into a bucket of moto: as many for each of the table's days, in their order."""
    with mock_aws():
        session = boto3.Session("test", "test", region_name="us-east-1")
        client = session.client("s3")
        client.create_bucket(Bucket=names.lake.bucket)
        paths = sorted(objects.iterdir())
        for number, path in enumerate(paths):
            key = names.raw_day(days[number * len(days) // len(paths)]) + path.name
            client.put_object(Bucket=names.lake.bucket, Key=key, Body=path.read_bytes())
        yield session


@contextmanager
def landed(shape: Shape, objects: Path, days: Sequence[str] = (DAY,)) -> Iterator[Table]:
    """Yield a table whose days have landed."""
    names = shape.names
    with s3(objects, names, days) as session:
        clients = Clients.of(session)
        clients.glue.create_database(DatabaseInput={"Name": names.lake.database})
        table = Table(clients, names)
        make_tables(table, shape.key, f"arn:aws:dynamodb:us-east-1:123456789012:table/{shape.table}")
        for day in days:
            report(table, day)
        yield table


def report(table: Table, day: str) -> None:
    """Let a conversion see that the day has objects."""
    table.store.write(table.names.reported_day(day), b"")


def download(table: Table, out: Path) -> list[Path]:
    """Copy the files of the table's changes."""
    out.mkdir(exist_ok=True)
    for number, file in enumerate(f for f in table.changes().files() if f.rows):
        key = file.path.removeprefix(table.names.uri(""))
        table.clients.s3.download_file(table.names.lake.bucket, key, str(out / f"{number:05d}.parquet"))
    return sorted(out.iterdir())


def dynalake(shape: Shape, objects: str) -> Callable[[Meter, Path], Row]:
    """Return a run that does all that `dynalake_convert` does."""

    def run(meter: Meter, scratch: Path) -> Row:
        texts: list[str] = []
        if shape.hard:
            hard: dict[str, Any] = {}
            for part in range(HARD_PARTS):
                files = _convert(Meter(), shape, scratch / f"hard-{part}", scratch / f"hard-dynalake-{part}")
                (row,) = pq.ParquetFile(files[0]).read_row_group(0).slice(0, 1).to_pylist()
                # A file leaves out columns of which no row has a value.
                hard |= {**row, **dict(row.get(OTHER) or ())}
            texts = as_texts(hard)
        files = _convert(meter, shape, scratch / objects, scratch / f"dynalake-{objects}")
        meter.mark_peak()
        rows = check_rows(scratch, files, unique=True)
        return {"rows": rows, "bytes": size(files), **_kept(shape, texts)}

    return run


def read_compiled(table: Table, batch: Batch, schema: TableSchema, directory: Path) -> RawBatch:
    return read_batch(table, batch.inputs, schema, ReadOptions(compiled_from_mb=0), directory)


def compile_reader(shape: Shape, scratch: Path) -> None:
    """Compile the reader, or load what was compiled, by a conversion of one object that does not count."""
    first = scratch / "first"
    first.mkdir(exist_ok=True)
    shutil.copy(min((scratch / "raw").iterdir()), first)
    with landed(shape, first) as table:
        (batch,) = plan_table(table, ConvertLimits(), datetime.now(UTC)).batches
        convert_or_wait(table, batch, read_compiled)


@contextmanager
def prepare(shape: Shape, scratch: Path) -> Iterator[Mapping[str, str]]:
    """Write the objects, and compile the reader: each competitor's process loads what was compiled, as a task does."""
    with shape.prepare(scratch) as environment:
        compile_reader(shape, scratch)
        yield environment


def _convert(meter: Meter, shape: Shape, objects: Path, out: Path) -> list[Path]:
    """Convert the objects. Return the files."""
    with landed(shape, objects) as table:
        with meter:
            convert_due(table, lambda: datetime.now(UTC))
        return download(table, out)


def duckdb(shape: Shape, same: bool) -> Callable[[Meter, Path], Row]:
    """Return a run of `COPY … read_json`."""

    def run(meter: Meter, scratch: Path) -> Row:
        import duckdb

        connection = duckdb.connect()
        connection.execute(f"SET threads = {CORES}")
        order = ", ".join(shape.order)
        once = f"QUALIFY row_number() OVER (PARTITION BY {order} ORDER BY __event_time DESC) = 1 ORDER BY {order}"

        def convert(objects: Path, out: Path) -> None:
            source = f"read_json('{objects}/*.gz', format = 'newline_delimited')"
            connection.execute(
                f"COPY (SELECT * FROM {source} {once if same else ''}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)"
            )

        return _measure(meter, scratch, shape, f"duckdb-{same}.parquet", convert, same)

    return run


def polars(meter: Meter, scratch: Path) -> Row:
    """Run `scan_ndjson().sink_parquet()` on the input without mixed types: it finds no schema for the other."""
    os.environ["POLARS_MAX_THREADS"] = str(CORES)
    import polars

    def convert(objects: Path, out: Path) -> None:
        polars.scan_ndjson(sorted(objects.iterdir())).sink_parquet(out, compression="zstd")

    def first(path: Path) -> dict[str, Any]:
        return polars.read_parquet(path).row(0, named=True)  # it writes integers that nothing else reads

    return _measure(meter, scratch, RECEIPTS, "polars.parquet", convert, same=False, objects="easy", first=first)


def spark_session(scratch: Path) -> Any:
    """Return a session, local[2]. Case matters in names: by default Spark refuses these."""
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
    return builder.master(f"local[{CORES}]").config(map=settings).getOrCreate()


def spark(shape: Shape, same: bool) -> Callable[[Meter, Path], Row]:
    """Return a run of PySpark, without its start."""

    def run(meter: Meter, scratch: Path) -> Row:
        session = spark_session(scratch)

        def convert(objects: Path, out: Path) -> None:
            frame = session.read.json(str(objects))
            if same:
                frame = frame.dropDuplicates([*shape.order]).sort(*shape.order)
            frame.write.mode("overwrite").parquet(str(out))

        try:
            return _measure(meter, scratch, shape, f"spark-{same}", convert, same)
        finally:
            session.stop()

    return run


def awswrangler(meter: Meter, scratch: Path) -> Row:
    """Run `read_json` → `to_parquet` on the input that pandas can read."""
    import awswrangler as wr

    out, names = scratch / "awswrangler.parquet", RECEIPTS.names

    def convert(prefix: str, session: boto3.Session) -> None:
        source, target = names.uri(names.raw_day(DAY)), names.uri(prefix)
        frame = wr.s3.read_json(source, lines=True, boto3_session=session)
        wr.s3.to_parquet(frame, f"{target}part.parquet", compression="zstd", boto3_session=session)

    texts = [""] * COUNT
    with s3(scratch / "hard", names) as session:
        try:
            convert("hard/", session)
        except (ValueError, ArithmeticError):
            pass  # an integer beyond 64 bits: all of them are refused
        else:
            first: Any = wr.s3.read_parquet(names.uri("hard/"), boto3_session=session).to_dict("records")[0]
            texts = as_texts(first)
    with s3(scratch / "easy", names) as session:
        with meter:
            convert("out/", session)
        meter.mark_peak()
        session.client("s3").download_file(names.lake.bucket, "out/part.parquet", str(out))
    rows = pq.read_metadata(out).num_rows  # its sequence numbers are doubles now: nothing to compare
    return {"rows": rows, "bytes": size([out]), **_kept(RECEIPTS, texts)}


def _measure(
    meter: Meter,
    scratch: Path,
    shape: Shape,
    name: str,
    convert: Callable[[Path, Path], None],
    same: bool,
    objects: str = "raw",
    first: Callable[[Path], dict[str, Any]] = lambda path: pq.read_table(path).to_pylist()[0],
) -> Row:
    """Convert, check the rows, then count the hard numbers by outcome."""
    out, hard, texts = scratch / name, scratch / f"hard-{name}", list[str]()
    with meter:
        convert(scratch / objects, out)
    meter.mark_peak()
    rows = check_rows(scratch, parts(out), unique=same)
    if shape.hard:
        convert(scratch / "hard", hard)
        texts = as_texts(first(parts(hard)[0]))
    return {"rows": rows, "bytes": size(parts(out)), **_kept(shape, texts)}


def _kept(shape: Shape, texts: list[str]) -> Row:
    return kept(hard_columns().values(), texts) if shape.hard else {}


def parts(out: Path) -> list[Path]:
    return sorted(p for p in out.rglob("*.parquet") if p.stat().st_size) if out.is_dir() else [out]


def size(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def derive(rows: list[Row]) -> None:
    """Add each competitor's times relative to the first one's."""
    for row in rows:
        row["times_wall"] = round(row["wall_s"] / rows[0]["wall_s"], 2)
        row["times_cpu"] = round(row["cpu_s"] / rows[0]["cpu_s"], 2)


COLUMNS = (
    Column("", lambda r: str(r["name"])),
    Column("wall s", lambda r: f"{r['wall_s']:.1f}"),
    Column("times", lambda r: f"{r['times_wall']:.1f}"),
    Column("CPU s", lambda r: f"{r['cpu_s']:.1f}"),
    Column("times", lambda r: f"{r['times_cpu']:.1f}"),
    Column("peak MB", lambda r: f"{r['peak_mb']:,.0f}"),
    Column("Parquet MB", lambda r: f"{r['bytes'] / MEGABYTE:.1f}"),
    Column("rows", lambda r: f"{r['rows']:,}"),
)


def conversion(
    name: str, shape: Shape, more: Sequence[Competitor] = (), columns: Sequence[Column] = (), notes: Sequence[str] = ()
) -> Benchmark:
    """Return the benchmark of one table's conversion."""
    return Benchmark(
        name=name,
        title=f"{name}: {shape.changes:,} {shape.table} change records in {OBJECTS} gz objects → zstd Parquet, "
        f"{CORES} cores",
        competitors=(
            Competitor("dynalake", dynalake(shape, "raw")),
            Competitor("DuckDB, plain copy", duckdb(shape, same=False)),
            Competitor("DuckDB, the same work", duckdb(shape, same=True)),
            Competitor("PySpark local[2], plain copy", spark(shape, same=False), rounds=2),
            Competitor("PySpark local[2], the same work", spark(shape, same=True), rounds=2),
            *more,
        ),
        columns=(*COLUMNS, *columns),
        prepare=partial(prepare, shape),
        derive=derive,
        notes=(
            "dynalake and 'the same work': each change once, in the order of key and sequence number.",
            "Rows are compared with the input.",
            *notes,
        ),
    )


BENCHMARK = conversion(
    "convert",
    RECEIPTS,
    more=(
        Competitor("dynalake, easier input", dynalake(RECEIPTS, "easy")),
        Competitor("polars, plain copy, easier input", polars),
        Competitor("awswrangler, easier input", awswrangler, rounds=2),
    ),
    columns=HARD_NUMBERS,
    notes=("The easier input has no numbers beyond 64 bits and no attributes of mixed types.",),
)
