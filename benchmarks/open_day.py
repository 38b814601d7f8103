"""An open day, and a lake of many tables: the calls, the time and the memory of one run of `dynalake_convert`.

A table has some days and a day that is open, into which runs have brought changes before. One more run brings 1,000,
and another 100,000. Then a lake of 250 and of 1,000 tables (`BENCH_LAKE_TABLES`): once nothing of it is due, and once a
twentieth of its tables has news. Each step is that of a task, in its order and with nothing kept from the step before;
only Airflow itself is left out. Local AWS does the work of S3 and Glue, and counts in the wall time alone.

It fails if a run makes more calls than `dynalake/sizing/requests.py` says, or if the memory grows with the tables.
"""

from __future__ import annotations

import gzip
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3

from benchmarks.harness import Benchmark, BenchmarkError, Column, Competitor, Row
from benchmarks.meter import Meter
from dynalake.aws.clients import Clients
from dynalake.convert.batch import convert_or_wait
from dynalake.convert.finish import finish_table
from dynalake.convert.plan import ConvertLimits, plan_table, read_batch_plan
from dynalake.lake.catalog.commit_events import take_events
from dynalake.lake.catalog.table import Table
from dynalake.lake.current.view_entries import write_views
from dynalake.lake.tables.make import make_tables
from dynalake.names import Lake, TableNames
from dynalake.record.change import encode_change
from dynalake.sizing.requests import MANIFESTS, MERGE, NEWS, OBJECT, QUIET
from infra.local.demo.receipts import KEY, generate_receipts
from infra.local.run.process import LocalAws

TABLES = int(os.environ.get("BENCH_LAKE_TABLES", "1000"))
LAKES = (TABLES // 4, TABLES)
NEWS_SHARE, NEW = 20, 100
"""One in so many tables has news: so many changes."""
CHANGES = (1_000, 100_000)
DAYS, RUNS, BEFORE = 3, 10, 200
"""Days before the open one, runs of the open one so far, and the changes of each of them."""
NOON = datetime(2025, 12, 31, 12, tzinfo=UTC)
FLAT = 1.25
"""Allowed factor between the memory for a lake and for one of a quarter of its tables."""

KINDS = {"PutObject": "puts", "ListObjectsV2": "lists", "GetObject": "gets", "GetTable": "glue", "UpdateTable": "glue"}
FREE = ("DeleteObject", "DeleteObjects")


@contextmanager
def prepare(scratch: Path) -> Iterator[Mapping[str, str]]:
    """Start local AWS, and make the lakes: each table has converted one object."""
    with LocalAws(scratch / "local-aws.log") as aws:
        clients = Clients.of(
            boto3.Session(aws.key, aws.key, region_name="us-east-1"), endpoint_url=lambda service: aws.endpoint_url
        )
        for count in LAKES:
            lake = make_lake(clients, f"l{count}")
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda names: first_run(clients, names), names_of(lake, count)))
        yield aws.env()


def make_lake(clients: Clients, environment: str) -> Lake:
    lake = Lake(environment, "000000000000", "us-east-1")
    clients.s3.create_bucket(Bucket=lake.bucket)
    clients.glue.create_database(DatabaseInput={"Name": lake.database})
    return lake


def names_of(lake: Lake, count: int) -> list[TableNames]:
    return [lake.table(f"TABLE{number:05d}") for number in range(count)]


def make(clients: Clients, names: TableNames) -> None:
    table = Table(clients, names)
    make_tables(table, KEY, f"arn:aws:dynamodb:us-east-1:000000000000:table/{names.table}")
    write_views(table)


def first_run(clients: Clients, names: TableNames) -> None:
    """Make a table, convert an object, and plan once more: that run reads what the first has committed."""
    make(clients, names)
    land(clients, names, NEW, NOON - timedelta(hours=1))
    convert(clients, names, NOON)
    if convert(clients, names, NOON):
        raise BenchmarkError(f"{names.table} has due objects after its conversion")


