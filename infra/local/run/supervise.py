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


class _Stop(Exception):
    """Raised by the signal handlers."""


def _adopt_orphans() -> None:
    """Adopt processes whose parent died, so that they can be found (Linux only; elsewhere their group must do)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _descendants(pid: int) -> list[int]:
    """Return every living process below `pid`, deepest last; nothing where there is no /proc."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    descendants: list[int] = []
    frontier = [pid]
    while frontier:
        children = parents.get(frontier.pop(), [])
        descendants += children
        frontier += children
    return descendants


def _kill_all(child: subprocess.Popen[bytes]) -> None:
    for _ in range(50):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        left = _descendants(os.getpid())
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not left:
            return
        time.sleep(0.1)


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

    _adopt_orphans()
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
    _kill_all(child)
    return child.returncode or 0


if __name__ == "__main__":
    raise SystemExit(main())
