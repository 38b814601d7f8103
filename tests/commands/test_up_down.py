"""`make demo KEEP=1`, `up`, `trino`, `down` and `clean`, as a user runs them, in a clone of their own."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from infra.local.trino.jars import Installation
from tests.commands.commands import Marked, start
from tests.support.examples import example
from tests.support.machine import need
from tests.support.waiting import PATIENCE, eventually

ENDLESS = """
from pathlib import Path

from airflow.sdk import dag, task

@dag(schedule=None)
def endless():
    @task
    def spin():
        Path({spins!r}).touch()
        while True:
            pass

    spin()

endless()
"""


@dataclass
class Clone:
    """A clone of the repository, and the commands of a user in it."""

    folder: Path
    marked: Marked

    def run(self, module: str, *arguments: str, code: int = 0) -> str:
        """Run a command to its end and return its output."""
        command = [str(self.folder / ".venv" / "bin" / "python"), "-m", f"infra.local.{module}", *arguments]
        running = start(command, self.marked.environment(), self.folder)
        output = running.communicate(timeout=3 * PATIENCE)[0]
        assert running.returncode == code, output
        assert "Traceback" not in output
        print(output)
        return output

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a shell that sourced `.local/env`."""
        # pytest's own Airflow is not the user's.
        mine = {n: v for n, v in self.marked.environment().items() if not n.startswith(("AIRFLOW", "PYTHONPATH"))}
        line = f". .local/env && {command}"
        return subprocess.run(["bash", "-c", line], cwd=self.folder, env=mine, capture_output=True, text=True)

    @property
    def environment_file(self) -> Path:
        return self.folder / ".local" / "env"

    def variables(self) -> dict[str, str]:
        lines = [line for line in self.environment_file.read_text().splitlines() if line.startswith("export ")]
        pairs = (line.removeprefix("export ").split("=", 1) for line in lines)
        return {name: shlex.split(value)[0] for name, value in pairs}

    def nothing_lives(self) -> None:
        # One that is killed while it waits for the disk is there until the disk answers.
        eventually(self.marked.processes, lambda processes: processes == {})
        assert not self.environment_file.exists()

    def items(self) -> int:
        pages = client(self.variables(), "dynamodb").get_paginator("scan").paginate(TableName="RECEIPTS")
        return sum(page["Count"] for page in pages)


def client(variables: Mapping[str, str], service: str) -> Any:
    session: Any = boto3.Session(
        variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"], region_name=variables["AWS_DEFAULT_REGION"]
    )
    return session.client(service, endpoint_url=variables["AWS_ENDPOINT_URL"])


