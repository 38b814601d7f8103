"""A partition read record by record, in Python: slow, and the measure of what is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from dynalake.catalog.discover import observe_record
from dynalake.catalog.raw import RawObject
from dynalake.catalog.schema import TableSchema
from dynalake.catalog.types import Type
from dynalake.clients import Clients
from dynalake.compact.options import CompactOptions
from dynalake.compact.order import reorder
from dynalake.compact.read import Record, RecordParser, Rejected, read_records
from dynalake.compact.sort import Sorter, deduplicate
from dynalake.compact.write import group_tables, tables_of
from dynalake.names import TableNames


class Records(Protocol):
    """All records of a partition: how many were read, of which types. `duplicates` counts once `groups` has ended."""

    @property
    def read(self) -> int: ...

    @property
    def canaries(self) -> int: ...

    @property
    def duplicates(self) -> int: ...

    @property
    def observed(self) -> dict[str, Type]: ...

    def groups(self, schema: TableSchema) -> Iterator[pa.Table]:
        """The rows in order, in tables of which each becomes a row group. Once."""
        ...


class ExactRecords:
    """`Records`, held as lines."""

    def __init__(self, sorter: Sorter, options: CompactOptions, directory: Path) -> None:
        self.read = self.canaries = self.duplicates = 0
        self.observed: dict[str, Type] = {}
        self._sorter, self._options, self._directory = sorter, options, directory

    def add(self, record: Record | None) -> None:
        self.read += 1
        if record is None:
            self.canaries += 1
            return
        observe_record(self.observed, record.values, self._options.max_struct_fields)
        self._sorter.add(record)

    def groups(self, schema: TableSchema) -> Iterator[pa.Table]:
        rows = reorder(tables_of(self._unique(), schema), schema, self._options, self._directory)
        return group_tables(rows, schema, self._options)

    def _unique(self) -> Iterator[Record]:
        self.duplicates = self.read - self.canaries
        for record in deduplicate(iter(self._sorter)):
            self.duplicates -= 1
            yield record


def read_exactly(
    clients: Clients,
    names: TableNames,
    objects: Sequence[RawObject],
    table: TableSchema,
    options: CompactOptions,
    directory: Path,
    rejected: Rejected,
) -> ExactRecords:
    """All records of the objects. Raises `ConflictError` where an object was replaced since it was listed."""
    found = ExactRecords(Sorter(RecordParser(table.key), directory, options.memory_mb), options, directory)
    for record in read_records(clients, names, objects, table.key, rejected):
        found.add(record)
    return found
