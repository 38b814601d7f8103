"""The objects of a run as S3 lists them, and the deletion of strays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dynalake.errors import TransientError
from dynalake.lake.catalog.table import Table

# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_DELETE_AT_ONCE = 1000


@dataclass(frozen=True)
class ListedObject:
    """One object in a listing: size in bytes, and when it was written, in seconds since the epoch."""

    key: str
    size: int
    etag: str
    modified: float = 0.0


def list_objects(table: Table, prefix: str) -> list[ListedObject]:
    """Return every object below `prefix` in the lake's bucket, by key."""
    pages = table.clients.s3.get_paginator("list_objects_v2").paginate(Bucket=table.names.lake.bucket, Prefix=prefix)
    return [
        ListedObject(entry["Key"], entry["Size"], entry["ETag"], entry["LastModified"].timestamp())
        for page in pages
        for entry in page.get("Contents", ())
    ]


def delete_objects(table: Table, keys: Sequence[str]) -> None:
    """Delete `keys`. Raise `TransientError` that names the first that S3 did not delete."""
    names = table.names
    for start in range(0, len(keys), _DELETE_AT_ONCE):
        batch = keys[start : start + _DELETE_AT_ONCE]
        response = table.clients.s3.delete_objects(
            Bucket=names.lake.bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
        )
        for failed in response.get("Errors", ()):
            raise TransientError(
                f"S3 did not delete {names.uri(failed.get('Key', '?'))}: {failed.get('Message', failed.get('Code'))}",
                allowed="s3:DeleteObject on the run's own objects",
                action="check the role's permission; the retry deletes it",
                table=names.table,
            )
