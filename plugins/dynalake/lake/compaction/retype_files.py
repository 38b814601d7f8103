"""Files of a table whose columns get other types: which these are, and how they are written again.

One file becomes others of the same rows in the same order; `widen.py` decides which files, and what is committed
when. `retype_file` needs nothing but its arguments, so any worker can do it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
from pyiceberg.schema import Schema

from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.retype import Retyper
from dynalake.lake.columns.schema import Column, TableSchema
from dynalake.lake.files.parts import Folder, PartWriter, Writing
from dynalake.lake.files.read import arrow_schema_of, read_rows
from dynalake.lake.files.rewrite import holds_fields, holds_other, leaf_ids
from dynalake.lake.types.union import Type

_PARTS = 100  # parts that one file may become


@dataclass(frozen=True)
class Retyping:
    """How a table's columns change: from which schema to which, as its own property and as Iceberg has it.

    `lifts`: attributes whose values may leave `__other`. `own`: the table's columns that hold no attribute.
    """

    before: TableSchema
    after: TableSchema
    source: Schema
    target: Schema
    lifts: frozenset[str] = frozenset()

    @property
    def changed(self) -> tuple[Column, ...]:
        """Columns, as they are before, that have another name or type afterwards, or are gone."""
        return changed_columns(self.before, self.after)

    @property
    def gone(self) -> frozenset[int]:
        """Ids of what files hold of the changed columns."""
        return frozenset(i for c in self.changed for i in leaf_ids(self.source, c.name))

    def affects(self, file: DataFile, waiting: Callable[[DataFile], Collection[str] | None]) -> bool:
        """Return whether a file has to be written again. `waiting` returns what is in its `__other`; None: unknown."""
        if not file.rows:
            return False
        if holds_fields(file, self.gone):
            return True
        if not self.lifts or not holds_other(file):
            return False
        attributes = waiting(file)
        return attributes is None or not self.lifts.isdisjoint(attributes)


def changed_columns(before: TableSchema, after: TableSchema) -> tuple[Column, ...]:
    """Return the columns of `before` that have another name or type in `after`, or are not in it."""
    known = after.known
    return tuple(
        c for c in before.columns if (new := known.get(c.attribute)) is None or (new.name, new.type) != (c.name, c.type)
    )


@dataclass(frozen=True)
class RetypedFile:
    """The new files of a file, their schema, and what moved to and from `__other`."""

    added: tuple[DataFile, ...]
    held: Schema
    lifted: Counter[str] = field(default_factory=Counter)
    spilled: Counter[str] = field(default_factory=Counter)
    misfits: Mapping[str, Type] = field(default_factory=dict)


def retype_file(
    table: Table,
    head: Head,
    file: DataFile,
    retyping: Retyping,
    folder: Folder,
    first: int,
    writing: Writing,
    directory: Path,
) -> RetypedFile:
    """Write the rows of a file as the new schema has them, in their order, in memory that does not depend on its size.

    `head`: the table with delete files that apply. `first`: the number of the first part.
    """
    names = held_names(file, retyping)
    held = retyping.target.select(*names)
    attributes = {c.name for c in retyping.after.columns if c.name in names}
    after = replace(retyping.after, columns=tuple(c for c in retyping.after.columns if c.name in attributes))
    source = retyping.source.select(*source_names(file, retyping))
    retype = Retyper(retyping.before, after, arrow_schema_of(held))
    writer = PartWriter(table, head, held, folder, writing, directory, first)

    def rows() -> Iterator[pa.Table]:
        for some in read_rows(head, [file], schema=source):
            yield retype(some)

    return RetypedFile(writer.write(rows()), held, retype.lifted, retype.spilled, retype.misfits)


def source_names(file: DataFile, retyping: Retyping) -> list[str]:
    """Return the columns in which a file has values, and those that hold no attribute."""
    attributes = {c.name for c in retyping.before.columns}
    fields = retyping.source.fields
    return [f.name for f in fields if f.name not in attributes or holds_fields(file, leaf_ids(retyping.source, f.name))]


def held_names(file: DataFile, retyping: Retyping) -> list[str]:
    """Return the columns in which the rows of a file may have values afterwards."""
    sources = set(source_names(file, retyping))
    new = retyping.after.known
    names = sources - {c.name for c in retyping.before.columns}
    for column in retyping.before.columns:
        if column.name in sources and column.attribute in new:
            names.add(new[column.attribute].name)
    if holds_other(file):
        names |= {new[a].name for a in retyping.lifts if a in new}
    return [f.name for f in retyping.target.fields if f.name in names]
