"""The objects of one table in the lake's bucket, and their deletion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dynalake.capture.failed.failed import mapping_prefixes
from dynalake.errors import AccessError
from dynalake.lake.catalog.table import Table

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
DELETE_BATCH = 1000


def table_prefixes(table: Table) -> list[str]:
    """Return every prefix that holds objects of this table and of no other."""
    names = table.names
    bucket, errors = names.lake.bucket, names.lake.errors_prefix
    pages = table.clients.s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=errors, Delimiter="/")
    stages = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]
    return [
        names.raw_prefix,
        names.parquet_prefix,
        names.orc_prefix,
        # These come before the replayed batches, which show mappings that have only old versions left.
        *sorted({*mapping_prefixes(table), *_replayed_mappings(table)}),
        *(f"{stage}{names.table}/" for stage in stages),
        names.passing_prefix,
        # The last one: the hand-off and the ledgers go only when the data that they describe is gone.
        names.state_prefix,
    ]


@dataclass(frozen=True)
class Stored:
    """What there is below a prefix: the number of versions of objects, with delete markers, and their bytes."""

    prefix: str
    versions: int
    bytes: int


def count_objects(table: Table) -> tuple[Stored, ...]:
    """Return what a deletion of the table's objects would delete, by prefix; leave out prefixes with nothing."""
    counted = []
    for prefix in table_prefixes(table):
        sizes = [entry.get("Size", 0) for page in _pages(table, prefix) for entry in page]
        if sizes:
            counted.append(Stored(prefix, len(sizes), sum(sizes)))
    return tuple(counted)


def holds_objects(table: Table) -> bool:
    """Return whether the bucket has an object of this table."""
    return any(table.store.first(prefix) for prefix in table_prefixes(table))


def delete_objects(table: Table, progress: Callable[[str, int], None] = lambda prefix, deleted: None) -> int:
    """Delete every version of the table's objects, and the delete markers. Return how many there were.

    After a kill, the next call continues with the rest. Raises `AccessError` where S3 keeps some.
    """
    total = 0
    for prefix in table_prefixes(table):
        deleted = _delete_prefix(table, prefix)
        progress(prefix, deleted)
        total += deleted
    return total


def _replayed_mappings(table: Table) -> list[str]:
    names = table.names
    prefix = names.redriven(names.lake.failed_batches)
    pages = table.clients.s3.get_paginator("list_object_versions").paginate(
        Bucket=names.lake.bucket, Prefix=prefix, Delimiter="/"
    )
    folders = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]
    return [f"{names.lake.failed_batches}{folder.removeprefix(prefix)}" for folder in folders]


def _delete_prefix(table: Table, prefix: str) -> int:
    names = table.names
    bucket = names.lake.bucket
    deleted = 0
    waiting: list[ObjectIdentifierTypeDef] = []

    def send() -> int:
        answer: Any = table.clients.s3.delete_objects(Bucket=bucket, Delete={"Objects": waiting, "Quiet": True})
        if errors := answer.get("Errors"):
            first = errors[0]
            raise AccessError(
                f"S3 keeps {len(errors):,} objects under {names.uri(prefix)}; the first is {first.get('Key')}: "
                f"{first.get('Code')} {first.get('Message', '')}",
                allowed="s3:DeleteObject and s3:DeleteObjectVersion on them, and no object lock",
                action="grant it to the AWS connection's role and clear the task: it continues with the rest",
                table=names.table,
            )
        return len(waiting)

    for page in _pages(table, prefix):
        for entry in page:
            waiting.append({"Key": entry["Key"], "VersionId": entry["VersionId"]})
            if len(waiting) == DELETE_BATCH:
                deleted += send()
                waiting = []
    return deleted + (send() if waiting else 0)


def _pages(table: Table, prefix: str) -> Iterator[list[Any]]:
    """Yield the versions of objects and the delete markers below a prefix: a list for each call."""
    pages = table.clients.s3.get_paginator("list_object_versions").paginate(
        Bucket=table.names.lake.bucket, Prefix=prefix
    )
    for page in pages:
        yield [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
