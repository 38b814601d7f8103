"""Glue: partitions found by expression, tables that are checked and replaced, and jobs that run.

https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog.html
"""

from __future__ import annotations

import json
from typing import Any

from ministack.services import glue

from infra.local.aws.glue import partitions
from infra.local.aws.glue.answers import Request, Response, guarded
from infra.local.aws.patch import Original, patch

_KEPT = (
    "_create_database",
    "_delete_database",
    "_get_database",
    "_update_database",
    "_get_table",
    "_delete_table",
    "_batch_delete_table",
    "_create_partition",
    "_get_partition",
    "_batch_create_partition",
    "_batch_get_partition",
    "_batch_update_partition",
    "_update_column_statistics_for_table",
    "_get_column_statistics_for_table",
    "_delete_column_statistics_for_table",
)


@guarded
def keep(original: Original, request: Request) -> Response:
    """Leave the operation to ministack, one at a time, and with names as Glue stores them."""
    answer: Response = original(request)
    return answer


for _name in _KEPT:
    patch(glue, _name)(keep)


@patch(glue, "_handle_request_sync")
def handle(
    original: Original, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
) -> Any:
    """Answer BatchDeletePartition, which ministack lacks."""
    if headers.get("x-amz-target", "").endswith(".BatchDeletePartition"):
        return partitions.batch_delete(json.loads(body))
    return original(method, path, headers, body, query)
