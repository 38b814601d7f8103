"""The memory of a backfill between tasks: small JSON objects in S3 that a person can read.

Writes are conditional, so that two attempts of one task (a scheduler that thought the first was dead) cannot both go
on: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from dynalake.errors import ConflictError
from dynalake.lake.catalog.table import Table


@dataclass(frozen=True)
class Stored:
    """A JSON object as it is stored, and the ETag of this version."""

    value: dict[str, Any]
    etag: str


def read(table: Table, key: str) -> Stored | None:
    """Return the JSON object at `key` of the lake's bucket, or None if there is none."""
    try:
        response = table.clients.s3.get_object(Bucket=table.names.lake.bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise
    return Stored(json.loads(response["Body"].read()), response["ETag"])


def create(table: Table, key: str, value: Mapping[str, Any]) -> Stored:
    """Write `value` if there is nothing at `key` yet. Return the first one that was written."""
    try:
        return _put(table, key, value, IfNoneMatch="*")
    except ConflictError:
        stored = read(table, key)
        if stored is None:
            raise
        return stored


def replace(table: Table, key: str, value: Mapping[str, Any], before: Stored | None) -> Stored:
    """Write `value` over the version `before` (None: where there is nothing yet).

    Raises `ConflictError` if another attempt wrote in the meantime.
    """
    if before is None:
        return _put(table, key, value, IfNoneMatch="*")
    return _put(table, key, value, IfMatch=before.etag)


def overwrite(table: Table, key: str, value: Mapping[str, Any]) -> Stored:
    """Write `value` over any other."""
    return _put(table, key, value)


def refused(error: ClientError) -> bool:
    """Return whether a conditional write was refused: its condition does not hold (412), or it lost a race (409).

    A vanished object answers `If-Match` with 404.
    """
    return error.response["Error"]["Code"] in (
        "PreconditionFailed",
        "ConditionalRequestConflict",
        "412",
        "NoSuchKey",
    )


def _put(table: Table, key: str, value: Mapping[str, Any], **condition: str) -> Stored:
    names = table.names
    body = json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"
    try:
        response = table.clients.s3.put_object(
            Bucket=names.lake.bucket,
            Key=key,
            Body=body,
            ContentType="application/json",
            **condition,  # type: ignore[arg-type]
        )
    except ClientError as error:
        if condition and refused(error):
            raise ConflictError(
                f"{names.uri(key)} was written by another attempt in the meantime",
                allowed="one running attempt per task",
                action="let the task retry: it goes on from the stored state",
                table=names.table,
                key=key,
            ) from error
        raise
    return Stored(dict(value), response["ETag"])
