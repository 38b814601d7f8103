"""Which partitions have to be converted: decided from listings, by digests.

The number of calls grows with the days that are open or changed lately, not with the history: the views' watermark
says up to which day everything is compacted, and only `lookback_days` before it are looked at again for late objects.
A day before that can be named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import sha256
from typing import Any

from dynalake.catalog.partitions import Partition, list_partitions, snapshot_location
from dynalake.catalog.raw import RawObject, list_objects
from dynalake.catalog.views import Watermark, read_watermark
from dynalake.clients import Clients
from dynalake.compact.options import CompactOptions
from dynalake.names import SNAPSHOT_DAY, TableNames, check_day, end_of_day, parse_day, shift_day

INPUTS = "dynalake.inputs"
"""The parameter of a published partition that holds the digest of what it was made from."""


@dataclass(frozen=True)
class RawDay:
    """The raw objects of one day: their digest, their number, their size in bytes."""

    day: str
    inputs: str
    objects: int
    size: int


@dataclass(frozen=True)
class PartitionPlan:
    """One partition to convert, and why: `new`, `changed` (late objects or another snapshot), `asked` or `widened`."""

    table: str
    day: str
    reason: str
    objects: int
    size: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PartitionPlan:
        return cls(**values)


def inputs_digest(objects: Iterable[RawObject], options: CompactOptions) -> str:
    """32 hexadecimal digits over keys, ETags, sizes and what decides the conversion."""
    listing = sorted((o.key, o.etag, o.size) for o in objects)
    return sha256(json.dumps([options.shape, listing]).encode()).hexdigest()[:32]


def plan_compaction(
    table: str,
    raw: Mapping[str, RawDay],
    published: Mapping[str, Partition],
    now: datetime,
    *,
    days: Iterable[str] = (),
    closed_after_hours: int = 1,
    zone: tzinfo = UTC,
) -> tuple[PartitionPlan, ...]:
    """The partitions to convert, the snapshot first, then by day.

    Due is a closed day, or the snapshot, whose Parquet was not made from exactly its raw objects. With `days`: exactly
    those of them that have raw objects, open ones included, as far as their Parquet is not up to date.
    """
    asked = {check_day(day) for day in days}
    plans = []
    for day, found in sorted(raw.items()):
        if not found.objects or (asked and day not in asked):
            continue
        if not asked and not is_closed(day, now, closed_after_hours, zone):
            continue
        before = published.get(day)
        if before is not None and before.parameters.get(INPUTS) == found.inputs:
            continue
        reason = "asked" if asked else "new" if before is None else "changed"
        plans.append(PartitionPlan(table, day, reason, found.objects, found.size))
    return tuple(plans)


def plan_watermark(
    mark: Watermark,
    raw: Mapping[str, RawDay],
    published: Mapping[str, Partition],
    now: datetime,
    *,
    closed_after_hours: int = 1,
    zone: tzinfo = UTC,
) -> Watermark:
    """The watermark that the published partitions allow: it never goes back, and never passes an open day.

    It goes to the last closed day with data such that every day before it with raw objects is compacted, from exactly
    these objects. Not further, so that what still comes for an empty day is read from JSON. `raw` has to hold every
    day with objects after `mark.through`.
    """
    through = mark.through
    for day, found in sorted(raw.items()):
        if day == SNAPSHOT_DAY or day <= mark.through or not found.objects:
            continue
        partition = published.get(day)
        current = partition is not None and partition.parameters.get(INPUTS) == found.inputs
        if not current or not is_closed(day, now, closed_after_hours, zone):
            break
        through = day
    return Watermark(through, mark.snapshot or SNAPSHOT_DAY in published)


def is_closed(day: str, now: datetime, closed_after_hours: int, zone: tzinfo = UTC) -> bool:
    """Whether the day of that zone is over, and `closed_after_hours` more have passed. The snapshot always is."""
    if day == SNAPSHOT_DAY:
        return True
    return now.astimezone(UTC) >= end_of_day(day, zone) + timedelta(hours=closed_after_hours)


def look_from(mark: Watermark, lookback_days: int) -> str:
    """The first day that is looked at: '' for all."""
    return shift_day(mark.through, -lookback_days) if mark.through else ""


# -- the edge ------------------------------------------------------------------------------------------------------


def plan_table(
    clients: Clients,
    names: TableNames,
    options: CompactOptions,
    now: datetime,
    days: Iterable[str] = (),
) -> tuple[PartitionPlan, ...]:
    """`plan_compaction` on what lies in S3 and stands in Glue. `now` is the run's time, timezone-aware."""
    asked = tuple(days)
    mark = read_watermark(clients, names)
    since = "" if asked else look_from(mark, options.lookback_days)
    raw = survey(clients, names, options, since, asked)
    published = list_partitions(clients, names, names.parquet_table, min(asked, default=since))
    return plan_compaction(
        names.table,
        raw,
        published,
        now,
        days=asked,
        closed_after_hours=options.closed_after_hours,
        zone=names.lake.zone,
    )


def survey(
    clients: Clients, names: TableNames, options: CompactOptions, since: str, days: Iterable[str] = ()
) -> dict[str, RawDay]:
    """The raw days from `since` on and the snapshot; only `days`, where some are named."""
    wanted = set(days) or {SNAPSHOT_DAY, *list_days(clients, names, since)}
    surveyed = {}
    for day in sorted(wanted):
        objects = list_day(clients, names, day)
        if objects:
            size = sum(o.size for o in objects)
            surveyed[day] = RawDay(day, inputs_digest(objects, options), len(objects), size)
    return surveyed


def list_days(clients: Clients, names: TableNames, since: str) -> list[str]:
    """The days with raw objects, from `since` on, without the snapshot: one call per thousand."""
    pages = clients.s3.get_paginator("list_objects_v2").paginate(
        Bucket=names.lake.bucket,
        Prefix=f"{names.raw_prefix}dt=",
        Delimiter="/",
        StartAfter=f"{names.raw_prefix}dt={since or SNAPSHOT_DAY}",
    )
    found = {parse_day(p["Prefix"]) for page in pages for p in page.get("CommonPrefixes", [])}
    return sorted(day for day in found if day and day != SNAPSHOT_DAY and day >= since)


def list_day(clients: Clients, names: TableNames, day: str) -> list[RawObject]:
    """The raw objects of a day; for the snapshot those of the run that its partition points to."""
    prefix = names.raw_day(day)
    if day == SNAPSHOT_DAY:
        location = snapshot_location(clients, names)
        if location is None:
            return []
        prefix = location.removeprefix(names.uri(""))
    return list_objects(clients, names.lake.bucket, prefix)
