"""A partition read by the compiled reader, under types that are guessed first and proven by the reading itself.

A guess is the table's types, widened by whatever lines turn out not to fit. Each line is either read exactly as the
guess says, or odd; an odd line is read by `RecordParser`, and what it holds widens the guess. What was read under an
earlier guess is made to fit, and where that is not exact, the partition is read once more, with types that are then
known to hold everything.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from dynalake.catalog.discover import observe_record
from dynalake.catalog.raw import BadLine, RawObject
from dynalake.catalog.schema import TableSchema, merge_observed
from dynalake.catalog.types import Number, Type
from dynalake.clients import Clients
from dynalake.compact.blocks import Block, read_blocks
from dynalake.compact.columns import ColumnReader
from dynalake.compact.look import minutes_of
from dynalake.compact.options import CompactOptions
from dynalake.compact.read import DELETED, Record, RecordParser, Rejected
from dynalake.compact.runs import Ambiguous, Runs, Unfit
from dynalake.compact.write import RowBatches
from dynalake.names import TableNames

_pa: Any = pa  # its stubs take types only as literals; here they are data

_SWITCH = 0.00005  # seconds

_SAMPLE = 200
"""So many odd lines are looked at before all of them are: what they bring is mostly known then, and few stay odd."""

_SAMPLE_BYTES = 200 << 10
"""Of wide items, or huge ones, only so many bytes."""


class Undecided(Exception):
    """Only the exact reader can tell what becomes of this partition."""


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


@dataclass(frozen=True)
class _Parsed:
    tables: list[tuple[pa.Table, TableSchema]]
    observed: dict[str, Type]
    canaries: int
    bad: list[tuple[int, str, bytes]]  # place in the text, reason, line
    starts: Any  # of all lines that are not blank


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
        self._reader = ColumnReader(guess, self._limit)
        self._lock = Lock()
        self._parse = RecordParser(guess.key)
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
        lines = [0] * len(objects)
        threads = min(4, os.cpu_count() or 1)
        waiting: deque[tuple[Block, Future[_Parsed]]] = deque()
        interval = sys.getswitchinterval()
        # The compiled code comes back for Python's lock all the time, and would wait 5 ms for it each time.
        sys.setswitchinterval(_SWITCH)
        with ThreadPoolExecutor(threads) as pool:
            try:
                for block in read_blocks(clients, names, objects, lambda: len(self._reader.schema.columns)):
                    waiting.append((block, pool.submit(self._read, block.text)))
                    if len(waiting) > threads:
                        self._take(waiting.popleft(), objects, lines, rejected)
                while waiting:
                    self._take(waiting.popleft(), objects, lines, rejected)
            finally:
                pool.shutdown(cancel_futures=True)
                self.found.rows.settle()
                sys.setswitchinterval(interval)
        places = {o.key: i for i, o in enumerate(objects)}
        rejected.entries.sort(key=lambda e: (places[e["object"]], e["line"]))

    def _take(
        self, one: tuple[Block, Future[_Parsed]], objects: Sequence[RawObject], lines: list[int], rejected: Rejected
    ) -> None:
        block, parsed = one[0], one[1].result()
        ends = [*(start for start, _ in block.origins[1:]), len(block.text)]
        for (start, number), end in zip(block.origins, ends, strict=False):
            before, after = np.searchsorted(parsed.starts, [start, end])
            for place, reason, line in parsed.bad:
                if start <= place < end:
                    at = lines[number] + int(np.searchsorted(parsed.starts, place) - before) + 1
                    rejected.add(objects[number].key, at, reason, line)
            lines[number] += int(after - before)
        for number, reason in block.lost:
            rejected.add(objects[number].key, 0 if reason == DELETED else lines[number] + 1, reason)
        if rejected.too_many:
            raise Undecided
        self.found.canaries += parsed.canaries
        self.found.read += parsed.canaries + sum(table.num_rows for table, _ in parsed.tables)
        self.found.minutes.update(*(minutes_of(table) for table, _ in parsed.tables))
        if parsed.observed != self.found.observed:
            self.found.observed = merge_observed((self.found.observed, parsed.observed), self._limit)
        try:
            for table, schema in parsed.tables if self._fits else ():
                self.found.rows.add(table, schema, self._reader.schema)
        except Unfit:
            self._fits = False  # the types are still to be found

    def _read(self, text: bytes) -> _Parsed:
        bad: list[tuple[int, str, bytes]] = []
        canaries: list[int] = []
        if not _is_utf8(text):
            self._judge(text, _lines(text), bad, canaries)
            text = _without(text, [place for place, _, _ in bad] + canaries)
        while True:
            reader = self._reader
            chunks = list(reader.read(text))
            tables, seen = [(c.table, reader.schema) for c in chunks if c.table.num_rows], [c.observed for c in chunks]
            odd = [place for c in chunks for place in c.odd]
            if odd:
                if self._outgrown(reader, self._judge(text, _sample(odd), [], [])):
                    continue
                dropped = len(bad) + len(canaries)
                records = self._judge(text, odd, bad, canaries)
                if len(bad) + len(canaries) > dropped:
                    # What such a line holds is not to count for the types.
                    text = _without(text, [place for place, _, _ in bad] + canaries)
                    continue
                if self._outgrown(reader, records):
                    continue
                if records:
                    tables.append((_rows(records, reader.schema), reader.schema))
                seen.append(self._observe(records))
            starts = [c.starts for c in chunks]
            starts.append(np.array([place for place, _, _ in bad] + canaries, np.int64))
            return _Parsed(
                tables, merge_observed(seen, self._limit), len(canaries), sorted(bad), np.sort(np.concatenate(starts))
            )

    def _judge(
        self, text: bytes, places: Iterable[tuple[int, int]], bad: list[tuple[int, str, bytes]], canaries: list[int]
    ) -> list[Record]:
        """The records in these lines; the others go to `bad` and `canaries`."""
        records = []
        for start, end in places:
            line = text[start:end]
            if line.isspace():
                continue
            try:
                record = self._parse(line)
            except BadLine as error:
                bad.append((start, str(error), line))
                continue
            if record is None:
                canaries.append(start)
            else:
                records.append(record)
        return records

    def _observe(self, records: list[Record]) -> dict[str, Type]:
        seen: dict[str, Type] = {}
        for record in records:
            observe_record(seen, record.values, self._limit)
        return seen

    def _outgrown(self, reader: ColumnReader, records: list[Record]) -> bool:
        """Whether there is a wider guess than `reader`'s, and there is one where the records do not fit."""
        seen = self._observe(records)
        with self._lock:
            schema = self._reader.schema
            wider = schema.widen(seen, self._limit)
            if wider.layout != schema.layout:
                self._reader = ColumnReader(wider, self._limit)
            return self._reader is not reader


def _sample(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    size = sum(end - start for start, end in places)
    return places[:: max(len(places) // _SAMPLE, min(len(places), size // _SAMPLE_BYTES)) + 1]


def _rows(records: list[Record], schema: TableSchema) -> pa.Table:
    table = RowBatches(schema).table(records)
    return table.select([f.name for f in table.schema if table[f.name].null_count < len(records)])


def _lines(text: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while (end := text.find(b"\n", start)) >= 0:
        if end > start:
            yield start, end
        start = end + 1


def _without(text: bytes, places: Iterable[int]) -> bytes:
    """The text with the lines at these places blank, so that all others stay where they are."""
    kept = bytearray(text)
    for start in places:
        end = kept.index(b"\n", start)
        kept[start:end] = b"\n" * (end - start)
    return bytes(kept)


def _is_utf8(text: bytes) -> bool:
    offsets = _pa.py_buffer(np.array([0, len(text)], np.int32))
    array = _pa.Array.from_buffers(pa.binary(), 1, [None, offsets, _pa.py_buffer(text)])
    try:
        array.cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True
