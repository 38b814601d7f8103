"""The DAGs run a table's work in the lake's Glue job: the real template, the real script, real Spark."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.convert.plan import ConvertLimits
from dynalake.names import Lake
from tests.support.airflow.small_lake import add_table, converted_rows, make_lake, put
from tests.support.aws.lake import deploy_job
from tests.support.machine import need

pytestmark = pytest.mark.newest


@pytest.fixture
def lake(clients: Clients) -> Lake:
    lake = make_lake(clients, "sparkdag")
    deploy_job(clients, lake)
    return lake


def test_large_work_is_converted_and_compacted_on_glue(
    clients: Clients,
    lake: Lake,
    run: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    logs: Callable[[], str],
) -> None:
    need("java")
    monkeypatch.setattr("dynalake.operators.waits.spark_run.POLL_SECONDS", 1)
    monkeypatch.setattr("dynalake.convert.plan.ConvertLimits.__init__.__defaults__", (256, 1, 100, 3, 1024, 8))
    large, small = (add_table(clients, lake, name) for name in ("LARGE", "SMALL"))
    put(large, "a", "abc", more="broken")
    put(large, "b", "cd", ago=1)
    put(small, "a", "a")
    assert ConvertLimits().batch_objects == 1
    monkeypatch.setattr("dynalake.operators.convert_tables._count", lambda p: (p.table == "LARGE") << 40)
    states = run("dynalake_convert", environment=lake.environment, engine="auto")

    assert states["run"] == "success", states
    assert [states[f"convert[{n}]"] for n in range(2)] == ["success"] * 2
    assert converted_rows(large) == [("a", "x"), ("b", "x"), ("c", "x"), ("d", "x")]
    assert converted_rows(small) == [("a", "x")]
    (job,) = clients.glue.get_job_runs(JobName=lake.spark_job)["JobRuns"]
    assert job["JobRunState"] == "SUCCEEDED"
    assert json.loads(job["Arguments"]["--request"])["batches"] == 2
    assert "Converted on Spark: 2 batches of LARGE." in logs()
    assert "6 lines of 2 objects = 5 rows + 0 duplicates + 0 repeats of live rows + 0 canaries + 1 rejected" in logs()

    # Nothing is due, so there is no other run of the job.
    assert run("dynalake_convert", environment=lake.environment, engine="spark")["plan"] == "success"
    assert len(clients.glue.get_job_runs(JobName=lake.spark_job)["JobRuns"]) == 1

    monkeypatch.setattr("dynalake.night.night.count_work", lambda table, *_: (table.names.table == "LARGE") << 40)
    days = sorted({file.partition for file in large.changes().files()})
    states = run("dynalake_compact", environment=lake.environment, engine="auto", days=days, fold=True)

    assert states["run"] == "success", states
    assert [states[f"compact[{n}]"] for n in range(2)] == ["success"] * 2
    assert len(clients.glue.get_job_runs(JobName=lake.spark_job)["JobRuns"]) == 2
    assert converted_rows(large) == [("a", "x"), ("b", "x"), ("c", "x"), ("d", "x")]
    for table, items in ((large, 4), (small, 1)):
        assert {len({f.folder for f in table.changes().files({day})}) for day in days} <= {0, 1}
        assert sum(file.rows for file in table.items().files()) == items
    assert "Folded the state, requested: 4 items changed in it" in logs()


def test_a_lake_without_the_job_says_what_is_missing(
    clients: Clients, run: Callable[..., dict[str, Any]], logs: Callable[[], str]
) -> None:
    lake = make_lake(clients, "sparkless")
    put(add_table(clients, lake, "ONE"), "a", "a")

    states = run("dynalake_convert", environment=lake.environment, engine="spark")

    assert (states["run"], states["convert[0]"]) == ("failed", "failed")
    assert "infra/cloudformation/spark.yaml" in logs()
