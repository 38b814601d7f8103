"""`{t}_parquet`: the snapshot and the closed days of `{t}` as a Hive table over the same files.

A partition points to a day's folder only where the folder holds exactly the day's live files, and no delete files
apply. Glue's partitions have no version, so everything is compared again after writing them. When columns change, the
partitions move first, then the table's columns follow.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from dynalake.errors import CatalogError, ConflictError
from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.catalog.table import SOURCE, Table
from dynalake.lake.columns.column import DAY
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.compaction.day import is_closed
from dynalake.lake.current.views import glue_type, is_known
from dynalake.lake.files.read import count_deleted
from dynalake.lake.files.rewrite import holds_fields, leaf_ids
from dynalake.lake.hive.hive import (
    PARQUET,
    HiveColumn,
    HiveTable,
    Partition,
    align_table,
    ensure_table,
    list_partitions,
    own_parameters,
    put_partitions,
    remove_partitions,
)
from dynalake.lake.tables.grow import schema_of

TYPES = "dynalake.types"
"""Property of a partition: 16 hexadecimal digits over names and types of the columns that its files hold."""

ROUNDS = 4
"""How often partitions are written and compared again before the rest is left to the next run."""

_AT_ONCE = 16


@dataclass(frozen=True)
class Projected:
    """Changes of a Hive table: the days whose partitions were written and removed, and whether its columns changed."""

    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    columns: bool = False


@dataclass(frozen=True)
class PartitionPlan:
    """The partitions to write, and the days whose partitions are removed."""

    write: tuple[Partition, ...]
    remove: tuple[str, ...]


def project_parquet(
    table: Table,
    options: CompactOptions,
    now: Callable[[], datetime],
    *,
    check: bool = False,
    pause_after: int = ROUNDS,
) -> Projected:
    """Make `{t}_parquet` what the table of changes says. Write nothing where nothing differs.

    `check`: the files of every folder are listed, not only those of partitions to write. Raises `ConflictError` where
    the days changed `pause_after` times in a row while they were compared.
    """
    head = table.changes()
    name = table.names.parquet_table
    made = ensure_table(table, hive_table(table, head))
    written: dict[str, None] = {}
    removed: dict[str, None] = {}
    for _ in range(pause_after):
        partitions = list_partitions(table, name)
        plan = plan_partitions(
            folders_of(table, head, options, now()), partitions, lambda folders: read_whole(table, folders), check=check
        )
        if not plan.write and not plan.remove:
            columns = align_table(table, hive_table(table, head))
            return Projected(tuple(written), tuple(removed), columns or made)
        put_partitions(table, name, PARQUET, plan.write, partitions)
        remove_partitions(table, name, plan.remove)
        written |= dict.fromkeys(p.day for p in plan.write)
        removed |= dict.fromkeys(plan.remove)
        check = False
        head = table.changes()  # the days may have changed while their partitions were written
    raise ConflictError(
        f"The days of {name} changed {pause_after} times while they were compared",
        action="try again at a quieter time",
        table=table.names.table,
    )


def hive_table(table: Table, head: Head) -> HiveTable:
    """Return `{t}_parquet` as it should be."""
    names = table.names
    parameters = own_parameters(table, head.properties.get(SOURCE, ""))
    columns = hive_columns(head)
    return HiveTable(names.parquet_table, PARQUET, f"{names.uri(names.changes_location)}/", columns, parameters)


def hive_columns(head: Head) -> tuple[HiveColumn, ...]:
    """Return the table's columns as Hive has them, without the day, in the table's order."""
    comments = {c.name: c.comment for c in schema_of(head).columns}
    return tuple(
        HiveColumn(f.name, glue_type(f.field_type), comments.get(f.name, ""))
        for f in head.schema.fields
        if f.name != DAY and is_known(f.field_type)
    )


@dataclass(frozen=True)
class DayFolder:
    """A day whose live files are all in one folder: the partition that it should have, and those files' addresses."""

    partition: Partition
    files: frozenset[str]


def folders_of(table: Table, head: Head, options: CompactOptions, now: datetime) -> dict[str, DayFolder]:
    """Return the closed days, and the snapshot, whose live files are in one folder, without deleted rows."""
    lake = table.names.lake
    by_day: dict[str, list[DataFile]] = defaultdict(list)
    for file in head.files():
        by_day[file.partition].append(file)
    deleted = deleted_files(head)
    columns = {c.name: c for c in hive_columns(head)}
    leaves = {name: leaf_ids(head.schema, name) for name in columns}
    folders = {}
    for day, files in by_day.items():
        folder = files[0].folder
        if not folder or any(f.folder != folder for f in files) or any(_is_deleted(f, deleted) for f in files):
            continue
        if not any(f.rows for f in files) or not is_closed(day, now, lake.zone, options.closed_after_hours):
            continue
        held = tuple(c for name, c in columns.items() if any(holds_fields(f, leaves[name]) for f in files))
        location = table.names.uri(table.names.change_folder(day, folder))
        folders[day] = DayFolder(
            Partition(day, location, _parameters(files, held), held), frozenset(f.path for f in files)
        )
    return folders


def _parameters(files: Sequence[DataFile], held: Iterable[HiveColumn]) -> dict[str, str]:
    """Return the compared parameters: their counts show where others have taken files away from a folder."""
    types = json.dumps([[c.name, c.type] for c in held])
    return {
        "numFiles": str(len(files)),
        "numRows": str(sum(f.rows for f in files)),
        "totalSize": str(sum(f.size for f in files)),
        TYPES: sha256(types.encode()).hexdigest()[:16],
    }


def deleted_files(head: Head) -> Collection[str] | None:
    """Return the paths of files with deleted rows; None where it may be any file."""
    try:
        return count_deleted(head).keys()
    except CatalogError:
        return None


def _is_deleted(file: DataFile, deleted: Collection[str] | None) -> bool:
    return deleted is None or file.path in deleted


def plan_partitions(
    folders: Mapping[str, DayFolder],
    there: Mapping[str, Partition],
    read: Callable[[Mapping[str, DayFolder]], Mapping[str, frozenset[str]]],
    *,
    check: bool = False,
) -> PartitionPlan:
    """Return which partitions to write and to remove. `there`: the existing ones.

    `read` lists the files of folders, by day: of those to write, or of all where `check` is set. A folder is written
    once, so it still holds the files that were there when its partition was written.
    """
    differing = {day: f for day, f in folders.items() if not f.partition.same(there.get(day))}
    listed = read(folders if check else differing)
    whole = {day for day, files in listed.items() if files == folders[day].files}
    kept = whole if check else whole | (folders.keys() - differing.keys())
    write = tuple(folders[day].partition for day in sorted(differing.keys() & whole))
    return PartitionPlan(write, tuple(sorted(there.keys() - kept)))


def read_whole(table: Table, folders: Mapping[str, DayFolder]) -> dict[str, frozenset[str]]:
    """Return the addresses of all objects in these folders, by their days."""
    store = table.store

    def list_folder(folder: DayFolder) -> frozenset[str]:
        prefix = folder.partition.location.removeprefix(store.uri(""))
        return frozenset(store.uri(o.key) for o in store.list(prefix))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(folders, pool.map(list_folder, folders.values()), strict=True))
