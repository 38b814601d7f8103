"""The supervisor of Airflow leaves none of its processes behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.run import supervise
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

# The process in the middle is a zombie with a thread that lives, so it keeps its child. A process that ends is in this
# state for a moment. It and its child have sessions of their own, as Airflow's tasks have process groups.
NESTED = """
import ctypes, os, sys, threading, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        open(sys.argv[1], "w").write(str(os.getpid()))
        while True:
            pass
    threading.Thread(target=time.sleep, args=(600,)).start()
    ctypes.CDLL(None).pthread_exit(None)
time.sleep(600)
"""


def test_a_task_dies_below_a_process_that_is_about_to_end(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    command = [sys.executable, supervise.__file__, "--", sys.executable, "-c", NESTED, str(pid_file)]
    supervisor = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert supervisor.stdin is not None
    task = Path("/proc") / eventually(lambda: pid_file.read_text() if pid_file.exists() else "")
    parent = Path("/proc") / (task / "stat").read_text().rsplit(")", 1)[1].split()[1]
    eventually(lambda: (parent / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z")
    supervisor.stdin.close()
    supervisor.wait()
    assert not task.exists()
    assert not parent.exists()
