"""The due raw objects of a table, those that no live row was made from, in batches.

The number of calls depends on the last days, and not on the history: one listing of raw objects, the reported days, and
the manifests that came since the last run (`convert/named.py`). With nothing due there are four.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from dynalake.aws.s3 import StoredObject
from dynalake.convert.named import ETags, NamedCopy, find_named, read_copy
from dynalake.days import SNAPSHOT_DAY, check_day, check_known, day_of, milliseconds, parse_day, shift_day
from dynalake.errors import ConflictError, SettingsError
from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.table import HISTORY_FROM, Table
from dynalake.lake.files.folders import Input, new_folder
from dynalake.lake.files.raw_days import list_raw, list_raw_days
from dynalake.lake.tables.identity import table_id_of

LISTED_DAYS = 8
"""Minimum days of raw objects that each run lists: changes that Kinesis kept for a week may come today."""

TOLD_FOR = timedelta(hours=1)
"""Time for which a day stays reported after nothing of it is due: its objects may still be on their way."""


@dataclass(frozen=True)
class ConvertLimits:
    """The limits of one run for one table. Sizes are those of the raw objects in S3.

    `passes`: how often batches that wait for others are tried again within the run, up to `again_mb`. `late_gb`: the
    state's files that are written again for late changes; the rest waits for the next run.
    """

    batch_mb: int = 256
    batch_objects: int = 5000
    batches: int = 100
    passes: int = 3
    again_mb: int = 1024
    late_gb: int = 8

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise SettingsError(f"{name} is {value!r}", allowed="a whole number from 1")


@dataclass(frozen=True)
class Batch:
    """Raw objects of one day that one task converts into one folder, or into one for each day that its rows have.

    `snapshot`: the table's snapshot when this was planned; `uuid` the table's. `made_at`: milliseconds since the epoch.
    `again`: the day was named, so its rows replace live rows of the same changes.
    """

    table: str
    plan: str
    number: int
    day: str
    folder: str
    made_at: int
    uuid: str
    snapshot: int | None
    inputs: tuple[Input, ...]
    again: bool = False

    def folder_of(self, day: str) -> str:
        """Return the folder for the batch's rows of a day."""
        return self.folder if day == self.day else f"{self.folder}-{day}"

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(i.key for i in self.inputs)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return sum(i.size for i in self.inputs)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "inputs": [list(i) for i in self.inputs]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Batch:
        return cls(**{**values, "inputs": tuple(Input(*i) for i in values["inputs"])})


@dataclass(frozen=True)
class TablePlan:
    """The due batches of one table. `changed`: keys of objects with new content since live rows were made from them.

    `beyond`: how many more objects are due; they are for the next run. `table_id`: that of the DynamoDB table whose
    items the lake has; known where something is due.
    """

    table: str
    batches: tuple[Batch, ...] = ()
    changed: tuple[str, ...] = ()
    beyond: int = 0
    table_id: str = ""


@dataclass(frozen=True)
class Due:
    """The objects of one day that have to be converted."""

    day: str
    objects: tuple[StoredObject, ...]
    again: bool = False


def plan_due(objects: Iterable[StoredObject], named: ETags, again: Collection[str] = ()) -> tuple[Due, ...]:
    """Return, per day, the objects that no live folder names, the newest day first; all objects of the days `again`."""
    due = []
    for day, day_objects in groupby(sorted(objects, key=lambda o: o.key), lambda o: parse_day(o.key) or ""):
        if day in again:
            due.append(Due(day, tuple(day_objects), True))
        elif fresh := tuple(o for o in day_objects if input_of(o).etag not in named.get(o.key, ())):
            due.append(Due(day, fresh))
    return tuple(sorted(due, key=lambda d: d.day, reverse=True))


def input_of(raw: StoredObject) -> Input:
    """Return an object as manifests name it, with an ETag without quotes."""
    return Input(raw.key, raw.etag.strip('"'), raw.size)


