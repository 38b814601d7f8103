"""Converted partitions become what readers see: the schema, the partitions, the views with the watermark.

Readers of the views see the old state or the new one at any moment, and so after a kill between any two calls; why the
order is what it is stands in `docs/adr/0001-publish-order.md`. Each step is decided from the state it finds, so a run
that was killed is finished by the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from dynalake.catalog.lease import Lease, changing
from dynalake.catalog.partitions import Partition, list_partitions, publish_partition, register_days
from dynalake.catalog.register import follow_json, grow_schema
from dynalake.catalog.tables import read_schema
from dynalake.catalog.views import ViewState, Watermark, read_hold, read_watermark, write_views
from dynalake.clients import Clients
from dynalake.compact.convert import compact_day
from dynalake.compact.look import LOOKED, ORIGIN, VERSION, plan_outdated, plan_since, plan_together
from dynalake.compact.manifest import ConvertedPartition, Manifest, is_complete, read_manifest, widen_all
from dynalake.compact.plan import (
    INPUTS,
    MANIFEST,
    OBJECTS,
    QUARANTINED,
    RAW_DELETED,
    WRITTEN,
    RawDay,
    earliest,
    list_days,
    look_from,
    plan_watermark,
    survey,
)
from dynalake.compact.restore import restore_day
from dynalake.compact.supersede import note_version
from dynalake.compact.widen import Widening, plan_hold, plan_typed, plan_widening, unreadable
from dynalake.convert.options import CompactOptions
from dynalake.convert.read.records import DELETED
from dynalake.days import SNAPSHOT_DAY, shift_day
from dynalake.errors import ConflictError, NotReadyError
from dynalake.lake.schema import TableSchema
from dynalake.names import TableNames

ROUNDS = 4
"""How often a publish converts what another run has made unreadable, before it is given up."""


@dataclass(frozen=True)
class Published:
    """What readers see differently: the days that moved, new and widened columns, the watermark.

    `reconvert`: days whose Parquet cannot be read under the widened types, or that were not compared with an earlier
    day as it is now. While there are any, nothing is published; convert them with `beside` = the manifests of this run
    that are not `skipped`, and publish all together.
    """

    table: str
    days: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    widened: tuple[str, ...] = ()
    through: str = ""
    snapshot: bool = False
    reconvert: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    changed: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def plan_stale(
    converted: Iterable[ConvertedPartition], raw: Mapping[str, RawDay], published: Mapping[str, Partition]
) -> tuple[str, ...]:
    """Days whose published version stays, because this conversion read less than it.

    A conversion is up to date if it was made from what lies there now. Of two that were not, the one that read more
    objects is the newer: objects only ever come. Where the retention has begun to delete the raw objects, it may have
    done so under the conversion's eyes; one that restored them first has taken the parameter away. And whatever has
    become of the objects since: one that did not find all that it had listed read less.
    """
    stale = []
    for c in converted:
        before = published.get(c.day)
        now = raw[c.day].inputs if c.day in raw else ""
        if before is None:
            continue
        if RAW_DELETED in before.parameters or DELETED in c.reasons:
            stale.append(c.day)
            continue
        if c.inputs in (now, before.parameters.get(INPUTS)):
            continue
        if before.parameters.get(INPUTS) == now or int(before.parameters.get(OBJECTS, 0)) > c.objects:
            stale.append(c.day)
    return tuple(stale)


def finish_table(
    clients: Clients,
    names: TableNames,
    converted: Iterable[ConvertedPartition],
    options: CompactOptions,
    now: datetime,
) -> Published:
    """`publish_table`, and before it what it asks for: days that have to be converted again.

    A run converts those in its second round; what is left is what another run has widened or published meanwhile.
    """
    done = list(converted)
    for _ in range(ROUNDS):
        published = publish_table(clients, names, done, options, now)
        if not published.reconvert:
            return published
        beside = {c.day: c.manifest for c in done if c.day not in published.skipped}.values()
        done += [compact_day(clients, names, day, options, beside) for day in published.reconvert]
    raise ConflictError(
        f"Other runs changed the types or days of {names.table} {ROUNDS} times while this one was to be published",
        action="run the task again when they are done",
        table=names.table,
    )


def publish_table(
    clients: Clients,
    names: TableNames,
    converted: Iterable[ConvertedPartition],
    options: CompactOptions,
    now: datetime,
) -> Published:
    """Show the conversions to readers. Also with none: the watermark may move, and days come to be registered.

    Of several conversions of one day the last counts. Again with the same: nothing is written. Waits for the table's
    lease, so that whatever another run changed is seen before anything is decided.

    Raises `ConflictError` where the lease cannot be had or is lost, `NotReadyError` where a conversion is gone.
    """
    with changing(clients, names) as lease:
        return _publish_table(clients, names, lease, {c.day: c for c in converted}, options, now)


def _publish_table(
    clients: Clients,
    names: TableNames,
    lease: Lease,
    latest: Mapping[str, ConvertedPartition],
    options: CompactOptions,
    now: datetime,
) -> Published:
    manifests = {day: read_manifest(clients, names, c.manifest) for day, c in latest.items()}
    hold = read_hold(clients, names)
    base = _base(clients, names, hold)
    since = look_from(base, options.lookback_days)
    raw = survey(clients, names, since, latest)
    looked = earliest((m.since for m in manifests.values() if m.since), since)
    published = list_partitions(clients, names, names.typed_table, earliest(latest, looked))
    skipped = plan_stale(latest.values(), raw, published)
    manifests = {day: manifest for day, manifest in sorted(manifests.items()) if day not in skipped}
    moving = {
        day: manifest
        for day, manifest in manifests.items()
        if day not in published or not _parameters(names, manifest).items() <= published[day].parameters.items()
    }
    _check_complete(clients, names, moving.values())

    widening = plan_widening(read_schema(clients, names), manifests.values(), options.max_struct_fields)
    narrow, versions = unreadable(clients, names, widening, manifests, everything=hold is not None)
    reconvert = {*narrow, *plan_outdated(manifests, published)}
    if reconvert:
        return Published(names.table, reconvert=tuple(sorted(reconvert)), skipped=skipped)
    changed = False
    typed = plan_typed({day: m.schema for day, m in moving.items()}, widening.widened)
    together = (*plan_together(moving, base), *typed)
    if widening.widened or together:
        shown = list_partitions(clients, names, names.typed_table)
        _restore_held(clients, names, lease, shown, base, plan_hold(base, widening.widened, versions, together))
        lease.check()
        changed |= _hold(clients, names, widening, versions, together, manifests, shown)
    lease.check()
    grow_schema(clients, names, lambda schema: widen_all(schema, manifests.values(), options.max_struct_fields))
    changed |= follow_json(clients, names)

    today = names.lake.day_of(now)
    landed = {day for day in raw if day > base.through and day != SNAPSHOT_DAY}
    coming = {day for day in (today, shift_day(today, 1)) if day > base.through}
    # Also a day that was named, behind the watermark: held views may come to read it from JSON.
    register_days(clients, names, {*landed, *coming, *moving} - {SNAPSHOT_DAY})
    for day, manifest in moving.items():
        lease.check()
        before = published.get(day)
        version = _version_of(names, before)
        if version and version != manifest.version:
            note_version(clients, names, day, version)
        publish_partition(
            clients,
            names,
            day,
            names.parquet_version(day, manifest.version),
            _parameters(names, manifest),
            manifest.format,
        )
        published[day] = Partition(day, "", _parameters(names, manifest))

    def state(mark: Watermark, restore: Watermark | None) -> ViewState:
        start = mark if restore is None else restore
        hours, zone = options.closed_after_hours, names.lake.zone
        through = plan_watermark(start, raw, published, now, closed_after_hours=hours, zone=zone)
        return ViewState(read_schema(clients, names), through)

    lease.check()
    changed |= write_views(clients, names, state)
    mark = read_watermark(clients, names)
    return Published(
        names.table,
        days=tuple(moving),
        added=widening.added,
        widened=widening.widened,
        through=mark.through,
        snapshot=mark.snapshot,
        skipped=skipped,
        changed=changed or bool(moving or widening.added),
    )


def _check_complete(clients: Clients, names: TableNames, manifests: Iterable[Manifest]) -> None:
    """Before anything changes: what is not published within the grace period is deleted."""
    for manifest in manifests:
        if not is_complete(clients, names, manifest):
            raise NotReadyError(
                f"The conversion of {names.table} dt={manifest.day} is not there any more",
                allowed="a conversion that is published before its grace period ends",
                action="clear the run's conversions (task convert), or trigger dynalake_compact again",
                table=names.table,
                day=manifest.day,
            )


def _restore_held(
    clients: Clients,
    names: TableNames,
    lease: Lease,
    shown: Mapping[str, Partition],
    mark: Watermark,
    held: Watermark,
) -> None:
    """Days that the held views will read from JSON get their raw objects back, where they are deleted."""
    there = set(list_days(clients, names))
    for day, partition in shown.items():
        deleted = RAW_DELETED in partition.parameters or day not in there
        if deleted and mark.covers(day) and not held.covers(day):
            restore_day(clients, names, day, lease)


def _hold(
    clients: Clients,
    names: TableNames,
    widening: Widening,
    versions: Mapping[str, TableSchema],
    together: tuple[str, ...],
    manifests: Mapping[str, Manifest],
    shown: Mapping[str, Partition],
) -> bool:
    """Views that hold whatever happens to the widened columns and to the days that change together: these days come
    from JSON, with the types so far, without what these conversions dropped because an earlier day has it."""
    before = read_schema(clients, names)

    def state(mark: Watermark, restore: Watermark | None) -> ViewState:
        held = plan_hold(mark, widening.widened, versions, together)
        since = plan_since(manifests, shown, held.through)
        return ViewState(before, held, frozenset(widening.widened), mark if restore is None else restore, since)

    return write_views(clients, names, state)


def _parameters(names: TableNames, m: Manifest) -> dict[str, str]:
    return {
        INPUTS: m.inputs,
        OBJECTS: str(m.objects),
        QUARANTINED: str(m.quarantined),
        WRITTEN: m.written,
        MANIFEST: m.key(names),
        ORIGIN: m.origin,
        **({LOOKED: json.dumps([m.since, m.looked])} if m.since else {}),
        VERSION: m.version,
        "dynalake.layout": m.schema.layout,
        "numRows": str(m.rows),
        "numFiles": str(len(m.parts)),
        "totalSize": str(sum(p.size for p in m.parts)),
    }


def _version_of(names: TableNames, shown: Partition | None) -> str:
    return "" if shown is None else shown.location.rstrip("/").rpartition("v=")[2]


def _base(clients: Clients, names: TableNames, hold: Watermark | None) -> Watermark:
    return hold if hold is not None else read_watermark(clients, names)
