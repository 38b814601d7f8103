"""Which attributes get a column, and which keys a field of a struct, as far as a table's budget goes.

Existing columns come first, and stay columns. Then the key's attributes and pinned ones, which always get theirs; then
the others, those with the shortest names first: attributes that a program's author named are short, those whose names
are data (`vote#1f3870be…`) are long, and the order does not depend on which came first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from dynalake.errors import SettingsError
from dynalake.lake.columns.column import RESERVED_NAMES, Column, compact_json
from dynalake.lake.columns.column_names import folded, is_name, name_of
from dynalake.lake.columns.column_types import count_fields, cut, cut_to_fit, grow, settle, widen
from dynalake.lake.columns.pins import Pins
from dynalake.lake.types.budget import Budget
from dynalake.lake.types.union import MIXED, NULL, Field, Null, Struct, Type, takes, type_to_json
from dynalake.record.key import ItemKey


@dataclass(frozen=True)
class ColumnNames:
    """The names of a table's columns: each follows from the attribute, the table's key and the pins alone.

    An attribute of the key gets its folded name without a suffix, `pk` for `PK`: the key is known before all others.
    """

    key: ItemKey
    pins: Pins

    def of(self, attribute: str) -> str:
        """Return the name of an attribute's column, whether it has one or not."""
        pinned = self.pins.names.get(attribute) or self._of_key.get(attribute)
        return pinned or name_of(attribute, self._taken)

    @cached_property
    def _taken(self) -> frozenset[str]:
        return RESERVED_NAMES | self.pins.taken | {*self._of_key.values()}

    @cached_property
    def _of_key(self) -> dict[str, str]:
        names: dict[str, str] = {}
        for attribute in sorted(self.key.names, key=lambda a: a != folded(a)):
            name = folded(attribute)
            if is_name(name) and name not in RESERVED_NAMES | self.pins.taken | {*names.values()}:
                names[attribute] = name
        return names

    def check(self, columns: Iterable[Column]) -> None:
        """Raise `SettingsError` where the pins contradict the key or an existing column."""
        self.pins.check({a.name: a.type for a in self.key.attributes}, RESERVED_NAMES)
        holders = {folded(a): a for a in self.key.names} | {c.name: c.attribute for c in columns}
        for attribute, name in self.pins.names.items():
            holder = holders.get(name, attribute)
            if holder != attribute and self.pins.names.get(holder, name) == name:
                raise SettingsError(
                    f"The attribute {attribute!r} is pinned to the column {name!r}, which belongs to {holder!r}",
                    action="choose another name, or pin a name for both",
                )


def rank(names: ColumnNames, attribute: str) -> tuple[bool, bool, int, str]:
    """Return the order in which attributes get columns."""
    return attribute not in names.key.names, attribute not in names.pins.attributes, len(attribute), attribute


def admit_columns(
    columns: Sequence[Column], names: ColumnNames, observed: dict[str, Type], budget: Budget
) -> tuple[Column, ...]:
    """Return the columns, structs with further fields, and new columns; the key's first, all others in their places.

    Closed columns get no fields, and none comes beside them but those of the key and pinned ones.
    """
    pins, key = names.pins, names.key.names
    if pins.closed:
        always = {*key, *pins.attributes} - {c.attribute for c in columns}
        observed = {attribute: of for attribute, of in observed.items() if attribute in always}
    room = Room.beside(columns, budget)
    grown = [
        c if c.attribute in pins.types or c.attribute not in observed else room.grow(c, observed[c.attribute])
        for c in columns
    ]
    taken, known = {c.name for c in columns}, {c.attribute for c in columns}
    new: list[Column] = []

    for attribute in sorted(observed.keys() - known - pins.without, key=lambda a: rank(names, a)):
        of = pins.type(attribute) or settle(observed[attribute])
        if of is None or len(attribute) > budget.limits.key_length or isinstance(observed[attribute], Null):
            continue
        column = Column(names.of(attribute), attribute, of)
        if column.name in taken:
            continue
        admitted = room.admit(column, always=attribute in key or attribute in pins.attributes)
        if admitted is not None:
            new.append(admitted)
            taken.add(admitted.name)
    new.sort(key=lambda c: c.name)
    first = sorted((c for c in grown + new if c.attribute in key), key=lambda c: key.index(c.attribute))
    return (*first, *(c for c in grown + new if c.attribute not in key))


