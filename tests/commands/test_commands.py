"""`make demo`, `up`, `trino` and `down`, as a user runs them; none leaves anything behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from infra.local.trino.jars import Installation
from tests.commands.commands import Marked, start
from tests.support.machine import REPOSITORY
from tests.support.waiting import PATIENCE, eventually

DEMO = [sys.executable, "-m", "infra.local.demo"]
UP = [sys.executable, "-m", "infra.local.run.up"]
TRINO = [sys.executable, "-m", "infra.local.trino"]


def leftovers() -> set[str]:
    return {path.name for path in (REPOSITORY / ".local").glob("demo-*")}


def test_demo(marked: Marked) -> None:
    """The whole pipeline, with generated items."""
    before = leftovers()
    demo = start([*DEMO, "--count", "3000"], marked.environment())
    output = demo.communicate()[0]
    assert demo.returncode == 0, output
    print(output)
    assert re.search(r"differences +0\n", output)
    compared = re.search(r"values compared +([\d,]+)", output)
    assert compared
    assert int(compared.group(1).replace(",", "")) > 40_000
    assert output.count("✓ changes written") == 1
    assert "value by value" in output
    for task in ("check_source", "prove › canaries_arrive", "show_snapshot", "commit"):
        assert f"✓ {task}" in output
    # One that is killed while it waits for the disk is there until the disk answers.
    eventually(marked.processes, lambda processes: processes == {})
    assert leftovers() == before


def handles(process: subprocess.Popen[str], stop: signal.Signals) -> bool:
    """Return whether the process handles a signal by itself: Python alone handles no SIGTERM."""
    caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (stop - 1) & 1)


@pytest.mark.sweep
@pytest.mark.parametrize("moment", [0.0, 4.0, "✓ plan"])
def test_ctrl_c_cleans_up(moment: float | str, marked: Marked) -> None:
    """While Python still imports, while Airflow starts, while a DAG runs; and pressed again by an impatient user."""
    before = leftovers()
    demo = start([*DEMO, "--count", "500"], marked.environment())
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
    demo = start([*DEMO, "--items", str(items), "--key", "id:S"], marked.environment())
    output = demo.communicate(timeout=PATIENCE)[0]
    assert demo.returncode == 1
    assert "element 1 has no key attribute 'id'" in output
    assert "Traceback" not in output


def test_trino_says_what_to_run_first(installation: Installation, marked: Marked) -> None:
    if (REPOSITORY / ".local" / "env").exists():
        pytest.fail("`make up` is running in this clone; stop it with `make down` first")
    trino = start([*TRINO, "up"], marked.environment())
    output = trino.communicate(timeout=PATIENCE)[0]
    assert trino.returncode == 1
    assert "run `make up` first" in output
    assert "Traceback" not in output


def test_up_and_down(installation: Installation, marked: Marked) -> None:
    if (REPOSITORY / ".local" / "env").exists():
        pytest.fail("`make up` is running in this clone; stop it with `make down` first")
    try:
        up = start([*UP, "up"], marked.environment())
        output = up.communicate(timeout=3 * PATIENCE)[0]
        assert up.returncode == 0, output
        lines = (REPOSITORY / ".local" / "env").read_text().splitlines()
        env = {
            name: shlex.split(value)[0] for name, value in (li.removeprefix("export ").split("=", 1) for li in lines)
        }
        names = {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"}
        assert set(env) >= names | {"AIRFLOW_URL", "AIRFLOW_USER", "AIRFLOW_PASSWORD"}
        assert env["AIRFLOW_URL"] in output
        login = json.dumps({"username": env["AIRFLOW_USER"], "password": env["AIRFLOW_PASSWORD"]}).encode()
        request = urllib.request.Request(
            env["AIRFLOW_URL"] + "/auth/token", data=login, headers={"Content-Type": "application/json"}
        )
        assert urllib.request.urlopen(request, timeout=PATIENCE).status == 201
        second = start([*UP, "up"], marked.environment())
        assert "Already up" in second.communicate(timeout=PATIENCE)[0]
        assert marked.processes()
        readable_by_the_owner_alone()
        query_with_trino(marked, env)
    finally:
        down = start([*UP, "down"], marked.environment())
        assert "Stopped" in down.communicate(timeout=PATIENCE)[0]
    # One that is killed while it waits for the disk is there until the disk answers.
    eventually(marked.processes, lambda processes: processes == {})
    assert not (REPOSITORY / ".local" / "env").exists()
    assert not (REPOSITORY / ".local" / "up").exists()


def readable_by_the_owner_alone() -> None:
    local = REPOSITORY / ".local"
    places = [local / "env", local / "up", local / "up" / "airflow", *local.glob("aws-*")]
    assert len(places) >= 4
    for place in [*places, *local.glob("up/**/passwords.json")]:
        assert stat.S_IMODE(place.stat().st_mode) & 0o077 == 0, place


def query_with_trino(marked: Marked, env: Mapping[str, str]) -> None:
    """Query as the output says, on the AWS that is up; a second call does not start a second Trino."""
    output = [start([*TRINO, "up"], marked.environment()).communicate(timeout=3 * PATIENCE)[0] for _ in range(2)]
    assert "Starting Trino" in output[0]
    assert output[0].endswith(output[1])
    assert sum("LakeServer" in command for command in marked.processes().values()) == 1
    session: Any = boto3.Session(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1")
    glue = session.client("glue", endpoint_url=env["AWS_ENDPOINT_URL"])
    glue.create_database(DatabaseInput={"Name": "here"})
    (command,) = re.findall(r'In Python: +\S+/python( -c ".+?")$', output[0], re.MULTILINE | re.DOTALL)
    answer = subprocess.run(f"{sys.executable}{command}", shell=True, capture_output=True, text=True, check=True).stdout
    assert "['here']" in answer
