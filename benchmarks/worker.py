"""One competitor of one benchmark, once: `python -m benchmarks.worker BENCHMARK COMPETITOR SCRATCH ANSWER`."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.harness import Benchmark
from benchmarks.meter import Meter


def main(benchmark_name: str, competitor_name: str, scratch: str, answer: str) -> None:
    """Run it and write its measurements and counts to `answer`, as JSON."""
    benchmark: Benchmark = import_module(f"benchmarks.{benchmark_name}").BENCHMARK
    competitor = next(c for c in benchmark.competitors if c.name == competitor_name)
    meter = Meter()
    counted = competitor.run(meter, Path(scratch))
    Path(answer).write_text(json.dumps({**meter.finish(), **counted}))


if __name__ == "__main__":
    main(*sys.argv[1:])
