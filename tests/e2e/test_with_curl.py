"""The documents' requests to Airflow's REST API and to the page, by curl as a user sends them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from dynalake.names import TableNames
from dynalake.ui.data import CONTENT_SECONDS
from infra.local.run.airflow import USER
from tests.support.examples import example
from tests.support.machine import need


def test_requests(airflow: Any, make_set_up: Callable[..., TableNames], tmp_path: Path) -> None:
    """In one shell: the first gets the token that the others use."""
    need("curl")
    names = make_set_up("API.Examples")
    time.sleep(CONTENT_SECONDS)  # the page shows what it has read before, for that long
    texts = [
        example("docs/parameters.md: Parameters: sh"),
        example("docs/deploy.md: 3. The first setup: sh"),
        example("docs/engines.md: AWS Glue: sh 2"),
        example("docs/query.md: dbt: sh").replace("environment=prod", "environment=dev"),
    ]
    login = {"AIRFLOW_URL": airflow.url, "AIRFLOW_USER": USER, "AIRFLOW_PASSWORD": airflow.password}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "echo\n".join(texts)],
        cwd=tmp_path,
        env={**os.environ, **login},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(run["dag_id"], run["conf"]) for run in runs] == [
        ("dynalake_setup", {"table": "RECEIPTS"}),
        ("dynalake_setup", {"table": "RECEIPTS"}),
        ("dynalake_compact", {"tables": ["RECEIPTS"], "days": ["20190525"], "engine": "spark"}),
    ]
    for run in runs:
        assert airflow.wait(run["dag_id"], run["dag_run_id"]) == "failed", "there is no such table here"
    (source,) = yaml.safe_load((tmp_path / "sources.yml").read_text())["sources"]
    tables = {table["name"]: table for table in source["tables"]}
    assert source["name"] == names.lake.database
    assert tables["api_examples_current"]["config"]["meta"] == {"dynamodb_table": "API.Examples"}
