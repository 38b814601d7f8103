"""Glue: partitions found by expression, all partition operations, versions of tables, and jobs that run.

https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog.html
"""

from __future__ import annotations

import json
from typing import Any

from ministack.services import glue
from ministack.services.cloudformation import provisioners

from infra.local.aws.glue import partitions
from infra.local.aws.glue.answers import Request, Response, guarded
from infra.local.aws.patch import Original, patch

_ADDED = {"UpdatePartition": partitions.update, "BatchDeletePartition": partitions.batch_delete}
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


@guarded
def keep(original: Original, request: Request) -> Response:
    """Leave the operation to ministack, one at a time, and with names as Glue stores them."""
    answer: Response = original(request)
    return answer


for _name in _KEPT:
    patch(glue, _name)(keep)


@patch(provisioners, "_glue_job_fields")
def job_fields(original: Original, properties: dict[str, Any]) -> Any:
    """Keep the limit of a job's concurrent runs, which CloudFormation drops."""
    limit = "ExecutionProperty"
    return original(properties) | ({limit: properties[limit]} if limit in properties else {})


@patch(glue, "_handle_request_sync")
def handle(
    original: Original, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
) -> Any:
    """Answer the operations that ministack lacks."""
    added = _ADDED.get(headers.get("x-amz-target", "").rpartition(".")[2])
    return added(json.loads(body or b"{}")) if added else original(method, path, headers, body, query)
