"""`dynalake_compact` with the engine `spark`, as Airflow runs it: from the trigger to what is published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dynalake.catalog.partitions import list_partitions
from dynalake.catalog.register import register_table
from tests.unit.compact.lake import KEY, TestLake

from dynalake.clients import Clients
from dynalake.names import Lake
from dynalake.settings import TableSettings
from infra.local.process import LocalAws
from tests.conftest import need

DAY = "20240101"
LAKE = Lake("sparkdag", "000000000000", "us-east-1")
TEMPLATE = Path("infra/cloudformation/spark.yaml")


@pytest.fixture
def lake(clients: Clients) -> TestLake:
    """A lake with one table and the stack `spark`."""
    names = LAKE.table("ON-SPARK")
    clients.s3.create_bucket(Bucket=LAKE.bucket)
    clients.glue.create_database(DatabaseInput={"Name": LAKE.database})
    register_table(clients, names, KEY, source_arn="arn")
    place = json.dumps({"bucket": LAKE.bucket})
    for name, value in ((LAKE.lake_parameter, place), (names.settings_parameter, TableSettings(names.table).to_json())):
        clients.ssm.put_parameter(Name=name, Value=value, Type="String")
    clients.cloudformation.create_stack(
        StackName="sparkdag-spark",
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": "Environment", "ParameterValue": LAKE.environment}],
        Capabilities=["CAPABILITY_IAM"],
    )
    clients.cloudformation.get_waiter("stack_create_complete").wait(
        StackName="sparkdag-spark", WaiterConfig={"Delay": 1}
    )
    return TestLake(clients, names)


def test_a_run_converts_on_glue_and_publishes(
    lake: TestLake,
    run: Callable[..., dict[str, Any]],
    local_aws: LocalAws,
    monkeypatch: pytest.MonkeyPatch,
    said: Callable[[], str],
) -> None:
    need("java")
    monkeypatch.setattr("dynalake.operators.convert.POLL_SECONDS", 1)
    lake.put(DAY, "1.gz", ["no json", *lake.lines([{"id": {"S": "a"}, "n": {"N": str(n)}} for n in range(9)])])
    where = {"environment": LAKE.environment, "tables": [lake.names.table], "days": [DAY], "engine": "spark"}

    # What the job finds fails the task, with the job's own words.
    states = run("dynalake_compact", **where, max_quarantined=0)
    assert states["convert[0]"] == "failed"
    assert "What to do: look at them" in said()

    states = run("dynalake_compact", **where)
    assert states["run"] == "success"
    jobs = lake.clients.glue.get_job_runs(JobName=LAKE.spark_job)["JobRuns"]
    assert [job["JobRunState"] for job in jobs] == ["SUCCEEDED", "FAILED"]
    assert "9 rows" in said()
    assert list_partitions(lake.clients, lake.names, lake.names.typed_table)[DAY].parameters["numRows"] == "9"
    assert [row["n"] for row in lake.published(DAY)[0].to_pylist()] == list(range(9))

    # Done already: no third run.
    assert run("dynalake_compact", **where)["run"] == "success"
    assert len(lake.clients.glue.get_job_runs(JobName=LAKE.spark_job)["JobRuns"]) == 2
