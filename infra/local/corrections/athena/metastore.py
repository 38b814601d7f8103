"""The Glue calls that statements make, answered in-process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ministack.services import glue
from sqlglot import exp

from infra.local.corrections.athena import catalog, scopes
from infra.local.corrections.athena.catalog import Table
from infra.local.corrections.athena.errors import QueryError

_MOST_PARTITIONS = 100


def call(operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """One Glue operation; its failure becomes the query's."""
    headers = {"x-amz-target": f"AWSGlue.{operation}"}
    status, _, body = glue._handle_request_sync("POST", "/", headers, json.dumps(request).encode(), {})
    answer: dict[str, Any] = json.loads(body) if body else {}
    if status >= 300:
        code = str(answer.get("__type", "")).rpartition("#")[2]
        raise QueryError("HIVE_METASTORE_ERROR", f"{answer.get('message', answer)} (Service: Glue, {code})")
    return answer


def target(node: exp.Expression, database: str) -> tuple[str, str]:
    """Database and name of the table that a statement makes or changes."""
    table = node.this if isinstance(node, exp.Schema) else node
    if not isinstance(table, exp.Table):
        raise QueryError("SYNTAX_ERROR", f"Not a table name: {node.sql('trino')}")
    name = scopes.resolve(table, database)
    if not any(existing == name.database for existing in glue._databases):
        raise QueryError("SCHEMA_NOT_FOUND", f"Schema '{name.database}' does not exist")
    return name.database, name.table


def add_partitions(
    table: Table, values: Sequence[tuple[str, ...]], locations: Mapping[tuple[str, ...], str] | None = None
) -> None:
    """Register partitions at `key=value` folders below the table, or at the locations given."""
    record = catalog.find(table.database, table.name)
    storage_descriptor = dict((record or {}).get("StorageDescriptor") or {})
    inputs = []
    for combination in values:
        folder = "/".join(f"{key}={value}" for key, value in zip(table.keys.names, combination, strict=True))
        location = (locations or {}).get(combination) or f"{table.location.rstrip('/')}/{folder}"
        descriptor = {**storage_descriptor, "Location": location}
        inputs.append({"Values": list(combination), "StorageDescriptor": descriptor})
    for start in range(0, len(inputs), _MOST_PARTITIONS):
        request = {
            "DatabaseName": table.database,
            "TableName": table.name,
            "PartitionInputList": inputs[start : start + _MOST_PARTITIONS],
        }
        errors = call("BatchCreatePartition", request).get("Errors", [])
        if errors:
            detail = errors[0]["ErrorDetail"]
            raise QueryError("HIVE_METASTORE_ERROR", f"{detail['ErrorCode']}: {detail['ErrorMessage']}")
