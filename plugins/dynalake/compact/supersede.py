"""Versions that no reader is on any more are deleted after a grace period. Nothing else here ever deletes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from dynalake.catalog.partitions import read_partition
from dynalake.catalog.raw import RawObject, list_objects
from dynalake.clients import Clients
from dynalake.compact.options import CompactOptions
from dynalake.names import TableNames

# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_BATCH = 1000


def plan_superseded(
    versions: Mapping[str, Iterable[RawObject]], published: str | None, now: datetime, after_hours: int
) -> tuple[str, ...]:
    """The versions (`dynamodb/parquet/…/v=…/`) to delete: neither published nor written to lately.

    A query that began before the switch still reads the old version, and a conversion that is not published yet is
    young. Where nothing is published nothing is deleted.
    """
    if published is None:
        return ()
    limit = now.timestamp() - after_hours * 3600
    return tuple(
        sorted(
            prefix
            for prefix, objects in versions.items()
            if prefix != published and max((o.modified for o in objects), default=limit) < limit
        )
    )


def delete_superseded(
    clients: Clients, names: TableNames, days: Iterable[str], options: CompactOptions, now: datetime
) -> tuple[str, ...]:
    """Delete superseded versions of these days (those that a run published, say). Returns their prefixes."""
    deleted: list[str] = []
    for day in sorted(set(days)):
        versions: dict[str, list[RawObject]] = {}
        for found in list_objects(clients, names.lake.bucket, f"{names.parquet_prefix}dt={day}/"):
            versions.setdefault(found.key.rpartition("/")[0] + "/", []).append(found)
        partition = read_partition(clients, names, names.parquet_table, day)
        published = None if partition is None else partition.location.removeprefix(names.uri(""))
        for prefix in plan_superseded(versions, published, now, options.superseded_after_hours):
            keys = [o.key for o in versions[prefix]]
            for start in range(0, len(keys), _BATCH):
                chunk = keys[start : start + _BATCH]
                clients.s3.delete_objects(
                    Bucket=names.lake.bucket, Delete={"Objects": [{"Key": k} for k in chunk], "Quiet": True}
                )
            deleted.append(prefix)
    return tuple(deleted)
