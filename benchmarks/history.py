"""The cost of a growing history: one table after 30 days, 300 days and ten years of changes, on local AWS.

Every day has as many changes of the same 2,000 items, so only the history grows. Up to 300 days are real: raw objects
are converted, compacted and folded a week at a time, and a last day is converted and not folded yet. Of the ten years
the last 30 days are real; each day before is a file of a real one, committed with its manifest under its own `dt`.

Then it measures the bytes that Trino reads for one item of `{t}_current`, whose row must be the item's last change; the
calls of `dynalake_convert` to AWS when nothing is due; and the cost of a commit of one more small file.
"""

from __future__ import annotations

import gzip
import io
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import boto3
import pyarrow.parquet as pq

from benchmarks.harness import Benchmark, BenchmarkError, Column, Competitor, Row
from benchmarks.meter import MEGABYTE, Meter
from dynalake.aws.clients import Clients
from dynalake.convert.finish import convert_due
from dynalake.convert.plan import ConvertLimits, plan_table
from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.iceberg import Change, DataFile, Head, News
from dynalake.lake.catalog.table import Table
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.current.fold import fold
from dynalake.lake.current.key_ranges import Sizes
from dynalake.lake.files.folders import FolderManifest, Input, Part, Sums, new_folder, write_manifest
from dynalake.lake.tables.make import make_tables
from dynalake.lake.upkeep.collect import collect
from dynalake.lake.upkeep.expire import SNAPSHOT_DAYS
from dynalake.names import Lake
from dynalake.night.compact import compact_table
from dynalake.record.change import SEQUENCE_NUMBER, encode_change
from infra.local.demo.receipts import KEY
from infra.local.engines.trino import Trino
from infra.local.run.process import LocalAws
from infra.local.trino.jars import JarsError, installed
from infra.local.trino.java import MissingPartError
from infra.local.trino.server import LocalTrino

DAYS = tuple(int(days) for days in os.environ.get("BENCH_HISTORY_DAYS", "30,300,3650").split(","))
"""Lengths of the histories; those of the first two are real."""
REAL = 30
"""Real days at the end of the longest history."""
LAST_DAY = date(2025, 12, 31)
WEEK = 7
CHANGES, ITEMS, OBJECTS = 400, 2_000, 2
"""A day's changes, their items, and their raw objects."""
KEYS = 15
REPEATS = 5
AT_ONCE = 100
"""Days that are copied by one commit."""
SIZES = Sizes(file=32_000, small=8_000, group=1 << 30)
"""Sizes that split the state's half a megabyte as 1.5 GB is split by default, to show which files are read."""
MORE, LESS = 1.2, 0.8
"""Allowed factor between the bytes for one item."""


@contextmanager
def prepare(scratch: Path) -> Iterator[Mapping[str, str]]:
    """Start local AWS, and a Trino that reads it."""
    try:
        installation = installed()
    except (MissingPartError, JarsError) as error:
        raise BenchmarkError(str(error)) from error
    with (
        LocalAws(scratch / "local-aws.log") as aws,
        LocalTrino(installation, scratch / "trino.log", aws.env()) as trino,
    ):
        yield {**aws.env(), "BENCH_TRINO": trino.url}


# -- the history ---------------------------------------------------------------------------------------------------


def key_of(item: int) -> str:
    return f"R-{item:06d}"


def changes_of(day: date) -> Iterator[tuple[str, str, str]]:
    """Yield key, padded sequence number and record of each change of a day; always the same.

    Half of the changes are of a tenth of the items; the others go round all items, in ten days.
    """
    random = Random(day.toordinal())
    midnight = _moment(day)
    for number in range(CHANGES):
        key, sequence = key_of(_item(day, number, random)), day.toordinal() * CHANGES + number
        image = {
            "receiptId": {"S": key},
            "userId": {"S": f"u{random.randrange(5_000):04d}"},
            "total": {"N": f"{random.randrange(1, 100_000)}.25"},
            "paid": {"BOOL": random.random() < 0.9},
            "notes": {"S": random.randbytes(random.randrange(100, 200)).hex()},
        }
        at = midnight + timedelta(days=1) * number / CHANGES
        yield key, f"{sequence:040d}", _record(image, sequence, at)


def last_changes(days: Sequence[date]) -> dict[str, str]:
    """Return the sequence number of each item's last change."""
    return {key: sequence for day in days for key, sequence, _ in changes_of(day)}