def split(objects: Sequence[StoredObject], limits: ConvertLimits) -> Iterator[tuple[StoredObject, ...]]:
    """Yield objects in the order of their keys, which is that of time, in groups of at least one within the limits."""
    group: list[StoredObject] = []
    size = 0
    for raw in objects:
        if group and (size + raw.size > limits.batch_mb << 20 or len(group) >= limits.batch_objects):
            yield tuple(group)
            group, size = [], 0
        group.append(raw)
        size += raw.size
    if group:
        yield tuple(group)


def first_day(today: str, retention_hours: int) -> str:
    """Return the first day that each run lists. `retention_hours`: how long the stream keeps an unread change."""
    return shift_day(today, 1 - max(LISTED_DAYS, -(-retention_hours // 24) + 1))


# -- the edge ------------------------------------------------------------------------------------------------------


def plan_table(
    table: Table,
    limits: ConvertLimits,
    now: datetime,
    days: Iterable[str] = (),
    *,
    retention_hours: int = 24,
) -> TablePlan:
    """Return a table's due batches, and put each into the state prefix. `now` is timezone-aware.

    `days` are converted again, whole. Raises `SettingsError` for the snapshot, which a backfill brings, and for a day
    whose rows were dropped; `CatalogError` where the table is missing or damaged.
    """
    names = table.names
    again = frozenset(map(check_named, days))
    first = first_day(day_of(now, names.lake.zone), retention_hours)
    reported = _list_reported(table)
    objects = list(list_landed(table, first))
    older = sorted(day for day in {*reported, *again} if day < first)
    copy = read_copy(table)
    quiet = not older and not again and copy.names(table, map(input_of, objects), first)
    for day in older:
        objects += list_raw(table.store, names.raw_day(day))
    # The table is loaded after the listings, so that what others commit in between is not planned again.
    head = table.catalog.load_if_changed(names.changes_table, copy.location if quiet else "")
    if head is None:
        _forget_reported(table, reported.values(), now)
        return TablePlan(names.table)
    dropped = sorted(day for day in again if day < history_from(head))
    if dropped:
        raise SettingsError(
            f"days names {', '.join(dropped)}, whose rows were dropped from {names.changes_table}",
            allowed=f"days from {history_from(head)} on",
            action="leave them out: what was dropped is kept in the raw objects and in the state",
            table=names.table,
        )
    due, changed = find_due(table, head, objects, again, first, copy)
    due_days = {d.day for d in due}
    _forget_reported(table, [marker for day, marker in reported.items() if day not in due_days], now)
    return put_plan(table, head, due, changed, limits, now)


def plan_again(table: Table, batches: Sequence[Batch], limits: ConvertLimits, now: datetime) -> TablePlan:
    """Return the due objects of batches that could not be committed, in new batches."""
    names = table.names
    keys = {key for b in batches for key in b.keys}
    days = sorted({b.day for b in batches})
    objects = [o for day in days for o in list_raw(table.store, names.raw_day(day)) if o.key in keys]
    head = table.changes()
    again = frozenset(b.day for b in batches if b.again)
    due, changed = find_due(table, head, objects, again, first_day(day_of(now, names.lake.zone), 0))
    return put_plan(table, head, due, changed, limits, now)


def history_from(head: Head) -> str:
    """Return the first day whose rows are kept; '' where all are."""
    return head.properties.get(HISTORY_FROM) or ""


def read_batch_plan(table: Table, plan: str, number: int) -> Batch:
    """Return one batch as it was planned. Raise `ConflictError` where its run is over and the plan was deleted."""
    batch = find_batch_plan(table, plan, number)
    if batch is None:
        key = table.names.conversion_batch(plan, number)
        raise ConflictError(
            f"The plan {key} is gone: its batches are committed, or were planned again",
            action="trigger dynalake_convert: it plans what is still due",
            table=table.names.table,
            key=key,
        )
    return batch


def find_batch_plan(table: Table, plan: str, number: int) -> Batch | None:
    """Return one batch as it was planned; None where its run is over."""
    stored = table.store.read_json(table.names.conversion_batch(plan, number))
    return None if stored is None else Batch.from_dict(stored.value)


def is_planned(table: Table, plan: str, number: int) -> bool:
    """Return whether a batch's plan is still there."""
    return table.store.head(table.names.conversion_batch(plan, number)) is not None


def check_named(day: str) -> str:
    """Return a day that has to be converted again. Raise `SettingsError` where it cannot be."""
    if check_day(day) == SNAPSHOT_DAY:
        raise SettingsError(
            "days names 00000000, the snapshot",
            allowed="days as YYYYMMDD",
            action="run dynalake_backfill: it makes a new snapshot",
        )
    return day


def check_landed(tables: Sequence[Table], days: Collection[str]) -> None:
    """Raise `SettingsError` for named days of which no table has raw objects."""

    def has(table: Table, day: str) -> bool:
        return next(iter(list_raw(table.store, table.names.raw_day(day))), None) is not None

    if all(any(has(table, day) for table in tables) for day in days):
        return
    check_known(days, {day for table in tables for day in list_raw_days(table)} - {SNAPSHOT_DAY}, "raw objects")


def list_landed(table: Table, first: str) -> Iterator[StoredObject]:
    """Yield the raw objects of the days from `first` on; other objects next to the days are left out."""
    prefix = f"{table.names.raw_prefix}dt="
    return (o for o in list_raw(table.store, prefix, f"{prefix}{first}") if _is_day(parse_day(o.key) or ""))


def _is_day(text: str) -> bool:
    try:
        return check_day(text) != SNAPSHOT_DAY
    except SettingsError:
        return False


def find_due(
    table: Table,
    head: Head,
    objects: Iterable[StoredObject],
    again: Collection[str],
    first: str,
    copy: NamedCopy | None = None,
) -> tuple[tuple[Due, ...], tuple[str, ...]]:
    """Return which of these objects are due, and the keys of those from whose earlier bytes live rows were made.

    `again`: days that are converted again, whole. `first`: the first day that each run lists (`first_day`). `copy`: as
    `find_named` takes it.
    """
    since = history_from(head)
    kept = [o for o in objects if (parse_day(o.key) or "") >= since]
    named = find_named(table, head, {parse_day(o.key) or "" for o in kept} - set(again), first, copy)
    due = plan_due(kept, named, again)
    return due, tuple(sorted(o.key for d in due if not d.again for o in d.objects if o.key in named))


def put_plan(
    table: Table, head: Head, due: Iterable[Due], changed: tuple[str, ...], limits: ConvertLimits, now: datetime
) -> TablePlan:
    """Put the due objects, in batches, into the state prefix, and return the plan."""
    plan, batches, beyond = new_folder(), list[Batch](), 0
    for due_day in sorted(due, key=lambda d: not d.again):
        for objects in split(due_day.objects, limits):
            # The other batches of a named day would never be due again.
            if len(batches) >= limits.batches and not due_day.again:
                beyond += len(objects)
                continue
            batches.append(
                Batch(
                    table.names.table,
                    plan,
                    len(batches),
                    due_day.day,
                    new_folder(),
                    milliseconds(now),
                    head.uuid,
                    head.snapshot_id,
                    tuple(map(input_of, objects)),
                    due_day.again,
                )
            )
    for batch in batches:
        body = json.dumps(batch.to_dict(), ensure_ascii=True).encode()
        table.store.write(table.names.conversion_batch(plan, batch.number), body)
    return TablePlan(table.names.table, tuple(batches), changed, beyond, table_id_of(head))


def _list_reported(table: Table) -> dict[str, StoredObject]:
    """Return the markers of the reported days, by day."""
    prefix = table.names.reported_days
    listed = {o.key.removeprefix(prefix): o for o in table.store.list(prefix)}
    return {day: marker for day, marker in listed.items() if _is_day(day)}


def _forget_reported(table: Table, markers: Iterable[StoredObject], now: datetime) -> None:
    """Delete markers of days of which nothing is due, unless they are young, or were put again since the listing."""
    for marker in markers:
        if marker.modified > milliseconds(now - TOLD_FOR):
            continue
        stored = table.store.head(marker.key)
        if stored is not None and stored.modified - marker.modified < 1000:  # a listing may show whole seconds
            table.store.delete(marker.key)
