"""Run one command and make sure that none of its processes is left running.

    python supervise.py -- command arguments…

Airflow's standalone command orphans its children on SIGTERM, and deadlocks if its whole group gets SIGTERM. So this
supervisor stops it. When the command ends, or the supervisor's parent does, the supervisor sends SIGKILL to all
descendants of the command. Its standard input is a pipe from the parent, which closes even after `kill -9`. On SIGTERM
or SIGINT, it first sends SIGINT to the command alone and lets it end.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

PR_SET_CHILD_SUBREAPER = 36
GRACE = 15.0
"""Seconds between SIGINT and SIGKILL."""
KILL_SECONDS = 30.0
"""The longest wait for killed processes, which may wait for a disk themselves."""


class _Stop(Exception):
    """Raised by the signal handlers."""


def adopt_orphans() -> None:
    """Adopt processes whose parent died, so that they can be found (Linux only; elsewhere their group must do)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _descendants(pid: int) -> list[int]:
    """Return every process below `pid`, deepest last; nothing where there is no /proc.

    Zombies count. One whose last thread still ends keeps its children, so below it may be processes that live.
    """
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    descendants: list[int] = []
    frontier = [pid]
    while frontier:
        children = parents.get(frontier.pop(), [])
        descendants += children
        frontier += children
    return descendants


def kill_descendants() -> None:
    """Kill every process below this one, and wait until none is left."""
    deadline = time.monotonic() + KILL_SECONDS
    empty = 0
    # /proc is read one process after the other, while parents change: one look that finds none may miss one.
    while empty < 2 and time.monotonic() < deadline:
        left = _descendants(os.getpid())
        empty = 0 if left else empty + 1
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)


def _wait(child: subprocess.Popen[bytes]) -> None:
    """Wait until the command has ended or the parent is gone."""
    while child.poll() is None:
        if select.select([sys.stdin], [], [], 0.2)[0] and not os.read(sys.stdin.fileno(), 1024):
            return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _Stop

    adopt_orphans()
    child = subprocess.Popen(arguments.command, start_new_session=True, stdin=subprocess.DEVNULL)
    try:
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        _wait(child)
        interrupted = False
    except _Stop:
        interrupted = True
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if interrupted and child.poll() is None:
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    kill_descendants()
    return child.returncode or 0


if __name__ == "__main__":
    raise SystemExit(main())
