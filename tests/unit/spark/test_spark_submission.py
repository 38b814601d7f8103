"""How a job on Spark is requested, started once, and answered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients
from dynalake.errors import NotReadyError, QuarantineError, SettingsError
from dynalake.lake.catalog.table import Table
from dynalake.names import Lake, TableNames
from dynalake.spark.glue import find_request, find_run, start_run
from dynalake.spark.package import build_spark_package, upload_spark_package
from dynalake.spark.request import COMPACT, CONVERT, Request, forget_outcome, read_outcome, write_outcome

NAMES = Lake("dev", "123456789012", "us-east-1").table("RECEIPTS")
REQUEST = Request.of(NAMES, CONVERT, {"plan": "abc", "batches": 12})
DONE = {"sums": {"rows": 2}, "reasons": {}}


@pytest.fixture
def clients(mocked: boto3.Session) -> Clients:
    aws = Clients.of(mocked)
    aws.s3.create_bucket(Bucket=NAMES.lake.bucket)
    return aws


def test_arguments_form_a_request_whatever_a_service_adds() -> None:
    arguments = [text for pair in REQUEST.to_arguments().items() for text in pair]
    assert Request.from_arguments(["--JOB_NAME", "x", *arguments, "--enable-metrics", "true"]) == REQUEST
    plain = Request.from_arguments(["--region", "r", "--environment", "e", "--table", "t", "--work", "compact"])
    assert plain == Request("r", "e", "t", COMPACT)
    assert len({Request.of(NAMES, CONVERT, {"plan": text}).run for text in "abcc"}) == 3


def test_only_an_unfinished_run_of_the_same_request_is_found() -> None:
    arguments = REQUEST.to_arguments()
    others = Request.of(NAMES, CONVERT, {"plan": "other"}).to_arguments()
    runs: list[Any] = [
        {"Id": "1", "JobRunState": "FAILED", "Arguments": arguments},
        {"Id": "2", "JobRunState": "RUNNING", "Arguments": others},
        {"Id": "3", "JobRunState": "RUNNING"},
        {"Id": "4", "JobRunState": "WAITING", "Arguments": {**arguments, "--extra-py-files": "x"}},
    ]
    assert find_run(runs, arguments) == "4"
    assert find_run(runs[:3], arguments) == ""


def test_a_run_is_started_with_the_code_or_the_error_says_what_is_missing(clients: Clients) -> None:
    with pytest.raises(SettingsError, match=r"infra/cloudformation/spark\.yaml"):
        start_run(Table(clients, NAMES), REQUEST)
    clients.glue.create_job(Name=NAMES.lake.spark_job, Role="role", Command={"Name": "glueetl"})
    write_outcome(Table(clients, NAMES), REQUEST, ValueError("of an earlier attempt"))
    run = start_run(Table(clients, NAMES), REQUEST)
    package = build_spark_package(NAMES.lake)
    arguments = clients.glue.get_job_run(JobName=NAMES.lake.spark_job, RunId=run)["JobRun"]["Arguments"]
    assert arguments == {**REQUEST.to_arguments(), "--extra-py-files": NAMES.uri(package.key)}
    assert find_request(Table(clients, NAMES), run) == REQUEST
    keys = [o["Key"] for o in clients.s3.list_objects_v2(Bucket=NAMES.lake.bucket)["Contents"]]
    assert keys == sorted([package.key, NAMES.lake.spark_script])
    assert upload_spark_package(clients, NAMES.lake) == package


def test_a_job_without_room_is_tried_again(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    clients.glue.create_job(Name=NAMES.lake.spark_job, Role="role", Command={"Name": "glueetl"})

    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "ConcurrentRunsExceededException", "Message": "no"}}, "StartJobRun")

    monkeypatch.setattr(clients.glue, "start_job_run", refuse)
    with pytest.raises(NotReadyError, match="MaxConcurrentRuns"):
        start_run(Table(clients, NAMES), REQUEST)


def test_an_outcome_is_the_result_or_the_error_of_the_job(clients: Clients) -> None:
    names: TableNames = NAMES
    with pytest.raises(NotReadyError, match="without an outcome"):
        read_outcome(Table(clients, names), REQUEST)
    write_outcome(Table(clients, names), REQUEST, DONE)
    assert read_outcome(Table(clients, names), REQUEST) == DONE
    refused = QuarantineError("too many", allowed="fewer", action="look", table="RECEIPTS")
    write_outcome(Table(clients, names), REQUEST, refused)
    with pytest.raises(QuarantineError) as raised:
        read_outcome(Table(clients, names), REQUEST)
    assert (str(raised.value), raised.value.ids) == (str(refused), refused.ids)
    write_outcome(Table(clients, names), REQUEST, RuntimeError("executor lost"))
    with pytest.raises(NotReadyError, match="RuntimeError: executor lost"):
        read_outcome(Table(clients, names), REQUEST)
    forget_outcome(Table(clients, names), REQUEST)
    with pytest.raises(NotReadyError, match="without an outcome"):
        read_outcome(Table(clients, names), REQUEST)


ABSENT = ("airflow", "awswrangler", "zlib_ng")
"""Modules of Airflow's environment that are missing, or may be, where Spark runs."""


@pytest.mark.slow
def test_the_archive_has_everything_that_the_job_imports(tmp_path: Path) -> None:
    """With Spark, boto3 and the template's modules, but nothing of the repository."""
    archive = tmp_path / "dynalake.zip"
    archive.write_bytes(build_spark_package(NAMES.lake).body)
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({ABSENT})); sys.path.insert(0, {str(archive)!r}); "
        "import dynalake.spark.job"
    )
    subprocess.run([sys.executable, "-I", "-c", script], cwd=tmp_path, check=True)
