"""`make conformance LOCAL=1`: every experiment and a whole table on local AWS, and a report that names no account."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from infra.conformance.run import EXPERIMENTS
from infra.local.run.process import LocalAws
from tests.commands.commands import Marked, start
from tests.support.aws.connect import connect
from tests.support.aws.real import PREFIX, sweep
from tests.support.machine import REPOSITORY
from tests.support.waiting import PATIENCE, eventually

CONFORMANCE = [sys.executable, "-m", "infra.conformance", "--local"]
STEPS = [
    "roles",
    "source",
    "dynalake_setup",
    "changes",
    "dynalake_convert",
    "dynalake_backfill",
    "dynalake_compact",
    "SQL",
    "dynalake_watch",
    "dynalake_teardown",
]


TIMED = {"firehose-latest", "disabled-mapping"}
"""Experiments whose results within a second of local AWS depend on the machine's load."""


def test_a_whole_conformance_run_on_local_aws(marked: Marked, tmp_path: Path) -> None:
    run = start([*CONFORMANCE, "--report", str(tmp_path)], marked.environment())
    output = run.communicate()[0]
    assert run.returncode == 0, output
    text, markdown = ((tmp_path / f"report.{kind}").read_text() for kind in ("json", "md"))
    report = json.loads(text)
    assert report["asked"] == "local AWS"
    # Local AWS answers as each experiment records it: a change of local AWS needs a change of the experiment.
    answers = {e["name"]: e["answer"] for e in report["experiments"]}
    assert answers.keys() == {e.name for e in EXPERIMENTS}
    assert {e.name: answers[e.name] for e in EXPERIMENTS if e.name not in TIMED} == {
        e.name: e.local for e in EXPERIMENTS if e.name not in TIMED
    }
    assert all(e["page"].startswith("https://docs.aws.amazon.com/") for e in report["experiments"])
    assert [(step["name"], step["state"]) for step in report["table"]] == [(name, "success") for name in STEPS]
    assert not report["not_removed"]
    for compared in report["sql"]:
        assert "Athena" in compared["engine"]
        assert compared["engine"] != "Athena"
        assert compared["rows"] > 200
        assert compared["values"] > 4000
        assert compared["difference_count"] == 0
    assert [c["table"].rpartition("_")[2] for c in report["sql"]][::2] == ["current", "parquet"]
    for content in (text, markdown):
        assert not re.search(r"0{12}|arn:|s3://[^<]|dynalake-conformance-[0-9a-f]{4}-0", content)
    for experiment in EXPERIMENTS:
        assert f"**{experiment.name}**" in markdown
    eventually(marked.processes, lambda processes: processes == {})


def test_ctrl_c_removes_the_created_resources(marked: Marked, tmp_path: Path) -> None:
    """While experiments wait; their resources so far are removed, and the report has the results so far."""
    run = start([*CONFORMANCE, "--only", "idle", "--report", str(tmp_path)], marked.environment())
    assert run.stdout
    line = next((line for line in run.stdout if "roles and buckets" in line), "")
    assert line, "it ended before it began"
    os.killpg(run.pid, signal.SIGINT)
    rest = run.communicate(timeout=PATIENCE)[0]
    assert run.returncode == 130, rest
    assert "is removed" in rest
    assert "Traceback" not in rest
    assert not json.loads((tmp_path / "report.json").read_text())["not_removed"]
    eventually(marked.processes, lambda processes: processes == {})


def test_the_tests_of_local_aws_run_on_an_account_and_clean_up(local_aws: LocalAws) -> None:
    """Here local AWS is the account: a session's resources are removed, and those that an earlier one left."""
    client = connect(local_aws)
    client("kinesis").create_stream(StreamName=f"{PREFIX}left", ShardCount=1)
    client("glue").create_database(DatabaseInput={"Name": f"{PREFIX}left"})
    client("glue").create_database(DatabaseInput={"Name": "somebody_s"})
    session = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/local", "--real", "-q", "-p", "no:cacheprovider", "--durations=0"],
        cwd=REPOSITORY,
        env={**os.environ, **local_aws.env()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert session.returncode == 0, session.stdout
    passed, skipped = (int(re.findall(rf"(\d+) {word}", session.stdout)[-1]) for word in ("passed", "skipped"))
    assert passed > 40
    assert skipped > 60
    assert "its pace, its order, or its roles" in session.stdout
    assert sweep(client) == []
    assert [database["Name"] for database in client("glue").get_databases()["DatabaseList"]] == ["somebody_s"]
