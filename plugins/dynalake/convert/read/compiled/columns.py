"""Lines as Arrow columns of expected types, and the exact types of their values: the result of `scan` with a shape."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynalake.convert.read.compiled import scan
from dynalake.convert.read.compiled.program import below_node, make_program, number_nodes, words_of
from dynalake.convert.read.raw import decode
from dynalake.convert.read.records import is_types_text
from dynalake.convert.rows.place import DENSE, OTHER_TYPE
from dynalake.lake.columns.schema import METADATA_TYPES, TableSchema
from dynalake.lake.types.arrow import arrow_type, json_text, number_text
from dynalake.lake.types.budget import Limits
from dynalake.lake.types.union import (
    BOOLEAN,
    MIXED,
    NULL,
    TEXT,
    Field,
    List,
    Map,
    Null,
    Number,
    Struct,
    Type,
    merge_all,
    observe,
)
from dynalake.record.change import METADATA, OPERATION, OPERATIONS, OTHER, TYPES, attribute_name

_pa: Any = pa  # its stubs take types only as literals; here they are data
_CANARY = "CANARY"
_OPERATION, _TYPES = METADATA.index(OPERATION), METADATA.index(TYPES)
_SLOTS_AT_ONCE = 4_000_000
"""Bounds the memory of one pass: with very many columns, or elements of lists, fewer lines are read at once."""

_EXTRAS = 1 << 10

_SECRET = np.uint64(secrets.randbits(64) | 1)
"""Of this process, for `scan.shapes`."""

_SAMPLED = 1 << 15
"""Values of a sample. Python takes ten microseconds for each: 200 items of 2,000 attributes would take too long."""


@dataclass(frozen=True)
class Chunk:
    """Some lines that were read: the rows, and the types of their values.

    `table` has no column where no row has a value; it is in the order of the lines, without the odd ones. `end`: where
    in the text the next lines begin. `elements`: how many the lists and maps of one row have at most.
    """

    table: pa.Table
    observed: dict[str, Type]
    starts: Any  # int64: where each line begins, blank ones left out
    end: int
    elements: int


@dataclass(frozen=True)
class Extra:
    """A value that has no place in its row. `type`: that of the column that cannot hold it; None without a column."""

    row: int
    attribute: str
    type: Type | None
    text: str
    dense: bool

    @cached_property
    def value(self) -> Any:
        return decode(self.text)


@dataclass
class Lines:
    """A text that is valid UTF-8 and ends with `scan.PADDING`; its lines are found once."""

    text: bytes
    array: Any = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.array = np.frombuffer(self.text, np.uint8)
        self.size = len(self.text) - len(scan.PADDING)

    @cached_property
    def ends(self) -> Any:
        """Ends of the lines that are not empty: a line that was taken out is nothing but line breaks."""
        breaks = self.array[: self.size] == 10
        breaks[1:] &= self.array[: self.size - 1] != 10
        return np.flatnonzero(breaks) + 1

    def after(self, start: int, most: int) -> tuple[int, int]:
        """Return where the lines from `start` on end, `most` of them at most; and how many there are."""
        if start == 0 and (count := self.text.count(b"\n", 0, self.size)) <= most:
            return self.size, count
        first = int(np.searchsorted(self.ends, start, "right"))
        last = min(first + most, len(self.ends)) - 1
        return (self.size, 0) if last < first else (int(self.ends[last]), last + 1 - first)


class ColumnReader:
    """Reads lines that match `schema`. Threads may share it.

    `known`: by attribute, the types that do not change with what is read. A value that has no place in its row becomes
    an `Extra`.
    """

    def __init__(self, schema: TableSchema, limits: Limits, known: Mapping[str, Type]) -> None:
        self.schema = schema
        self._limits = limits
        columns = sorted((isinstance(c.type, Null), c.key, c.name, c.type) for c in schema.columns)
        self._columns = [(name, name, METADATA_TYPES[name]) for name in METADATA]
        self._columns += [(key, name, kind) for _, key, name, kind in columns]
        self._nodes = number_nodes([(key, kind, known.get(attribute_name(key))) for key, _, kind in self._columns])
        # A number of the key that does not fit its column is present all the same, so it is not required here.
        self.numbers = [a.name for a in schema.key.attributes if a.type == "N"]
        keys = [c.key for c in schema.key_columns if c.attribute not in self.numbers]
        required = [i + 1 for i, (key, _, _) in enumerate(self._columns) if key in keys or key in METADATA[:3]]
        self._program = make_program(self._nodes, required, DENSE)
        self._types = [arrow_type(n.type) for n in self._nodes]
        below = [below_node(self._nodes, i + 1) for i in range(len(self._columns))]
        self._last = [nodes[-1] for nodes in below]  # of each column
        self._order = np.array([node for nodes in below for node in nodes], np.int64)
        self._column = np.repeat(np.arange(1, len(below) + 1), [len(nodes) for nodes in below])
        self._width = np.array([words_of(n) for n in self._nodes])
        self._group = np.array([n.group for n in self._nodes])
        self._grouped = np.flatnonzero(self._group >= 0)
        self._per_row = int(self._width[self._group < 0].sum())
        self._per_element: dict[int, int] = {
            group: int(self._width[self._group == group].sum()) for group in {*self._group.tolist()} - {-1}
        }
        # Estimates that follow what was read, without a lock: elements per row, rows at once, extras.
        self._room: dict[int, float] = {}
        self._rows = _SLOTS_AT_ONCE
        self._extras = _EXTRAS

    def read_some(self, lines: Lines, start: int) -> Scanned:
        """Return the lines from `start` on, as many as are read at once."""
        most = max(1, min(_SLOTS_AT_ONCE // self._per_row, self._rows))
        end, count = lines.after(start, most)
        least: dict[int, int] = {}  # the room that the first line needs
        while True:
            slots = self._slots(count + 1, least)
            seen = _unseen(len(self._nodes))
            ints = np.zeros((3, count + 1), np.int64)
            rows = scan.Rows(ints[0], ints[1], np.zeros(count + 1, np.uint8), ints[2])
            # Each value takes at least two bytes.
            fixes = np.zeros(((end - start) // 2 + 1, 2), np.int64)
            extras = np.empty((self._extras, 8), np.int64)
            text = lines.array[start : end + len(scan.PADDING)]
            read, fixed, beyond, full, pos = scan.scan(
                text, end - start, self._program, slots, seen, rows, fixes, extras
            )
            if full < 0:
                self._rows = min(_SLOTS_AT_ONCE, 2 * most)
                return Scanned(self, text, start, end, slots, seen, rows, read, fixes[:fixed], extras[:beyond])
            if full == 0:
                self._extras *= 4
                continue
            least = {group: int(slots.room[group]) for group in self._per_element}
            if read:  # the lines that had room are read again, without the values of the one that had none
                end, count, self._rows = start + pos, read, read
            else:
                least[full] = 2 * max(_EXTRAS, least[full])
            self._room[full] = 2 * max(1.0, self._room.get(full, 4.0))

    def _slots(self, lines: int, least: dict[int, int]) -> scan.Slots:
        estimates = {group: int(lines * self._room.get(group, 4.0)) + 64 for group in self._per_element}
        words = sum(self._per_element[group] * count for group, count in estimates.items())
        share = min(1.0, _SLOTS_AT_ONCE / max(1, words))
        room, width = np.full(len(self._nodes), lines), self._width
        for node in self._grouped.tolist():
            group = self._nodes[node].group
            room[node] = max(int(estimates[group] * share), least.get(group, 64))
        state_at, word_at = np.zeros(len(room), np.int64), np.zeros(len(room), np.int64)
        state_at[1:] = np.cumsum(room)[:-1]
        word_at[1:] = np.cumsum(room * width)[:-1]
        words_array = np.empty(int((room * width).sum()), np.uint64)
        used = np.zeros(len(room), np.int64)
        return scan.Slots(
            state_at,
            word_at,
            np.zeros(int(room.sum()), np.uint8),
            words_array,
            words_array.view(np.float64),
            used,
            room,
        )


class Scanned:
    """The slots of a scan as Arrow arrays and as types, and the values that have no place in them."""

    def __init__(
        self,
        reader: ColumnReader,
        text: Any,
        start: int,
        end: int,
        slots: scan.Slots,
        seen: scan.Seen,
        rows: scan.Rows,
        count: int,
        fixes: Any,
        extras: Any,
    ) -> None:
        self.end = end
        self._reader, self._nodes, self._limits = reader, reader._nodes, reader._limits
        self._text, self._start, self._slots = text, start, slots
        self._seen = scan.Seen(*(numbers.tolist() for numbers in seen))
        self._written = np.frombuffer(b"\0", np.uint8)  # of the type that numba knows for a text
        self._rows, self._count = rows, count
        if len(fixes):
            self._fix(fixes)
        sizes = np.where(reader._group < 0, count, slots.used[reader._group])
        places = np.empty((len(self._nodes), 5), np.int64)
        has_values = seen.kinds[1 : len(reader._columns) + 1] != 0
        has_values[0] = True
        order = reader._order[has_values[reader._column - 1]]
        self._packed = scan.pack(text, self._written, reader._program.kind, slots, sizes, order, places)
        self._sizes, self._places = sizes.tolist(), places.tolist()
        self._operation = self._column(_OPERATION)
        is_change = np.asarray(pc.is_in(self._operation, pa.array([o for o in OPERATIONS if o != _CANARY])))
        self.read = rows.read[:count].astype(bool) & is_change & self._has_types()
        """For each line, whether it is a row; the others are odd."""
        self._extras = extras

    def odd(self) -> list[tuple[int, int]]:
        """Return where the odd lines begin and end in the text."""
        return self.places(np.flatnonzero(~self.read).tolist())

    def places(self, rows: Iterable[int]) -> list[tuple[int, int]]:
        """Return where these lines begin and end in the text."""
        at, end = self._rows.at, self._rows.end
        return [(int(at[i]) + self._start, int(end[i]) + self._start) for i in rows]

    def sample(self, most: int, *, known: bool) -> Any:
        """Return a mask of the lines: a few that have extras, spread evenly; `known` as in `extras`.

        It has at most `most` lines, and of wide items only as many as have about `_SAMPLED` extras.
        """
        extras = self._extras_of(self.read, known=known)
        rows = np.unique(extras[:, scan.EXTRA_ROW])
        chosen = np.zeros(self._count, bool)
        chosen[rows[:: max(len(rows) // most, len(extras) // _SAMPLED) + 1]] = True
        return chosen

    def extras(self, rows: Any | None = None, *, known: bool = False) -> Iterator[Extra]:
        """Yield the extras of lines that are rows; `rows`: a mask of the lines that count.

        `known`: only of attributes that have a column.
        """
        chosen = self._extras_of(self.read if rows is None else self.read & rows, known=known)
        columns, text = self._reader._columns, self._text
        for row, key, key_end, value, value_end, node, _, dense in chosen.tolist():
            yield Extra(
                row,
                attribute_name(columns[node - 1][0]) if node > 0 else text[key:key_end].tobytes().decode(),
                columns[node - 1][2] if node > 0 else None,
                text[value:value_end].tobytes().decode(),
                bool(dense),
            )

    def chunk(self, others: Mapping[str, Any] | None = None) -> Chunk:
        """Return the rows. The caller may have narrowed `read`: the other lines are odd then.

        `others`: columns that do not follow from the lines' values alone, with a value for each line.
        """
        read = self.read
        at = self._rows.at[: self._count]
        names, arrays = [OPERATION], [self._operation]
        observed = {}
        for i, (key, name, kind) in enumerate(self._reader._columns):
            node = i + 1
            if not self._seen.kinds[node]:
                continue
            if key not in METADATA:
                observed[attribute_name(key)] = self.type(node)
            if i != _OPERATION and not isinstance(kind, Null):
                names.append(name)
                arrays.append(self._column(i))
        extras = self._extras_of(read)
        if len(extras):
            names.append(OTHER)
            arrays.append(self._other(extras))
        names += others or ()
        arrays += (others or {}).values()
        table = pa.Table.from_arrays(arrays, names=names)
        places = self.odd()
        if places:
            table = table.filter(pa.array(read))
        spaces = [i for i, place in zip(np.flatnonzero(~read), places, strict=True) if self._is_blank(*place)]
        elements = int(self._rows.elements[: self._count][read].max(initial=0))
        starts = np.delete(at, spaces) + self._start
        return Chunk(table, observed, starts, self.end, elements)

    def _extras_of(self, rows: Any, *, known: bool = False) -> Any:
        chosen = rows[self._extras[:, scan.EXTRA_ROW]]
        return self._extras[chosen & (self._extras[:, scan.EXTRA_NODE] > 0) if known else chosen]

    def _other(self, extras: Any) -> Any:
        """Return the column `__other`: the extras of each row, as written in its line."""
        counts = np.bincount(extras[:, scan.EXTRA_ROW], minlength=self._count)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        keys = self._pieces(extras[:, scan.EXTRA_KEY], extras[:, scan.EXTRA_KEY_END])
        at, end = extras[:, scan.EXTRA_VALUE].copy(), extras[:, scan.EXTRA_VALUE_END].copy()
        written, size = [], len(self._text)
        for i in np.flatnonzero(extras[:, scan.EXTRA_PLAIN] == 0).tolist():
            text = json_text(decode(self._text[at[i] : end[i]].tobytes().decode())).encode()
            at[i], end[i] = size, size + len(text)
            written.append(text)
            size += len(text)
        values = self._pieces(at, end, np.frombuffer(b"".join(written) + b"\0", np.uint8))
        entries = _pa.StructArray.from_arrays([keys, values], fields=[OTHER_TYPE.key_field, OTHER_TYPE.item_field])
        nulls = _pa.py_buffer(np.packbits(counts > 0, bitorder="little"))
        missing = int((counts == 0).sum())
        buffers = [nulls if missing else None, _pa.py_buffer(offsets)]
        return _pa.Array.from_buffers(OTHER_TYPE, self._count, buffers, missing, children=[entries])

    def _pieces(self, at: Any, end: Any, written: Any | None = None) -> Any:
        """Return pieces of the text, or of what was `written` behind it, as Arrow has texts."""
        words = at.astype(np.uint64) | (end - at).astype(np.uint64) << np.uint64(scan.LENGTH_BITS)
        out, offsets = np.empty(int((end - at).sum()), np.uint8), np.zeros(len(at) + 1, np.int32)
        state = np.full(len(at), scan.VALUE, np.uint8)
        scan.join(self._text, self._written if written is None else written, words, state, out, 0, offsets)
        return _pa.Array.from_buffers(pa.string(), len(at), [None, _pa.py_buffer(offsets), _pa.py_buffer(out)])

    def _has_types(self) -> Any:
        """Return a mask of the rows whose `__types` is absent or valid."""
        s, node, valid = self._slots, _TYPES + 1, np.ones(self._count, bool)
        places = np.flatnonzero(s.state[s.state_at[node] :][: self._count] == scan.VALUE)
        words = s.words[s.word_at[node] :][places]
        doubtful = scan.plain_types(self._text, words) == 0
        texts = [self._piece(word) for word in words[doubtful].tolist()]
        verdicts = {text: is_types_text(text) for text in {*texts}}
        valid[places[doubtful]] = [verdicts[text] for text in texts]
        return valid

    def _is_blank(self, start: int, end: int) -> bool:
        return self._text[start - self._start : end - self._start].tobytes().isspace()  # type: ignore[no-any-return]

    def column(self, name: str) -> Any:
        """Return the values of a column, or None where none of the lines has one."""
        i = next((i for i, (_, column, _) in enumerate(self._reader._columns) if column == name), -1)
        return self._column(i) if i >= 0 and self._seen.kinds[i + 1] else None

    def _column(self, i: int) -> Any:
        """Return the values of a column, in memory of their own: columns are released one by one."""
        start = self._begin(i + 1)
        packed = self._packed[start : self._places[self._reader._last[i]][4]]
        return self._array(i + 1, _pa.py_buffer(packed.tobytes()), start)

    def _begin(self, node: int) -> int:
        _, mask, at, _, _ = self._places[node]
        start: int = mask if mask >= 0 else at
        return start

    def _array(self, node: int, packed: Any, start: int) -> Any:
        """Return the values of a node, one per row or per element; their buffers begin at `start` in `packed`."""
        n, size = self._nodes[node], self._sizes[node]
        of: Any = self._reader._types[node]
        nulls, mask, at, characters, end = self._places[node]
        buffers = [packed.slice(mask - start, (size + 7) // 8) if nulls else None]
        children = None
        match n.kind:
            case scan.BOOL:
                buffers.append(packed.slice(at - start, (size + 7) // 8))
            case scan.INT | scan.MOMENT | scan.DOUBLE | scan.DECIMAL:
                buffers.append(packed.slice(at - start, 8 * words_of(n) * size))
            case scan.TEXT | scan.SEQUENCE | scan.MIXED | scan.DIGITS | scan.PATHS:
                buffers.append(packed.slice(at - start, 4 * size + 4))
                buffers.append(packed.slice(characters - start, end - characters))
            case scan.LIST:
                buffers.append(packed.slice(at - start, 4 * size + 4))
                children = [self._array(n.first, packed, start)]
            case scan.STRUCT:
                children = [self._array(c, packed, start) for c in range(n.first, n.first + n.count)]
            case scan.MAP:
                buffers.append(packed.slice(at - start, 4 * size + 4))
                entries = [self._array(c, packed, start) for c in (n.first, n.first + 1)]
                children = [_pa.StructArray.from_arrays(entries, fields=[of.key_field, of.item_field])]
            case scan.EMPTY:
                buffers.append(packed.slice(at - start, 4 * size + 4))
                entry = pa.struct([pa.field("key", pa.string(), False), pa.field("value", pa.string())])
                children = [pa.array([], entry)]
            case _:
                return _pa.nulls(size, of)
        return _pa.Array.from_buffers(of, size, buffers, nulls, children=children)

    def type(self, node: int) -> Type:
        """Return the exact type of what a node met, as `lake.types.observe` or `place.look` gives it."""
        n, kinds = self._nodes[node], self._seen.kinds[node]
        match n.kind:
            case scan.INT | scan.DOUBLE | scan.DECIMAL | scan.DIGITS:
                return self._number(node) if kinds & scan.SAW_NUMBER else NULL
            case scan.LIST:
                return List(self.type(n.first)) if kinds & scan.SAW_LIST else NULL
            case scan.MAP:
                return Map(self.type(n.first + 1)) if kinds & scan.SAW_OBJECT else NULL
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
                return self._mixed(node)
            case _:
                return NULL

    def _number(self, node: int) -> Number:
        s = self._seen
        return Number(s.integer[node], s.scale[node], s.significant[node], not s.beyond[node])

    def _mixed(self, node: int) -> Type:
        kinds = self._seen.kinds[node] & ~scan.SAW_NULL
        if kinds and self._nodes[node].settled:
            return MIXED
        met: list[Type] = [TEXT] if kinds & scan.SAW_TEXT else []
        if kinds & scan.SAW_BOOL:
            met.append(BOOLEAN)
        if kinds & scan.SAW_NUMBER:
            met.append(self._number(node))
        if kinds & (scan.SAW_LIST | scan.SAW_OBJECT):
            met += self._containers(node)
        return merge_all(met, self._limits)

    def _containers(self, node: int) -> Iterator[Type]:
        """Yield the types of the objects and lists that a node has as their text: of many alike only that of one."""
        s, size, depth = self._slots, self._sizes[node], self._nodes[node].depth
        places = np.flatnonzero(s.state[s.state_at[node] :][:size] == scan.VALUE)
        words = s.words[s.word_at[node] :][places]
        shapes, first = np.unique(scan.shapes(self._text, self._written, words, _SECRET), return_index=True)
        for word in words[first[shapes != 0]].tolist():
            yield observe(decode(self._piece(word)), self._limits, depth)

    def _piece(self, word: int) -> str:
        start, length = word & 0xFFFFFFFF, word >> scan.LENGTH_BITS & 0x7FFFFFFF
        text, start = (self._text, start) if start < len(self._text) else (self._written, start - len(self._text))
        return text[start : start + length].tobytes().decode()

    def _fix(self, fixes: Any) -> None:
        """Write the texts that need a fix behind the text's end."""
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
