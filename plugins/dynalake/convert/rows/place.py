"""Where each value of a record goes: into its column, or into `__other` as its exact JSON text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dynalake.convert.read.records import Record
from dynalake.convert.rows.words import element_counter
from dynalake.lake.arrow import arrow_type, other_entries
from dynalake.lake.budget import Limits
from dynalake.lake.schema import TableSchema
from dynalake.lake.types import (
    MIXED,
    NULL,
    Field,
    List,
    Map,
    Mixed,
    Struct,
    Type,
    holds,
    merge_all,
    observe,
)
from dynalake.record.change import RESERVED_KEYS, attribute_name

DENSE = 1 << 18
"""Words that the elements of one record's lists and maps may take in their columns (`words`); 2 MB.

100,000 times `{}` in a list of structs of 250 fields, an item of 400 KB, would take 200 MB. What is beyond is in
`__other`. An item cannot have more than 200,000 values, so it has to leave out most fields of very many elements.
"""

OTHER_TYPE: Any = arrow_type(Map(Mixed()))


@dataclass(frozen=True)
class Placed:
    """What of a record has no place: by key; none of them null. What has one has lists and maps of so many elements."""

    misplaced: dict[str, Any]
    elements: int
    words: int


class Placer:
    """Decides for the records of one table. A record's attributes come in the order of its line."""

    def __init__(self, schema: TableSchema) -> None:
        self.schema = schema
        self._columns = {c.key: (c.type, element_counter(c.type)) for c in schema.columns}

    def __call__(self, record: Record) -> Placed:
        """What has no column, or a value that does not fit its column."""
        left, elements, words = {}, 0, 0
        for key, value in record.values.items():
            if value is None or key in RESERVED_KEYS:
                continue
            if key in self._columns:
                of, count = self._columns[key]
                if holds(of, value):
                    some, more = (0, 0) if count is None else count(value)
                    if words + more <= DENSE:
                        elements += some
                        words += more
                        continue
            left[key] = value
        return Placed(left, elements, words)


def entries_of(misplaced: dict[str, Any]) -> list[tuple[str, str]] | None:
    """The column `__other` of one row, as Arrow takes it."""
    return other_entries({attribute_name(key): value for key, value in misplaced.items()}) or None


def look(of: Type, value: Any, limits: Limits | int, depth: int = 0) -> Type:
    """What a column of type `of` shows of a value: its type, as far as the column has a place for it.

    It is `observe` but for what the column has settled: within JSON text nothing is looked at, and a map is no struct,
    however few its keys. What the compiled reader sees while it reads under the type.
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
