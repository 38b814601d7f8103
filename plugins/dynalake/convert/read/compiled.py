"""A partition read by the compiled reader, under types that are guessed first and proven by the reading itself.

A guess is the table's types, widened by whatever lines turn out not to fit (`parse`). What was read under an earlier
guess is made to fit, and where that is not exact, the partition is read once more, with types that are then known to
hold everything.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from dynalake.clients import Clients
from dynalake.convert.options import CompactOptions
from dynalake.convert.read.blocks import Block, read_blocks
from dynalake.convert.read.parse import BlockReader, LineNumbers, ParsedBlock, Undecided
from dynalake.convert.read.raw import RawObject
from dynalake.convert.read.records import Rejected
from dynalake.convert.rows.minutes import minutes_of
from dynalake.convert.rows.runs import Ambiguous, Runs, Unfit
from dynalake.lake.schema import TableSchema, merge_observed
from dynalake.lake.types import Number, Type
from dynalake.names import TableNames

_pa: Any = pa  # its stubs take types only as literals; here they are data

_SWITCH = 0.00005  # seconds

UNDECIDED = (Undecided, Ambiguous, Unfit)
"""What the reading of a partition, and the reading of its rows, may raise for the exact reader to take over."""


@dataclass
class CompiledRecords:
    """As `exact.Records`."""

    rows: Runs
    read: int = 0
    canaries: int = 0
    observed: dict[str, Type] = field(default_factory=dict)
    minutes: set[int] = field(default_factory=set)

    @property
    def duplicates(self) -> int:
        return self.rows.duplicates

    def tables(self, schema: TableSchema) -> Iterator[pa.Table]:
        return self.rows.tables(schema)


def read_compiled(
    clients: Clients,
    names: TableNames,
    objects: Sequence[RawObject],
    table: TableSchema,
    options: CompactOptions,
    directory: Path,
    rejected: Rejected,
) -> CompiledRecords:
    """All records of the objects, as `read.read_records` finds them. Raises `ConflictError`, `Undecided`."""
    _pa.set_memory_pool(_pa.system_memory_pool())  # numpy's too: what one has freed, the other takes
    first = _Pass(table, options, directory)
    first.run(clients, names, objects, rejected)
    if first.proven:
        return first.found
    rejected.entries.clear()
    first.found.rows.discard()
    second = _Pass(table.widen(first.found.observed, options.max_struct_fields), options, directory)
    second.run(clients, names, objects, rejected)
    if not second.proven:
        raise Undecided
    return second.found


class _Pass:
    """One reading of all objects."""

    def __init__(self, guess: TableSchema, options: CompactOptions, directory: Path) -> None:
        self._table = guess
        self._limit = options.max_struct_fields
        self._reader = BlockReader(guess, self._limit)
        self.found = CompiledRecords(Runs(guess, directory, options.memory_mb))
        self._fits = True

    @property
    def proven(self) -> bool:
        """Whether the rows can be had with the types that were found."""
        keys = [c.type for c in self._reader.schema.key_columns]
        if any(isinstance(key, Number) and key.kind == "text" for key in keys):
            raise Undecided  # numbers as text are not in the order of numbers
        files = self._table.widen(self.found.observed, self._limit).file_schema(self.found.observed)
        return self._fits and self.found.rows.fits(files)

    def run(self, clients: Clients, names: TableNames, objects: Sequence[RawObject], rejected: Rejected) -> None:
        numbers = LineNumbers(objects, rejected)
        threads = min(4, os.cpu_count() or 1)
        waiting: deque[tuple[Block, Future[ParsedBlock]]] = deque()
        interval = sys.getswitchinterval()
        # The compiled code comes back for Python's lock all the time, and would wait 5 ms for it each time.
        sys.setswitchinterval(_SWITCH)
        with ThreadPoolExecutor(threads) as pool:
            try:
                for block in read_blocks(clients, names, objects, lambda: len(self._reader.schema.columns)):
                    waiting.append((block, pool.submit(self._reader.read, block.text)))
                    if len(waiting) > threads:
                        self._take(waiting.popleft(), numbers)
                while waiting:
                    self._take(waiting.popleft(), numbers)
            finally:
                pool.shutdown(cancel_futures=True)
                self.found.rows.settle()
                sys.setswitchinterval(interval)
        numbers.sort()

    def _take(self, one: tuple[Block, Future[ParsedBlock]], numbers: LineNumbers) -> None:
        block, parsed = one[0], one[1].result()
        numbers.take(block, parsed)
        self.found.canaries += parsed.canaries
        self.found.read += parsed.read
        self.found.minutes.update(*(minutes_of(rows.table) for rows in parsed.rows))
        if parsed.observed != self.found.observed:
            self.found.observed = merge_observed((self.found.observed, parsed.observed), self._limit)
        try:
            for rows in parsed.rows if self._fits else ():
                self.found.rows.add(rows.table, rows.schema, self._reader.schema)
        except Unfit:
            self._fits = False  # the types are still to be found
