"""Beyond one machine: what many tables, and many changes, take. Simulated from the unit costs of `unit_costs.json`.

The first rows play a day of `dynalake_convert`: each run plans all tables one after the other, converts the batches
that are due, a few at once, and commits table by table. The next run begins on schedule, or when this one has ended.
Changes come at a steady rate, and for an hour of the day at five times that. The last rows play a day of a Kinesis
stream whose shards were counted for the peak of another day.

Nothing here is measured. `docs/scale.md` says which inputs are, which are AWS's, and which are assumed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.harness import Benchmark, Column, Competitor, Row, nothing
from benchmarks.meter import Meter
from dynalake.capture.stacks.specs import template_text
from dynalake.convert.plan import ConvertLimits
from dynalake.operators.task.each_table import AT_ONCE
from dynalake.options.settings import TableSettings
from dynalake.sizing.cost import PAYLOAD_BYTES, SECONDS, SECONDS_PER_CHANGE, alarm_metrics
from dynalake.sizing.requests import NEWS, QUIET
from dynalake.sizing.shards import FULL, SHARD_BYTES
from dynalake.sizing.usage import JSON_SHARE, METADATA_BYTES, PARTITION_UNITS

UNIT_COSTS = Path(__file__).with_name("unit_costs.json")
UNIT = {name: float(cost["value"]) for name, cost in json.loads(UNIT_COSTS.read_text(encoding="utf-8")).items()}

_DOCS = "https://docs.aws.amazon.com"
_ALARMS = alarm_metrics(template_text("table"), "kinesis")  # each alarm of a table watches one metric
QUOTAS: tuple[tuple[str, int, int, str], ...] = (
    ("CloudWatch alarms", 5_000, _ALARMS, f"{_DOCS}/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html"),
    ("tables of one lake (`DYNALAKE_LAKES`)", 1_000, 1, ""),
    ("CloudFormation stacks", 2_000, 1, f"{_DOCS}/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html"),
    ("DynamoDB tables", 2_500, 1, f"{_DOCS}/amazondynamodb/latest/developerguide/ServiceQuotas.html"),
    ("Firehose streams", 5_000, 1, f"{_DOCS}/firehose/latest/dev/limits.html"),
    ("SSM parameters", 10_000, 1, f"{_DOCS}/general/latest/gr/ssm.html"),
    ("Kinesis shards", 20_000, 1, f"{_DOCS}/streams/latest/dev/service-sizes-and-limits.html"),
)
"""A quota of an account and region before AWS raises it, its use by a small table, and where AWS documents it."""

DAY, HOUR = 86_400, 3_600
BURST = 5.0
"""Factor of the changes in the hour from noon on."""
MEASURED_BYTES = 800
"""JSON of a change whose conversion was measured."""


@dataclass(frozen=True)
class Lake:
    """A lake and its Airflow. `news`: tables with changes in each run. `changes`: a second, in all tables together.

    `batches_at_once` is DYNALAKE_MAX_ACTIVE_BATCHES, `tasks_at_once` Airflow's `max_active_tasks_per_dag`; each of them
    has a core. `item_bytes` is that of DynamoDB.
    """

    tables: int = 1_000
    news: int = 50
    changes: float = 50.0
    item_bytes: int = 1_000
    every_minutes: int = 10
    batches_at_once: int = 4
    tasks_at_once: int = 16

    @property
    def line_bytes(self) -> float:
        """JSON of a change."""
        return METADATA_BYTES + JSON_SHARE * self.item_bytes


@dataclass(frozen=True)
class Run:
    """One run: its seconds, its tasks, and the changes that it has left to the next one."""

    plan_s: float
    seconds: float
    tasks: int
    batches: int
    left: float


@dataclass(frozen=True)
class Day:
    """A day of runs. `lag_s`: the longest time from a change to its commit. `behind`: whether it is still
    much longer at midnight than before the busy hour."""

    runs: int
    plan_s: float
    longest_s: float
    lag_s: float
    most_batches: int
    tasks: int
    behind: bool


def run_once(lake: Lake, waiting: float) -> Run:
    """Return a run that finds so many changes (pure)."""
    limits = ConvertLimits()
    # A plan's threads wait for the calls of several tables at once, and one core does all of its work.
    quiet_s = UNIT["quiet_ms"] / 1000 + QUIET.count * UNIT["call_ms"] / 1000 / AT_ONCE
    plan_s = UNIT["task_s"] + lake.tables * quiet_s
    if waiting < 1:
        return Run(plan_s, plan_s, 1, 0, 0.0)
    tables = min(lake.news, math.ceil(waiting))
    size = lake.line_bytes * UNIT["gz_share"]
    per_batch = limits.batch_mb * 2**20 / size
    batches = tables * max(1, min(limits.batches, math.ceil(waiting / tables / per_batch)))
    done = min(waiting, batches * per_batch)
    work_s = done * UNIT["convert_us"] / 1e6 * lake.line_bytes / MEASURED_BYTES / batches
    fixed_s = NEWS.count * UNIT["call_ms"] / 1000 + UNIT["convert_fixed_s"]
    # The only batch of a table is committed by its own task. Of several, about half of the requests are the commit's.
    commits = 0 if batches == tables else tables
    batch_s = UNIT["task_s"] + (fixed_s / 2 if commits else fixed_s) + work_s
    converted_s = math.ceil(batches / min(lake.batches_at_once, lake.tasks_at_once)) * batch_s
    committed_s = math.ceil(commits / lake.tasks_at_once) * (UNIT["task_s"] + fixed_s / 2)
    seconds = plan_s + converted_s + committed_s + 2 * UNIT["task_s"]
    return Run(plan_s, seconds, 3 + batches + commits, batches, waiting - done)


def play_day(lake: Lake) -> Day:
    """Return a day of runs (pure)."""
    runs, at, taken, waiting, oldest = [], 0.0, 0.0, 0.0, 0.0
    lags, ends = [], []
    while at < DAY:
        waiting += came(lake, taken, at)
        taken = at
        run = run_once(lake, waiting)
        end = at + run.seconds
        lags.append(end - oldest)
        ends.append(end)
        oldest = at if not run.left else oldest + (at - oldest) * (1 - run.left / waiting)
        waiting = run.left
        runs.append(run)
        at = max(at + 60 * lake.every_minutes, end)
    before = max(lag for lag, end in zip(lags, ends, strict=True) if end <= 12 * HOUR)
    return Day(
        runs=len(runs),
        plan_s=runs[0].plan_s,
        longest_s=max(run.seconds for run in runs),
        lag_s=max(lags),
        most_batches=max(run.batches for run in runs),
        tasks=sum(run.tasks for run in runs),
        behind=lags[-1] > 1.5 * min(before, 60.0 * lake.every_minutes + runs[1].seconds),
    )


def came(lake: Lake, start: float, end: float) -> float:
    """Return the changes between two seconds of the day (pure)."""
    burst = max(0.0, min(end, 13 * HOUR) - max(start, 12 * HOUR))
    return lake.changes * ((end - start) + (BURST - 1) * burst)


def cores_for(lake: Lake) -> int:
    """Return the least batches at once with which a day leaves nothing behind; 0 where no number is enough."""
    for cores in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        if not play_day(replace(lake, batches_at_once=cores, tasks_at_once=max(16, cores))).behind:
            return cores
    return 0


@dataclass(frozen=True)
class Capture:
    """What captures so many changes a second of one table."""

    shards: int
    partitions: int
    concurrency: float
    invocation_s: float
    most_per_shard: float
    """Changes a second that one shard of the table's stream can pass, with one invocation at a time."""


