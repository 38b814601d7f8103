"""Glue: partitions found by expression, all partition operations, versions of tables, and jobs that run.

https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog.html
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from ministack.services import glue
from ministack.services.cloudformation import provisioners

from infra.local.aws.glue import jobs, partitions, tables
from infra.local.aws.glue.answers import GlueError, Request, Response

_FOLDED = ("DatabaseName", "TableName", "Name")
# Keyed by ministack's own handlers, which CloudFormation calls directly.
_REPLACED: dict[str, Callable[[Request], Response]] = {
    "_create_partition": partitions.create,
    "_batch_create_partition": partitions.batch_create,
    "_batch_update_partition": partitions.batch_update,
    "_delete_partition": partitions.delete,
    "_get_partition": partitions.get,
    "_batch_get_partition": partitions.batch_get,
    "_get_partitions": partitions.get_all,
    "_create_table": tables.create,
    "_update_table": tables.update,
    "_get_tables": tables.get_all,
    "_create_job": jobs.create,
    "_start_job_run": jobs.start,
    "_get_job_runs": jobs.runs,
}
_ADDED: dict[str, Callable[[Request], Response]] = {
    "UpdatePartition": partitions.update,
    "BatchDeletePartition": partitions.batch_delete,
}
_KEPT = (
    "_create_database",
    "_delete_database",
    "_get_database",
    "_update_database",
    "_get_table",
    "_delete_table",
    "_batch_delete_table",
    *(f"_{act}_column_statistics_for_{of}" for act in ("update", "get", "delete") for of in ("table", "partition")),
)
# Glue serves requests on threads: operations that read and then write a record must not interleave.
_lock = threading.RLock()


def install() -> None:
    """Answer the catalog's operations here, and leave the others to ministack."""
    for name, operation in _REPLACED.items():
        setattr(glue, name, _guarded(operation))
    for name in _KEPT:
        setattr(glue, name, _guarded(getattr(glue, name)))
    # CloudFormation drops the limit of a job's concurrent runs.
    fields = provisioners._glue_job_fields
    limit = "ExecutionProperty"
    provisioners._glue_job_fields = lambda of: fields(of) | ({limit: of[limit]} if limit in of else {})
    serve = glue._handle_request_sync

    def handle(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Any:
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        if operation not in _ADDED:
            return serve(method, path, headers, body, query)
        return _guarded(_ADDED[operation])(json.loads(body or b"{}"))

    glue._handle_request_sync = handle


def _guarded(operation: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """Return the operation with a lock, with names as Glue stores them, and with errors as answers."""

    def act(request: Request) -> Response:
        with _lock:
            try:
                return operation(_folded(request))
            except GlueError as error:
                return error.response()

    return act


def _folded(request: Request) -> dict[str, Any]:
    """Return the request with names of databases and tables in lower case, as Glue stores them."""
    folded: dict[str, Any] = {
        field: value.lower() if field in _FOLDED and isinstance(value, str) else value
        for field, value in request.items()
    }
    for field in ("TableInput", "DatabaseInput"):
        if isinstance(folded.get(field), dict) and isinstance(folded[field].get("Name"), str):
            folded[field] = {**folded[field], "Name": folded[field]["Name"].lower()}
    if isinstance(folded.get("TablesToDelete"), list):
        folded["TablesToDelete"] = [name.lower() for name in folded["TablesToDelete"]]
    return folded
