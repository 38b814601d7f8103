"""`make demo`, as a user runs it and stops it; it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands.commands import Marked, start
from tests.support.machine import REPOSITORY
from tests.support.waiting import PATIENCE, eventually

DEMO = [sys.executable, "-m", "infra.local.demo"]


def leftovers() -> set[str]:
    return {path.name for path in (REPOSITORY / ".local").glob("demo-*")}


def handles(process: subprocess.Popen[str], stop: signal.Signals) -> bool:
    """Return whether the process handles a signal by itself: Python alone handles no SIGTERM."""
    caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (stop - 1) & 1)


@pytest.mark.sweep
@pytest.mark.parametrize("moment", [0.0, 4.0, "✓ plan"])
def test_ctrl_c_cleans_up(moment: float | str, marked: Marked) -> None:
    """While Python still imports, while Airflow starts, while a DAG runs; and pressed again by an impatient user."""
    before = leftovers()
    demo = start([*DEMO, "--items", "samples/concerts.jsonl", "--key", "venue:S,startsAt:S"], marked.environment())
    assert demo.stdout
    if isinstance(moment, float):
        eventually(lambda: handles(demo, signal.SIGTERM))
        time.sleep(moment)
    else:
        seen = []
        for line in demo.stdout:
            seen.append(line)
            if moment in line:
                break
        else:
            pytest.fail(f"It ended before {moment!r}:\n{''.join(seen)}")
    assert marked.processes()
    os.killpg(demo.pid, signal.SIGINT)
    time.sleep(0.5)
    if demo.poll() is None:
        os.killpg(demo.pid, signal.SIGINT)
    rest = demo.communicate(timeout=PATIENCE)[0]
    assert demo.returncode == 130, rest
    assert "everything is cleaned up" in rest
    assert "Traceback" not in rest
    # One that is killed while it waits for the disk is there until the disk answers.
    eventually(marked.processes, lambda processes: processes == {})
    assert leftovers() == before


def test_no_process_survives_when_the_demo_is_killed(marked: Marked) -> None:
    demo = start([*DEMO, "--count", "500"], marked.environment())
    time.sleep(6)
    assert len(marked.processes()) > 1
    demo.kill()
    demo.communicate()
    eventually(marked.processes, lambda processes: processes == {})
    for leftover in leftovers():
        subprocess.run(["rm", "-rf", str(REPOSITORY / ".local" / leftover)], check=True)


def test_bad_items_say_what_is_wrong(tmp_path: Path, marked: Marked) -> None:
    items = tmp_path / "items.json"
    items.write_text(json.dumps([{"id": "1"}, {"name": "x"}]))
    for options, message in (
        (["--items", str(items), "--key", "id:S"], "element 1 has no key attribute 'id'"),
        (["--key", "id:S"], "KEY is 'id:S', and there is no ITEMS"),
    ):
        demo = start([*DEMO, *options], marked.environment())
        output = demo.communicate(timeout=PATIENCE)[0]
        assert demo.returncode == 1
        assert message in output
        assert "Traceback" not in output
