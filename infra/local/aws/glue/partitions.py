"""Partitions: found by an expression over their keys, in pages and segments; changed and deleted in place.

ministack creates and reads them. SQLite evaluates the expressions, which are conditions of SQL.
https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog-partitions.html
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from ministack.services import glue

from infra.local.aws.glue.answers import Request, Response, answer, guarded, invalid, missing, page, table
from infra.local.aws.patch import replace
from infra.local.aws.responses import ServiceError

Partition = dict[str, Any]

_NUMBERS = ("int", "bigint", "long", "tinyint", "smallint", "decimal", "float", "double")
_MOST_DELETED = 25


@guarded
def batch_delete(request: Request) -> Response:
    """BatchDeletePartition: delete the partitions; report those that do not exist in Errors."""
    key, _ = table(request)
    entries = request["PartitionsToDelete"]
    if len(entries) > _MOST_DELETED:
        raise invalid(f"PartitionsToDelete takes at most {_MOST_DELETED} entries, and has {len(entries)}")
    errors = []
    for entry in entries:
        try:
            _delete(key, entry["Values"])
        except ServiceError as error:
            errors.append(
                {
                    "PartitionValues": entry["Values"],
                    "ErrorDetail": {"ErrorCode": error.code, "ErrorMessage": str(error)},
                }
            )
    return answer({"Errors": errors})


@replace(glue, "_get_partitions")
@guarded
def get_all(request: Request) -> Response:
    """GetPartitions: return a page of the partitions of a segment that match the expression."""
    key, record = table(request)
    partitions = sorted(glue._partitions.get(key, []), key=lambda partition: list(partition["Values"]))
    if expression := str(request.get("Expression") or "").strip():
        partitions = _matching(partitions, record.get("PartitionKeys") or [], expression)
    if segment := request.get("Segment"):
        partitions = [partition for partition in partitions if _segment_of(partition, segment)]
    shown, more = page(partitions, request, 1000)
    if request.get("ExcludeColumnSchema"):
        shown = [_without_columns(partition) for partition in shown]
    return answer({"Partitions": shown, **more})


def _delete(key: str, values: list[str]) -> None:
    partitions = glue._partitions.get(key, [])
    rest = [partition for partition in partitions if partition["Values"] != values]
    if len(rest) == len(partitions):
        raise missing(f"Cannot find partition: {values}")
    glue._partitions[key] = rest


def _matching(partitions: list[Partition], keys: list[Mapping[str, str]], expression: str) -> list[Partition]:
    """Return the partitions that meet the expression; numbers and dates compare as such."""
    kinds = ("NUMERIC" if key["Type"].lower().startswith(_NUMBERS) else "TEXT" for key in keys)
    columns = ", ".join(f'"{key["Name"]}" {kind}' for key, kind in zip(keys, kinds, strict=True))
    marks = ", ".join("?" for _ in keys)
    try:
        with closing(sqlite3.connect(":memory:")) as database:
            database.execute("PRAGMA case_sensitive_like = ON")
            database.execute(f"CREATE TABLE partitions ({columns})")
            database.executemany(f"INSERT INTO partitions VALUES ({marks})", [p["Values"] for p in partitions])
            database.set_authorizer(_only_conditions)
            rows = database.execute(f"SELECT rowid FROM partitions WHERE {expression}").fetchall()
    except sqlite3.Error as error:
        raise invalid(f"Unsupported expression '{expression}': {error}") from None
    return [partitions[row - 1] for (row,) in rows]


def _only_conditions(action: int, _first: str | None, name: str | None, *_: Any) -> int:
    """Allow comparisons of columns, but no function except the operator LIKE."""
    allowed = action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ) or name == "like"
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _without_columns(partition: Partition) -> Partition:
    storage = {k: v for k, v in (partition.get("StorageDescriptor") or {}).items() if k != "Columns"}
    return {**partition, "StorageDescriptor": storage}


def _segment_of(partition: Partition, segment: Mapping[str, Any]) -> bool:
    number, total = int(segment["SegmentNumber"]), int(segment["TotalSegments"])
    if not 0 <= number < total <= 10:
        raise invalid(f"Segment {number} of {total} is not between 0 and the total, which is at most 10")
    return zlib.crc32("\0".join(partition["Values"]).encode()) % total == number
