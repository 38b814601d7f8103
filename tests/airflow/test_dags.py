"""The DAG files: they import, quickly, without heavy libraries, and explain themselves in the UI."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.airflow.dag_bag import DAGS

FILES = sorted(DAGS.glob("*.py"))
HEAVY = ("pyarrow", "pandas", "numpy", "boto3", "botocore", "awswrangler")


def test_no_import_errors(bag: Any) -> None:
    assert bag.import_errors == {}
    assert set(bag.dags) == {file.stem for file in FILES}, "one DAG per file, named like the file"


def test_dag_files_stay_thin() -> None:
    assert {file.name: len(file.read_text().splitlines()) for file in FILES if file.stat().st_size > 4500} == {}


PARSE = """
import airflow.sdk, airflow.providers.standard.operators.trigger_dagrun, json, os, runpy, socket, sys, time
def refuse(*_): raise AssertionError("a DAG file asks the network")
socket.socket.connect = socket.getaddrinfo = refuse
plugins, heavy, *files = sys.argv[1:]
sys.path.insert(0, plugins)
for file in files:
    sys.stdout.flush()
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, file
        continue
    started = time.process_time()
    runpy.run_path(file)
    print(json.dumps([file, time.process_time() - started, [name for name in heavy.split() if name in sys.modules]]))
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.fixture(scope="module")
def parsed() -> dict[str, tuple[float, list[str]]]:
    """Each file in a process of its own, which has Airflow's own imports: what the file adds to every parse.

    The seconds of CPU time, because a busy machine stretches the clock on the wall, and the heavy libraries. Nothing is
    asked of AWS, so it does not depend on the number of tables.
    """
    arguments = [str(DAGS.parent / "plugins"), " ".join(HEAVY), *map(str, FILES)]
    done = subprocess.run([sys.executable, "-c", PARSE, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('["/')]
    return {Path(file).stem: (seconds, heavy) for file, seconds, heavy in lines}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_parsing_is_quick_and_light(file: Path, parsed: dict[str, tuple[float, list[str]]]) -> None:
    seconds, heavy = parsed[file.stem]
    assert heavy == []
    assert seconds < 1


def test_every_dag_and_parameter_is_described(bag: Any) -> None:
    for dag in bag.dags.values():
        assert dag.doc_md, dag.dag_id
        assert "dynalake" in dag.tags
        for name, parameter in dag.params.items():
            schema = dag.params.get_param(name).schema
            assert schema.get("description_md"), f"{dag.dag_id}.{name} has no description: {parameter}"
            assert schema.get("type"), f"{dag.dag_id}.{name} has no type"


def test_only_the_table_has_no_default(bag: Any) -> None:
    from airflow.sdk.definitions._internal.types import NOTSET

    for dag in bag.dags.values():
        required = {name for name in dag.params if dag.params.get_param(name).value is NOTSET}
        assert required <= {"table"}, dag.dag_id


def test_every_parameter_is_documented(bag: Any) -> None:
    """docs/parameters.md names every parameter of every DAG."""
    text = (DAGS.parent / "docs" / "parameters.md").read_text()
    sections = {part.split("\n", 1)[0].strip("` "): part for part in text.split("\n## ")[1:]}
    shared = sections["Everywhere"] + sections["Settings"] + sections["Lake"]
    for dag in bag.dags.values():
        assert dag.dag_id in sections
        undocumented = [name for name in dag.params if f"`{name}`" not in sections[dag.dag_id] + shared]
        assert undocumented == [], dag.dag_id


def test_a_table_s_name_stays_text_whatever_it_looks_like(bag: Any) -> None:
    """Setup hands it to the backfill by a template, and such templates make numbers of what looks like one."""
    start = bag.dags["dynalake_setup"].task_dict["start_backfill"]
    for name in ("20240101", "1e5", "None", "RECEIPTS"):
        asked = {"table": name, "backfill": "auto", "environment": "dev", "aws_conn_id": "aws_default"}
        rendered = start.render_template(start.conf, {"params": asked})
        assert rendered == {"table": name, "method": "auto", "environment": "dev", "aws_conn_id": "aws_default"}
