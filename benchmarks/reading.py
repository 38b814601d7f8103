"""Reading as history grows: what Trino needs for one key, one day and all rows, after 10, 100 and 1,000 days.

The tables are those of `history`: every day has as many changes of the same items. Of many days, all but the first
seven and the last 30 are copies. The nights of the last week keep their snapshots, as a lake does by default. One more
day is open: it is converted and not folded yet.

Of each of `{t}`, `{t}_current` and `{t}_state`, the files and the metadata are counted, and queries are measured: their
time, that of analysis and planning, and the bytes read from data files. Each answer is checked.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from benchmarks.harness import Benchmark, BenchmarkError, Column, Competitor, Row
from benchmarks.history import CHANGES, ITEMS, LAST_DAY, LESS, MORE, REAL, dt_of, last_changes, make, prepare
from benchmarks.meter import Meter
from dynalake.aws.clients import Clients
from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.table import Table
from dynalake.lake.upkeep.expire import SNAPSHOT_DAYS
from dynalake.names import Lake
from dynalake.record.change import SEQUENCE_NUMBER
from infra.local.engines.trino import Answer, Trino

DAYS = tuple(int(days) for days in os.environ.get("BENCH_READING_DAYS", "10,100,1000").split(","))
REPEATS = 7
LEAST_DAYS = 10
"""After which all items exist."""
_TOTALS = "SELECT count(*) AS rows_, sum(total) AS total_ FROM {table}"


@dataclass(frozen=True)
class Query:
    """A query of a table: what it asks for, its statements, and how an answer is checked."""

    table: str
    subject: str
    statements: Sequence[str]
    check: Callable[[int, Answer], bool]


def queries(table: Table, last: Mapping[str, str], count: int) -> list[Query]:
    """Return the queries. One key is another one each time."""
    names = table.names
    keys = sorted(last)[:: len(last) // REPEATS][:REPEATS]

    def one(of: str) -> list[str]:
        return [f"SELECT * FROM {of} WHERE receiptid = '{key}'" for key in keys]

    def totals(of: str, where: str = "") -> list[str]:
        return [f"{_TOTALS.format(table=of)} {where}"] * REPEATS

    def is_last(number: int, answer: Answer) -> bool:
        return [row[SEQUENCE_NUMBER] for row in answer.rows] == [last[keys[number]]]

    def has_last(number: int, answer: Answer) -> bool:
        return last[keys[number]] in {row[SEQUENCE_NUMBER] for row in answer.rows}

    def rows(expected: int) -> Callable[[int, Answer], bool]:
        return lambda number, answer: answer.rows[0]["rows_"] == expected

    changes, current, state = names.changes_table, names.current_view, names.state_table
    return [
        Query("{t}", "one key", one(changes), has_last),
        Query("{t}", "one day", totals(changes, f"WHERE dt = '{dt_of(LAST_DAY)}'"), rows(CHANGES)),
        Query("{t}", "all changes", totals(changes), rows((count + 1) * CHANGES)),
        Query("{t}_current", "one key", one(current), is_last),
        Query("{t}_current", "all items", totals(current), rows(ITEMS)),
        Query("{t}_state", "one key", one(state), lambda number, answer: len(answer.rows) == 1),
        Query("{t}_state", "all items", totals(state), rows(ITEMS)),
    ]


def ask(trino: Trino, query: Query) -> Row:
    """Ask all statements of a query, after the first one once more. Return the medians."""
    trino.ask(query.statements[0])  # the first query of a kind loads and compiles code
    seconds, answers = [], []
    for number, statement in enumerate(query.statements):
        start = time.perf_counter()
        answer = trino.ask(statement)
        seconds.append(time.perf_counter() - start)
        if not query.check(number, answer):
            raise BenchmarkError(f"{query.table}, {query.subject}: {statement} has returned {answer.rows[:3]}")
        answers.append(answer)
    return {
        "query_s": statistics.median(seconds),
        "planning_s": statistics.median(answer.planning_s for answer in answers),
        "input_bytes": statistics.median_low([answer.input_bytes for answer in answers]),
    }


def metadata(table: Table, head: Head) -> Row:
    """Return the counts and sizes of a table's files and of its metadata."""
    files = [file.size for file in head.files()]
    snapshot = head.iceberg.current_snapshot()
    manifests = [] if snapshot is None else snapshot.manifests(head.iceberg.io)
    key = head.metadata_location.removeprefix(table.names.uri(""))
    return {
        "files": len(files),
        "file_bytes": sum(files),
        "manifests": len(manifests),
        "manifest_bytes": sum(manifest.manifest_length for manifest in manifests),
        "metadata_bytes": table.clients.s3.head_object(Bucket=table.names.lake.bucket, Key=key)["ContentLength"],
        "snapshots": len(head.iceberg.metadata.snapshots),
    }


