"""Runs competitors side by side, each in a process of its own, in alternating order, and keeps the medians.

A benchmark is a module of this package with one `BENCHMARK`. Its `prepare` sets up what all competitors share (data,
local AWS) once; each competitor then runs in a fresh process (`benchmarks.worker`), round after round, the first of one
round being the last of the next, so that neither a warm cache nor another program on the machine favours one of them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.hard_numbers import COUNT
from benchmarks.meter import Meter, Watch

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / ".local" / "bench"

Row = dict[str, Any]
"""One competitor's result: `name`, `wall_s`, `cpu_s`, `peak_mb` and what the benchmark adds."""


class BenchmarkError(RuntimeError):
    """A competitor failed, or its output is wrong."""


@dataclass(frozen=True)
class Column:
    """A column of the printed table: its heading, and a function that shows a row's value."""

    heading: str
    show: Callable[[Row], str]


HARD_NUMBERS = (
    Column(f"exact of {COUNT:,}", lambda r: f"{r['exact']:,}"),
    Column("as text", lambda r: f"{r['as_text']:,}"),
    Column("changed", lambda r: f"{r['changed']:,}"),
    Column("refused", lambda r: f"{r['refused']:,}"),
)
"""Columns of the counts of `hard_numbers.kept`."""


@dataclass(frozen=True)
class Competitor:
    """A competitor. `run` does the work inside `with meter:` and returns its counts.

    Work outside of the meter (reading the data, verifying the output) is not measured. `rounds` limits how often a slow
    one runs; 0 is as often as the others.
    """

    name: str
    run: Callable[[Meter, Path], Row]
    rounds: int = 0


@dataclass(frozen=True)
class Benchmark:
    """A comparison. `prepare(scratch)` yields the environment variables that the workers need.

    `derive` adds values that follow from the medians of all rows (rates, ratios).
    """

    name: str
    title: str
    competitors: Sequence[Competitor]
    columns: Sequence[Column]
    prepare: Callable[[Path], AbstractContextManager[Mapping[str, str]]]
    derive: Callable[[list[Row]], None] = lambda rows: None
    notes: Sequence[str] = ()


@contextmanager
def nothing(scratch: Path) -> Iterator[Mapping[str, str]]:
    """Prepare nothing: the `prepare` of a benchmark that needs none."""
    yield {}


def run(benchmark: Benchmark, rounds: int, say: Callable[[str], None] = lambda text: None) -> list[Row]:
    """Run all rounds of a benchmark. Return the medians, one row per competitor in its order, also written as JSON."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    measured: dict[str, list[Row]] = {competitor.name: [] for competitor in benchmark.competitors}
    with tempfile.TemporaryDirectory(prefix=f"{benchmark.name}-", dir=RESULTS) as folder:
        with benchmark.prepare(Path(folder)) as environment:
            for number, competitor in schedule(benchmark.competitors, rounds):
                say(f"{benchmark.name}: round {number + 1} of {rounds}, {competitor.name}")
                measured[competitor.name].append(_run_worker(benchmark, competitor, Path(folder), environment))
    rows = [{"name": name, **medians(results)} for name, results in measured.items()]
    benchmark.derive(rows)
    (RESULTS / f"{benchmark.name}.json").write_text(json.dumps(rows, indent=1) + "\n")
    return rows


def schedule(competitors: Sequence[Competitor], rounds: int) -> Iterator[tuple[int, Competitor]]:
    """Yield round and competitor in order (pure): every round reverses the order of the one before."""
    for number in range(rounds):
        for competitor in competitors if number % 2 == 0 else reversed(competitors):
            if not competitor.rounds or number < competitor.rounds:
                yield number, competitor


def medians(results: Sequence[Row]) -> Row:
    """Return the median of each measured number over the rounds (pure); counts must agree, and text is kept as it is.

    A number is measured if its name ends in a unit (`_s`, `_mb`); everything else is counted, and a count that
    differs between rounds raises `BenchmarkError`. A count of only some rounds is taken from the first of them.
    """
    merged: Row = {}
    for key in dict.fromkeys(key for result in results for key in result):
        values = [result[key] for result in results if key in result]
        if key.endswith(("_s", "_mb")):
            merged[key] = round(statistics.median(values), 4)
        elif any(value != values[0] for value in values):
            raise BenchmarkError(f"{key} differs between rounds: {values}")
        else:
            merged[key] = values[0]
    return {**merged, "rounds": len(results)}


def table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table, aligned so that it reads well on screen too (pure)."""
    cells = [[column.heading for column in columns], *([column.show(row) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = ["| " + " | ".join(_aligned(i, text, widths[i]) for i, text in enumerate(line)) + " |" for line in cells]
    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _aligned(position: int, text: str, width: int) -> str:
    return text.ljust(width) if position == 0 else text.rjust(width)


def _run_worker(benchmark: Benchmark, competitor: Competitor, scratch: Path, environment: Mapping[str, str]) -> Row:
    """Run one competitor once, in a process of its own. Return its measurements and counts."""
    answer = scratch / "answer.json"
    answer.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.worker", benchmark.name, competitor.name, str(scratch), str(answer)]
    path = os.pathsep.join(str(ROOT / folder) for folder in ("", "plugins", "lambda_src"))
    with (scratch / "worker.log").open("w+") as log:
        worker = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment, "PYTHONPATH": path, "PYTHONHASHSEED": "0"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            with Watch(worker.pid) as watch:
                code = worker.wait()
        finally:
            worker.kill()
            worker.wait()
        if code or not answer.exists():
            log.seek(0)
            raise BenchmarkError(f"{benchmark.name}, {competitor.name}: ended with code {code}\n{log.read()[-4000:]}")
    row: Row = json.loads(answer.read_text())
    row["cpu_s"] += watch.children_cpu_s
    row["peak_mb"] = max(row["peak_mb"], watch.peak_mb if watch.children_cpu_s else 0.0)
    return row
