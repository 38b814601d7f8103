"""Converted partitions become what readers see: the schema, the partitions, the views with the watermark.

Readers of the views see the old state or the new one at any moment, and so after a kill between any two calls; why the
order is what it is stands in `docs/adr/0001-publish-order.md`. Each step is decided from the state it finds, so a run
that was killed is finished by the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from dynalake.catalog.layout import signature
from dynalake.catalog.partitions import Partition, list_partitions, publish_partition, register_days
from dynalake.catalog.register import follow_json, grow_schema
from dynalake.catalog.schema import TableSchema
from dynalake.catalog.tables import read_schema
from dynalake.catalog.types import Null
from dynalake.catalog.views import ViewState, Watermark, read_hold, read_watermark, write_views
from dynalake.clients import Clients
from dynalake.compact.manifest import ConvertedPartition, Manifest, read_manifest, widen_all
from dynalake.compact.options import CompactOptions
from dynalake.compact.plan import INPUTS, PartitionPlan, RawDay, look_from, plan_watermark, survey
from dynalake.compact.supersede import note_superseded
from dynalake.names import SNAPSHOT_DAY, TableNames, shift_day

MANIFEST = "dynalake.manifest"
"""The parameter of a published partition that names its manifest."""


@dataclass(frozen=True)
class Published:
    """What readers see differently: the days that moved, new and widened columns, the watermark.

    `reconvert`: days whose Parquet cannot be read under the widened types. While there are any, nothing is published;
    convert them with `beside` = all manifests of this run, and publish all together.
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


@dataclass(frozen=True)
class Widening:
    """How the table's columns change: the schema after it, the new columns, and those whose type changes."""

    schema: TableSchema
    added: tuple[str, ...]
    widened: tuple[str, ...]


def plan_widening(table: TableSchema, manifests: Iterable[Manifest], max_struct_fields: int) -> Widening:
    """What publishing these conversions does to the table's columns."""
    target = widen_all(table, manifests, max_struct_fields)
    before = {c.name: c for c in table.columns}
    added = tuple(c.name for c in target.columns if c.name not in before)
    widened = tuple(
        c.name
        for c in target.columns
        if (old := before.get(c.name)) is not None
        and not isinstance(old.type, Null)
        and signature(old.type) != signature(c.type)
    )
    return Widening(target, added, widened)


def plan_reconversion(target: TableSchema, versions: Mapping[str, TableSchema]) -> tuple[str, ...]:
    """The days whose files (`{day: the schema they were written with}`) cannot be read under `target`."""
    return tuple(sorted(day for day, files in versions.items() if target.unreadable(files)))


def plan_hold(mark: Watermark, widened: Sequence[str], versions: Mapping[str, TableSchema]) -> Watermark:
    """The watermark while types change: no day that has values in one of these columns is read from Parquet."""
    columns = set(widened)
    affected = sorted(day for day, files in versions.items() if columns & {c.name for c in files.columns})
    days = [day for day in affected if day != SNAPSHOT_DAY]
    through = mark.through
    if days and days[0] <= through:
        through = shift_day(days[0], -1)
    return Watermark(through, mark.snapshot and SNAPSHOT_DAY not in affected)


def plan_stale(
    converted: Iterable[ConvertedPartition], raw: Mapping[str, RawDay], published: Mapping[str, Partition]
) -> tuple[str, ...]:
    """Days whose published version was made from what lies there now, while this conversion was not: they stay."""
    return tuple(
        c.day
        for c in converted
        if (found := raw.get(c.day)) is not None
        and c.inputs != found.inputs
        and (before := published.get(c.day)) is not None
        and before.parameters.get(INPUTS) == found.inputs
    )


def plan_reconversions(
    clients: Clients, names: TableNames, converted: Iterable[ConvertedPartition], options: CompactOptions
) -> tuple[PartitionPlan, ...]:
    """The second round of a run: older partitions that have to be converted with the types these conversions bring.

    Empty in almost every run, and then it costs one call per conversion.
    """
    latest = {c.day: c for c in converted}
    table = read_schema(clients, names)
    manifests = {c.day: read_manifest(clients, names, c.manifest) for c in latest.values()}
    widening = plan_widening(table, manifests.values(), options.max_struct_fields)
    held = read_hold(clients, names) is not None
    days = _unreadable(clients, names, widening, manifests, everything=held)[0]
    return tuple(PartitionPlan(names.table, day, "widened", 0, 0) for day in days)


