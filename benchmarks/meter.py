"""The cost of a piece of work: wall time, CPU time and peak memory."""

from __future__ import annotations

import resource
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil  # type: ignore[import-untyped]

MEGABYTE = 1_000_000
_SAMPLE_SECONDS = 0.05


class Meter:
    """Adds up wall and CPU time over every `with meter:`; the peak is that of the process at the last one's end.

    The CPU time is that of all threads of this process. The harness watches child processes (`Watch`).
    """

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.cpu_s = 0.0
        self.peak_mb = 0.0
        self._started = (0.0, 0.0)

    def __enter__(self) -> Self:
        self._started = (time.perf_counter(), time.process_time())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        wall, cpu = self._started
        self.wall_s += time.perf_counter() - wall
        self.cpu_s += time.process_time() - cpu

    def finish(self) -> dict[str, float]:
        """Return `{"wall_s", "cpu_s", "peak_mb"}` so far."""
        return {"wall_s": self.wall_s, "cpu_s": self.cpu_s, "peak_mb": self.peak_mb or peak_mb()}

    def mark_peak(self) -> None:
        """Stop counting memory for the work: memory used later verifies the output."""
        self.peak_mb = peak_mb()


def peak_mb() -> float:
    """Return the maximum memory of this process so far, in MB."""
    try:
        status = Path("/proc/self/status").read_text()
        # A process inherits getrusage's number from the one that started it, but not this one.
        kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE
    return kib * 1024 / MEGABYTE


class Watch:
    """Samples a process and all its children while it runs, for competitors that work in other processes (Spark)."""

    def __init__(self, pid: int) -> None:
        self.peak_mb = 0.0
        self._children: dict[int, float] = {}
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    @property
    def children_cpu_s(self) -> float:
        """CPU seconds of all child processes together, as last seen."""
        return sum(self._children.values())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            size = 0
            try:
                parent = psutil.Process(self._pid)
                for process in (parent, *parent.children(recursive=True)):
                    size += process.memory_info().rss
                    if process.pid != self._pid:
                        times = process.cpu_times()
                        self._children[process.pid] = times.user + times.system
            except psutil.Error:
                continue
            self.peak_mb = max(self.peak_mb, size / MEGABYTE)
