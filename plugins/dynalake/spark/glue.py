"""Runs of the lake's AWS Glue job: each started once for any number of requests.

https://docs.aws.amazon.com/glue/latest/webapi/API_StartJobRun.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynalake.aws.answers import code_of, message_of
from dynalake.errors import NotReadyError, SettingsError
from dynalake.lake.catalog.table import Table
from dynalake.spark.package import upload_spark_package
from dynalake.spark.request import FLAGS, Request, forget_outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy_boto3_glue.type_defs import JobRunTypeDef

_UNDER_WAY = ("STARTING", "RUNNING", "WAITING")
_LATER = (
    "ConcurrentRunsExceededException",
    "ResourceNumberLimitExceededException",
    "OperationTimeoutException",
    "ThrottlingException",
)


def start_run(table: Table, request: Request) -> str:
    """Start the job run of a request, or find the one in progress. Return its id.

    Glue accepts no token for a start, so if a task is killed before its run is listed, the retry starts a second one.
    This may cost twice, and changes nothing. Raises `SettingsError` where the lake has no job, `NotReadyError` where
    Glue has no room for another run now.
    """
    names = table.names
    job = names.lake.spark_job
    arguments = request.to_arguments()
    try:
        pages = table.clients.glue.get_paginator("get_job_runs").paginate(
            JobName=job, PaginationConfig={"MaxItems": 400}
        )
        under_way = find_run((run for page in pages for run in page["JobRuns"]), arguments)
        if under_way:
            return under_way
        package = upload_spark_package(table.clients, names.lake)
        forget_outcome(table, request)
        started = table.clients.glue.start_job_run(
            JobName=job, Arguments={**arguments, "--extra-py-files": names.uri(package.key)}
        )
    except Exception as error:
        code, message = code_of(error), message_of(error)
        if code == "EntityNotFoundException":
            raise SettingsError(
                f"The lake {names.lake.environment!r} has no Glue job {job!r}",
                allowed="the job that infra/cloudformation/spark.yaml creates",
                action="deploy that template (docs/engines.md), or run with engine=arrow",
                job=job,
            ) from error
        if code in _LATER:
            raise NotReadyError(
                f"Glue cannot start a run of {job} now: {message}",
                action="wait for other runs, or raise MaxConcurrentRuns of the template and the account's quota",
                job=job,
            ) from error
        raise
    return started["JobRunId"]


def find_run(runs: Iterable[JobRunTypeDef], arguments: dict[str, str]) -> str:
    """Return the id of a run with these arguments that has not ended; '' where there is none."""
    for run in runs:
        job_arguments = run.get("Arguments", {})
        request_arguments = {name: value for name, value in job_arguments.items() if name in FLAGS}
        if run["JobRunState"] in _UNDER_WAY and request_arguments == arguments:
            return run["Id"]
    return ""


def find_request(table: Table, run: str) -> Request:
    """Return the request of a job run."""
    arguments = table.clients.glue.get_job_run(JobName=table.names.lake.spark_job, RunId=run)["JobRun"].get(
        "Arguments", {}
    )
    return Request.from_arguments([text for name in FLAGS if name in arguments for text in (name, arguments[name])])
