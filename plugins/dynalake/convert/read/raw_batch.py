"""A batch of raw objects as rows of one table, by the fastest reader; the exact one decides what that cannot.

A batch is first read for its types, so that the table can get columns for them. Then the rows are given under the
schema that the table has got. Mostly they are those of the first reading: the objects are read again only where types
became known late, or where another run was first and the table has other columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from dynalake.convert.options import ReadOptions
from dynalake.convert.read.exact import ExactReading, Reading
from dynalake.convert.read.growth import Grown, Growth
from dynalake.convert.read.quarantine import Quarantine, RejectedLines
from dynalake.convert.rows.misfits import Misfits
from dynalake.errors import ConflictError
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.files.folders import Input, Sums
from dynalake.lake.types.budget import BUDGET, Budget
from dynalake.lake.types.union import Type
from dynalake.record.change import OTHER


def read_batch(
    table: Table,
    objects: Sequence[Input],
    schema: TableSchema,
    options: ReadOptions,
    directory: Path,
    budget: Budget = BUDGET,
) -> RawBatch:
    """Read raw objects for a table with this schema. Their rejected lines are in quarantine then.

    Spills below `directory`, which the caller removes after the rows were read. Raises `ConflictError` where an object
    was replaced since it was listed.
    """
    return RawBatch(table, objects, schema, options, directory, budget)


class RawBatch:
    """A batch that was read.

    `observed`: the types of the values, by attribute, for attributes that have a column or may get one. `schema`: the
    table's, with columns, and fields in structs, for them, as far as the budget goes. `rejected`: lines in quarantine.
    """

    def __init__(
        self,
        table: Table,
        objects: Sequence[Input],
        schema: TableSchema,
        options: ReadOptions,
        directory: Path,
        budget: Budget = BUDGET,
    ) -> None:
        self._table, self._objects = table, objects
        self._options, self._directory = options, directory
        self._readings = self._rows = 0
        self._misfits = Misfits()
        self._growth = Growth(schema, budget)
        self._compiled = sum(o.size for o in objects) >= options.compiled_from_mb << 20
        self._reading, self.rejected = self._read(self._growth, compiled=self._compiled)
        self.observed: Mapping[str, Type] = self._growth.observed
        self.schema: TableSchema = schema.admit(self.observed, budget)

    @property
    def reasons(self) -> Mapping[str, int]:
        """Number of rejected lines by kind of reason."""
        return self.rejected.reasons

    def tables(self, schema: TableSchema | None = None) -> Iterator[pa.Table]:
        """Yield the rows, in tables of bounded size, in the order of `schema.identity` and sequence number, each once.

        `schema` (default: `self.schema`) may be any that extends the one for which the batch was read. Columns without
        a value in any row may be left out, in all tables alike; the others are as the schema has them. Values without a
        column, or that do not fit theirs, are in `__other` as exact JSON text.

        It works once. Raises `ConflictError` where objects have changed since the batch was read.
        """
        schema = self.schema if schema is None else schema
        built = self._built(schema)
        yielded = 0
        if self._compiled:
            from dynalake.convert.read.compiled.compiled import UNDECIDED

            if not self._reading.gives(schema):
                self._read_again(schema, compiled=True)
            if self._reading.gives(schema):
                try:
                    for table in self._reading.tables(schema, built):
                        yielded += table.num_rows
                        yield self._counted(table, schema)
                    return
                except UNDECIDED:
                    pass  # only the exact reader can decide here
            self._read_again(schema, compiled=False)
        for table in self._reading.tables(schema, built):
            # Both readers give the same rows in the same order, so rows that were given already are left out.
            repeated = min(yielded, table.num_rows)
            yielded -= repeated
            if repeated < table.num_rows:
                yield self._counted(table.slice(repeated), schema)

    @property
    def misfits(self) -> dict[str, Any]:
        """Values that do not fit their column: attribute → `{"type": …, "count": …}`. Complete when `tables` ends."""
        return self._misfits.to_dict()

    @property
    def without_column(self) -> int:
        """Number of values without a column. Complete once `tables` has ended."""
        return self._misfits.without

    @property
    def sums(self) -> Sums:
        """Counts of the lines by their outcome. Complete once `tables` has ended."""
        return Sums(
            lines=self._reading.read + self.rejected.lines,
            rows=self._rows,
            duplicates=self._reading.duplicates,
            canaries=self._reading.canaries,
            rejected=self.rejected.lines,
        )

    def _built(self, schema: TableSchema) -> TableSchema:
        """Return the schema with only the columns in which rows may have values."""
        met = {*self.observed, *schema.key.names}
        return replace(
            schema,
            columns=tuple(c for c in schema.columns if c.attribute in met or not self._growth.wants(c.attribute)),
        )

    def _counted(self, table: pa.Table, schema: TableSchema) -> pa.Table:
        self._rows += table.num_rows
        self._misfits.add(table[OTHER], schema)
        return table

    def _read(self, growth: Growth | Grown, *, compiled: bool) -> tuple[Reading, RejectedLines]:
        directory = self._directory / f"rows-{self._readings}"
        directory.mkdir()
        self._readings += 1
        quarantine = Quarantine(self._table, self._objects, self._options.max_quarantined)
        arguments = self._table, self._objects, growth, self._options, directory, quarantine
        reading: Reading
        if compiled:
            from dynalake.convert.read.compiled.compiled import CompiledReading

            reading = CompiledReading(*arguments)
        else:
            reading = ExactReading(*arguments)
        return reading, quarantine.close()

    def _read_again(self, schema: TableSchema, *, compiled: bool) -> None:
        before = self._reading.read, self.rejected
        self._reading.discard()
        self._reading, self.rejected = self._read(Grown(schema), compiled=compiled)
        if (self._reading.read, self.rejected) != before:
            raise ConflictError(
                "Raw objects were deleted while they were read",
                action="plan again from the objects that are there now",
                table=self._table.names.table,
            )
