"""`python -m benchmarks [NAME …] [--rounds N]`: run benchmarks, print their tables, keep the numbers as JSON."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib import import_module

from benchmarks.harness import RESULTS, ROOT, Benchmark, BenchmarkError, run, table

NAMES = (
    "packing",
    "encode",
    "scan",
    "export",
    "convert",
    "convert_wide",
    "convert_nested",
    "spark_engine",
    "open_day",
    "compact",
    "bounded",
    "history",
    "reading",
    "fold",
    "fold_at",
    "certify",
    "scale",
)
ROUNDS = 5


def main() -> int:
    """Run the benchmarks. Return the exit code: 1 if a competitor failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each competitor runs")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")
    if arguments.rounds < 1:
        parser.error(f"--rounds is {arguments.rounds}, but must be at least 1")
    for name in arguments.names or NAMES:
        benchmark: Benchmark = import_module(f"benchmarks.{name}").BENCHMARK
        try:
            rows = run(benchmark, arguments.rounds, _say)
        except BenchmarkError as error:
            _say("")
            print(error, file=sys.stderr)
            return 1
        _say("")
        print(f"\n{benchmark.title}\n(medians of up to {arguments.rounds} alternating runs; {_machine()})\n")
        print(table(benchmark.columns, rows))
        print("".join(f"\n{note}" for note in benchmark.notes))
        print(f"\n→ {(RESULTS / f'{name}.json').relative_to(ROOT)}", flush=True)
    return 0


def _machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}"


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
