"""Which partitions have to be converted: decided from listings, by digests.

The number of calls grows with the days that are open or changed lately, not with the history: the views' watermark
says up to which day everything is compacted, and only `lookback_days` before it are looked at again for late objects.
A day before that can be named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import sha256
from itertools import groupby
from typing import Any

from dynalake.catalog.partitions import Partition, list_partitions, snapshot_location
from dynalake.catalog.views import Watermark, read_watermark
from dynalake.clients import Clients
from dynalake.convert.options import CONVERSION, CompactOptions
from dynalake.convert.read.raw import RawObject, iterate_objects, list_objects
from dynalake.days import SNAPSHOT_DAY, check_day, day_of, end_of_day, parse_day, shift_day
from dynalake.errors import SettingsError
from dynalake.names import TableNames

INPUTS = "dynalake.inputs"
"""The parameter of a published partition that holds the digest of what it was made from."""

MANIFEST = "dynalake.manifest"
"""The parameter of a published partition that names its manifest."""

OBJECTS = "dynalake.objects"
"""The parameter that holds the number of raw objects it was made from."""

QUARANTINED = "dynalake.quarantined"
"""The parameter that holds how many of its lines could not be read."""

RAW_DELETED = "dynalake.raw-deleted"
"""The parameter that a partition has once the retention deletes its raw objects, until all are written again: the key
of the list of those that were deleted."""

_NO_DAY = "99991231"

WRITTEN = "dynalake.written"
"""The parameter that says how its files are written: `CompactOptions.written`."""


@dataclass(frozen=True)
class RawDay:
    """The raw objects of one day: their digest, their number, their size in bytes."""

    day: str
    inputs: str
    objects: int
    size: int


@dataclass(frozen=True)
class PartitionPlan:
    """One partition to convert, and why: `new`, `changed` (late objects or another snapshot), `asked` or `widened`.

    `force`: convert it again even where that was done; the text becomes part of the version, and a retry has the same.
    `beside`: manifests of conversions that will be published together with this one.
    """

    table: str
    day: str
    reason: str
    objects: int
    size: int
    force: str = ""
    beside: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PartitionPlan:
        return cls(**{**values, "beside": tuple(values["beside"])})


def inputs_digest(objects: Iterable[RawObject]) -> str:
    """32 hexadecimal digits over keys, ETags, sizes and the version of the conversion."""
    listing = sorted((o.key, o.etag, o.size) for o in objects)
    return sha256(json.dumps([CONVERSION, listing]).encode()).hexdigest()[:32]


def plan_compaction(
    table: str,
    raw: Mapping[str, RawDay],
    published: Mapping[str, Partition],
    now: datetime,
    options: CompactOptions,
    *,
    days: Iterable[str] = (),
    force: str = "",
    zone: tzinfo = UTC,
) -> tuple[PartitionPlan, ...]:
    """The partitions to convert, the snapshot first, then by day.

    Due is a closed day, or the snapshot, whose Parquet was not made from exactly its raw objects. With `days`: exactly
    those of them that have raw objects, open ones included, as far as their Parquet is not up to date or not written as
    `options` say; with `force` all of them.
    """
    asked = {check_day(day) for day in days}
    plans = []
    for day, found in sorted(raw.items()):
        if asked and day not in asked:
            continue
        if not asked and not is_closed(day, now, options.closed_after_hours, zone):
            continue
        before = published.get(day)
        current = before is not None and before.parameters.get(INPUTS) == found.inputs
        if asked:
            current = current and before is not None and before.parameters.get(WRITTEN) == options.written
        if current and not force:
            continue
        reason = "asked" if asked else "new" if before is None else "changed"
        plans.append(PartitionPlan(table, day, reason, found.objects, found.size, force))
    for day in sorted(asked - set(raw)):
        # Its raw objects are deleted; the conversion writes them again.
        before = published.get(day)
        parameters = before.parameters if before is not None else {}
        if parameters.get(OBJECTS, "0") != "0" and (force or parameters.get(WRITTEN) != options.written):
            plans.append(PartitionPlan(table, day, "asked", 0, 0, force))
    return tuple(plans)


def choose_oldest(due: Sequence[PartitionPlan], most: int) -> tuple[PartitionPlan, ...]:
    """What one run converts, at most `most`: of more the oldest days of all tables, so that none waits for ever."""
    if len(due) <= most:
        return tuple(due)
    return tuple(sorted(due, key=lambda plan: (plan.day, plan.table))[:most])


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
        if day == SNAPSHOT_DAY or day <= mark.through:
            continue
        partition = published.get(day)
        current = partition is not None and partition.parameters.get(INPUTS) == found.inputs
        if not current or not is_closed(day, now, closed_after_hours, zone):
            break
        through = day
    # Nor does it go to a snapshot that a backfill has replaced since it was converted.
    snapshot, replaced = published.get(SNAPSHOT_DAY), raw.get(SNAPSHOT_DAY)
    current = snapshot is not None and (replaced is None or snapshot.parameters.get(INPUTS) == replaced.inputs)
    return Watermark(through, mark.snapshot or current)


def is_closed(day: str, now: datetime, closed_after_hours: int, zone: tzinfo = UTC) -> bool:
    """Whether the day of that zone is over, and `closed_after_hours` more have passed. The snapshot always is."""
    if day == SNAPSHOT_DAY:
        return True
    return now.astimezone(UTC) >= end_of_day(day, zone) + timedelta(hours=closed_after_hours)


def last_closed(now: datetime, closed_after_hours: int, zone: tzinfo = UTC) -> str:
    """The day that a run at `now` is about: the last one of that zone that is closed then."""
    day = day_of(now - timedelta(hours=closed_after_hours), zone)
    while not is_closed(day, now, closed_after_hours, zone):
        day = shift_day(day, -1)
    return day


def look_from(mark: Watermark, lookback_days: int) -> str:
    """The first day that is looked at: '' for all."""
    return shift_day(mark.through, -lookback_days) if mark.through else ""


def earliest(days: Iterable[str], since: str = _NO_DAY) -> str:
    """The first of `days` and `since` ('': every day); the snapshot is no day, and is looked at in any case."""
    return min([since, *(day for day in days if day != SNAPSHOT_DAY)])


# -- the edge ------------------------------------------------------------------------------------------------------


def plan_table(
    clients: Clients,
    names: TableNames,
    options: CompactOptions,
    now: datetime,
    days: Iterable[str] = (),
    force: str = "",
) -> tuple[PartitionPlan, ...]:
    """`plan_compaction` on what lies in S3 and stands in Glue: a number of calls that does not grow with the history.

    `now` is the run's time, timezone-aware.
    """
    asked = tuple(days)
    mark = read_watermark(clients, names)
    since = look_from(mark, options.lookback_days)
    raw = survey(clients, names, None if asked else since, asked)
    published = list_partitions(clients, names, names.typed_table, earliest(asked) if asked else since)
    return plan_compaction(
        names.table,
        raw,
        published,
        now,
        options,
        days=asked,
        force=force,
        zone=names.lake.zone,
    )


def survey(clients: Clients, names: TableNames, since: str | None, days: Iterable[str] = ()) -> dict[str, RawDay]:
    """The raw days from `since` on with the snapshot, by one listing (None: no such days), and `days` besides.

    A day is there if it has objects. A snapshot is also there without any: that of a table without items.
    """
    surveyed = {}
    wanted = set(days)
    if since is not None:
        wanted = {SNAPSHOT_DAY, *(day for day in wanted if day < since)}
        # Behind the snapshot's keys, `…/dt=00000000/…`, where all days are meant.
        after = f"{names.raw_prefix}dt={since or f'{SNAPSHOT_DAY}0'}"
        listed = iterate_objects(clients, names.lake.bucket, f"{names.raw_prefix}dt=", after)
        for day, objects in groupby(listed, lambda o: parse_day(o.key) or ""):
            if _is_day(day):
                surveyed[day] = _raw_day(day, objects)
    for day in wanted:
        prefix = _raw_prefix(clients, names, day)
        if prefix is None:
            continue
        found = list_objects(clients, names.lake.bucket, prefix)
        if found or day == SNAPSHOT_DAY:
            surveyed[day] = _raw_day(day, found)
    return surveyed


def _is_day(day: str) -> bool:
    """Whether a folder is a day of the lake; what else somebody put beside them is not."""
    try:
        return check_day(day) != SNAPSHOT_DAY
    except SettingsError:
        return False


def _raw_day(day: str, objects: Iterable[RawObject]) -> RawDay:
    found = list(objects)
    return RawDay(day, inputs_digest(found), len(found), sum(o.size for o in found))


def list_days(clients: Clients, names: TableNames) -> list[str]:
    """Every day with raw objects, without the snapshot: one call per thousand."""
    pages = clients.s3.get_paginator("list_objects_v2").paginate(
        Bucket=names.lake.bucket, Prefix=f"{names.raw_prefix}dt=", Delimiter="/"
    )
    found = {parse_day(p["Prefix"]) or "" for page in pages for p in page.get("CommonPrefixes", [])}
    return sorted(day for day in found if _is_day(day))


def list_day(clients: Clients, names: TableNames, day: str) -> list[RawObject]:
    """The raw objects of a day; for the snapshot those of the run that its partition points to."""
    prefix = _raw_prefix(clients, names, day)
    return [] if prefix is None else list_objects(clients, names.lake.bucket, prefix)


def _raw_prefix(clients: Clients, names: TableNames, day: str) -> str | None:
    """Where the day's raw objects are; None for the snapshot of a table that has none."""
    if day != SNAPSHOT_DAY:
        return names.raw_day(day)
    location = snapshot_location(clients, names)
    return None if location is None else location.removeprefix(names.uri(""))
