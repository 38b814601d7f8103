"""Blocks of lines as rows, under types that are guessed first and widen by whatever lines turn out not to fit.

Each line is either read by the compiled reader exactly as the guess says, or it is odd; an odd line is read by
`RecordParser`, and what it holds widens the guess.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from dynalake.convert.read.blocks import Block
from dynalake.convert.read.columns import ColumnReader
from dynalake.convert.read.raw import BadLine, RawObject
from dynalake.convert.read.records import DELETED, Record, RecordParser, Rejecting
from dynalake.convert.rows.write import RowBatches
from dynalake.lake.schema import TableSchema, merge_observed, observe_record
from dynalake.lake.types import Type

_pa: Any = pa  # its stubs take types only as literals; here they are data

_SAMPLE = 200
"""So many odd lines are looked at before all of them are: what they bring is mostly known then, and few stay odd."""

_SAMPLE_BYTES = 200 << 10
"""Of wide items, or huge ones, only so many bytes."""


class Undecided(Exception):
    """Only the exact reader can tell what becomes of these lines."""


@dataclass(frozen=True)
class Rows:
    """Some records of a block: the rows, with `LENGTH`, the types they were read under, and where each line begins."""

    table: pa.Table
    schema: TableSchema
    at: Any  # int64


@dataclass(frozen=True)
class ParsedBlock:
    """All that a block holds. `rows`: those that were odd come last, all others in the order of their lines.

    `taken`: so many rows more, which went elsewhere.
    """

    rows: list[Rows]
    observed: dict[str, Type]
    canaries: int
    bad: list[tuple[int, str, bytes]]  # place in the text, reason, line
    starts: Any  # int64: of all lines that are not blank
    taken: int = 0

    @property
    def read(self) -> int:
        """Records, canaries among them."""
        return self.canaries + self.taken + sum(rows.table.num_rows for rows in self.rows)


class BlockReader:
    """Reads blocks of one table, each of them under the types as they are known by then. Safe to share between threads.

    `only`: the attributes and metadata fields whose columns rows need to have, beside `LENGTH`; None: all.
    """

    def __init__(self, guess: TableSchema, max_struct_fields: int, only: Collection[str] | None = None) -> None:
        self._limit = max_struct_fields
        self._only = only
        self._reader = ColumnReader(guess, max_struct_fields, only)
        self._lock = Lock()
        self._parse = RecordParser(guess.key)

    @property
    def schema(self) -> TableSchema:
        """The guess as it is now."""
        return self._reader.schema

    def read(self, text: bytes) -> ParsedBlock:
        """The lines of a text that ends with `scan.PADDING`."""
        bad: list[tuple[int, str, bytes]] = []
        canaries: list[int] = []
        if not is_utf8(text):
            self._judge(text, lines_of(text), bad, canaries)
            text = without(text, [place for place, _, _ in bad] + canaries)
        while True:
            reader = self._reader
            chunks = list(reader.read(text))
            rows = [Rows(c.table, reader.schema, c.at) for c in chunks if c.table.num_rows]
            seen = [c.observed for c in chunks]
            odd = [place for c in chunks for place in c.odd]
            if odd:
                if self._outgrown(reader, self._judge(text, sample(odd), [], [])):
                    continue
                dropped = len(bad) + len(canaries)
                records = self._judge(text, odd, bad, canaries)
                if len(bad) + len(canaries) > dropped:
                    # What such a line holds is not to count for the types.
                    text = without(text, [place for place, _, _ in bad] + canaries)
                    continue
                if self._outgrown(reader, records):
                    continue
                if records:
                    rows.append(self._rows(records, reader.schema))
                seen.append(self._observe(records.values()))
            starts = [c.starts for c in chunks]
            starts.append(np.array([place for place, _, _ in bad] + canaries, np.int64))
            return ParsedBlock(
                rows, merge_observed(seen, self._limit), len(canaries), sorted(bad), np.sort(np.concatenate(starts))
            )

    def _judge(
        self, text: bytes, places: Iterable[tuple[int, int]], bad: list[tuple[int, str, bytes]], canaries: list[int]
    ) -> dict[int, Record]:
        """The records in these lines, by where they begin; the others go to `bad` and `canaries`."""
        records = {}
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
                records[start] = record
        return records

    def _rows(self, records: dict[int, Record], schema: TableSchema) -> Rows:
        table = RowBatches(schema).table(list(records.values()))
        there = [f.name for f in table.schema if table[f.name].null_count < len(records)]
        return Rows(table.select(there), schema, np.array(list(records), np.int64))

    def _observe(self, records: Iterable[Record]) -> dict[str, Type]:
        seen: dict[str, Type] = {}
        for record in records:
            observe_record(seen, record.values, self._limit)
        return seen

    def _outgrown(self, reader: ColumnReader, records: dict[int, Record]) -> bool:
        """Whether there is a wider guess than `reader`'s, and there is one where the records do not fit."""
        seen = self._observe(records.values())
        with self._lock:
            schema = self._reader.schema
            wider = schema.widen(seen, self._limit)
            if wider.layout != schema.layout:
                self._reader = ColumnReader(wider, self._limit, self._only)
            return self._reader is not reader