def land(table: Table, day: date) -> None:
    """Put a day's raw objects."""
    lines = [record for _, _, record in changes_of(day)]
    for number in range(OBJECTS):
        part = lines[number * CHANGES // OBJECTS : (number + 1) * CHANGES // OBJECTS]
        key = f"{table.names.raw_day(dt_of(day))}{number}.gz"
        _put(table, key, gzip.compress("".join(f"{line}\n" for line in part).encode()))


def bring(table: Table, days: Sequence[date]) -> None:
    """Land and convert some days, each of its raw objects in a batch of its own."""
    for day in days:
        land(table, day)
    now = _moment(days[-1]) + timedelta(hours=23)
    rounds = convert_due(table, lambda: now, ConvertLimits(batch_objects=1))
    rows = sum(finished.sums.rows for finished in rounds)
    if rows != CHANGES * len(days):
        raise BenchmarkError(f"{rows:,} rows were committed for {CHANGES * len(days):,} changes")


def night(table: Table, day: date, snapshot_days: int = 0) -> None:
    """Do all the work of the night after a day, except deletions."""
    over = _moment(day) + timedelta(days=1)
    report = compact_table(table, CompactOptions(), lambda: over + timedelta(hours=2))
    if report.faults:
        raise BenchmarkError(f"The compaction of {table.names.table} failed: {report.faults}")
    fold(table, round(over.timestamp() * 1000) - 1, sizes=SIZES)
    collect(table, lambda: datetime.now(UTC), snapshot_days=snapshot_days)


def live(table: Table, days: Sequence[date]) -> None:
    """Bring the changes of these days and do their nights, week by week."""
    for first in range(0, len(days), WEEK):
        week = days[first : first + WEEK]
        bring(table, week)
        night(table, week[-1])


class Copies:
    """A file of a real day that is committed again for other days."""

    def __init__(self, table: Table) -> None:
        file = max(table.changes().files(), key=lambda f: f.path)
        key = file.path.removeprefix(table.names.uri(""))
        answer = table.clients.s3.get_object(Bucket=table.names.lake.bucket, Key=key)
        self._table, self._head = table, table.changes()
        self._name, self._body, self._rows = key.rpartition("/")[2], answer["Body"].read(), file.rows
        self._footer = pq.read_metadata(io.BytesIO(self._body))

    def put(self, day: date) -> DataFile:
        """Put the file and the manifest of its folder. Return the file to commit."""
        table, folder, dt = self._table, new_folder(), dt_of(day)
        names, size = table.names, len(self._body)
        key = f"{names.change_folder(dt, folder)}{self._name}"
        _put(table, key, self._body)
        part = Part(names.uri(key), size, self._rows)
        raw = Input(f"{names.raw_day(dt)}{folder}.gz", "0" * 32, size)
        sums = Sums(lines=self._rows, rows=self._rows)
        made_at = round(_moment(day).timestamp() * 1000)
        write_manifest(Table(table.clients, names), FolderManifest(folder, dt, made_at, (raw,), (part,), sums))
        return self._head.data_file(part.path, dt, self._footer, size, self._head.schema)

    def commit(self, files: Sequence[DataFile]) -> None:
        def build(head: Head, news: News) -> Change:
            return Change(tuple(files), note={"dynalake": "convert"})

        commit_on(self._table.catalog, self._table.names, self._table.changes(), build)


def make(table: Table, count: int, most_real: int = max(DAYS[:2]), daily: int = 0) -> list[date]:
    """Make the table `count` days old. Return its real days, the last of which is not folded.

    Of more than `most_real` days, those in the middle are copies. Each of the last `daily` folded days has a night of
    its own, whose snapshots stay.
    """
    days = [LAST_DAY - timedelta(days=ago) for ago in reversed(range(count))]
    make_tables(table, KEY, f"arn:aws:dynamodb:us-east-1:{table.names.lake.account}:table/{table.names.table}")
    if count > most_real:
        copied, days = days[WEEK:-REAL], [*days[:WEEK], *days[-REAL:]]
        live(table, days[:WEEK])
        copies = Copies(table)
        for first in range(0, len(copied), AT_ONCE):
            copies.commit([copies.put(day) for day in copied[first : first + AT_ONCE]])
        days = days[WEEK:]
    single = len(days) - 1 - daily
    live(table, days[:single])
    for day in days[single:-1]:
        bring(table, [day])
        night(table, day, SNAPSHOT_DAYS)
    bring(table, days[-1:])
    return days


# -- the cost ------------------------------------------------------------------------------------------------------


def after(count: int) -> Callable[[Meter, Path], Row]:
    def run(meter: Meter, scratch: Path) -> Row:
        calls: list[str] = []
        session = boto3.Session()
        session.events.register("before-call", lambda model, **_: calls.append(model.name))
        clients = Clients.of(session)
        lake = Lake(f"h{count}", "000000000000", "us-east-1")
        clients.s3.create_bucket(Bucket=lake.bucket)
        clients.glue.create_database(DatabaseInput={"Name": lake.database})
        table = Table(clients, lake.table("RECEIPTS"))
        days = make(table, count)
        files, state = table.changes().files(), table.items().files({False})
        row: Row = {"files": len(files), "state_files": len(state), "bytes": sum(f.size for f in (*files, *state))}
        if count <= max(DAYS[:2]):
            row["key_bytes"] = bytes_for_a_key(table, last_changes(days))
        now = _moment(LAST_DAY) + timedelta(hours=23)
        with meter:
            row["plan_s"], row["plan_calls"] = measure(calls, [partial(plan_nothing, table, now)] * REPEATS)
        copies = Copies(table)
        commits = [partial(copies.commit, [copies.put(LAST_DAY)]) for _ in range(REPEATS)]
        row["commit_s"], row["commit_calls"] = measure(calls, commits)
        return row

    return run


def measure(calls: list[str], work: Sequence[Callable[[], object]]) -> tuple[float, int]:
    """Return the median of the seconds that each takes, and of its calls to AWS."""
    seconds, counts = [], []
    for task in work:
        calls.clear()
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
        counts.append(len(calls))
    return statistics.median(seconds), statistics.median_low(counts)


def plan_nothing(table: Table, now: datetime) -> None:
    if plan_table(table, ConvertLimits(), now).batches:
        raise BenchmarkError("Raw objects are due, although all were converted")


def bytes_for_a_key(table: Table, last: Mapping[str, str]) -> int:
    """Return the median bytes that Trino reads for one item, over some; each must be as its last change left it."""
    trino = Trino(os.environ["BENCH_TRINO"], table.names.lake.database)
    read = []
    for key in sorted(last)[:: len(last) // KEYS][:KEYS]:
        answer = trino.ask(f"SELECT * FROM {table.names.current_view} WHERE receiptid = '{key}'")
        numbers = [row[SEQUENCE_NUMBER] for row in answer.rows]
        if numbers != [last[key]]:
            raise BenchmarkError(f"{key} is as change {numbers} left it, not as {last[key]}")
        read.append(answer.input_bytes)
    return statistics.median_low(read)


def derive(rows: list[Row]) -> None:
    """Add the ratios to the shortest history. Raise an error if reading or planning has grown with the history."""
    first = rows[0]
    for row in rows:
        for name in ("key_bytes", "plan_calls", "commit_calls", "commit_s", "plan_s"):
            if name in row:
                row[f"times_{name}"] = round(row[name] / first[name], 3)
    for row in rows:
        if not LESS < row.get("times_key_bytes", 1) < MORE:
            raise BenchmarkError(f"{row['name']}: {row['key_bytes']:,} bytes for one item, not {first['key_bytes']:,}")
        # A commit deletes the oldest metadata once there are a hundred.
        for name, more in (("plan_calls", 0), ("commit_calls", 1)):
            if row[name] > first[name] + more:
                raise BenchmarkError(f"{row['name']}: {name} are {row[name]}, not {first[name]}")


def _item(day: date, number: int, random: Random) -> int:
    """Return the item of a day's change."""
    if number % 2:
        return random.randrange(ITEMS // 10)
    return (day.toordinal() * CHANGES + number) // 2 * 7 % ITEMS


def dt_of(day: date) -> str:
    """Return the partition of a day."""
    return f"{day:%Y%m%d}"


def _moment(day: date) -> datetime:
    """Return when a day begins."""
    return datetime.combine(day, clock_time(), UTC)


def _record(image: Mapping[str, Any], sequence: int, at: datetime) -> str:
    return encode_change(
        image, operation="MODIFY", sequence_number=str(sequence), event_time=round(at.timestamp() * 1000)
    )


def _put(table: Table, key: str, body: bytes) -> None:
    table.clients.s3.put_object(Bucket=table.names.lake.bucket, Key=key, Body=body)


BENCHMARK = Benchmark(
    name="history",
    title=f"history: a table with {CHANGES} changes a day of {ITEMS:,} items, on local AWS",
    competitors=[Competitor(f"{count:,} days", after(count), rounds=1) for count in DAYS],
    columns=(
        Column("", lambda r: str(r["name"])),
        Column("files", lambda r: f"{r['files']:,}"),
        Column("state's files", lambda r: f"{r['state_files']:,}"),
        Column("MB", lambda r: f"{r['bytes'] / MEGABYTE:,.1f}"),
        Column("KB for one item", lambda r: f"{r['key_bytes'] / 1000:,.1f}" if "key_bytes" in r else ""),
        Column("times", lambda r: f"{r['times_key_bytes']:.2f}" if "key_bytes" in r else ""),
        Column("calls of a plan", lambda r: f"{r['plan_calls']:,}"),
        Column("s", lambda r: f"{r['plan_s']:.3f}"),
        Column("calls of a commit", lambda r: f"{r['commit_calls']:,}"),
        Column("s", lambda r: f"{r['commit_s']:.3f}"),
        Column("times", lambda r: f"{r['times_commit_s']:.2f}"),
    ),
    prepare=prepare,
    derive=derive,
    notes=(
        f"Medians of {KEYS} items, {REPEATS} plans with nothing due and {REPEATS} commits. It fails if one item takes",
        f"{MORE - 1:.0%} more or less than after {DAYS[0]} days, or a plan or a commit takes more calls.",
    ),
)