def widen_columns(
    columns: Sequence[Column],
    names: ColumnNames,
    observed: dict[str, Type],
    held: dict[str, Type],
    budget: Budget,
) -> tuple[Column, ...]:
    """Return the columns as they must be to hold what was observed, unless they are closed; and as the pins say."""
    pins = names.pins
    kept = [c for c in columns if c.attribute not in pins.without]
    room = Room.beside(kept, budget)
    wider = {} if pins.closed else observed
    return tuple(_repinned(c, pins) or room.widen(c, wider.get(c.attribute), held.get(c.attribute, NULL)) for c in kept)


def _repinned(column: Column, pins: Pins) -> Column | None:
    """Return the column as its pins say; None where only its values decide."""
    name, of = pins.names.get(column.attribute, column.name), pins.type(column.attribute)
    if of is None:
        return None if name == column.name else replace(column, name=name)
    changed = of != column.type
    return replace(column, name=name, type=of, widened=column.widened + changed)


@dataclass
class Room:
    """The part of a budget that is left for further columns and fields."""

    budget: Budget
    columns: int
    fields: int
    characters: int

    @classmethod
    def beside(cls, columns: Sequence[Column], budget: Budget) -> Room:
        """Return the room that `columns` leave."""
        return cls(
            budget,
            budget.columns - len(columns),
            budget.fields - sum(count_fields(c.type) for c in columns),
            budget.schema_bytes - sum(_characters(c.to_json()) for c in columns),
        )

    def admit(self, column: Column, *, always: bool = False) -> Column | None:
        """Return the column with as much of its type as has room, and take that room; None where there is none."""
        of = None if self.columns < 1 else self._cut_to_fit(column, column.type)
        if of is None and always:
            of = cut(column.type, 0)
        if of is None:
            return None
        admitted = replace(column, type=of)
        self.columns -= 1
        self.fields -= count_fields(of)
        self.characters -= _characters(admitted.to_json())
        return admitted

    def _cut_to_fit(self, column: Column, of: Type) -> Type | None:
        def fits(smaller: Type) -> bool:
            fields = count_fields(smaller)
            if fields > min(self.fields, self.budget.column_fields):
                return False
            return _characters(replace(column, type=smaller).to_json()) <= self.characters

        return cut_to_fit(of, self.budget.limits, fits)

    def grow(self, column: Column, seen: Type) -> Column:
        """Return the column with fields for the keys that have none, as far as there is room."""
        left = self.budget.column_fields - count_fields(column.type)

        def take(field: Field) -> Field | None:
            nonlocal left

            def fits(smaller: Type) -> bool:
                return count_fields(smaller) <= min(left, self.fields) and _of_field(field, smaller) <= self.characters

            of = cut_to_fit(field.type, self.budget.limits, fits)
            if of is None:
                return None
            left -= count_fields(of)
            self.fields -= count_fields(of)
            self.characters -= _of_field(field, of)
            return replace(field, type=of)

        of = grow(column.type, seen, self.budget.limits, take)
        return column if of is column.type else replace(column, type=of)

    def widen(self, column: Column, seen: Type | None, held: Type) -> Column:
        """Return the column with a type that also holds what was seen; JSON text after too many types, or a big one."""
        if seen is None or takes(column.type, seen):
            return column
        of: Type | None = MIXED
        self.fields += count_fields(column.type)
        self.characters += _characters(column.to_json())
        if column.widened < self.budget.widenings:
            of = self._cut_to_fit(column, widen(column.type, seen, self.budget.limits, held))
        widened = replace(column, type=of or MIXED, widened=column.widened + 1)
        self.fields -= count_fields(widened.type)
        self.characters -= _characters(widened.to_json())
        return widened


def _characters(value: object) -> int:
    return len(compact_json(value)) + 1


def _of_field(field: Field, of: Type) -> int:
    return _characters(type_to_json(Struct((replace(field, type=of),))))
