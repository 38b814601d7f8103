"""A batch read by the compiled reader, under types that widen for lines that do not fit them.

Rows read under narrower types are made to fit. Where that is not exact, the batch is read again.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa

from dynalake.convert.options import ReadOptions
from dynalake.convert.read.compiled.blocks import Block, read_blocks
from dynalake.convert.read.compiled.parse import LineNumbers, ParsedBlock
from dynalake.convert.read.growth import Grown, Growth
from dynalake.convert.read.placing import PlacedTable, PlacingReader
from dynalake.convert.read.records import Rejecting
from dynalake.convert.rows.place import DENSE, own_columns
from dynalake.convert.rows.runs import Ambiguous, Runs, Unfit
from dynalake.convert.rows.words import element_words
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.files.folders import Input
from dynalake.lake.types.union import Type

_pa: Any = pa  # its stubs take types only as literals; here they are data

_SWITCH = 0.00005  # seconds

UNDECIDED = (Ambiguous, Unfit)
"""Errors of reading a partition, or its rows, after which the exact reader takes over."""


def parse_blocks(blocks: Iterator[Block], parse: Callable[[bytes], ParsedBlock]) -> Iterator[tuple[Block, ParsedBlock]]:
    """Yield the blocks in order, each with its parsed form; some are parsed at the same time."""
    threads = min(4, os.cpu_count() or 1)
    waiting: deque[tuple[Block, Future[ParsedBlock]]] = deque()
    interval = sys.getswitchinterval()
    # The compiled code takes Python's lock again very often, and would wait 5 ms for it each time.
    sys.setswitchinterval(_SWITCH)
    with ThreadPoolExecutor(threads) as pool:
        try:
            for block in blocks:
                waiting.append((block, pool.submit(parse, block.text)))
                if len(waiting) > threads:
                    first, parsed = waiting.popleft()
                    yield first, parsed.result()
            while waiting:
                first, parsed = waiting.popleft()
                yield first, parsed.result()
        finally:
            pool.shutdown(cancel_futures=True)
            sys.setswitchinterval(interval)


class CompiledReading:
    """`exact.Reading`, held as rows, each under the types that were known when it was read."""

    def __init__(
        self,
        table: Table,
        objects: Sequence[Input],
        growth: Growth | Grown,
        options: ReadOptions,
        directory: Path,
        rejected: Rejecting,
    ) -> None:
        _pa.set_memory_pool(_pa.system_memory_pool())  # numpy's too: what one has freed, the other takes
        self.read = self.canaries = 0
        self._growth = growth
        self._reader = PlacingReader(growth.reading.key, growth)
        self._rows = Runs(growth.reading, directory, options.memory_mb, own_columns(growth.reading))
        self._lock = Lock()
        self._is_whole = True
        self._elements = 0
        self._lists: dict[str, list[Type]] = {}  # by attribute, the types of lists and maps that rows were read under
        self._last: TableSchema | None = None
        numbers = LineNumbers(objects, rejected)
        blocks = read_blocks(table, objects, lambda: len(self._reader.schema.columns))
        try:
            for block, parsed in parse_blocks(blocks, lambda text: self._reader.read(text, self._take)):
                numbers.take(block, parsed)
                self.canaries += parsed.canaries
                self.read += parsed.read
        finally:
            self._rows.settle()

    @property
    def duplicates(self) -> int:
        return self._rows.duplicates

    def gives(self, schema: TableSchema) -> bool:
        return (
            self._is_whole
            and self._reader.left_out.is_same(schema)
            and all(self._would_tell(attribute) for attribute in schema.known)
            and self._fits_densely(schema)
            and self._fits(schema)
        )

    def tables(self, schema: TableSchema, built: TableSchema) -> Iterator[pa.Table]:
        return self._rows.tables(built)

    def discard(self) -> None:
        self._rows.discard()

    def _take(self, placed: PlacedTable) -> None:
        with self._lock:
            self._elements = max(self._elements, placed.elements)
            if placed.schema is not self._last:
                self._last = placed.schema
                for column in placed.schema.columns:
                    types = self._lists.setdefault(column.attribute, [])
                    if element_words(column.type) and column.type not in types:
                        types.append(column.type)
            if not self._is_whole:
                return
            try:
                self._rows.add(placed.table, placed.schema, self._growth.reading)
            except (Unfit, Ambiguous):
                self._is_whole = False  # the objects' values are not all known yet

    def _would_tell(self, attribute: str) -> bool:
        """Return whether rows with this attribute were read under types that take it into account."""
        return attribute in self._reader.schema.known or self._growth.wants(attribute)

    def _fits_densely(self, schema: TableSchema) -> bool:
        """Return whether no row has more elements of lists and maps than the schema allows."""
        if self._elements * max((element_words(c.type) for c in schema.columns), default=0) <= DENSE:
            return True
        known = schema.known
        return all(not types or types == [known[a].type] for a, types in self._lists.items() if a in known)

    def _fits(self, schema: TableSchema) -> bool:
        try:
            return self._rows.fits(schema)
        except Ambiguous:
            return False
