"""Partitions: written singly or in batches, and found by an expression over their keys.

https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog-partitions.html
"""

from __future__ import annotations

import datetime
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlglot
from ministack.core.responses import get_account_id
from ministack.services import glue
from sqlglot import exp
from sqlglot.errors import SqlglotError

from infra.local.aws.glue import predicates
from infra.local.aws.glue.answers import (
    GlueError,
    Request,
    Response,
    answer,
    guarded,
    invalid,
    missing,
    page,
    table,
)
from infra.local.aws.patch import replace

Partition = dict[str, Any]

_INTEGERS = ("int", "bigint", "long", "tinyint", "smallint", "integer")


@replace(glue, "_create_partition")
@guarded
def create(request: Request) -> Response:
    """CreatePartition."""
    key, record = table(request)
    _add(key, record, request.get("PartitionInput") or {})
    return answer({})


@replace(glue, "_batch_create_partition")
@guarded
def batch_create(request: Request) -> Response:
    """BatchCreatePartition: create the partitions; report those that cannot be created in Errors."""
    key, record = table(request)
    inputs = _entries(request, "PartitionInputList", 100)
    errors = _each(inputs, lambda entry: _add(key, record, entry), lambda entry: entry.get("Values", []))
    return answer({"Errors": errors})


@guarded
def update(request: Request) -> Response:
    """UpdatePartition."""
    key, record = table(request)
    _change(key, record, request)
    return answer({})


@replace(glue, "_batch_update_partition")
@guarded
def batch_update(request: Request) -> Response:
    """BatchUpdatePartition."""
    key, record = table(request)
    errors = _each(
        _entries(request, "Entries", 100),
        lambda entry: _change(key, record, entry),
        lambda entry: entry.get("PartitionValueList", []),
        "PartitionValueList",
    )
    return answer({"Errors": errors})


@replace(glue, "_delete_partition")
@guarded
def delete(request: Request) -> Response:
    """DeletePartition."""
    key, _ = table(request)
    _remove(key, request.get("PartitionValues") or [])
    return answer({})


@guarded
def batch_delete(request: Request) -> Response:
    """BatchDeletePartition."""
    key, _ = table(request)
    entries = _entries(request, "PartitionsToDelete", 25)
    errors = _each(entries, lambda entry: _remove(key, entry["Values"]), lambda entry: entry["Values"])
    return answer({"Errors": errors})


@replace(glue, "_get_partition")
@guarded
def get(request: Request) -> Response:
    """GetPartition."""
    key, _ = table(request)
    return answer({"Partition": _find(key, request.get("PartitionValues") or [])})


@replace(glue, "_batch_get_partition")
@guarded
def batch_get(request: Request) -> Response:
    """BatchGetPartition: return the partitions that exist; leave out the others."""
    key, _ = table(request)
    requested = [entry["Values"] for entry in _entries(request, "PartitionsToGet", 1000)]
    known = {tuple(partition["Values"]): partition for partition in glue._partitions.get(key, [])}
    partitions = [known[tuple(values)] for values in requested if tuple(values) in known]
    return answer({"Partitions": partitions, "UnprocessedKeys": []})


@replace(glue, "_get_partitions")
@guarded
def get_all(request: Request) -> Response:
    """GetPartitions: return a page of the partitions of a segment that match the expression."""
    key, record = table(request)
    partitions = sorted(glue._partitions.get(key, []), key=lambda partition: list(partition["Values"]))
    expression = str(request.get("Expression") or "").strip()
    if expression:
        condition = _parse(expression)
        partitions = [partition for partition in partitions if _meets(record, partition, condition)]
    segment = request.get("Segment")
    if segment:
        partitions = [partition for partition in partitions if _segment_of(partition, segment)]
    shown, more = page(partitions, request, 1000)
    if request.get("ExcludeColumnSchema"):
        shown = [_without_columns(partition) for partition in shown]
    return answer({"Partitions": shown, **more})


def _entries(request: Request, field: str, most: int) -> list[Any]:
    entries = list(request.get(field) or [])
    if len(entries) > most:
        raise invalid(f"{field} takes at most {most} entries, and has {len(entries)}")
    return entries


