"""A scan backfill of 200,000 items on local AWS: dynalake, and the Amazon provider's DynamoDBToS3Operator.

The table holds RECEIPTS without sets and binary values, because the operator's encoder raises for the first of those
and has then written nothing. Their outcome is counted on 1,000 unchanged receipts, in a table of their own.
Each competitor is one process on one core: dynalake with one segment, which scans as the operator does, and with four,
one after the other (in Airflow they are mapped tasks, which run at once). Local AWS runs on the same machine; its CPU
time is part of the wall time, but of no competitor's CPU time.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
from boto3.dynamodb.types import TypeDeserializer

from benchmarks.encode import kept_by
from benchmarks.harness import HARD_NUMBERS, Benchmark, BenchmarkError, Column, Competitor, Row
from benchmarks.meter import MEGABYTE, Meter
from dynalake.aws.clients import Clients
from dynalake.backfill.plan.run import plan_backfill
from dynalake.backfill.scan.scan import scan_segment
from dynalake.lake.catalog.table import Table
from dynalake.names import Lake, TableNames
from dynalake.options.backfill import BackfillOptions
from dynalake.record.change import SNAPSHOT_SEQUENCE, encode_change
from infra.local.demo.receipts import KEY, generate_receipts, receipt
from infra.local.demo.writing import create_table, write_items
from infra.local.run.process import LocalAws

ITEMS = int(os.environ.get("BENCH_SCAN_ITEMS", "200000"))
TYPED_ITEMS = 1_000
PLAIN, TYPED = "PLAIN_RECEIPTS", "RECEIPTS"
SEGMENTS = 4
FILE_BYTES = 64 * 1024 * 1024
# The values of every such item are compared with the input; all lines are counted.
VERIFY_EVERY = 40
LAKE = Lake("bench", "000000000000", "us-east-1")
_REFUSED = frozenset(("B", "SS", "NS", "BS"))


@contextmanager
def prepare(scratch: Path) -> Iterator[Mapping[str, str]]:
    """Start local AWS, and write both tables."""
    with LocalAws(scratch / "local-aws.log") as aws:
        session = boto3.Session(aws.key, aws.key, region_name=LAKE.region)
        dynamodb = session.client("dynamodb", endpoint_url=aws.endpoint_url)
        session.client("s3", endpoint_url=aws.endpoint_url).create_bucket(Bucket=LAKE.bucket)
        for table, items in ((PLAIN, map(plain, generate_receipts(ITEMS))), (TYPED, generate_receipts(TYPED_ITEMS))):
            create_table(dynamodb, table, KEY)
            dynamodb.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})
            write_items(dynamodb, table, items)
        connection = {"conn_type": "aws", "extra": {"endpoint_url": aws.endpoint_url, "region_name": LAKE.region}}
        airflow = {
            "AIRFLOW_HOME": str(scratch / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection),
        }
        yield {**aws.env(), **airflow}


def plain(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the item without the values that the operator cannot write."""
    return {name: _plain(value) for name, value in item.items() if not _REFUSED & value.keys()}


def dynalake(segments: int) -> Callable[[Meter, Path], Row]:
    """Return a run of the backfill's own plan and segments, one after the other."""

    def run(meter: Meter, scratch: Path) -> Row:
        clients = Clients.of(boto3.Session())
        name = f"run-{os.getpid()}"
        _scan(clients, LAKE.table(TYPED), name, segments)
        typed = "written" if sum(1 for _ in _lines(LAKE.table(TYPED).snapshot_run(name))) == TYPED_ITEMS else "lost"
        names = LAKE.table(PLAIN)
        with meter:
            _scan(clients, names, name, segments)
        meter.mark_peak()
        return {"typed": typed, **verify(names.snapshot_run(name)), **kept_by(change)}

    return run


def operator(file_size: int | None) -> Callable[[Meter, Path], Row]:
    """Return a run of the provider's operator, as a DAG would run it; `file_size` None is its default."""

    def run(meter: Meter, scratch: Path) -> Row:
        from airflow.providers.amazon.aws.transfers.dynamodb_to_s3 import (
            DynamoDBToS3Operator,
            _convert_item_to_json_bytes,
        )

        def make(table: str, prefix: str) -> Any:
            options: dict[str, Any] = {} if file_size is None else {"file_size": file_size}
            return DynamoDBToS3Operator(
                task_id="scan", dynamodb_table_name=table, s3_bucket_name=LAKE.bucket, s3_key_prefix=prefix, **options
            )

        deserialize = TypeDeserializer().deserialize

        def convert(item: Mapping[str, Any]) -> str:
            return _convert_item_to_json_bytes({name: deserialize(value) for name, value in item.items()}).decode()

        prefix = f"operator-{os.getpid()}/"
        try:
            make(TYPED, f"{prefix}typed/").execute({})
            typed = "written"
        except TypeError as error:
            typed = f"{type(error).__name__}: {error}"
        task = make(PLAIN, f"{prefix}plain/")
        with meter:
            task.execute({})
        meter.mark_peak()
        return {"typed": typed, **verify(f"{prefix}plain/"), **kept_by(convert)}

    return run


