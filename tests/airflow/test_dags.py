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


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_parsing_is_quick_and_light(file: Path) -> None:
    """Measured inside a fresh process, after Airflow's own import: the work that this file adds to every parse.

    CPU time, because a busy machine stretches the clock on the wall. Nothing is asked of AWS, so it does not depend on
    the number of tables.
    """
    script = f"""
import airflow.sdk, airflow.providers.standard.operators.trigger_dagrun, sys, time, json, runpy, socket
def refuse(*_): raise AssertionError("a DAG file asks the network")
socket.socket.connect = socket.getaddrinfo = refuse
sys.path.insert(0, {str(DAGS.parent / "plugins")!r})
started = time.process_time()
runpy.run_path({str(file)!r})
print(json.dumps([time.process_time() - started, [name for name in {HEAVY!r} if name in sys.modules]]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    seconds, heavy = json.loads(done.stdout.splitlines()[-1])
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