def publish_table(
    clients: Clients,
    names: TableNames,
    converted: Iterable[ConvertedPartition],
    options: CompactOptions,
    now: datetime,
) -> Published:
    """Show the conversions to readers. Also with none: the watermark may move, and days come to be registered.

    Of several conversions of one day the last counts. Again with the same: nothing is written. One table is published
    by one task at a time; two that overlap cost a retry (`ConflictError`).
    """
    latest = {c.day: c for c in converted}
    manifests = {day: read_manifest(clients, names, c.manifest) for day, c in latest.items()}
    hold = read_hold(clients, names)
    widening = plan_widening(read_schema(clients, names), manifests.values(), options.max_struct_fields)
    reconvert, versions = _unreadable(clients, names, widening, manifests, everything=hold is not None)
    if reconvert:
        return Published(names.table, reconvert=reconvert)
    changed = False
    if widening.widened:
        changed |= _hold(clients, names, widening, versions)
        hold = read_hold(clients, names)
    grow_schema(clients, names, lambda schema: widen_all(schema, manifests.values(), options.max_struct_fields))
    changed |= follow_json(clients, names)

    base = _base(clients, names, hold)
    since = look_from(base, options.lookback_days)
    raw = survey(clients, names, options, since)
    today = names.lake.day_of(now)
    landed = {day for day in raw if day > base.through and day != SNAPSHOT_DAY}
    register_days(clients, names, {*landed, today, shift_day(today, 1)})
    published = list_partitions(clients, names, names.parquet_table, min((since, *latest)))
    skipped = plan_stale(latest.values(), raw, published)
    moved = []
    for day, manifest in sorted(manifests.items()):
        if day not in skipped and _publish(clients, names, manifest, published.get(day)):
            moved.append(day)
    published = list_partitions(clients, names, names.parquet_table, since)

    def state(mark: Watermark, restore: Watermark | None) -> ViewState:
        start = mark if restore is None else restore
        hours, zone = options.closed_after_hours, names.lake.zone
        through = plan_watermark(start, raw, published, now, closed_after_hours=hours, zone=zone)
        return ViewState(read_schema(clients, names), through)

    changed |= write_views(clients, names, state)
    mark = _base(clients, names, None)
    return Published(
        names.table,
        days=tuple(moved),
        added=widening.added,
        widened=widening.widened,
        through=mark.through,
        snapshot=mark.snapshot,
        skipped=skipped,
        changed=changed or bool(moved or widening.added),
    )


def _unreadable(
    clients: Clients, names: TableNames, widening: Widening, manifests: Mapping[str, Manifest], *, everything: bool
) -> tuple[tuple[str, ...], dict[str, TableSchema]]:
    """The days to convert again, and the schema of each published version's files.

    Only a widening, or one that was interrupted, can make files unreadable: otherwise no other partition is looked at.
    """
    versions: dict[str, TableSchema] = {}
    if widening.widened or everything:
        for day, partition in list_partitions(clients, names, names.parquet_table).items():
            if MANIFEST in partition.parameters:
                versions[day] = read_manifest(clients, names, partition.parameters[MANIFEST]).schema
    after = {**versions, **{day: m.schema for day, m in manifests.items()}}
    return plan_reconversion(widening.schema, after), versions


def _hold(clients: Clients, names: TableNames, widening: Widening, versions: Mapping[str, TableSchema]) -> bool:
    """Views that hold whatever happens to the widened columns: their days come from JSON, with the types so far."""
    before = read_schema(clients, names)

    def state(mark: Watermark, restore: Watermark | None) -> ViewState:
        held = plan_hold(mark, widening.widened, versions)
        return ViewState(before, held, frozenset(widening.widened), mark if restore is None else restore)

    return write_views(clients, names, state)


def _publish(clients: Clients, names: TableNames, m: Manifest, before: Partition | None) -> bool:
    parameters = {
        INPUTS: m.inputs,
        MANIFEST: m.key(names),
        "dynalake.version": m.version,
        "dynalake.layout": m.schema.layout,
        "numRows": str(m.rows),
        "numFiles": str(len(m.parts)),
        "totalSize": str(sum(p.size for p in m.parts)),
    }
    prefix = names.parquet_version(m.day, m.version)
    if before is not None and before.location != names.uri(prefix):
        note_superseded(clients, names, m.day, before.location, datetime.now(UTC))
    return publish_partition(clients, names, m.day, prefix, parameters, m.format)


def _base(clients: Clients, names: TableNames, hold: Watermark | None) -> Watermark:
    return hold if hold is not None else read_watermark(clients, names)
