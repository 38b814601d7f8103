"""The documents' commands of the AWS CLI, as an administrator runs them in the repository."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.examples import example
from tests.support.machine import REPOSITORY
from tests.support.waiting import eventually
from tests.trino.docs_lake import DocsLake, Readings
from tests.trino.shell import Shell

READ_REQUEST = b"""
import sys
from dynalake.spark.request import Request
request = Request.from_arguments(sys.argv[1:])
assert (request.environment, request.table, request.work) == ("prod", "RECEIPTS", "compact"), request
assert request.values == {"days": ["20190525"], "fold": True, "scrub": False}, request
"""

pytestmark = pytest.mark.usefixtures("docs_lake")


def here(name: str) -> str:
    """Return an example with local AWS's account and region."""
    return re.sub("eu-(west|central)-1", "us-east-1", example(name).replace("123456789012-eu", "000000000000-eu"))


def outputs(client: Callable[[str], Any], stack: str) -> dict[str, str]:
    (described,) = client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())}


def test_roles_and_jobs_are_deployed_and_removed(
    shell: Shell, client: Callable[[str], Any], docs_lake: tuple[DocsLake, Readings]
) -> None:
    shell.run(here("docs/deploy.md: 1. The roles: sh"), REPOSITORY)
    role = outputs(client, "dynalake-prod-airflow")["DagRoleArn"].rpartition("/")[2]
    shell.run(here("docs/query.md: Redshift Spectrum: sh"), REPOSITORY)
    assert "SpectrumRoleArn" in outputs(client, "dynalake-prod-redshift")
    placeholder = "dynalake-prod-airflow-DagRole-XXXX"
    spark = here("docs/engines.md: AWS Glue: sh")
    assert placeholder in spark
    shell.run(spark.replace(placeholder, role), REPOSITORY)
    assert client("glue").get_job(JobName="dynalake-prod-spark")["Job"]["GlueVersion"]
    run_a_job(shell, client)
    shell.run(here("docs/life.md: Remove a lake: sh"), REPOSITORY)
    stacks = client("cloudformation").describe_stacks()["Stacks"]
    left = {stack["StackName"] for stack in stacks if stack["StackStatus"] != "DELETE_COMPLETE"}
    assert left >= {"dynalake-prod-redshift", "dynalake-prod-spark"}
    assert "dynalake-prod-airflow" not in left


def test_a_bucket_is_deleted_with_all_versions(shell: Shell, client: Callable[[str], Any]) -> None:
    s3, bucket = client("s3"), "dynalake-prod-000000000000-us-east-1-old"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for key in ("a", "b c", "a"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.delete_object(Bucket=bucket, Key="a")

    text = here("docs/life.md: Remove a lake: sh 2")
    assert bucket.removesuffix("-old") in text
    shell.run(text.replace(bucket.removesuffix("-old"), bucket))

    assert bucket not in {found["Name"] for found in s3.list_buckets()["Buckets"]}


def run_a_job(shell: Shell, client: Callable[[str], Any]) -> None:
    """Start the job by hand. Its script here only reads the request, with the code of the archive."""
    glue, job = client("glue"), "dynalake-prod-spark"
    bucket = "dynalake-prod-000000000000-us-east-1"
    client("s3").put_object(Bucket=bucket, Key="read-request.py", Body=READ_REQUEST)
    known = glue.get_job(JobName=job)["Job"]
    command = {**known["Command"], "ScriptLocation": f"s3://{bucket}/read-request.py"}
    glue.update_job(
        JobName=job,
        JobUpdate={"Role": known["Role"], "Command": command, "DefaultArguments": known["DefaultArguments"]},
    )
    package, start = here("docs/engines.md: AWS Glue: sh 3").split("\n", 1)
    archive = shell.run(package, REPOSITORY).split()[0]
    start, count = re.subn(r"s3://\S+?\.zip", archive, start)
    assert count == 1
    run = json.loads(shell.run(start))["JobRunId"]

    def state() -> str:
        return str(glue.get_job_run(JobName=job, RunId=run)["JobRun"]["JobRunState"])

    assert eventually(state, ("SUCCEEDED", "FAILED").__contains__) == "SUCCEEDED"
