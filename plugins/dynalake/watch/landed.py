"""What landed last in the raw zone: how old it is, which attributes it brings, which values do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from dynalake.catalog.discover import LISTED, plan_sample, sample_records
from dynalake.catalog.partitions import Partition
from dynalake.catalog.views import Watermark
from dynalake.clients import Clients
from dynalake.convert.read.raw import RawObject, list_objects
from dynalake.days import SNAPSHOT_DAY, check_day, parse_day, shift_day
from dynalake.errors import SettingsError
from dynalake.lake.column_names import name_fields
from dynalake.lake.layout import glue_type, signature
from dynalake.lake.schema import TableSchema, observe_record
from dynalake.lake.types import MAX_STRUCT_FIELDS, Null, Type, merge
from dynalake.names import TableNames
from dynalake.record.change import EVENT_TIME, OPERATION
from dynalake.watch.readings import Day, Misfit
from dynalake.watch.reconcile import Candidate, candidate

OBJECTS = 4
LINES = 2_000
"""Of what landed since the last time: so many objects are read, half of them the newest, and so many lines of each."""


MORE_DAYS = 5
"""Days whose objects were never listed, and are now: a long history is known after a few looks, not at once."""

Landed: TypeAlias = Mapping[str, list[RawObject]]
"""The raw days and their objects, as far as they are listed: those of the last two always."""


@dataclass(frozen=True)
class Sample:
    """What was seen in some lines: the attributes' types, the newest change, the last change of each key."""

    observed: Mapping[str, Type]
    candidates: Mapping[str, Candidate]
    newest_change: int | None
    landed: int | None
    """When the object that holds the newest change landed."""
    added: tuple[str, ...] = ()
    """Columns that the catalog got for it."""


def list_landed(
    clients: Clients, names: TableNames, since: str, now: datetime, known: Iterable[Day] = ()
) -> dict[str, list[RawObject]]:
    """The raw days from `since` on ('' for all), with the objects of the last two and of `MORE_DAYS` not yet `known`.

    A call for each day, and one for each further thousand objects of it, of which no more than `LISTED` are listed.
    """
    today = names.lake.day_of(now)
    days = [day for day in _list_days(clients, names, since) if day <= shift_day(today, 1)]
    sized = {day.day for day in known if day.objects}
    read = {*days[-2:], *[day for day in reversed(days) if day not in sized][:MORE_DAYS]}
    return {
        day: list_objects(clients, names.lake.bucket, names.raw_day(day), LISTED) if day in read else [] for day in days
    }


def _list_days(clients: Clients, names: TableNames, since: str) -> list[str]:
    """The days with raw objects, without the snapshot: one call per thousand days, however many objects they have."""
    pages = clients.s3.get_paginator("list_objects_v2").paginate(
        Bucket=names.lake.bucket,
        Prefix=f"{names.raw_prefix}dt=",
        Delimiter="/",
        StartAfter=f"{names.raw_prefix}dt={since or SNAPSHOT_DAY}",
    )
    found = {parse_day(p["Prefix"]) for page in pages for p in page.get("CommonPrefixes", [])}
    return sorted(day for day in found if day and day != SNAPSHOT_DAY and day >= since and _is_day(day))


def _is_day(day: str) -> bool:
    with suppress(SettingsError):
        return bool(check_day(day))
    return False


def newest_of(landed: Landed) -> RawObject | None:
    """The object that landed last."""
    return max((o for found in landed.values() for o in found), key=lambda o: (o.modified, o.key), default=None)


def landed_since(landed: Landed, moment: int | None) -> list[RawObject]:
    """The objects that landed after `moment` (milliseconds; None: all), the oldest first."""
    found = (o for objects in landed.values() for o in objects if moment is None or round(o.modified * 1000) > moment)
    return sorted(found, key=lambda o: (o.modified, o.key))


def read_sample(clients: Clients, names: TableNames, schema: TableSchema, objects: Iterable[RawObject]) -> Sample:
    """Read a bounded part of these objects."""
    observed: dict[str, Type] = {}
    candidates: dict[str, Candidate] = {}
    newest: tuple[int, int] | None = None
    for found in plan_sample(list(objects), OBJECTS):
        for record in sample_records(clients, names, found, LINES):
            moment = record.get(EVENT_TIME)
            if isinstance(moment, int) and (newest is None or moment > newest[0]):
                newest = moment, round(found.modified * 1000)
            if record.get(OPERATION) == "CANARY":
                continue
            observe_record(observed, record, MAX_STRUCT_FIELDS)
            change = candidate(schema.key, record)
            if change is not None and change.sequence >= candidates.get(change.key, change).sequence:
                candidates[change.key] = change
    return Sample(observed, candidates, *(newest or (None, None)))


def plan_days(
    partitions: Mapping[str, Partition], landed: Landed, mark: Watermark, before: Iterable[Day]
) -> tuple[Day, ...]:
    """Rows and bytes of the days that readers see, the snapshot first. Pure.

    Of Parquet as its partition says; of JSON as it was listed now or, where a day is not listed any more, before.
    """
    known = {day.day: day for day in before}
    found = {}
    for day, partition in partitions.items():
        if mark.covers(day):
            numbers = [int(partition.parameters.get(name, "0")) for name in ("numRows", "totalSize", "numFiles")]
            found[day] = Day(day, *numbers)
    for day, objects in landed.items():
        if not mark.covers(day):
            listed = Day(day, None, sum(o.size for o in objects), len(objects))
            found[day] = known[day] if not objects and day in known else listed
    return tuple(found[day] for day in sorted(found))


def plan_misfits(
    schema: TableSchema, observed: Mapping[str, Type], day: str, before: Iterable[Misfit], through: str
) -> tuple[Misfit, ...]:
    """The columns that would have to be wider for what was observed on `day`, and those that were known to be and still
    are: of a day that is read from JSON (`through`: the watermark), with the type that they had."""
    columns = {c.name: c for c in schema.columns}
    found = {m.column: m for m in before if m.day > through and m.column in columns}
    found = {name: m for name, m in found.items() if signature(columns[name].type) == m.has}
    for column in schema.columns:
        seen = observed.get(column.attribute)
        if seen is None or isinstance(seen, Null) or isinstance(column.type, Null):
            continue
        wider = name_fields(merge(column.type, seen, MAX_STRUCT_FIELDS))
        if signature(wider) != signature(column.type):
            found[column.name] = Misfit(column.name, day, signature(column.type), glue_type(wider))
    return tuple(found[name] for name in sorted(found))