def test_the_demo_is_kept_over_down_and_kill(clone: Path, marked: Marked, installation: Installation) -> None:
    user = Clone(clone, marked)
    spins = clone / "spins"
    (clone / "dags" / "endless.py").write_text(ENDLESS.format(spins=str(spins)))
    assert "run `make up` first" in user.run("trino", "up", code=1)
    try:
        compares_and_says_how_to_go_on(user, user.run("demo", "--count", "1000", "--keep"))
        before, text, items = user.variables(), user.environment_file.read_text(), user.items()
        readable_by_the_owner_alone(clone)
        query_with_trino(user, items)
        runs_airflow_from_a_shell(user)
        eventually(spins.exists)
        assert "goes on from here" in user.run("run.up", "down")
        user.nothing_lives()

        assert "goes on where the last run stopped" in user.run("run.up", "up")
        assert user.environment_file.read_text() == text
        assert user.items() == items
        runs = user.shell("airflow dags list-runs dynalake_backfill -o json").stdout
        assert "success" in [run["state"] for run in json.loads(runs[runs.index("[{") :])]
        assert "Already up" in user.run("run.up", "up")
        assert "There is a table RECEIPTS" in user.run("demo", "--count", "10", "--keep", code=1)

        os.kill(int((clone / ".local" / "up" / "keeper.pid").read_text()), signal.SIGKILL)
        eventually(user.marked.processes, lambda processes: processes == {})
        with socket.socket() as other:
            port = int(before["AIRFLOW_URL"].rpartition(":")[2])
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
            output = user.run("run.up", "up")
        assert f"Port {port} is taken by another program: Airflow now has " in output
        assert "The last run was killed. This one goes on from" in output
        after = user.variables()
        assert user.items() == items
        kept = {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AIRFLOW_PASSWORD", "AIRFLOW__API_AUTH__JWT_SECRET"}
        assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
        assert after["AIRFLOW_URL"] != before["AIRFLOW_URL"]
    finally:
        user.run("run.up", "down")
    user.nothing_lives()
    assert "Nothing is up" in user.run("run.up", "down")


def compares_and_says_how_to_go_on(user: Clone, output: str) -> None:
    assert re.search(r"differences +0\n", output)
    compared = re.search(r"values compared +([\d,]+)", output)
    assert compared
    assert int(compared.group(1).replace(",", "")) > 13_000
    assert output.count("✓ changes written") == 1
    assert "value by value" in output
    assert "1,000 changes that it invents" in output
    for task in ("check_source", "prove › canaries_arrive", "show_snapshot", "commit"):
        assert f"✓ {task}" in output
    assert re.search(r"SNAPSHOT +\d+ 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", output)
    query, names, *rows = output[output.index("  SELECT receiptid") :].splitlines()[:5]
    assert query.endswith(" FROM receipts_current ORDER BY receiptid LIMIT 3")
    assert names.split() == query.partition(" FROM")[0].replace(",", "").split()[1:]
    assert all(row.split()[0].startswith("R-") for row in rows)
    assert max(map(len, [names, *rows])) <= 110
    assert output.index("Everything is left running") < output.index(user.variables()["AIRFLOW_URL"])
    assert "make down" in output


def readable_by_the_owner_alone(clone: Path) -> None:
    local = clone / ".local"
    places = [
        local / "env",
        local / "up",
        local / "up" / "identity.json",
        local / "up" / "airflow",
        *local.glob("aws-*"),
    ]
    assert len(places) >= 5
    for place in [*places, *local.glob("up/**/passwords.json")]:
        assert stat.S_IMODE(place.stat().st_mode) & 0o077 == 0, place


def query_with_trino(user: Clone, items: int) -> None:
    """Query as the output says, on the AWS that is up; a second call does not start a second Trino."""
    output = [user.run("trino", "up") for _ in range(2)]
    assert "Starting Trino" in output[0]
    assert output[0].endswith(output[1])
    assert sum("LakeServer" in command for command in user.marked.processes().values()) == 1
    (command,) = re.findall(r'In Python: +(\S+/python -c ".+?")$', output[0], re.MULTILINE | re.DOTALL)
    assert "dynalake_dev" in user.shell(command).stdout
    count = command.replace("SHOW SCHEMAS", "SELECT count(*) FROM dynalake_dev.receipts_current")
    assert f"[[{items}]]" in user.shell(count).stdout


def runs_airflow_from_a_shell(user: Clone) -> None:
    """The command line of Airflow, and a request to its REST API as docs/parameters.md has it."""
    assert "dynalake_setup" in user.shell("airflow dags list").stdout
    eventually(lambda: user.shell("airflow dags unpause endless").returncode == 0)
    assert user.shell("airflow dags trigger endless").returncode == 0
    answer = user.shell(example("docs/parameters.md: Parameters: sh")).stdout
    assert json.loads(answer)["dag_id"] == "dynalake_setup", answer


def test_a_fresh_clone_installs_nothing_to_stop_and_clean(fresh_clone: Path) -> None:
    (fresh_clone / "plugins" / "__pycache__").mkdir()
    for target, said in (("down", "Nothing is up."), ("clean", "rm -rf")):
        command = [need("make"), target, "PYTHON=/bin/false"]
        made = subprocess.run(command, cwd=fresh_clone, capture_output=True, text=True, check=True)
        assert said in made.stdout
    assert not [*fresh_clone.glob(".venv*"), *fresh_clone.rglob("__pycache__")]
