"""A certificate of equality for 1,000,000 RECEIPTS on local AWS: every item compared with the lake, by each method.

The items are brought into the lake by a scan backfill first. The worker counts its requests to AWS: those of the plan,
the export, the comparison and the certificate. Local AWS runs on the same machine; its CPU time is part of the wall
time, but not of the CPU time.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import boto3

from benchmarks.harness import Benchmark, BenchmarkError, Column, Competitor, Row
from benchmarks.meter import Meter
from dynalake.aws.clients import Clients
from dynalake.aws.dynamodb import turn_on_recovery
from dynalake.backfill.commit.commit import commit_backfill
from dynalake.backfill.export.export import check_exports, request_exports
from dynalake.backfill.export.manifest import store_groups
from dynalake.backfill.plan.run import plan_backfill
from dynalake.backfill.scan.scan import scan_segment
from dynalake.certify.compare import compare_items
from dynalake.certify.doubts import settle_doubts
from dynalake.convert.batch import convert_batch
from dynalake.convert.snapshot import plan_snapshot, show_snapshot
from dynalake.errors import NotReadyError
from dynalake.lake.catalog.table import Table
from dynalake.lake.current.snapshot import number_run
from dynalake.lake.tables.make import make_tables
from dynalake.names import Lake
from dynalake.options.backfill import BackfillOptions
from infra.local.demo.receipts import KEY, generate_receipts
from infra.local.demo.writing import create_table, write_items
from infra.local.run.process import LocalAws

ITEMS = int(os.environ.get("BENCH_CERTIFY_ITEMS", "1000000"))
LAKE = Lake("bench", "000000000000", "us-east-1")
NAMES = LAKE.table("RECEIPTS")


@contextmanager
def prepare(scratch: Path) -> Iterator[Mapping[str, str]]:
    """Start local AWS, write the table, and bring it into its lake."""
    with LocalAws(scratch / "local-aws.log") as aws:
        session = boto3.Session(aws.key, aws.key, region_name=LAKE.region)
        clients = Clients.of(session, endpoint_url=lambda service: aws.endpoint_url)
        clients.s3.create_bucket(Bucket=LAKE.bucket)
        clients.glue.create_database(DatabaseInput={"Name": LAKE.database})
        create_table(clients.dynamodb, NAMES.table, KEY)
        clients.dynamodb.update_table(TableName=NAMES.table, StreamSpecification={"StreamEnabled": False})
        turn_on_recovery(clients, NAMES.table)
        write_items(clients.dynamodb, NAMES.table, generate_receipts(ITEMS))
        _fill(Table(clients, NAMES))
        yield aws.env()


def _fill(table: Table) -> None:
    make_tables(table, KEY, "arn")
    plan = plan_backfill(table, "first", BackfillOptions(method="scan", segments=1))
    scan_segment(table, run="first", segment=0)
    commit_backfill(table, run="first")
    batches = plan_snapshot(table, plan.prefix(NAMES), datetime.now(UTC)).batches
    for batch in batches:
        convert_batch(table, batch)
    number = number_run(table, plan.run)
    show_snapshot(table, number, batches[0].plan if batches else "", [batch.number for batch in batches])


def certify(method: str) -> Callable[[Meter, Path], Row]:
    """Return a run of the DAG's steps by a method."""

    def run(meter: Meter, scratch: Path) -> Row:
        session = boto3.Session()
        requests: Counter[str] = Counter()
        session.events.register("before-send", partial(_count, requests))
        table = Table(Clients.of(session), NAMES)
        name = f"run-{method}-{os.getpid()}"
        plan_backfill(table, name, BackfillOptions(method=method))
        if method == "export":
            exports = request_exports(table, run=name)
            while True:
                try:
                    store_groups(table, check_exports(table, exports), run=name)
                    break
                except NotReadyError:
                    time.sleep(1)
        with meter:
            compare_items(table, run=name)
            certificate = settle_doubts(table, run=name, target_minutes=0)
        meter.mark_peak()
        if not certificate.equal or certificate.items != ITEMS:
            raise BenchmarkError(json.dumps(certificate.to_json()))
        return {
            "items": certificate.items,
            "reads": requests["Scan"] + requests["BatchGetItem"],
            "gets": requests["GetObject"],
            "others": requests.total() - requests["Scan"] - requests["BatchGetItem"] - requests["GetObject"],
        }

    return run


def _count(requests: Counter[str], event_name: str, **_: Any) -> None:
    requests[event_name.rpartition(".")[2]] += 1


def derive(rows: list[Row]) -> None:
    """Add rates."""
    for row in rows:
        row["items_per_s"] = round(ITEMS / row["wall_s"])


BENCHMARK = Benchmark(
    name="certify",
    title=f"certify: {ITEMS:,} RECEIPTS on local AWS, each compared with the lake, one process",
    competitors=(Competitor("by scan", certify("scan")), Competitor("by export", certify("export"))),
    columns=(
        Column("", lambda r: str(r["name"])),
        Column("items", lambda r: f"{r['items']:,}"),
        Column("wall s", lambda r: f"{r['wall_s']:.1f}"),
        Column("CPU s", lambda r: f"{r['cpu_s']:.1f}"),
        Column("items/s", lambda r: f"{r['items_per_s']:,}"),
        Column("peak MB", lambda r: f"{r['peak_mb']:.0f}"),
        Column("reads of DynamoDB", lambda r: f"{r['reads']:,}"),
        Column("GETs of S3", lambda r: f"{r['gets']:,}"),
        Column("other requests", lambda r: f"{r['others']:,}"),
    ),
    prepare=prepare,
    derive=derive,
    notes=("Without the wait for the export. The wall time includes local AWS's own work.",),
)
