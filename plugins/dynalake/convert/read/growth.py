"""The growth of a table's columns while its records are read, by any reader and in any order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from threading import Lock
from typing import Any

from dynalake.convert.rows.place import brings_nothing, look
from dynalake.lake.columns.admission import Room, rank
from dynalake.lake.columns.gather import Gathering
from dynalake.lake.columns.schema import Observed, TableSchema
from dynalake.lake.types.budget import BUDGET, LIMITS, Budget
from dynalake.lake.types.union import NULL, Field, List, Map, Mixed, Null, Struct, Type, holds, merge, observe, tells
from dynalake.record.change import RESERVED_KEYS, attribute_name


class Growth:
    """The values met so far in records of one table, by type, and the columns that the table gets for them.

    `table`: the schema; its columns do not change, except that structs get further fields. `known`: by attribute, the
    types that do not change with what is read. Threads may share it.
    """

    def __init__(self, table: TableSchema, budget: Budget = BUDGET) -> None:
        self.table, self.budget, self.limits = table, budget, budget.limits
        self._gathering = Gathering(table, budget)
        self._always = {*table.key.names, *table.pins.attributes}
        room = Room.beside(table.columns, budget)
        self._full = table.pins.closed or room.columns < 1 or room.fields < 1
        self.known: dict[str, Type] = {c.attribute: c.type for c in table.columns}
        self.known |= {a: of for a in table.pins.types if (of := table.pins.type(a)) is not None}
        self.reading = table
        """Types under which further records are read."""
        self._observed: Observed = {}
        self._last: tuple[Any, ...] | None = None
        self._lock = Lock()

    @property
    def observed(self) -> dict[str, Type]:
        """Types by attribute: full ones for attributes that have a column, or may get one."""
        with self._lock:
            return self._look()

    @property
    def schema(self) -> TableSchema:
        """Schema of the table with the columns and fields that it gets for the values met so far."""
        return self.table.admit(self.observed, self.budget)

    @property
    def wants_any(self) -> bool:
        """Whether an unknown attribute can make a difference."""
        return not self._full or not self._always <= self.known.keys()

    def wants(self, attribute: str) -> bool:
        """Return whether values of the attribute can make a difference."""
        if attribute in self.known or attribute in self._always:
            return True
        if self._full or len(attribute) > self.limits.key_length or attribute in self.table.pins.without:
            return False
        return self._last is None or (True, True, len(attribute), attribute) <= self._last  # its `rank`

    def types(self, values: Iterable[tuple[str, Any]]) -> dict[str, Type]:
        """Return the types of values (attribute, value), by attribute."""
        seen: dict[str, Type] = {}
        for attribute, value in values:
            of = self._type(attribute, value)
            old = seen.get(attribute)
            seen[attribute] = of if old is None else merge(old, of, self.limits)
        return seen

    def record(self, values: Mapping[str, Any]) -> dict[str, Type]:
        """Return the types of one change record's attributes, as far as they can make a difference."""
        attributes = ((attribute_name(k), v) for k, v in values.items() if k not in RESERVED_KEYS)
        return self.types((a, v) for a, v in attributes if self.wants(a))

    def add(self, observed: Observed) -> None:
        """Take the types of values in records."""
        with self._lock:
            self._gathering.add(observed)

    def outgrown(self, schema: TableSchema, news: Observed) -> bool:
        """Return whether, with these types added, there are other types to read under than those of `schema`."""
        with self._lock:
            self._gathering.add(news)
            seen = self._look()
            before = self._observed
            if len(seen) != len(before) or any(before.get(a) is not of for a, of in seen.items()):
                self._observed = seen
                self._grow(seen)
            return self.reading.columns != schema.columns

    def _look(self) -> dict[str, Type]:
        seen = self._gathering.observed
        new = seen.keys() - self.table.known.keys()
        if len(new) >= self.budget.attributes:
            # An attribute that ranks behind these will never be among them.
            self._last = max(rank(self.table.names, attribute) for attribute in new)
        return seen

    def _grow(self, seen: dict[str, Type]) -> None:
        columns = []
        for column in self.table.admit(seen, self.budget).columns:
            known = self.known.get(column.attribute)
            of = reading_type(known, column.type, seen.get(column.attribute, Null()))
            if of is not None:
                columns.append(column if of == column.type else replace(column, type=of))
        if tuple(columns) != self.reading.columns:
            self.reading = replace(self.table, columns=tuple(columns))

    def _type(self, attribute: str, value: Any) -> Type:
        """Return the type of a value; `Null` where it brings nothing new, which is much faster to find out."""
        known, limits, seen = self.known.get(attribute), self.limits, self._gathering.so_far(attribute)
        if known is None:
            return NULL if brings_nothing(seen, value, limits) else observe(value, limits)
        if holds(known, value):
            return NULL if brings_nothing(seen, value, limits, known) else look(known, value, limits)
        if brings_nothing(seen, value, limits, known) and brings_nothing(seen, value, limits):
            return NULL
        return merge(look(known, value, limits), observe(value, limits), limits)


