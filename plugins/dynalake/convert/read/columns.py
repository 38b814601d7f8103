"""Lines as Arrow columns of expected types, and the exact types of what was met: what `scan` reads, given a shape."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynalake.convert.read import scan
from dynalake.convert.read.program import below_node, make_program, number_nodes, words_of
from dynalake.convert.read.raw import decode
from dynalake.convert.read.records import is_types_text
from dynalake.convert.rows.fit import LENGTH
from dynalake.lake.arrow import arrow_type, converter, json_text, number_text
from dynalake.lake.schema import METADATA_TYPES, TableSchema
from dynalake.lake.types import (
    BOOLEAN,
    MIXED,
    NULL,
    TEXT,
    Field,
    List,
    Null,
    Number,
    Struct,
    Type,
    merge_all,
    observe,
)
from dynalake.record.change import METADATA, OPERATION, OPERATIONS, TYPES, attribute_name

_pa: Any = pa  # its stubs take types only as literals; here they are data
_CANARY = "CANARY"
_OPERATION, _TYPES = METADATA.index(OPERATION), METADATA.index(TYPES)
_SLOTS_AT_ONCE = 4_000_000
"""Bounds the memory of one pass: with very many columns fewer lines are read at once."""


@dataclass(frozen=True)
class Chunk:
    """What was read of some lines: the rows, the types of their values, and the lines that are odd.

    `table` has no column for what none of the rows has; it is in the order of the lines, without the odd ones, which
    are `(start, end)` in the text.
    """

    table: pa.Table
    observed: dict[str, Type]
    odd: list[tuple[int, int]]
    starts: Any  # int64: where each line begins, blank ones left out
    at: Any  # int64: where the line of each row begins


class ColumnReader:
    """Reads lines that are as `schema` says. Safe to share between threads.

    `only`: the attributes and metadata fields whose columns are built, beside `LENGTH`; types are found of all.
    """

    def __init__(self, schema: TableSchema, max_struct_fields: int, only: Collection[str] | None = None) -> None:
        self.schema = schema
        self._limit = max_struct_fields
        self._columns = [(name, name, METADATA_TYPES[name]) for name in METADATA]
        self._columns += sorted((c.key, c.name, c.type) for c in schema.columns if not isinstance(c.type, Null))
        nulls = sorted((c.key, c.name, c.type) for c in schema.columns if isinstance(c.type, Null))
        self._columns += nulls
        self._nodes = number_nodes([(key, kind) for key, _, kind in self._columns])
        keys = [c.key for c in schema.key_columns]
        required = [i + 1 for i, (key, _, _) in enumerate(self._columns) if key in keys or key in METADATA[:3]]
        self._program = make_program(self._nodes, required)
        self._types = [arrow_type(n.type) for n in self._nodes]
        below = [below_node(self._nodes, i + 1) for i in range(len(self._columns))]
        self._last = [nodes[-1] for nodes in below]  # of each column
        self._order = np.array([node for nodes in below for node in nodes], np.int64)
        self._column = np.repeat(np.arange(1, len(below) + 1), [len(nodes) for nodes in below])
        self._built = np.array([only is None or attribute_name(key) in only for key, _, _ in self._columns])
        self._built[[_OPERATION, _TYPES]] = True  # by which lines are judged
        self._width = np.array([words_of(n) for n in self._nodes])
        self._group = np.array([n.group for n in self._nodes])
        self._per_row = int(self._width[self._group < 0].sum())
        self._room: dict[int, float] = {}  # elements per row, as seen so far

    def read(self, text: bytes) -> Iterator[Chunk]:
        """The lines of a text that is valid UTF-8 and ends with `scan.PADDING`, in pieces of bounded size."""
        array, size = np.frombuffer(text, np.uint8), len(text) - len(scan.PADDING)
        lines, most = text.count(b"\n", 0, size), max(1, _SLOTS_AT_ONCE // self._per_row)
        if lines <= most:
            yield self._read(array, size, lines + 1, 0)
            return
        ends = np.flatnonzero(array[:size] == 10) + 1
        for start, end in pairwise([0, *ends[most - 1 : -1 : most].tolist(), size]):
            yield self._read(array[start : end + len(scan.PADDING)], end - start, most + 1, start)

    def _read(self, text: Any, end: int, lines: int, offset: int) -> Chunk:
        while True:
            slots = self._slots(lines)
            seen = _unseen(len(self._nodes))
            rows = scan.Rows(np.zeros(lines, np.int64), np.zeros(lines, np.int64), np.zeros(lines, np.uint8))
            # Each value takes at least two bytes.
            fixes = np.zeros((end // 2 + 1, 2), np.int64)
            count, fixed, full = scan.scan(text, end, self._program, slots, seen, rows, fixes)
            if full < 0:
                break
            self._room[full] = 2 * max(1.0, self._room.get(full, 4.0))
        return _Filled(self, text, slots, seen, rows, count, fixes[:fixed]).chunk(offset)

    def _slots(self, lines: int) -> scan.Slots:
        room, width = np.full(len(self._nodes), lines), self._width
        for node in np.flatnonzero(self._group >= 0).tolist():
            room[node] = int(lines * self._room.get(self._nodes[node].group, 4.0)) + 64
        state_at, word_at = np.zeros(len(room), np.int64), np.zeros(len(room), np.int64)
        state_at[1:] = np.cumsum(room)[:-1]
        word_at[1:] = np.cumsum(room * width)[:-1]
        words = np.empty(int((room * width).sum()), np.uint64)
        used = np.zeros(len(room), np.int64)
        return scan.Slots(
            state_at, word_at, np.zeros(int(room.sum()), np.uint8), words, words.view(np.float64), used, room
        )


class _Filled:
    """Slots after a scan, as Arrow arrays and as types."""

    def __init__(
        self, reader: ColumnReader, text: Any, slots: Any, seen: Any, rows: Any, count: int, fixes: Any
    ) -> None:
        self._reader, self._nodes, self._limit = reader, reader._nodes, reader._limit
        self._text, self._slots = text, slots
        self._seen = scan.Seen(*(numbers.tolist() for numbers in seen))
        self._written = np.frombuffer(b"\0", np.uint8)  # of the type that numba knows for a text
        self._rows, self._count = rows, count
        if len(fixes):
            self._fix(fixes)
        sizes = np.where(reader._group < 0, count, slots.used[reader._group])
        places = np.empty((len(self._nodes), 5), np.int64)
        wanted = (seen.kinds[1 : len(reader._built) + 1] != 0) & reader._built
        wanted[0] = True
        order = reader._order[wanted[reader._column - 1]]
        self._packed = scan.pack(text, self._written, reader._program.kind, slots, sizes, order, places)
        self._sizes, self._places = sizes.tolist(), places.tolist()

    def chunk(self, offset: int) -> Chunk:
        read = self._rows.read[: self._count].astype(bool)
        operation = self.column(_OPERATION)
        known = np.asarray(pc.is_in(operation, pa.array([o for o in OPERATIONS if o != _CANARY])))
        read &= known & self._has_types()
        at, end = self._rows.at[: self._count], self._rows.end[: self._count]
        names, arrays = [LENGTH], [pa.array((end - at).astype(np.int32))]
        observed = {}
        for i, (key, name, kind) in enumerate(self._reader._columns):
            node = i + 1
            if not self._seen.kinds[node]:
                continue
            if key not in METADATA:
                observed[attribute_name(key)] = self.type(node)
            if self._reader._built[i] and not isinstance(kind, Null):
                names.append(name)
                arrays.append(operation if i == _OPERATION else self.column(i))
        table = pa.Table.from_arrays(arrays, names=names)
        odd = np.flatnonzero(~read)
        if len(odd):
            table = table.filter(pa.array(read))
        places = [(int(at[i]) + offset, int(end[i]) + offset) for i in odd]
        spaces = [i for i, place in zip(odd, places, strict=True) if self._is_blank(*place, offset)]
        return Chunk(table, observed, places, np.delete(at, spaces) + offset, at[read] + offset)

    def _has_types(self) -> Any:
        """Of each row, whether its `__types` is none or as it must be. Few differ, so each text is checked once."""
        if not self._seen.kinds[_TYPES + 1]:
            return True
        texts = self.column(_TYPES)
        bad = [text for text in pc.unique(texts).to_pylist() if text is not None and not is_types_text(text)]
        return ~np.asarray(pc.is_in(texts, pa.array(bad, pa.string())))

    def _is_blank(self, start: int, end: int, offset: int) -> bool:
        return self._text[start - offset : end - offset].tobytes().isspace()  # type: ignore[no-any-return]

    def column(self, i: int) -> Any:
        """The values of a column, in memory of their own: columns are let go one by one."""
        start = self._start(i + 1)
        packed = self._packed[start : self._places[self._reader._last[i]][4]]
        return self._array(i + 1, _pa.py_buffer(packed.tobytes()), start)

    def _start(self, node: int) -> int:
        _, mask, at, _, _ = self._places[node]
        start: int = mask if mask >= 0 else at
        return start

    def _array(self, node: int, packed: Any, start: int) -> Any:
        """The values of a node, one per row or per element, of which `packed` has the buffers from `start` on."""
        n, of, size = self._nodes[node], self._reader._types[node], self._sizes[node]
        nulls, mask, at, characters, end = self._places[node]
        buffers = [packed.slice(mask - start, (size + 7) // 8) if nulls else None]
        children = None
        match n.kind:
            case scan.BOOL:
                buffers.append(packed.slice(at - start, (size + 7) // 8))
            case scan.INT | scan.DOUBLE | scan.DECIMAL:
                buffers.append(packed.slice(at - start, 8 * words_of(n) * size))
            case scan.TEXT | scan.SEQUENCE | scan.MIXED | scan.DIGITS | scan.PATHS:
                buffers.append(packed.slice(at - start, 4 * size + 4))
                buffers.append(packed.slice(characters - start, end - characters))
            case scan.LIST:
                buffers.append(packed.slice(at - start, 4 * size + 4))
                children = [self._array(n.first, packed, start)]
            case scan.STRUCT:
                children = [self._array(c, packed, start) for c in range(n.first, n.first + n.count)]
            case scan.EMPTY:
                buffers.append(packed.slice(at - start, 4 * size + 4))
                entry = pa.struct([pa.field("key", pa.string(), False), pa.field("value", pa.string())])
                children = [pa.array([], entry)]
            case scan.NULL:
                return _pa.nulls(size, of)
            case _:
                convert = converter(n.type)
                return pa.array([convert(v) for v in self._parsed(node)], of)
        return _pa.Array.from_buffers(of, size, buffers, nulls, children=children)

    def type(self, node: int) -> Type:
        """The exact type of what a node met, as `catalog.types.observe` gives it."""
        n, kinds = self._nodes[node], self._seen.kinds[node]
        match n.kind:
            case scan.INT | scan.DOUBLE | scan.DECIMAL | scan.DIGITS:
                return self._number(node) if kinds & scan.SAW_NUMBER else NULL
            case scan.LIST:
                return List(self.type(n.first)) if kinds & scan.SAW_LIST else NULL
            case scan.STRUCT if kinds & scan.SAW_OBJECT:
                children = [c for c in range(n.first, n.first + n.count) if self._seen.kinds[c]]
                fields = (Field(self._nodes[c].key, "", self.type(c)) for c in children)
                return Struct(tuple(sorted(fields, key=lambda f: f.key)))
            case scan.TEXT if kinds & scan.SAW_TEXT:
                return TEXT
            case scan.BOOL if kinds & scan.SAW_BOOL:
                return BOOLEAN
            case scan.EMPTY if kinds & scan.SAW_OBJECT:
                return Struct()
            case scan.MIXED:
                simple: dict[int, Type] = {0: NULL, scan.SAW_BOOL: BOOLEAN, scan.SAW_TEXT: TEXT}
                met = kinds & ~scan.SAW_NULL
                if met == scan.SAW_NUMBER:
                    return self._number(node)
                if met in (scan.SAW_LIST, scan.SAW_OBJECT):
                    return self._observe(node)
                return simple.get(met, MIXED)
            case scan.RAW:
                return self._observe(node)
            case _:
                return NULL

    def _number(self, node: int) -> Number:
        s = self._seen
        return Number(s.integer[node], s.scale[node], s.significant[node], not s.beyond[node])

    def _observe(self, node: int) -> Type:
        return merge_all((observe(v, self._limit) for v in self._parsed(node)), self._limit)

    def _parsed(self, node: int) -> Iterator[Any]:
        s, size = self._slots, self._sizes[node]
        state, word = s.state_at[node], s.word_at[node]
        for place, touched in zip(
            s.words[word : word + size].tolist(), s.state[state : state + size].tolist(), strict=True
        ):
            yield decode(self._piece(place)) if touched == scan.VALUE else None

    def _piece(self, word: int) -> str:
        start, length = word & 0xFFFFFFFF, word >> scan.LENGTH_BITS & 0x7FFFFFFF
        text, start = (self._text, start) if start < len(self._text) else (self._written, start - len(self._text))
        return text[start : start + length].tobytes().decode()

    def _fix(self, fixes: Any) -> None:
        """Texts that have to be written anew lie behind the text's end."""
        written, end = [], len(self._text)
        for node, slot in fixes.tolist():
            at = self._slots.word_at[node] + slot
            value = decode(self._piece(int(self._slots.words[at])))
            text = (number_text if self._nodes[node].kind == scan.DIGITS else json_text)(value).encode()
            self._slots.words[at] = end | len(text) << scan.LENGTH_BITS
            written.append(text)
            end += len(text)
        self._written = np.frombuffer(b"".join(written), np.uint8)


def _unseen(nodes: int) -> scan.Seen:
    integer, scale, significant = np.zeros((3, nodes), np.int64)
    return scan.Seen(np.zeros(nodes, np.uint8), integer, scale, significant, np.zeros(nodes, np.uint8))
