"""A backfill by export of 200,000 items on local AWS: dynalake, and PySpark on the same kind of files.

The table holds the items of `scan`. Each competitor starts with a finished export, whose files are gzipped lines of
DynamoDB JSON. dynalake reads them from local AWS's S3 and writes change records there, as the tasks of
`dynalake_backfill` do, one after the other; and once more up to the snapshot's Parquet files. PySpark reads them as
local files, infers their schema, and writes Parquet files. Waiting for an export is not measured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import sleep

import boto3
import pyarrow.parquet as pq

from benchmarks.convert import CORES, spark_session
from benchmarks.encode import kept_by
from benchmarks.hard_numbers import hard_numbers, kept
from benchmarks.harness import HARD_NUMBERS, Benchmark, BenchmarkError, Column, Competitor, Row
from benchmarks.meter import MEGABYTE, Meter
from benchmarks.scan import ITEMS, LAKE, PLAIN, change, plain, verify
from dynalake.aws.clients import Clients
from dynalake.aws.dynamodb import turn_on_recovery
from dynalake.backfill.commit.commit import commit_backfill
from dynalake.backfill.export.export import check_exports, request_exports
from dynalake.backfill.export.manifest import Groups, store_groups
from dynalake.backfill.export.read import convert_group
from dynalake.backfill.plan.run import plan_backfill
from dynalake.convert.batch import convert_batch
from dynalake.convert.snapshot import plan_snapshot
from dynalake.errors import NotReadyError
from dynalake.lake.catalog.table import Table
from dynalake.lake.tables.make import make_tables
from dynalake.options.backfill import BackfillOptions
from infra.local.demo.receipts import KEY, generate_receipts
from infra.local.demo.writing import create_table, write_items
from infra.local.run.process import LocalAws

NAMES = LAKE.table(PLAIN)
FILES = "export"


@contextmanager
def prepare(scratch: Path) -> Iterator[Mapping[str, str]]:
    """Start local AWS, write the table, export it, and download the export's files for PySpark."""
    with LocalAws(scratch / "local-aws.log") as aws:
        session = boto3.Session(aws.key, aws.key, region_name=LAKE.region)
        clients = Clients.of(session, endpoint_url=lambda service: aws.endpoint_url)
        clients.s3.create_bucket(Bucket=LAKE.bucket)
        clients.glue.create_database(DatabaseInput={"Name": LAKE.database})
        create_table(clients.dynamodb, PLAIN, KEY)
        clients.dynamodb.update_table(TableName=PLAIN, StreamSpecification={"StreamEnabled": False})
        turn_on_recovery(clients, PLAIN)
        write_items(clients.dynamodb, PLAIN, map(plain, generate_receipts(ITEMS)))
        table = Table(clients, NAMES)
        make_tables(table, KEY, "arn")
        (scratch / FILES).mkdir()
        for number, file in enumerate(f for group in export(table, "files").groups for f in group):
            clients.s3.download_file(LAKE.bucket, file.key, str(scratch / FILES / f"{number:03d}.json.gz"))
        yield aws.env()


def export(table: Table, run: str) -> Groups:
    """Plan a run, and wait until its export is complete."""
    plan_backfill(table, run, BackfillOptions(method="export"))
    exports = request_exports(table, run=run)
    while True:
        try:
            return store_groups(table, check_exports(table, exports), run=run)
        except NotReadyError:
            sleep(1)


def to_records(meter: Meter, scratch: Path) -> Row:
    """Write change records, as a backfill's tasks do."""
    table, run = Table(Clients.of(boto3.Session()), NAMES), f"records-{os.getpid()}"
    groups = export(table, run).groups
    with meter:
        for segment in range(len(groups)):
            convert_group(table, run=run, segment=segment)
    meter.mark_peak()
    done = verify(NAMES.snapshot_run(run))
    if done["numbers_changed_percent"]:
        raise BenchmarkError(f"{done['numbers_changed_percent']}% of the numbers have changed")
    return {"objects": done["objects"], "output_mb": done["output_mb"], **kept_by(change)}


