"""A partition read record by record, in Python: slow, and the measure of what is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from dynalake.clients import Clients
from dynalake.convert.options import CompactOptions, ReadOptions
from dynalake.convert.read.growth import Grown, Growth
from dynalake.convert.read.raw import RawObject
from dynalake.convert.read.records import Record, RecordParser, Rejected, Rejecting, read_records
from dynalake.convert.rows.minutes import MINUTE
from dynalake.convert.rows.place import PlacedRows
from dynalake.convert.rows.sort import Sorter, deduplicate
from dynalake.convert.rows.write import tables_of
from dynalake.lake.schema import TableSchema, observe_record
from dynalake.lake.types import Type
from dynalake.names import TableNames


class Records(Protocol):
    """All records of a partition: how many were read, of which types. `duplicates` counts once `tables` has ended."""

    @property
    def read(self) -> int: ...

    @property
    def canaries(self) -> int: ...

    @property
    def duplicates(self) -> int: ...

    @property
    def observed(self) -> dict[str, Type]: ...

    @property
    def minutes(self) -> set[int]:
        """In which they were made, since the epoch."""
        ...

    def tables(self, schema: TableSchema) -> Iterator[pa.Table]:
        """The rows in the order of key and sequence number, each once, in tables of bounded size with `LENGTH`."""
        ...


class ExactRecords:
    """`Records`, held as lines."""

    def __init__(self, sorter: Sorter, options: CompactOptions) -> None:
        self.read = self.canaries = self.duplicates = 0
        self.observed: dict[str, Type] = {}
        self.minutes: set[int] = set()
        self._sorter, self._options = sorter, options

    def add(self, record: Record | None) -> None:
        self.read += 1
        if record is None:
            self.canaries += 1
            return
        observe_record(self.observed, record.values, self._options.max_struct_fields)
        self.minutes.add(record.order[-2] // MINUTE)
        self._sorter.add(record)

    def tables(self, schema: TableSchema) -> Iterator[pa.Table]:
        return tables_of(self._unique(), schema)

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
    found = ExactRecords(Sorter(RecordParser(table.key), directory, options.memory_mb), options)
    for record in read_records(clients, names, objects, table.key, rejected):
        found.add(record)
    return found


class Reading(Protocol):
    """One reading of the objects of a batch. `duplicates` counts once `tables` has ended."""

    @property
    def read(self) -> int:
        """Records, canaries among them."""
        ...

    @property
    def canaries(self) -> int: ...

    @property
    def duplicates(self) -> int: ...

    @property
    def minutes(self) -> set[int]:
        """In which they were made, since the epoch."""
        ...

    def gives(self, schema: TableSchema) -> bool:
        """Whether the rows can be had under a schema as if the objects were read under it."""
        ...

    def tables(self, schema: TableSchema, built: TableSchema) -> Iterator[pa.Table]:
        """The rows in order, each once, in tables of bounded size; with those columns of `schema` that are `built`."""
        ...

    def discard(self) -> None:
        """Hold nothing any longer, in memory and on disk."""
        ...


class ExactReading:
    """`Reading`, held as lines."""

    def __init__(
        self,
        clients: Clients,
        names: TableNames,
        objects: Sequence[RawObject],
        growth: Growth | Grown,
        options: ReadOptions,
        directory: Path,
        rejected: Rejecting,
    ) -> None:
        self.read = self.canaries = self.duplicates = 0
        self.minutes: set[int] = set()
        key = growth.reading.key
        parse = RecordParser(key, halves=True, by_text=True)
        self._sorter = Sorter(parse, directory, options.memory_mb)
        for record in read_records(clients, names, objects, key, rejected, parse):
            self.read += 1
            if record is None:
                self.canaries += 1
                continue
            growth.add(growth.record(record.values))
            self.minutes.add(record.order[-2] // MINUTE)
            self._sorter.add(record)

    def gives(self, schema: TableSchema) -> bool:
        return True

    def discard(self) -> None:
        self._sorter.discard()

    def tables(self, schema: TableSchema, built: TableSchema) -> Iterator[pa.Table]:
        for _, table in PlacedRows(schema, built).tables(self._unique()):
            yield table

    def _unique(self) -> Iterator[Record]:
        self.duplicates = self.read - self.canaries
        for record in deduplicate(iter(self._sorter)):
            self.duplicates -= 1
            yield record