class Grown:
    """`Growth` after every value is known: it no longer changes."""

    limits = LIMITS
    wants_any = False

    def __init__(self, schema: TableSchema) -> None:
        self.reading = schema
        self.known: dict[str, Type] = {c.attribute: c.type for c in schema.columns}

    def wants(self, attribute: str) -> bool:
        return False

    def types(self, values: Iterable[tuple[str, Any]]) -> dict[str, Type]:
        return {}

    def record(self, values: Mapping[str, Any]) -> dict[str, Type]:
        return {}

    def add(self, observed: Observed) -> None:
        pass

    def outgrown(self, schema: TableSchema, news: Observed) -> bool:
        return False


def reading_type(known: Type | None, admitted: Type, seen: Type) -> Type | None:
    """Return the type to read values under, of which `seen` are known and for which `admitted` is meant.

    A settled type holds more than what was seen: after empty lists alone, any elements. Under it, later values would
    not be noticed. So it is taken only as far as values show it, except for `known`, the table's own. None where it has
    another shape than what was seen: then values are read one by one.
    """
    match admitted, known, seen:
        case Struct(fields), Struct(), _:
            seen_fields = seen.by_key if isinstance(seen, Struct) else {}
            before = known.by_key
            parts = [
                (f, reading_type(_type_of(before, f.key), f.type, _type_of(seen_fields, f.key) or Null()))
                for f in fields
            ]
            return Struct(tuple(replace(f, type=of) for f, of in parts if of is not None))
        case List(element), List(), _:
            inner = reading_type(known.element, element, seen.element if isinstance(seen, List) else Null())
            return None if inner is None else List(inner)
        case Map(value), Map(), _:
            within = seen.value if isinstance(seen, Map) else _values(seen)
            inner = reading_type(known.value, value, within)
            return None if inner is None else Map(inner)
        case _ if known is not None:
            return admitted
        case Mixed(), _, _:
            return admitted
        case _ if not tells(seen):
            return _numbered(seen)
        case Struct(fields), _, Struct(others):
            parts = []
            of_fields = admitted.by_key
            for i, other in enumerate(others):
                if isinstance(other.type, Null):
                    parts.append((Field(other.key, f" {i}", Null()), other.type))
                elif other.key in of_fields:
                    f = of_fields[other.key]
                    parts.append((f, reading_type(None, f.type, other.type)))
            if any(of is None for _, of in parts):
                return None
            return Struct(tuple(replace(f, type=of) for f, of in parts if of is not None))
        case List(element), _, List(other):
            inner = reading_type(None, element, other)
            return None if inner is None else List(inner)
        case Map(value), _, Map(other):
            inner = reading_type(None, value, other)
            return None if inner is None else Map(inner)
        case ((Struct() | List() | Map()), _, _):
            return None
        case _:
            return admitted


def _type_of(fields: Mapping[str, Field], key: str) -> Type | None:
    field = fields.get(key)
    return None if field is None else field.type


def _values(seen: Type) -> Type:
    merged: Type = Null()
    for f in seen.fields if isinstance(seen, Struct) else ():
        merged = merge(merged, f.type)
    return merged


def _numbered(seen: Type) -> Type:
    """Return whether it is nothing but nulls, empty lists and maps, with a name for each field."""
    match seen:
        case Struct(fields):
            return Struct(tuple(Field(f.key, f" {i}", _numbered(f.type)) for i, f in enumerate(fields)))
        case List(element):
            return List(_numbered(element))
        case Map(value):
            return Map(_numbered(value))
        case _:
            return seen
