"""Where each value of a record goes: into its column, or into `__other` as its exact JSON text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from dynalake.convert.read.records import Record
from dynalake.convert.rows.words import element_counter, words_of
from dynalake.lake.columns.column import KEY
from dynalake.lake.columns.schema import METADATA_TYPES, TableSchema
from dynalake.lake.types.arrow import arrow_type, converter, other_entries
from dynalake.lake.types.budget import Limits
from dynalake.lake.types.union import (
    MIXED,
    NULL,
    TEXT,
    Boolean,
    Field,
    List,
    Map,
    Mixed,
    Number,
    Struct,
    Text,
    Type,
    holds,
    merge_all,
    merge_numbers,
    observe,
    observe_number,
)
from dynalake.record.change import OTHER, RESERVED_KEYS, attribute_name

_pa: Any = pa  # its stubs take types only as literals; here they are data

DENSE = 1 << 18
"""Words that the elements of one record's lists and maps may take in their columns (`words`); 2 MB.

100,000 times `{}` in a list of structs of 250 fields, an item of 400 KB, would take 200 MB. Values beyond the limit are
in `__other`. An item cannot have more than 200,000 values, so it has to leave out most fields of very many elements.
"""

OTHER_TYPE: Any = arrow_type(Map(TEXT))

_BATCH = 4 << 20  # bytes of lines, or of the rows that are made of them, that are held as Python's objects at once


@dataclass(frozen=True)
class Placed:
    """The values of a record without a place, by key, none of them null; and how many elements the others have."""

    misplaced: dict[str, Any]
    elements: int
    words: int


class Placer:
    """Decides for the records of one table. A record's attributes come in the order of its line."""

    def __init__(self, schema: TableSchema) -> None:
        self.schema = schema
        self._columns = {c.key: (c.type, element_counter(c.type)) for c in schema.columns}

    def __call__(self, record: Record) -> Placed:
        """Return the values that have no column, or do not fit their column."""
        misplaced, elements, words = {}, 0, 0
        for key, value in record.values.items():
            if value is None or key in RESERVED_KEYS:
                continue
            if key in self._columns:
                of, count = self._columns[key]
                if holds(of, value):
                    value_elements, value_words = (0, 0) if count is None else count(value)
                    if words + value_words <= DENSE:
                        elements += value_elements
                        words += value_words
                        continue
            misplaced[key] = value
        return Placed(misplaced, elements, words)


def own_columns(schema: TableSchema) -> dict[str, Type]:
    """Return the columns that hold no attribute: metadata, `__other`, and `__key` where it identifies items."""
    return {**METADATA_TYPES, OTHER: Map(TEXT), **({KEY: TEXT} if KEY in schema.identity else {})}


class PlacedRows:
    """Turns records of one table into Arrow tables; values without a place in a column are in `__other`.

    `built` (default: all): the columns that are built, out of those that decide.
    """

    def __init__(self, schema: TableSchema, built: TableSchema | None = None) -> None:
        self.place = Placer(schema)
        columns = (built or schema).columns
        self._own = own_columns(schema)
        self._columns = [(c.key, converter(c.type)) for c in columns]
        fields = [_pa.field(name, arrow_type(of)) for name, of in self._own.items()]
        self._schema = _pa.schema(fields + [_pa.field(c.name, arrow_type(c.type)) for c in columns])
        self._words = sum(words_of(c.type) for c in columns)

    def tables(self, records: Iterable[Record]) -> Iterator[tuple[list[Placed], pa.Table]]:
        """Yield the records in their order, in tables of bounded size; and what of each has no place in a column."""
        held: list[tuple[Record, Placed]] = []
        size = 0
        for record in records:
            placed = self.place(record)
            held.append((record, placed))
            size += max(len(record.line), 8 * (self._words + placed.words))
            if size >= _BATCH:
                yield [placed for _, placed in held], self._table(held)
                held, size = [], 0
        if held:
            yield [placed for _, placed in held], self._table(held)

    def _table(self, rows: Sequence[tuple[Record, Placed]]) -> pa.Table:
        arrays = []
        for name, of in self._own.items():
            values: list[Any]
            if name == OTHER:
                values = [_entries(placed.misplaced) for _, placed in rows]
            elif name == KEY:
                values = [record.order[0] for record, _ in rows]
            else:
                values = [record.values.get(name) for record, _ in rows]
            arrays.append(_pa.array(values, arrow_type(of)))
        for (key, convert), field in zip(self._columns, list(self._schema)[len(arrays) :], strict=True):
            values = [None if key in placed.misplaced else convert(record.values.get(key)) for record, placed in rows]
            arrays.append(_pa.array(values, field.type))
        return _pa.Table.from_arrays(arrays, schema=self._schema)  # type: ignore[no-any-return]