def capture(changes: float, item_bytes: int = 1_000) -> Capture:
    """Return the parts of the pipeline for a peak (pure): `sizing/shards.py` and `sizing/cost.py` have the numbers."""
    settings = TableSettings("T", batch_window_seconds=1)
    line = METADATA_BYTES + JSON_SHARE * item_bytes
    units = math.ceil(item_bytes / 1024)
    partitions = max(1, math.ceil(changes * units / PARTITION_UNITS))
    most = min(settings.batch_size, PAYLOAD_BYTES / (2 * line))
    invocation = SECONDS + most * SECONDS_PER_CHANGE
    invocations = max(changes / most, partitions)
    return Capture(
        shards=max(1, math.ceil(changes * line / (FULL * SHARD_BYTES))),
        partitions=partitions,
        concurrency=invocations * SECONDS + changes * SECONDS_PER_CHANGE,
        invocation_s=invocation,
        most_per_shard=most / invocation,
    )


def stream_lag(shards: int, rates: Iterator[float]) -> tuple[float, float]:
    """Return the longest wait for a shard, in seconds, and the GB that waited, for bytes a second by minute (pure)."""
    capacity, backlog, lag, most = shards * SHARD_BYTES, 0.0, 0.0, 0.0
    for rate in rates:
        backlog = max(0.0, backlog + 60 * (rate - capacity))
        lag, most = max(lag, backlog / capacity), max(most, backlog)
    return lag, most / 1e9


def burst_day(changes: float, factor: float) -> Iterator[float]:
    """Yield the bytes a second of each minute: for an hour, `factor` times as many."""
    line = METADATA_BYTES + JSON_SHARE * 1_000
    for minute in range(1440):
        yield changes * line * (factor if 720 <= minute < 780 else 1.0)


def backfill_hours(items: float, cores: int) -> float:
    """Return the hours in which so many cores scan and encode items (pure)."""
    return items / (UNIT["scan_per_s"] * cores) / HOUR


