"""Runs of Glue jobs: a script with its arguments and archives, in a process whose end is the end of the run.

https://docs.aws.amazon.com/glue/latest/webapi/API_JobRun.html
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.waiting import eventually

ROLE = "arn:aws:iam::000000000000:role/local"


@pytest.fixture
def job(client: Callable[[str], Any], bucket: str) -> Callable[..., str]:
    """Makes a job of a script; its name is the bucket's."""

    def make(script: str, **more: Any) -> str:
        client("s3").put_object(Bucket=bucket, Key="code/job.py", Body=script.encode())
        client("glue").create_job(
            Name=bucket,
            Role=ROLE,
            Command={"Name": "glueetl", "ScriptLocation": f"s3://{bucket}/code/job.py"},
            GlueVersion="5.0",
            **more,
        )
        return bucket

    return make


@pytest.fixture
def ended(client: Callable[[str], Any]) -> Callable[..., dict[str, Any]]:
    def wait(job: str, run: str) -> dict[str, Any]:
        def job_run() -> dict[str, Any]:
            return dict(client("glue").get_job_run(JobName=job, RunId=run)["JobRun"])

        return eventually(job_run, lambda state: state["JobRunState"] not in ("STARTING", "RUNNING"))

    return wait


def test_the_script_has_its_arguments_archives_and_credentials(client: Any, bucket: str, job: Any, ended: Any) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("brought.py", "WORD = 'brought'")
    client("s3").put_object(Bucket=bucket, Key="code/more.zip", Body=archive.getvalue())
    script = f"""
import sys, boto3, brought
text = " ".join([brought.WORD, *sys.argv[1:]])
boto3.client("s3").put_object(Bucket={bucket!r}, Key="seen", Body=text.encode())
"""
    name = job(script, DefaultArguments={"--a": "default", "--b": "kept", "--enable-auto-scaling": "true"})
    arguments = {"--a": "given", "--extra-py-files": f"s3://{bucket}/code/more.zip"}
    run = client("glue").start_job_run(JobName=name, Arguments=arguments)["JobRunId"]
    job_run = ended(name, run)
    assert job_run["JobRunState"] == "SUCCEEDED", job_run.get("ErrorMessage")
    assert job_run["Arguments"]["--a"] == "given"
    output = client("s3").get_object(Bucket=bucket, Key="seen")["Body"].read().decode()
    assert output == f"brought --JOB_NAME {name} --JOB_RUN_ID {run} --a given --b kept"


def test_a_run_that_fails_says_why(client: Any, job: Any, ended: Any) -> None:
    name = job("raise ValueError('no luck')")
    failed = ended(name, client("glue").start_job_run(JobName=name)["JobRunId"])
    assert (failed["JobRunState"], failed["ErrorMessage"]) == ("FAILED", "ValueError: no luck")


def test_a_missing_job(client: Any, name: str) -> None:
    with pytest.raises(ClientError, match="EntityNotFoundException"):
        client("glue").start_job_run(JobName=name)