class LineNumbers:
    """Gives the rejected lines of blocks, which come in order, their objects and line numbers in these."""

    def __init__(self, objects: Sequence[RawObject], rejected: Rejecting) -> None:
        self._objects = objects
        self._rejected = rejected
        self._lines = [0] * len(objects)

    def take(self, block: Block, parsed: ParsedBlock) -> None:
        """Raises `Undecided` where there are more than may be: at which of them to stop, the exact reader knows."""
        ends = [*(start for start, _ in block.origins[1:]), len(block.text)]
        bad, lost = deque(parsed.bad), deque(block.lost)
        for (start, number), end in zip(block.origins, ends, strict=False):
            while lost and lost[0][0] < number:
                self._lose(*lost.popleft())
            before, after = np.searchsorted(parsed.starts, [start, end])
            while bad and bad[0][0] < end:
                place, reason, line = bad.popleft()
                at = self._lines[number] + int(np.searchsorted(parsed.starts, place) - before) + 1
                self._rejected.add(self._objects[number].key, at, reason, line)
            self._lines[number] += int(after - before)
        for one in lost:
            self._lose(*one)
        if self._rejected.too_many:
            raise Undecided

    def _lose(self, number: int, reason: str, lost: int) -> None:
        line = 0 if reason == DELETED else self._lines[number] + 1
        self._rejected.add(self._objects[number].key, line, reason, lost=lost)

    def sort(self) -> None:
        """The entries in the order of objects and lines."""
        self._rejected.sort({o.key: i for i, o in enumerate(self._objects)})


def sample(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Some of the lines, spread evenly, of which there may be very many."""
    size = sum(end - start for start, end in places)
    return places[:: max(len(places) // _SAMPLE, min(len(places), size // _SAMPLE_BYTES)) + 1]


def lines_of(text: bytes) -> Iterator[tuple[int, int]]:
    """Where lines begin and end."""
    start = 0
    while (end := text.find(b"\n", start)) >= 0:
        if end > start:
            yield start, end
        start = end + 1


def without(text: bytes, places: Iterable[int]) -> bytes:
    """The text with the lines at these places blank, so that all others stay where they are."""
    kept = bytearray(text)
    for start in places:
        end = kept.index(b"\n", start)
        kept[start:end] = b"\n" * (end - start)
    return bytes(kept)


def is_utf8(text: bytes) -> bool:
    """Whether a text is valid UTF-8."""
    offsets = _pa.py_buffer(np.array([0, len(text)], np.int32))
    array = _pa.Array.from_buffers(pa.binary(), 1, [None, offsets, _pa.py_buffer(text)])
    try:
        array.cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True