def land(clients: Clients, names: TableNames, count: int, at: datetime) -> None:
    """Put changes of new items as one raw object."""
    moment = round(at.timestamp() * 1000)
    lines = []
    for number, item in enumerate(generate_receipts(count)):
        item["receiptId"]["S"] = f"R-{moment}-{number:06d}"
        sequence = str(moment * 1_000_000 + number)
        lines.append(
            encode_change(item, operation="INSERT", sequence_number=sequence, event_time=moment + number // 10)
        )
    body = gzip.compress("".join(f"{line}\n" for line in lines).encode(), 1)
    key = f"{names.raw_day(names.lake.day_of(at))}{moment}.gz"
    clients.s3.put_object(Bucket=names.lake.bucket, Key=key, Body=body)


def convert(clients: Clients, names: TableNames, now: datetime) -> int:
    """Do what the tasks of a run do for one table. Return the rows that were committed."""
    planned = plan_table(Table(clients, names), ConvertLimits(), now)
    if not planned.batches:
        return 0
    (batch,) = planned.batches
    plan, table = batch.plan, Table(clients, names)
    result = convert_or_wait(table, read_batch_plan(table, plan, batch.number))
    done = finish_table(table, plan, {batch.number: result}, ConvertLimits(), lambda: now)
    take_events(table, plan, known=True)
    return done.sums.rows


class Counted:
    """Clients whose calls to S3 and Glue are counted by kind."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        session = boto3.Session()
        for service in ("s3", "glue"):
            session.events.register(f"before-call.{service}", self._count)
        self.clients = Clients.of(session)

    def _count(self, model: object, **_: object) -> None:
        call = str(getattr(model, "name", ""))
        if call not in FREE:
            self.calls[KINDS.get(call, call)] += 1

    def row(self) -> Row:
        return {**{kind: self.calls[kind] for kind in ("puts", "lists", "gets", "glue")}, "calls": self.calls.total()}


def open_day(count: int) -> Callable[[Meter, Path], Row]:
    def run(meter: Meter, scratch: Path) -> Row:
        counted = Counted()
        clients = counted.clients
        names = make_lake(clients, f"d{count}").table("RECEIPTS")
        make(clients, names)
        for ago in range(DAYS, 0, -1):
            land(clients, names, BEFORE, NOON - timedelta(days=ago))
            convert(clients, names, NOON - timedelta(days=ago))
        for ago in range(RUNS, 0, -1):
            land(clients, names, BEFORE, NOON - timedelta(minutes=10 * ago))
            convert(clients, names, NOON - timedelta(minutes=10 * ago))
        land(clients, names, count, NOON)
        counted.calls.clear()
        with meter:
            rows = convert(clients, names, NOON)
        meter.mark_peak()
        return check(count, rows, counted.row(), (NEWS + OBJECT * (1 + 1 + DAYS + MANIFESTS) + MERGE).count)

    return run


def check(changes: int, rows: int, row: Row, most: float) -> Row:
    """Return the row. Raise an error if rows are missing, or there were more calls than that."""
    if rows != changes:
        raise BenchmarkError(f"{rows:,} rows were committed for {changes:,} changes")
    if row["calls"] > most:
        raise BenchmarkError(f"{row['calls']:,} calls were made, but at most {most:,.0f} were expected: {row}")
    return {**row, "rows": rows}


def lake_run(count: int, news: int) -> Callable[[Meter, Path], Row]:
    def run(meter: Meter, scratch: Path) -> Row:
        counted = Counted()
        tables = names_of(Lake(f"l{count}", "000000000000", "us-east-1"), count)
        for names in tables[:news]:
            land(counted.clients, names, NEW, NOON)
        counted.calls.clear()
        with meter:
            rows = converted(counted.clients, tables)
        meter.mark_peak()
        most = (QUIET * (count - news) + (NEWS + OBJECT * (1 + 2)) * news).count
        return check(NEW * news, rows, counted.row(), most)

    return run


def converted(clients: Clients, tables: Iterable[TableNames]) -> int:
    return sum(convert(clients, names, NOON + timedelta(minutes=10)) for names in tables)


def derive(rows: list[Row]) -> None:
    """Raise an error if the memory grows with the tables of a lake."""
    by_name = {row["name"]: row["peak_mb"] for row in rows}
    for kind in ("nothing new", "one in 20 has news"):
        small, large = (by_name[f"{count:,} tables, {kind}"] for count in LAKES)
        if large > FLAT * small:
            raise BenchmarkError(f"{kind}: {LAKES[1]:,} tables took {large:,.0f} MB, a quarter of them {small:,.0f} MB")


BENCHMARK = Benchmark(
    name="open_day",
    title="open_day: one run of dynalake_convert, on local AWS",
    competitors=(
        *(Competitor(f"{count:,} changes", open_day(count), rounds=1) for count in CHANGES),
        *(Competitor(f"{count:,} tables, nothing new", lake_run(count, 0), rounds=1) for count in LAKES),
        *(
            Competitor(f"{count:,} tables, one in 20 has news", lake_run(count, max(1, count // NEWS_SHARE)), rounds=1)
            for count in LAKES
        ),
    ),
    columns=(
        Column("", lambda r: str(r["name"])),
        Column("rows", lambda r: f"{r['rows']:,}"),
        Column("PUTs", lambda r: f"{r['puts']:,}"),
        Column("LISTs", lambda r: f"{r['lists']:,}"),
        Column("GETs", lambda r: f"{r['gets']:,}"),
        Column("Glue", lambda r: f"{r['glue']:,}"),
        Column("all calls", lambda r: f"{r['calls']:,}"),
        Column("wall s", lambda r: f"{r['wall_s']:.2f}"),
        Column("CPU s", lambda r: f"{r['cpu_s']:.2f}"),
        Column("peak MB", lambda r: f"{r['peak_mb']:,.0f}"),
    ),
    prepare=prepare,
    derive=derive,
    notes=(
        f"The table of the first rows has {DAYS} days and {RUNS} runs of {BEFORE} changes on the open day.",
        "Wall time includes local AWS's own work, of which there is one process; CPU time does not.",
    ),
)