LAKES = {
    "1,000 tables, 50 with news": Lake(),
    "1,000 tables, all with news": Lake(news=1_000, changes=1_000),
    "the same, 16 batches at once": Lake(news=1_000, changes=1_000, batches_at_once=16),
    "10,000 tables in one plan": Lake(tables=10_000, news=500, changes=500),
    "10,000 tables, 10 lakes: each": Lake(tables=1_000, news=50, changes=50),
    "1 table, 1,000 a second": Lake(tables=1, news=1, changes=1_000),
    "1 table, 10,000 a second": Lake(tables=1, news=1, changes=10_000),
    "1 table, 100,000 a second": Lake(tables=1, news=1, changes=100_000),
    "the same, 32 batches at once": Lake(tables=1, news=1, changes=100_000, batches_at_once=32, tasks_at_once=32),
    "the same, and every 5 minutes": Lake(
        tables=1, news=1, changes=100_000, batches_at_once=32, tasks_at_once=32, every_minutes=5
    ),
    "100 tables, 1,000 a second each, 32 at once": Lake(
        tables=100, news=100, changes=100_000, batches_at_once=32, tasks_at_once=32
    ),
}
STREAMS = {
    "100,000 a second, an hour of twice as many": (100_000, 2.0),
    "100,000 a second, an hour of five times as many": (100_000, 5.0),
}


def quota_rows() -> list[str]:
    """Return the rows of the page's table of quotas, the first one that is met first."""
    found = sorted((quota // use, name, quota, use, url) for name, quota, use, url in QUOTAS)
    return [
        f"| {f'[{name}]({url})' if url else name} | {quota:,} | {use} | {tables:,} |"
        for tables, name, quota, use, url in found
    ]


def capture_rows() -> list[str]:
    """Return the rows of the page's table of what captures a peak."""
    rows = []
    for changes in (100, 1_000, 10_000, 100_000):
        found = capture(changes)
        shards, partitions = f"{found.shards:,}", f"{found.partitions:,}"
        rows.append(f"| {changes:,} | {partitions} | {found.concurrency:.1f} | {shards} |")
    return rows


def day_rows() -> list[str]:
    """Return the rows of the page's table of simulated days."""
    rows = []
    for name, lake in LAKES.items():
        day = play_day(lake)
        lag = f"{day.lag_s / 60:,.0f}{', behind' if day.behind else ''}"
        cells = (f"{day.plan_s:,.0f}", f"{day.longest_s / 60:,.0f}", lag, f"{day.most_batches:,}", f"{day.tasks:,}")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def stream_rows() -> list[str]:
    rows = []
    for name, (changes, factor) in STREAMS.items():
        lag, waited = stream_lag(capture(changes).shards, burst_day(changes, factor))
        rows.append(f"| {name} | {capture(changes).shards:,} | {lag / 60:,.0f} | {waited:,.0f} |")
    return rows


def unit_rows() -> list[str]:
    """Return the rows of the page's table of unit costs."""
    costs = json.loads(UNIT_COSTS.read_text(encoding="utf-8")).values()
    return [f"| {cost['unit']} | {cost['value']:,} | {cost['from']} |" for cost in costs]


def _lake(lake: Lake) -> Callable[[Meter, Path], Row]:
    def run(meter: Meter, scratch: Path) -> Row:
        with meter:
            day = play_day(lake)
        return {
            "runs": day.runs,
            "plan": f"{day.plan_s:,.0f}",
            "longest": f"{day.longest_s / 60:,.0f}",
            "lag": f"{day.lag_s / 60:,.0f}{', and behind at midnight' if day.behind else ''}",
            "batches": f"{day.most_batches:,}",
            "tasks": f"{day.tasks:,}",
        }

    return run


def _stream(changes: float, factor: float) -> Callable[[Meter, Path], Row]:
    def run(meter: Meter, scratch: Path) -> Row:
        with meter:
            lag, waited = stream_lag(capture(changes).shards, burst_day(changes, factor))
        return {"lag": f"{lag / 60:,.0f}", "batches": f"{waited:,.0f} GB waited"}

    return run


def _show(key: str) -> Callable[[Row], str]:
    return lambda row: str(row.get(key, ""))


BENCHMARK = Benchmark(
    name="scale",
    title="scale: a day of conversions, and of streams, simulated from benchmarks/unit_costs.json",
    competitors=(
        *(Competitor(name, _lake(lake), rounds=1) for name, lake in LAKES.items()),
        *(Competitor(name, _stream(*load), rounds=1) for name, load in STREAMS.items()),
    ),
    columns=(
        Column("", _show("name")),
        Column("runs", _show("runs")),
        Column("plan s", _show("plan")),
        Column("longest run min", _show("longest")),
        Column("longest lag min", _show("lag")),
        Column("most batches", _show("batches")),
        Column("tasks a day", _show("tasks")),
    ),
    prepare=nothing,
    notes=("For an hour of the day there are five times as many changes.",),
)
