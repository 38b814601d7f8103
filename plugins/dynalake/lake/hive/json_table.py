"""`{t}_json`: the raw lines as they landed, every attribute as text, by the OpenX SerDe.

It is for the raw text alone: it has no types. Its partitions come before the data, so that a line can be read as soon
as it has landed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from dynalake.days import SNAPSHOT_DAY, coming_days
from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.table import SOURCE, Table
from dynalake.lake.columns.schema import METADATA_TYPES
from dynalake.lake.current.snapshot import shown_run
from dynalake.lake.files.raw_days import list_raw_days
from dynalake.lake.hive.hive import (
    JSON,
    HiveColumn,
    HiveTable,
    Partition,
    align_table,
    list_partitions,
    own_parameters,
    put_partitions,
    remove_partitions,
)
from dynalake.lake.hive.parquet_table import PartitionPlan, Projected
from dynalake.lake.tables.grow import schema_of
from dynalake.names import TableNames


def project_json(table: Table, now: Callable[[], datetime]) -> Projected:
    """Make `{t}_json` what the table of changes and the raw days say. Write nothing where nothing differs.

    For the snapshot it shows the raw objects of the backfill that `{t}` shows. A day that has a partition keeps it,
    also when its raw objects are gone.
    """
    head = table.changes()
    target = hive_table(table, head)
    columns = align_table(table, target)
    partitions = list_partitions(table, target.name)
    days = {*list_raw_days(table), *coming_days(table.names.lake.day_of(now()))} - {SNAPSHOT_DAY}
    plan = plan_partitions(table.names, target, days, partitions, shown_prefix(table, head))
    put_partitions(table, target.name, target.format, plan.write, partitions)
    remove_partitions(table, target.name, plan.remove)
    return Projected(tuple(p.day for p in plan.write), plan.remove, columns)


def hive_table(table: Table, head: Head) -> HiveTable:
    """Return `{t}_json` as it should be: each column a `string`, read by the attribute's own key.

    https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html
    """
    fields = [(name, name, "") for name in METADATA_TYPES]
    fields += [(c.name, c.key, c.comment) for c in schema_of(head).columns]
    serde = {f"mapping.{name}": key for name, key, _ in fields if name != key}
    serde |= {"case.insensitive": "FALSE", "ignore.malformed.json": "TRUE"}
    return HiveTable(
        table.names.json_table,
        replace(JSON, serde=serde),
        table.names.uri(table.names.raw_prefix),
        tuple(HiveColumn(name, "string", comment) for name, _, comment in fields),
        # The SerDe's parameters are here too: a reader that takes them from the partition adds the table's to them,
        # and so finds an attribute that came later in older days as well.
        {**own_parameters(table, head.properties.get(SOURCE, "")), **serde},
    )


def shown_prefix(table: Table, changes: Head) -> str:
    """Return the prefix of the raw objects of the backfill that `{t}` shows; '' where it shows none."""
    run = shown_run(table, changes)
    return table.names.snapshot_run(run) if run else ""


def plan_partitions(
    names: TableNames, wanted: HiveTable, days: Iterable[str], there: dict[str, Partition], snapshot: str
) -> PartitionPlan:
    """Return which partitions are missing or point elsewhere, and whether the snapshot's has to go."""
    prefixes = {day: names.raw_day(day) for day in days}
    if snapshot:
        prefixes[SNAPSHOT_DAY] = snapshot
    about = {"classification": "json"}
    partitions = [Partition(day, names.uri(prefixes[day]), about, wanted.columns) for day in sorted(prefixes)]
    write = tuple(p for p in partitions if not p.same(there.get(p.day)))
    return PartitionPlan(write, () if snapshot or SNAPSHOT_DAY not in there else (SNAPSHOT_DAY,))
