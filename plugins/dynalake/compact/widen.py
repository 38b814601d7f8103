"""When the types of columns change: which, which older partitions have to be converted again, what the views hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dynalake.catalog.partitions import list_partitions
from dynalake.catalog.tables import read_schema
from dynalake.catalog.views import Watermark, read_hold
from dynalake.clients import Clients
from dynalake.compact.look import plan_outdated
from dynalake.compact.manifest import ConvertedPartition, Manifest, read_manifest, widen_all
from dynalake.compact.plan import MANIFEST, PartitionPlan, earliest
from dynalake.convert.options import CompactOptions
from dynalake.days import SNAPSHOT_DAY, shift_day
from dynalake.lake.layout import signature
from dynalake.lake.schema import TableSchema
from dynalake.lake.types import Null
from dynalake.names import TableNames


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


def plan_hold(
    mark: Watermark, widened: Sequence[str], versions: Mapping[str, TableSchema], together: Iterable[str] = ()
) -> Watermark:
    """The watermark while types change: no day that has values in one of these columns is read from Parquet.

    Nor is one of the days that have to change `together`.
    """
    affected = sorted({*plan_typed(versions, widened), *together})
    days = [day for day in affected if day != SNAPSHOT_DAY]
    through = mark.through
    if days and days[0] <= through:
        through = shift_day(days[0], -1)
    return Watermark(through, mark.snapshot and SNAPSHOT_DAY not in affected)


def plan_typed(versions: Mapping[str, TableSchema], widened: Sequence[str]) -> tuple[str, ...]:
    """The days whose version has values in one of these columns: the held views do not read them from Parquet."""
    columns = set(widened)
    return tuple(sorted(day for day, files in versions.items() if columns & {c.name for c in files.columns}))


def plan_reconversions(
    clients: Clients, names: TableNames, converted: Iterable[ConvertedPartition], options: CompactOptions
) -> tuple[PartitionPlan, ...]:
    """The second round of a run: what has to be converted again because of what these conversions bring.

    That is older partitions under wider types, and days that were not compared with an earlier day as it is now.
    Empty in almost every run, and then it costs one call per conversion, and one.
    """
    latest = {c.day: c for c in converted}
    table = read_schema(clients, names)
    manifests = {c.day: read_manifest(clients, names, c.manifest) for c in latest.values()}
    widening = plan_widening(table, manifests.values(), options.max_struct_fields)
    held = read_hold(clients, names) is not None
    reasons = dict.fromkeys(outdated(clients, names, manifests), "repeats")
    reasons |= dict.fromkeys(unreadable(clients, names, widening, manifests, everything=held)[0], "widened")
    beside = tuple(c.manifest for c in latest.values())
    return tuple(PartitionPlan(names.table, day, why, 0, 0, beside=beside) for day, why in sorted(reasons.items()))


def outdated(clients: Clients, names: TableNames, manifests: Mapping[str, Manifest]) -> tuple[str, ...]:
    """The days whose changes were not compared with those of an earlier day as these conversions leave it."""
    if not manifests:
        return ()
    since = earliest(manifests, earliest(m.since for m in manifests.values() if m.since))
    return plan_outdated(manifests, list_partitions(clients, names, names.typed_table, since))


def unreadable(
    clients: Clients, names: TableNames, widening: Widening, manifests: Mapping[str, Manifest], *, everything: bool
) -> tuple[tuple[str, ...], dict[str, TableSchema]]:
    """The days to convert again, and the schema of each published version's files.

    Only a widening, or one that was interrupted, can make files unreadable: otherwise no other partition is looked at.
    """
    versions: dict[str, TableSchema] = {}
    if widening.widened or everything:
        for day, partition in list_partitions(clients, names, names.typed_table).items():
            if MANIFEST in partition.parameters:
                versions[day] = read_manifest(clients, names, partition.parameters[MANIFEST]).schema
    after = {**versions, **{day: m.schema for day, m in manifests.items()}}
    return plan_reconversion(widening.schema, after), versions
