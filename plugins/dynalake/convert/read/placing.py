"""Blocks of lines as rows of a table whose columns are given; a value without a place in its column is in `__other`.

The compiled reader reads each line, and reports values that it could not place. They show how the table's columns may
grow, and the lines are read again under these. `RecordParser` reads a line that the compiled reader leaves out, and
gives the same row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from dynalake.convert.read.compiled.columns import ColumnReader, Extra, Lines, Scanned
from dynalake.convert.read.compiled.parse import ParsedBlock, is_utf8, lines_of, sample, without
from dynalake.convert.read.growth import Grown, Growth
from dynalake.convert.read.raw import BadLine
from dynalake.convert.read.records import Record, RecordParser
from dynalake.convert.rows.place import PlacedRows
from dynalake.errors import RecordError
from dynalake.lake.columns.column import KEY
from dynalake.lake.columns.schema import TableSchema, merge_observed
from dynalake.lake.types.key_text import key_text, key_texts, number_key, number_keys
from dynalake.lake.types.union import Number, Type, holds
from dynalake.record.change import attribute_name
from dynalake.record.key import ItemKey

_pa: Any = pa  # its stubs take types only as literals; here they are data
pc: Any = pyarrow.compute

_SAMPLE = 200
"""Rows whose values without a place are read before all others: they mostly show all types there are."""

_BETWEEN = key_text(("", ""))


@dataclass(frozen=True)
class PlacedTable:
    """Some rows, and the types they were read under. `elements`: the most that the lists and maps of one row have."""

    table: pa.Table
    schema: TableSchema
    elements: int


Take = Callable[[PlacedTable], None]


@dataclass
class LeftOut:
    """The attributes that had values without a place, and under which types; None: without a column.

    Attributes that can never get a column are not in it.
    """

    types: dict[str, list[Type | None]] = field(default_factory=dict)

    def add(self, attribute: str, of: Type | None) -> None:
        known = self.types.setdefault(attribute, [])
        if of not in known:
            known.append(of)

    def is_same(self, schema: TableSchema) -> bool:
        """Return whether the same values have no place under this schema."""
        for attribute, types in self.types.items():
            column = schema.known.get(attribute)
            if column is not None and types != [column.type]:
                return False
        return True


class PlacingReader:
    """Reads blocks of one table, each under the types known by then. Threads may share it."""

    def __init__(self, key: ItemKey, growth: Growth | Grown) -> None:
        self._growth, self._limits = growth, growth.limits
        self._parse = RecordParser(key)
        self._key = key
        self._reader = ColumnReader(growth.reading, self._limits, growth.known)
        self._lock, self._slow = Lock(), Lock()
        self.left_out = LeftOut()

    @property
    def schema(self) -> TableSchema:
        """Schema with the types to read under, as they are now."""
        return self._growth.reading

    def read(self, text: bytes, take: Take) -> ParsedBlock:
        """Read the lines of a text that ends with `scan.PADDING`. Give their rows to `take`, in any order."""
        bad: list[tuple[int, str, bytes]] = []
        canaries: list[int] = []
        records = 0
        if not is_utf8(text):
            self._judge(text, lines_of(text), bad, canaries)
            text = without(text, [place for place, _, _ in bad] + canaries)
        lines, start = Lines(text), 0
        starts: list[Any] = []
        while start < lines.size:
            dropped = len(bad) + len(canaries)
            piece = self._read_some(lines, start, bad, canaries, take)
            if len(bad) + len(canaries) > dropped:
                # The values of such a line must not count for the types.
                lines = Lines(without(lines.text, [place for place, _, _ in bad] + canaries))
            if piece is not None:
                start = piece.end
                starts.append(piece.starts)
                records += piece.rows
        starts.append(np.array([place for place, _, _ in bad] + canaries, np.int64))
        return ParsedBlock(records, len(canaries), sorted(bad), np.sort(np.concatenate(starts)))

    def _read_some(
        self, lines: Lines, start: int, bad: list[tuple[int, str, bytes]], canaries: list[int], take: Take
    ) -> _Piece | None:
        """Read some lines from `start` on. Return None where they have to be read again."""
        reader = self._current()
        scanned = reader.read_some(lines, start)
        keys = self._keys(scanned, reader.schema)
        odd = scanned.odd()
        if self._sample_outgrows(reader, lines.text, scanned, odd):
            return None
        with self._slow if odd else nullcontext():
            # A line takes many times the memory of its text in Python, so only one block at a time does this.
            dropped = len(bad) + len(canaries)
            records = self._judge(lines.text, odd, bad, canaries)
            if len(bad) + len(canaries) > dropped:
                return None
            misfits: dict[str, Type | None] = {}
            doubtful: set[int] = set()
            extras = scanned.extras(known=not self._growth.wants_any)
            news = self._growth.types(list(self._without_place(extras, misfits, doubtful)))
            if doubtful:
                scanned.read[list(doubtful)] = False
                records |= self._judge(lines.text, scanned.places(doubtful), bad, canaries)
            seen = merge_observed((news, *(self._growth.record(r.values) for r in records.values())), self._limits)
            if self._growth.outgrown(reader.schema, seen):
                return None
            chunk = scanned.chunk({} if keys is None else {KEY: keys})
            self._growth.add(chunk.observed)
            with self._lock:
                for attribute, of in misfits.items():
                    self.left_out.add(attribute, of)
            if chunk.table.num_rows:
                take(PlacedTable(chunk.table, reader.schema, chunk.elements))
            self._place(records.values(), reader.schema, take)
            return _Piece(chunk.end, chunk.starts, chunk.table.num_rows + len(records))

    def _current(self) -> ColumnReader:
        with self._lock:
            schema = self._growth.reading
            if self._reader.schema.columns != schema.columns:
                self._reader = ColumnReader(schema, self._limits, self._growth.known)
            return self._reader

    def _sample_outgrows(
        self, reader: ColumnReader, text: bytes, scanned: Scanned, odd: Sequence[tuple[int, int]]
    ) -> bool:
        """Return whether some of the values without a place show already that there are other types to read under."""
        known = not self._growth.wants_any
        chosen = scanned.sample(_SAMPLE, known=known)
        if not odd and not chosen.any():
            return False
        with self._slow:
            if self._current() is not reader:
                return True  # another block has shown it meanwhile
            news = self._growth.types(self._without_place(scanned.extras(chosen, known=known), {}, set()))
            records = self._judge(text, sample(list(odd)), [], [])
            seen = merge_observed((news, *(self._growth.record(r.values) for r in records.values())), self._limits)
            return bool(seen) and self._growth.outgrown(reader.schema, seen)

    def _without_place(
        self, extras: Iterable[Extra], misfits: dict[str, Type | None], doubtful: set[int]
    ) -> Iterator[tuple[str, Any]]:
        """Yield the values that may show how to grow; `doubtful`: rows whose values would fit as Python reads them."""
        for extra in extras:
            if extra.type is None:
                if self._growth.wants(extra.attribute):
                    misfits[extra.attribute] = None
                    yield extra.attribute, extra.value
            elif not extra.dense and holds(extra.type, extra.value):
                doubtful.add(extra.row)
            else:
                misfits[extra.attribute] = extra.type
                yield extra.attribute, extra.value

    def _judge(
        self, text: bytes, places: Iterable[tuple[int, int]], bad: list[tuple[int, str, bytes]], canaries: list[int]
    ) -> dict[int, Record]:
        """Return the records in these lines, by where they begin; the others go to `bad` and `canaries`."""
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

    def _place(self, records: Iterable[Record], schema: TableSchema, take: Take) -> None:
        """Give `take` the rows of lines that Python has read."""
        rows = PlacedRows(schema)
        for placed, table in rows.tables(records):
            with self._lock:
                for key in {key for p in placed for key in p.misplaced}:
                    attribute = attribute_name(key)
                    column = schema.known.get(attribute)
                    if column is not None or self._growth.wants(attribute):
                        self.left_out.add(attribute, None if column is None else column.type)
            columns = [name for name in table.column_names if table[name].null_count < table.num_rows]
            take(PlacedTable(table.select(columns), schema, max(p.elements for p in placed)))

    def _keys(self, scanned: Scanned, schema: TableSchema) -> Any | None:
        """Return the column `__key` where there is one. A line without a key is not a row."""
        if KEY not in schema.identity:
            return None
        parts = []
        for attribute in self._key.attributes:
            column = schema.known.get(attribute.name)
            values = None if column is None else scanned.column(column.name)
            if values is None:
                values = _pa.nulls(len(scanned.read), pa.string())
            if attribute.type == "N":
                extras = {
                    e.row: e.text for e in scanned.extras(known=column is not None) if e.attribute == attribute.name
                }
                values = _number_texts(values, None if column is None else column.type, extras)
            parts.append(values)
        if len(parts) == 1:
            keys = parts[0]
        elif self._key.partition.type == "N":
            keys = pc.binary_join_element_wise(*parts, _BETWEEN)
        else:
            keys = key_texts(parts)
        scanned.read &= np.asarray(keys.is_valid())
        return keys


@dataclass(frozen=True)
class _Piece:
    """The part of a text that was read: its end, where its lines begin, how many rows it has."""

    end: int
    starts: Any
    rows: int


def _number_texts(values: Any, of: Type | None, extras: Mapping[int, str]) -> Any:
    """Return `number_key` of each row's number, from its column or as written in the line; null without one."""
    is_json = not isinstance(of, Number)
    if not extras and not is_json:
        try:
            return number_keys(values)
        except (RecordError, ArithmeticError):
            pass  # some are not DynamoDB's
    texts = [
        None if v is None else v if is_json else repr(v) if isinstance(v, float) else str(v) for v in _list(values)
    ]
    for row, text in extras.items():
        texts[row] = text
    return _pa.array(list(map(_number_text, texts)), pa.string())


def _number_text(text: str | None) -> str | None:
    if not text or text[0] not in "-0123456789":
        return None
    try:
        return number_key(Decimal(text))
    except (RecordError, ArithmeticError):
        return None


def _list(values: Any) -> list[Any]:
    return values.to_pylist()  # type: ignore[no-any-return]
