"""A day converted by dynalake's own Spark job, next to a plain PySpark job, both local[2].

dynalake does what its job does on AWS Glue (`dynalake/spark`): exact types, each change once and compared with live
rows, order, rejected lines, manifests and commits, by processes that Spark starts. It works on local AWS, whose own
work is in its wall time but not in its CPU time. It runs twice: with the plan of the default limits, where so small a
day is one batch, which only one core can convert; and cut into a batch for each of the two cores. The plain job reads
local files with a given schema, keeps each change once, sorts and writes Parquet. Without the start of Spark, but with
that of Python's processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.changes import OBJECTS, RECEIPTS, check_rows
from benchmarks.convert import COLUMNS, CORES, DAY, derive, download, parts, report, size, spark_session
from benchmarks.harness import Benchmark, BenchmarkError, Competitor, Row
from benchmarks.meter import Meter
from dynalake.aws.clients import Clients
from dynalake.convert.plan import ConvertLimits, plan_table
from dynalake.lake.catalog.table import Table
from dynalake.lake.tables.make import make_tables
from dynalake.names import Lake
from dynalake.spark.executors import Executors
from dynalake.spark.request import CONVERT, Request
from dynalake.spark.work import conversion, do_work
from infra.local.run.process import LocalAws

SHAPE = replace(RECEIPTS, usual=230_000, too_much=(), hard=False)
SCHEMA = """
    __operation STRING, __sequence_number STRING, __event_time BIGINT, __types MAP<STRING, STRING>,
    receiptId STRING, userId STRING, userid STRING, total DOUBLE, paid BOOLEAN, ledgerId DECIMAL(38, 0),
    exact DECIMAL(38, 10), rate DOUBLE, notes STRING, dt STRING, ever STRING, refundedAt STRING,
    updatedAt STRING, loyalty STRING, signature STRING, attachments ARRAY<STRING>, coupons ARRAY<STRING>,
    labels ARRAY<STRING>, points ARRAY<DOUBLE>, metadata STRUCT<source: STRING>,
    lines ARRAY<STRUCT<name: STRING, price: DOUBLE, discount: DOUBLE, tags: ARRAY<STRING>>>,
    store STRUCT<address: STRUCT<id: BIGINT, city: STRING, geo: ARRAY<DOUBLE>, open: BOOLEAN>>
"""
"""The columns of RECEIPTS as someone who knows the table writes them; attributes of mixed types are text.

Prices are doubles, since Arrow's cast of decimals to the doubles that the rows are compared with is not exact.
"""


@contextmanager
def prepare(scratch: Path) -> Iterator[Mapping[str, str]]:
    """Start local AWS, and write the objects."""
    with SHAPE.prepare(scratch), LocalAws(scratch / "local-aws.log") as aws:
        yield {**aws.env(), "PYSPARK_PYTHON": sys.executable}


def dynalake(limits: ConvertLimits, batches: int) -> Callable[[Meter, Path], Row]:
    """Return a run of the job's work, and of its plan, in a lake of its own."""

    def run(meter: Meter, scratch: Path) -> Row:
        table = _land(scratch)
        session = spark_session(scratch)
        try:
            with meter:
                plan = plan_table(table, limits, datetime.now(UTC)).batches
                request = Request.of(table.names, CONVERT, conversion(plan[0].plan, len(plan)))
                do_work(table, request, Executors(session.sparkContext))
            meter.mark_peak()
        finally:
            session.stop()
        if len(plan) != batches:
            raise BenchmarkError(f"The plan has {len(plan)} batches, not {batches}")
        files = download(table, scratch / table.names.lake.environment)
        rows = check_rows(scratch, files, unique=batches == 1)  # a file for each batch, each of them in order
        if rows != SHAPE.changes // OBJECTS * OBJECTS:
            raise BenchmarkError(f"{rows:,} rows came out of {SHAPE.changes:,} changes")
        return {"rows": rows, "bytes": size(files)}

    return run


def _land(scratch: Path) -> Table:
    """Put the objects into a lake of this process, as a day of the table."""
    clients = Clients.in_region(os.environ["AWS_DEFAULT_REGION"])
    names = Lake(f"bench{os.getpid()}", "000000000000", clients.s3.meta.region_name).table(SHAPE.table)
    clients.s3.create_bucket(Bucket=names.lake.bucket)
    clients.glue.create_database(DatabaseInput={"Name": names.lake.database})
    table = Table(clients, names)
    make_tables(table, SHAPE.key, f"arn:aws:dynamodb:us-east-1:000000000000:table/{SHAPE.table}")
    for path in sorted((scratch / "raw").iterdir()):
        table.store.write(names.raw_day(DAY) + path.name, path.read_bytes())
    report(table, DAY)
    return table


def plain(meter: Meter, scratch: Path) -> Row:
    """Run what a user of Spark writes: read, `dropDuplicates`, `sort`, write."""
    session, out = spark_session(scratch), scratch / "plain"
    try:
        with meter:
            frame = session.read.schema(SCHEMA).json(str(scratch / "raw"))
            frame.dropDuplicates([*SHAPE.order]).sort(*SHAPE.order).write.mode("overwrite").parquet(str(out))
        meter.mark_peak()
    finally:
        session.stop()
    return {"rows": check_rows(scratch, parts(out), unique=True), "bytes": size(parts(out))}


BENCHMARK = Benchmark(
    name="spark_engine",
    title=f"spark_engine: {SHAPE.changes:,} RECEIPTS change records of one day, on Spark local[{CORES}]",
    competitors=(
        Competitor(f"dynalake's job, {CORES} batches", dynalake(ConvertLimits(batch_objects=OBJECTS // CORES), CORES)),
        Competitor("dynalake's job, default limits", dynalake(ConvertLimits(), 1)),
        Competitor("PySpark with a given schema", plain),
    ),
    columns=COLUMNS,
    prepare=prepare,
    derive=derive,
    notes=(
        "Local AWS's own work is in dynalake's wall time, and not in its CPU time; the plain job uses local files.",
        "CPU time includes Spark's start, the wall time does not. Rows are compared with the input.",
    ),
)