def _entries(misplaced: dict[str, Any]) -> list[tuple[str, str]] | None:
    return other_entries({attribute_name(key): value for key, value in misplaced.items()}) or None


def look(of: Type, value: Any, limits: Limits, depth: int = 0) -> Type:
    """Return the type of a value, as far as a column of type `of` has a place for it.

    It is `observe` except for what the column has settled: nothing within JSON text counts, and a map is not a struct,
    however few its keys. The compiled reader sees the same while it reads under the type.
    """
    match of:
        case Mixed():
            return NULL if value is None else MIXED
        case Struct() if isinstance(value, dict):
            fields = of.by_key
            seen = (Field(k, "", look(fields[k].type, v, limits, depth + 1)) for k, v in value.items() if k in fields)
            return Struct(tuple(sorted(seen, key=lambda f: f.key)))
        case Map(inner) if isinstance(value, dict):
            return Map(merge_all((look(inner, v, limits, depth + 1) for v in value.values()), limits))
        case List(element) if isinstance(value, list):
            return List(merge_all((look(element, v, limits, depth + 1) for v in value), limits))
        case Struct() | Map() | List():
            return NULL
        case _:
            seen_type = observe(value, limits, depth)
            return seen_type if type(seen_type) is type(of) else NULL


def brings_nothing(seen: Type, value: Any, limits: Limits, known: Type | None = None, depth: int = 0) -> bool:
    """Return whether `seen` stays as it is when the type of a value is merged into it; False in doubt.

    The type is what `look` gives for a column of type `known`, or `observe` without one.
    """
    if value is None:
        return True
    if isinstance(known, Mixed):
        return isinstance(seen, Mixed)
    if isinstance(value, dict | list):
        if isinstance(seen, Mixed):
            if seen.too_large or depth >= limits.depth:
                return True
            inner = seen.objects if isinstance(value, dict) else seen.lists
            return inner is not None and brings_nothing(inner, value, limits, known, depth)
        if depth >= limits.depth:
            return False
    match seen:
        case Struct():
            if not isinstance(value, dict) or isinstance(known, Map) or len(value) > limits.struct_keys:
                return False
            fields, theirs = seen.by_key, known.by_key if isinstance(known, Struct) else {}
            return all(
                k in fields
                and brings_nothing(fields[k].type, v, limits, theirs[k].type if k in theirs else None, depth + 1)
                for k, v in value.items()
            )
        case Map(inner_type):
            of = known.value if isinstance(known, Map) else None
            return isinstance(value, dict) and all(
                brings_nothing(inner_type, v, limits, of, depth + 1) for v in value.values()
            )
        case List(element):
            of = known.element if isinstance(known, List) else None
            return isinstance(value, list) and all(brings_nothing(element, v, limits, of, depth + 1) for v in value)
        case Number():
            if isinstance(value, bool) or not isinstance(value, int | Decimal):
                return False
            return merge_numbers(seen, observe_number(value)) is seen
        case Text():
            return isinstance(value, str)
        case Boolean():
            return isinstance(value, bool)
        case _:
            return isinstance(seen, Mixed)
