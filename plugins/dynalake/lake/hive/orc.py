"""`{t}_orc`: closed days once more, as ORC, for programs that do not read Parquet: a Hive table with its own files.

It is a copy: made from the Parquet of a day's folder, compared with it by each run, and never needed for anything else.
Columns of ORC files are found by their places, as Trino and Athena do by default. So each file has all columns of the
table in its order; and where that order changes, or a type does, the days are copied again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from dynalake.aws.s3 import StoredObject
from dynalake.days import milliseconds
from dynalake.errors import ConflictError, LedgerError
from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.catalog.table import GRACE, SOURCE, Table
from dynalake.lake.compaction.compact_options import GB, MB, CompactOptions
from dynalake.lake.files.folders import new_folder
from dynalake.lake.files.read import read_rows
from dynalake.lake.hive.hive import (
    ORC,
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
from dynalake.lake.hive.parquet_table import ROUNDS, TYPES, DayFolder, Projected, folders_of, hive_columns

FOLDER = "dynalake.folder"
"""Property of a partition: the folder of `{t}` that it is a copy of."""

LAYOUT = "dynalake.layout"
"""Property of a partition: the number of columns in its files, and 16 hex digits over their names and field ids."""

_CODECS = {"gzip": "ZLIB"}
_STRIPE = 64  # MB


@dataclass(frozen=True)
class OrcColumns:
    """The columns of the table, in order, with their field ids."""

    columns: tuple[HiveColumn, ...]
    ids: tuple[int, ...]

    @classmethod
    def of(cls, head: Head) -> OrcColumns:
        columns = hive_columns(head)
        return cls(columns, tuple(head.schema.find_field(c.name).field_id for c in columns))

    def layout(self, count: int) -> str:
        """Return a text that tells whether files with `count` columns have these, in these places."""
        named = [[c.name, i] for c, i in zip(self.columns[:count], self.ids[:count], strict=True)]
        return f"{count}:{_digest(named)}"

    def has(self, layout: str) -> bool:
        """Return whether files of that layout give their values under these columns; they may lack some of them."""
        count = layout.partition(":")[0]
        return count.isdigit() and int(count) <= len(self.columns) and self.layout(int(count)) == layout

    def types(self, layout: str) -> str:
        """Return a text that tells whether a partition of that layout has the right types."""
        return _digest([[c.name, c.type] for c in self.columns[: int(layout.partition(":")[0])]])


@dataclass(frozen=True)
class CopyPlan:
    """The days to copy, the oldest first; the partitions that only need other types; those to remove."""

    copy: tuple[str, ...]
    write: tuple[Partition, ...]
    remove: tuple[str, ...]


def copy_days(
    table: Table, options: CompactOptions, now: Callable[[], datetime], work_directory: Path | None = None
) -> Projected:
    """Make `{t}_orc` a copy of the closed days, within `compact_gb`, and delete copies that no partition names.

    Another call writes nothing. Raises `LedgerError` where a copy has not all rows; `ConflictError` where the days
    changed several times in a row while they were compared.
    """
    name = table.names.orc_table
    head = table.changes()
    made = ensure_table(table, hive_table(table, head))
    written: dict[str, None] = {}
    removed: dict[str, None] = {}
    for _ in range(ROUNDS):
        columns = OrcColumns.of(head)
        partitions = list_partitions(table, name)
        folders = folders_of(table, head, options, now())
        sizes = {day: int(f.partition.parameters["totalSize"]) for day, f in folders.items()}
        budget = 0 if written else options.compact_gb * GB
        plan = plan_copies(folders, partitions, columns, sizes, budget)
        if not plan.copy and not plan.write and not plan.remove:
            aligned = align_table(table, hive_table(table, head))
            collect_copies(table, now())
            return Projected(tuple(written), tuple(removed), aligned or made)
        put_partitions(table, name, ORC, plan.write, partitions)
        files = {f.path: f for f in head.files(folders.keys())} if plan.copy else {}
        for day in plan.copy:
            day_files = [files[path] for path in sorted(folders[day].files)]
            partition = copy_day(table, head, day, day_files, columns, options, work_directory)
            put_partitions(table, name, ORC, [partition], partitions)
        remove_partitions(table, name, plan.remove)
        written |= dict.fromkeys([*plan.copy, *(p.day for p in plan.write)])
        removed |= dict.fromkeys(plan.remove)
        head = table.changes()  # the days may have changed while they were copied
    raise ConflictError(
        f"The days of {name} changed {ROUNDS} times while they were compared",
        action="try again at a quieter time",
        table=table.names.table,
    )


def hive_table(table: Table, head: Head) -> HiveTable:
    """Return `{t}_orc` as it should be."""
    parameters = own_parameters(table, head.properties.get(SOURCE, ""))
    return HiveTable(
        table.names.orc_table, ORC, table.names.uri(table.names.orc_prefix), hive_columns(head), parameters
    )


def plan_copies(
    folders: Mapping[str, DayFolder],
    there: Mapping[str, Partition],
    columns: OrcColumns,
    sizes: Mapping[str, int],
    budget: int,
) -> CopyPlan:
    """Return which days to copy in one run: those that have no copy of their folder with the table's columns.

    `sizes`: bytes of the days' Parquet; at least one day has room in the budget, unless that is 0. A wrong copy without
    room is removed.
    """
    copy: list[str] = []
    write: list[Partition] = []
    wrong = set(there.keys() - folders.keys())
    for day in sorted(folders):
        copied = there.get(day)
        if copied is None or not _is_copy(copied, folders[day], columns):
            if budget and (not copy or sum(sizes[d] for d in copy) + sizes[day] <= budget):
                copy.append(day)
            elif copied is not None:
                wrong.add(day)
            continue
        layout = copied.parameters[LAYOUT]
        if copied.parameters.get(TYPES) != columns.types(layout):
            count = int(layout.partition(":")[0])
            about = {**copied.parameters, TYPES: columns.types(layout)}
            write.append(Partition(day, copied.location, about, columns.columns[:count]))
    return CopyPlan(tuple(copy), tuple(write), tuple(sorted(wrong)))


def _is_copy(copied: Partition, folder: DayFolder, columns: OrcColumns) -> bool:
    copied_from = copied.parameters.get(FOLDER), copied.parameters.get("numRows")
    current = folder.partition.location, folder.partition.parameters["numRows"]
    return copied_from == current and columns.has(copied.parameters.get(LAYOUT, ""))


def copy_day(
    table: Table,
    head: Head,
    day: str,
    files: Sequence[DataFile],
    columns: OrcColumns,
    options: CompactOptions,
    work_directory: Path | None = None,
) -> Partition:
    """Write the rows of a day's files as ORC into a new folder. Return the partition that shows them.

    Raises `LedgerError` unless all rows were written.
    """
    prefix = table.names.orc_folder(day, new_folder())
    rows = 0
    with TemporaryDirectory(prefix="dynalake-", dir=work_directory) as scratch:
        for number, (path, count) in enumerate(_write(_rows(head, files, columns), options, Path(scratch))):
            table.store.upload(path, f"{prefix}part-{number:05d}.orc")
            rows += count
    expected = sum(f.rows for f in files)
    if rows != expected:
        raise LedgerError(
            f"The ORC copy of {head.name} dt={day} has {rows:,} rows, and the day has {expected:,}",
            action="the copy is not shown; run it again, and report it if it happens again",
            table=table.names.table,
            day=day,
        )
    layout = columns.layout(len(columns.columns))
    folder = f"{files[0].path.rpartition('/')[0]}/"
    about = {FOLDER: folder, LAYOUT: layout, TYPES: columns.types(layout), "numRows": str(rows)}
    return Partition(day, table.names.uri(prefix), about, columns.columns)


def _rows(head: Head, files: Iterable[DataFile], columns: OrcColumns) -> Iterator[pa.Table]:
    names = [c.name for c in columns.columns]
    for rows in read_rows(head, files, names):
        yield rows.select(names)


def _write(tables: Iterator[pa.Table], options: CompactOptions, directory: Path) -> Iterator[tuple[Path, int]]:
    """Yield files of about `part_mb`, complete then and removed at the next step, with the number of their rows."""
    from pyarrow import orc

    codec: Any = _CODECS.get(options.codec, options.codec.upper())
    stripe = min(_STRIPE, options.part_mb) * MB  # rows in the stripe are not in the file yet
    table = next(tables, None)
    number = 0
    while table is not None:
        path = directory / f"part-{number:05d}.orc"
        with orc.ORCWriter(str(path), compression=codec, stripe_size=stripe) as writer:
            while table is not None and path.stat().st_size < options.part_mb * MB:
                writer.write(table)
                table = next(tables, None)
        yield path, int(orc.ORCFile(str(path)).nrows)
        path.unlink()
        number += 1


def collect_copies(table: Table, now: datetime) -> int:
    """Delete copies' files that no partition names, once they are older than any task may be. Return how many."""
    stored = list(table.store.list(table.names.orc_prefix))
    if not stored:
        return 0
    before = milliseconds(table.store.clock(now) - GRACE)
    named = {p.location for p in list_partitions(table, table.names.orc_table).values()}
    garbage = plan_garbage(stored, {location.removeprefix(table.names.uri("")) for location in named}, before)
    return table.store.delete_listed(garbage).objects


def plan_garbage(stored: Iterable[StoredObject], named: Collection[str], before: int) -> list[StoredObject]:
    """Return the objects that are in none of the named folders (prefixes that end in `/`), written before that time."""
    return [o for o in stored if o.modified < before and f"{o.key.rpartition('/')[0]}/" not in named]


def _digest(value: Any) -> str:
    return sha256(json.dumps(value).encode()).hexdigest()[:16]