def both(changes: Row, state: Row) -> Row:
    """Return the sums of both tables, for the view that reads them."""
    return {name: value + state[name] for name, value in changes.items()}


def after(count: int) -> Callable[[Meter, Path], Row]:
    def run(meter: Meter, scratch: Path) -> Row:
        if count < LEAST_DAYS:
            raise BenchmarkError(f"BENCH_READING_DAYS has {count}, but must be {LEAST_DAYS} at least")
        clients = Clients.of(boto3.Session())
        lake = Lake(f"r{count}", "000000000000", "us-east-1")
        clients.s3.create_bucket(Bucket=lake.bucket)
        clients.glue.create_database(DatabaseInput={"Name": lake.database})
        table = Table(clients, lake.table("RECEIPTS"))
        days = make(table, count + 1, most_real=REAL + SNAPSHOT_DAYS, daily=SNAPSHOT_DAYS)
        changes, state = metadata(table, table.changes()), metadata(table, table.items())
        of = {"{t}": changes, "{t}_current": both(changes, state), "{t}_state": state}
        trino = Trino(os.environ["BENCH_TRINO"], lake.database)
        with meter:
            measured = [
                {"table": query.table, "query": query.subject, **of[query.table], **ask(trino, query)}
                for query in queries(table, last_changes(days), count)
            ]
        return {"days": count, "measured": measured}

    return run


def derive(rows: list[Row]) -> None:
    """Make a row of each query. Raise an error if one key of the items, or one day, takes more bytes as days pass."""
    runs = list(rows)
    rows[:] = [{"days": run["days"], **measured} for run in runs for measured in run["measured"]]
    rows.sort(key=lambda row: (row["table"], row["query"]))
    first: dict[Any, Row] = {}
    for row in rows:
        row["name"] = f"{row['table']}, {row['query']}, {row['days']:,} days"
        young = first.setdefault((row["table"], row["query"]), row)
        grows = row["table"] == "{t}" and row["query"] != "one day"
        if not grows and not LESS < row["input_bytes"] / young["input_bytes"] < MORE:
            raise BenchmarkError(f"{row['name']}: {row['input_bytes']:,} bytes, not {young['input_bytes']:,}")


BENCHMARK = Benchmark(
    name="reading",
    title=f"reading: tables with {CHANGES} changes a day of {ITEMS:,} items, by Trino on local AWS",
    competitors=[Competitor(f"{count:,} days", after(count), rounds=1) for count in DAYS],
    columns=(
        Column("", lambda r: str(r["name"])),
        Column("files", lambda r: f"{r['files']:,}"),
        Column("KB a file", lambda r: f"{r['file_bytes'] / r['files'] / 1000:,.0f}"),
        Column("manifests", lambda r: f"{r['manifests']:,}"),
        Column("their KB", lambda r: f"{r['manifest_bytes'] / 1000:,.0f}"),
        Column("KB of metadata", lambda r: f"{r['metadata_bytes'] / 1000:,.0f}"),
        Column("snapshots", lambda r: f"{r['snapshots']:,}"),
        Column("s", lambda r: f"{r['query_s']:.3f}"),
        Column("of these planning", lambda r: f"{r['planning_s']:.3f}"),
        Column("KB read", lambda r: f"{r['input_bytes'] / 1000:,.1f}"),
    ),
    prepare=prepare,
    derive=derive,
    notes=(
        f"Medians of {REPEATS} queries; one key is another one each time. The view's metadata is that of both tables.",
        f"It fails if a key of the items, or a day, takes {MORE - 1:.0%} more or less bytes than after {DAYS[0]} days.",
    ),
)
