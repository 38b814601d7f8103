"""Objects of the lake's bucket as S3 lists them, page by page, and how many of them are deleted at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from dynalake.aws.clients import Clients
from dynalake.days import milliseconds
from dynalake.errors import AccessError

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_DELETED_AT_ONCE = 1000


class StoredObject(NamedTuple):
    """An object: `size` in bytes, `modified` in milliseconds since the epoch by S3's clock."""

    key: str
    size: int
    etag: str
    modified: int


@dataclass(frozen=True)
class Deleted:
    """The result of a deletion. `changed`: keys that stay, because they have other bytes than when they were listed."""

    objects: int = 0
    bytes: int = 0
    changed: tuple[str, ...] = ()


def list_objects(clients: Clients, bucket: str, prefix: str) -> Iterator[StoredObject]:
    """Yield the objects below a prefix, by key: one call per thousand."""
    for page in clients.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", ()):
            yield StoredObject(entry["Key"], entry["Size"], entry["ETag"], milliseconds(entry["LastModified"]))


def list_folders(clients: Clients, bucket: str, prefix: str) -> Iterator[str]:
    """Yield the names directly below a prefix that end in a slash there, without it."""
    pages = clients.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
    for page in pages:
        for entry in page.get("CommonPrefixes", ()):
            yield entry["Prefix"].removeprefix(prefix).rstrip("/")


def storage_time(clients: Clients, bucket: str, now: datetime) -> datetime:
    """Return the time by S3's clock, by which ages of objects count; never later than `now`.

    A machine whose clock is ahead would take a file that is being written for old.
    """
    answer = clients.s3.list_objects_v2(Bucket=bucket, MaxKeys=1)
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    if not date:
        return now
    return min(now, parsedate_to_datetime(date).astimezone(UTC))


def delete_objects(clients: Clients, bucket: str, objects: Iterable[StoredObject]) -> Deleted:
    """Delete these objects, a thousand per call, unless they were written again since they were listed.

    Raises `AccessError` where S3 does not let one go. Deletes by ETag:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html
    """
    left = iter(objects)
    count = size = 0
    changed: list[str] = []
    while batch := list(islice(left, _DELETED_AT_ONCE)):
        identifiers: list[ObjectIdentifierTypeDef] = [{"Key": o.key, "ETag": o.etag} for o in batch]
        answer = clients.s3.delete_objects(Bucket=bucket, Delete={"Objects": identifiers, "Quiet": True})
        refused = {str(e.get("Key")): e for e in answer.get("Errors", ())}
        for key, error in refused.items():
            if error.get("Code") in ("PreconditionFailed", "412", "NoSuchKey"):
                changed.append(key)
                continue
            raise AccessError(
                f"S3 did not delete {key}: {error.get('Code')} {error.get('Message')}",
                action="allow s3:DeleteObject for the role of the AWS connection, and check for an object lock",
                key=key,
            )
        gone = [o for o in batch if o.key not in refused]
        count, size = count + len(gone), size + sum(o.size for o in gone)
    return Deleted(count, size, tuple(changed))
