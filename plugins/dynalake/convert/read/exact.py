"""A batch read record by record, in Python: slow, and the standard for what is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from dynalake.convert.options import ReadOptions
from dynalake.convert.read.growth import Grown, Growth
from dynalake.convert.read.records import Record, RecordParser, Rejecting, read_records
from dynalake.convert.rows.place import PlacedRows
from dynalake.convert.rows.sort import Sorter, deduplicate
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.files.folders import Input


class Reading(Protocol):
    """One reading of the objects of a batch. `duplicates` counts once `tables` has ended."""

    @property
    def read(self) -> int:
        """Read the objects, and return the number of records, canaries included."""
        ...

    @property
    def canaries(self) -> int: ...

    @property
    def duplicates(self) -> int: ...

    def gives(self, schema: TableSchema) -> bool:
        """Return whether `tables` can give the rows under a schema as if the objects were read under it."""
        ...

    def tables(self, schema: TableSchema, built: TableSchema) -> Iterator[pa.Table]:
        """Yield the rows in order, each once, in tables of bounded size, with the `built` columns of `schema`."""
        ...

    def discard(self) -> None:
        """Release all that is held, in memory and on disk."""
        ...


class ExactReading:
    """`Reading`, held as lines."""

    def __init__(
        self,
        table: Table,
        objects: Sequence[Input],
        growth: Growth | Grown,
        options: ReadOptions,
        directory: Path,
        rejected: Rejecting,
    ) -> None:
        self.read = self.canaries = self.duplicates = 0
        parse = RecordParser(growth.reading.key)
        self._sorter = Sorter(parse, directory, options.memory_mb)
        for record in read_records(table, objects, parse, rejected):
            self.read += 1
            if record is None:
                self.canaries += 1
                continue
            growth.add(growth.record(record.values))
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