def derive(rows: list[Row]) -> None:
    """Add rates."""
    for row in rows:
        row["items_per_s"] = round(ITEMS / row["wall_s"])


BENCHMARK = Benchmark(
    name="scan",
    title=f"scan: a table of {ITEMS:,} RECEIPTS on local AWS → JSON Lines in S3, one process",
    competitors=(
        Competitor("dynalake, one segment", dynalake(1)),
        Competitor(f"dynalake, {SEGMENTS} segments in turn", dynalake(SEGMENTS)),
        Competitor("DynamoDBToS3Operator, 64 MB files", operator(FILE_BYTES), rounds=3),
        Competitor("DynamoDBToS3Operator, defaults", operator(None), rounds=3),
    ),
    columns=(
        Column("", lambda r: str(r["name"])),
        Column("wall s", lambda r: f"{r['wall_s']:.1f}"),
        Column("CPU s", lambda r: f"{r['cpu_s']:.1f}"),
        Column("items/s", lambda r: f"{r['items_per_s']:,}"),
        Column("peak MB", lambda r: f"{r['peak_mb']:.0f}"),
        Column("objects", lambda r: f"{r['objects']:,}"),
        Column("MB in S3", lambda r: f"{r['output_mb']:.1f}"),
        Column("numbers changed", lambda r: f"{r['numbers_changed_percent']:.1f}%"),
        HARD_NUMBERS[0],
        Column("sets and binary", lambda r: str(r["typed"])),
    ),
    prepare=prepare,
    derive=derive,
    notes=(
        f"Numbers compared for every {VERIFY_EVERY}th item, all lines counted.",
        "The wall time includes local AWS's own work.",
    ),
)


def _scan(clients: Clients, names: TableNames, run: str, segments: int) -> None:
    plan = plan_backfill(Table(clients, names), run, BackfillOptions(method="scan", segments=segments))
    for segment in range(plan.segments):
        scan_segment(Table(clients, names), run=run, segment=segment)


def verify(prefix: str) -> Row:
    """Return counts of the output below `prefix` in S3: objects, bytes, and numbers that differ from the input."""
    objects = size = lines = numbers = changed = 0
    for count, line in _lines(prefix):
        objects, size = count
        lines += 1
        item: dict[str, Any] = json.loads(line, parse_int=Decimal, parse_float=Decimal)
        number = int(item["receiptId"].removeprefix("R-"))
        if number % VERIFY_EVERY == 0:
            source = plain(receipt(number))
            for name, value in source.items():
                for expected, actual in _numbers(value, item[name]):
                    numbers += 1
                    changed += expected != actual
    if lines != ITEMS:
        raise BenchmarkError(f"{lines:,} lines were written for {ITEMS:,} items")
    percent = round(100 * changed / numbers, 2)
    # Each line has the time of its reading, so sizes differ a little from round to round.
    return {
        "objects": objects,
        "output_mb": size / MEGABYTE,
        "numbers_compared": numbers,
        "numbers_changed_percent": percent,
    }


def _lines(prefix: str) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Yield every line below `prefix`, with the objects and bytes read so far."""
    s3 = boto3.client("s3")
    objects = size = 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=LAKE.bucket, Prefix=prefix):
        for listed in page.get("Contents", []):
            body = s3.get_object(Bucket=LAKE.bucket, Key=listed["Key"])["Body"].read()
            objects, size = objects + 1, size + len(body)
            data = gzip.decompress(body) if listed["Key"].endswith(".gz") else body
            for line in data.splitlines():
                yield (objects, size), line


def _numbers(value: Mapping[str, Any], output: Any) -> Iterable[tuple[Decimal, Any]]:
    ((kind, content),) = value.items()
    if kind == "N":
        yield Decimal(content), output
    elif kind == "L":
        for member, item in zip(content, output, strict=True):
            yield from _numbers(member, item)
    elif kind == "M":
        for name, member in content.items():
            yield from _numbers(member, output[name])


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    ((kind, content),) = value.items()
    if kind == "M":
        return {kind: plain(content)}
    return {kind: [_plain(member) for member in content]} if kind == "L" else {kind: content}


def change(item: Mapping[str, Any]) -> str:
    """Return the item as a backfill's change record."""
    return encode_change(item, operation="SNAPSHOT", sequence_number=SNAPSHOT_SEQUENCE, event_time=0)