def to_parquet(meter: Meter, scratch: Path) -> Row:
    """Write change records, and from these the snapshot's Parquet files."""
    table, run = Table(Clients.of(boto3.Session()), NAMES), f"parquet-{os.getpid()}"
    groups = export(table, run).groups
    with meter:
        for segment in range(len(groups)):
            convert_group(table, run=run, segment=segment)
        commit_backfill(table, run=run)
        batches = plan_snapshot(table, NAMES.snapshot_run(run), datetime.now(UTC)).batches
        results = [convert_batch(table, batch) for batch in batches]
    meter.mark_peak()
    parts = [part for result in results for folder in result.folders for part in folder.parts]
    check_count(sum(part.rows for part in parts))
    return {"objects": len(parts), "output_mb": sum(part.size for part in parts) / MEGABYTE}


def spark(meter: Meter, scratch: Path) -> Row:
    """Write Parquet files with the schema that Spark finds, in which each value keeps the name of its type."""
    session = spark_session(scratch)

    def convert(source: Path, out: Path) -> list[Path]:
        session.read.json(str(source)).select("Item.*").write.mode("overwrite").parquet(str(out))
        return sorted(out.glob("*.parquet"))

    try:
        with meter:
            files = convert(scratch / FILES, scratch / "spark")
        meter.mark_peak()
        check_count(sum(pq.read_metadata(file).num_rows for file in files))
        hard = scratch / "hard.json"
        hard.write_text("".join(json.dumps({"Item": {"n": {"N": number}}}) + "\n" for number in hard_numbers()))
        values = [row["n"]["N"] for file in convert(hard, scratch / "spark-hard") for row in _rows(file)]
        size = sum(file.stat().st_size for file in files) / MEGABYTE
        return {"objects": len(files), "output_mb": size, **kept(hard_numbers(), map(json.dumps, values))}
    finally:
        session.stop()


def check_count(rows: int) -> None:
    if rows != ITEMS:
        raise BenchmarkError(f"{rows:,} rows were written for {ITEMS:,} items")


def _rows(file: Path) -> list[Row]:
    rows: list[Row] = pq.read_table(file).to_pylist()
    return rows


def derive(rows: list[Row]) -> None:
    """Add rates."""
    for row in rows:
        row["items_per_s"] = round(ITEMS / row["wall_s"])
        row["items_per_cpu_s"] = round(ITEMS / row["cpu_s"])


def _counted(column: Column) -> Column:
    """Return the column of a count that not all rows have."""
    return Column(column.heading, lambda r: column.show(r) if "exact" in r else "")


BENCHMARK = Benchmark(
    name="export",
    title=f"export: the exported files of {ITEMS:,} RECEIPTS → change records, or Parquet files",
    competitors=(
        Competitor("dynalake, change records in S3", to_records),
        Competitor("dynalake, Parquet in S3", to_parquet),
        Competitor(f"PySpark local[{CORES}], Parquet", spark, rounds=3),
    ),
    columns=(
        Column("", lambda r: str(r["name"])),
        Column("wall s", lambda r: f"{r['wall_s']:.1f}"),
        Column("CPU s", lambda r: f"{r['cpu_s']:.1f}"),
        Column("items/s", lambda r: f"{r['items_per_s']:,}"),
        Column("items per CPU s", lambda r: f"{r['items_per_cpu_s']:,}"),
        Column("peak MB", lambda r: f"{r['peak_mb']:,.0f}"),
        Column("objects", lambda r: f"{r['objects']:,}"),
        Column("MB", lambda r: f"{r['output_mb']:.1f}"),
        *map(_counted, HARD_NUMBERS[:2]),
    ),
    prepare=prepare,
    derive=derive,
    notes=(
        "dynalake is one process; its wall time includes local AWS's own work. PySpark reads and writes local files;",
        "its start and the hard numbers are not in its wall time, but in its CPU time.",
    ),
)