def _each(
    entries: Iterable[Any],
    act: Callable[[Any], None],
    values: Callable[[Any], list[str]],
    field: str = "PartitionValues",
) -> list[dict[str, Any]]:
    errors = []
    for entry in entries:
        try:
            act(entry)
        except GlueError as error:
            errors.append({field: values(entry), "ErrorDetail": error.detail()})
    return errors


def _add(key: str, record: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
    values = list(entry.get("Values") or [])
    _check_values(record, values)
    partitions = glue._partitions.setdefault(key, [])
    if any(partition["Values"] == values for partition in partitions):
        raise GlueError("AlreadyExistsException", f"Partition already exists: {values}")
    partitions.append(_stored(record, entry, values, time.time()))


def _change(key: str, record: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
    values = list(entry.get("PartitionValueList") or [])
    current = _find(key, values)
    changed = dict(entry.get("PartitionInput") or {})
    if changed.get("Values") not in (None, [], values):
        raise invalid(f"The values of a partition cannot be changed, from {values} to {changed['Values']}")
    stored = _stored(record, changed, values, current["CreationTime"])
    partitions = glue._partitions[key]
    # A single assignment: a reader sees the old partition or the new one.
    partitions[partitions.index(current)] = stored


def _remove(key: str, values: list[str]) -> None:
    gone = _find(key, values)
    glue._partitions[key] = [partition for partition in glue._partitions[key] if partition is not gone]
    statistics = glue._partition_column_statistics.get(key, [])
    glue._partition_column_statistics[key] = [entry for entry in statistics if entry["Values"] != gone["Values"]]


def _find(key: str, values: list[str]) -> Partition:
    for partition in glue._partitions.get(key, []):
        if partition["Values"] == list(values):
            match: Partition = partition
            return match
    raise missing(f"Cannot find partition: {list(values)}")


def _stored(record: Mapping[str, Any], entry: Mapping[str, Any], values: list[str], created: float) -> Partition:
    return {
        **entry,
        "Values": values,
        "DatabaseName": record["DatabaseName"],
        "TableName": record["Name"],
        "CreationTime": created,
        "CatalogId": get_account_id(),
    }


def _check_values(record: Mapping[str, Any], values: list[str]) -> None:
    keys = record.get("PartitionKeys") or []
    if len(keys) != len(values):
        raise invalid(
            f"The number of partition keys do not match the number of partition values: {len(keys)} keys, "
            f"values {values}"
        )


def _without_columns(partition: Partition) -> Partition:
    storage = {k: v for k, v in (partition.get("StorageDescriptor") or {}).items() if k != "Columns"}
    return {**partition, "StorageDescriptor": storage}


def _segment_of(partition: Partition, segment: Mapping[str, Any]) -> bool:
    number, total = int(segment["SegmentNumber"]), int(segment["TotalSegments"])
    if not 0 <= number < total <= 10:
        raise invalid(f"Segment {number} of {total} is not between 0 and the total, which is at most 10")
    return zlib.crc32("\0".join(partition["Values"]).encode()) % total == number


def _parse(expression: str) -> exp.Expression:
    try:
        tree = sqlglot.parse_one(f"SELECT 1 WHERE {expression}", read="presto")
    except SqlglotError:
        raise invalid(f"Unsupported expression '{expression}'") from None
    where = tree.args.get("where")
    if not isinstance(tree, exp.Select) or where is None:
        raise invalid(f"Unsupported expression '{expression}'")
    condition: exp.Expression = where.this
    return condition


def _meets(record: Mapping[str, Any], partition: Partition, condition: exp.Expression) -> bool:
    keys = record.get("PartitionKeys") or []
    values = {
        str(key["Name"]).lower(): _typed(text, str(key.get("Type") or "string").lower())
        for key, text in zip(keys, partition["Values"], strict=True)
    }
    try:
        return predicates.holds(condition, values) is True
    except (predicates.Unsupported, TypeError) as error:
        raise invalid(f"Unsupported expression '{condition.sql()}': {error}") from None


def _typed(text: str, kind: str) -> Any:
    """Return the value as the key's declared type, for the types that Glue compares by value."""
    try:
        if kind in _INTEGERS:
            return int(text)
        if kind.startswith("decimal"):
            return Decimal(text)
        if kind == "date":
            return datetime.date.fromisoformat(text)
        if kind == "timestamp":
            return datetime.datetime.fromisoformat(text)
    except (ValueError, InvalidOperation):
        return None
    return text
