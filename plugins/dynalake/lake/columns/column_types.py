"""The type of a column, from the observed types: settled once, then it grows by fields, or is widened.

A column's type is not the least type of the values so far but one with room: any `bigint`, any decimal of its scale. So
it says all that its files may hold, and does not change with each value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal

from dynalake.lake.columns.column_names import name_of
from dynalake.lake.types.budget import Limits
from dynalake.lake.types.union import (
    DECIMAL_DIGITS,
    DOUBLE_DIGITS,
    DOUBLE_MAGNITUDE,
    MIXED,
    NULL,
    Field,
    List,
    Map,
    Mixed,
    Null,
    Number,
    Struct,
    Type,
    merge,
    merge_all,
    merge_numbers,
    observe_number,
    takes,
    tells,
)

BIGINT = Number(19, 0, 19, True)
DOUBLE = Number(DOUBLE_MAGNITUDE, DOUBLE_MAGNITUDE, DOUBLE_DIGITS, False)
DIGITS = Number(DOUBLE_MAGNITUDE, DOUBLE_MAGNITUDE, DECIMAL_DIGITS, False)
"""Numbers as text, where no type holds them together."""

_SCALES = (9, 18)
"""Scales of decimals: a decimal gets one that leaves enough digits before the point, so that a further place seldom
changes its type. With 9 the product of two still has 20 digits before its point; with 18 it may overflow.
"""


def decimal(scale: int) -> Number:
    """Return the type of all numbers that `decimal(38,scale)` holds."""
    return Number(DECIMAL_DIGITS - scale, scale, DECIMAL_DIGITS, False)


def roomy(seen: Number) -> Number:
    """Return the column's type for numbers like these.

    An integer beyond 64 bits gets no places after the point: it is an identifier, and should look like one.
    """
    match seen.kind:
        case "bigint":
            return BIGINT
        case "double":
            return DOUBLE
        case "text":
            return DIGITS
        case _:
            scales = (s for s in _SCALES if 0 < seen.scale <= s and seen.integer <= DECIMAL_DIGITS - s)
            return decimal(next(scales, seen.scale))


def settle(seen: Type) -> Type | None:
    """Return the type of a new column for values of type `seen`. None where they say nothing yet (`tells`).

    A field with nothing but nulls is left out: null and missing are the same. A list or map that was always empty gets
    elements of JSON text: they hold any value, so it never has to be widened. A struct with two keys of one name is a
    map.
    """
    return _settle(seen) if tells(seen) else None


def _settle(seen: Type) -> Type:
    match seen:
        case Number():
            return roomy(seen)
        case List(element):
            return List(_settle(element) if tells(element) else MIXED)
        case Map(value):
            return Map(_settle(value) if tells(value) else MIXED)
        case Struct(fields):
            if not tells(seen):
                return Map(MIXED)
            kept = [f for f in fields if not isinstance(f.type, Null)]
            if len({name_of(f.key) for f in kept}) < len(kept):
                value = merge_all(f.type for f in kept)
                return MIXED if isinstance(value, Mixed) else Map(_settle(value))
            return Struct(tuple(_field(f) for f in kept))
        case Mixed():
            return MIXED
        case _:
            return seen


def _field(f: Field) -> Field:
    return Field(f.key, name_of(f.key), _settle(f.type))


def cut(of: Type, depth: int) -> Type:
    """Return `of` with JSON text in place of lists and maps that are nested in `depth` others."""
    match of:
        case List() | Map() | Struct() if depth == 0:
            return MIXED
        case List(element):
            return List(cut(element, depth - 1))
        case Map(value):
            return Map(cut(value, depth - 1))
        case Struct(fields):
            return Struct(tuple(replace(f, type=cut(f.type, depth - 1)) for f in fields))
        case _:
            return of


def cut_to_fit(of: Type, limits: Limits, fits: Callable[[Type], bool]) -> Type | None:
    """Return `of` with as few levels as JSON text as it takes to fit; None where even one text does not fit."""
    return next((t for depth in range(limits.depth, -1, -1) if fits(t := cut(of, depth))), None)


def count_fields(of: Type) -> int:
    """Return how many field ids a column of this type needs."""
    match of:
        case List(element):
            return 1 + count_fields(element)
        case Map(value):
            return 2 + count_fields(value)
        case Struct(fields):
            return 1 + sum(count_fields(f.type) for f in fields)
        case _:
            return 1


def grow(of: Type, seen: Type, limits: Limits, take: Callable[[Field], Field | None]) -> Type:
    """Return `of` with fields for the keys in `seen` that have none; all else stays as it is, in its place.

    `take(field)` returns the field as it may be added, or None where there is no room for it.
    """
    match of, seen:
        case Struct(fields), Struct(others):
            theirs = seen.by_key
            grown = [
                f if (other := theirs.get(f.key)) is None else _with_type(f, grow(f.type, other.type, limits, take))
                for f in fields
            ]
            names = {f.name for f in fields}
            for other in sorted((o for o in others if o.key not in of.by_key), key=lambda o: (len(o.key), o.key)):
                if isinstance(other.type, Null) or name_of(other.key) in names or len(grown) >= limits.struct_keys:
                    continue
                added = take(_field(other))
                if added is not None:
                    grown.append(added)
                    names.add(added.name)
            same = len(grown) == len(fields) and all(x is y for x, y in zip(grown, fields, strict=True))
            return of if same else Struct(tuple(grown))
        case List(element), List(other):
            inner = grow(element, other, limits, take)
            return of if inner is element else List(inner)
        case Map(value), Map() | Struct():
            inner = value
            for part in _values(seen):
                inner = grow(inner, part, limits, take)
            return of if inner is value else Map(inner)
        case _:
            return of


def widen(of: Type, seen: Type, limits: Limits, held: Type = NULL) -> Type:
    """Return the type that holds all that a column of type `of` may hold, and what was seen.

    A part that holds its values stays as it is, so that as little as possible becomes less exact. `held`: the type of
    what the column does hold, as far as it is known; unknown numbers may be all that their type takes.
    """
    if takes(of, seen):
        return of
    match of, seen:
        case Number(), Number() if isinstance(held, Number):
            return roomy(merge_numbers(held, seen))
        case Struct(fields), Struct(others):
            theirs = seen.by_key
            parts = held.by_key if isinstance(held, Struct) else {}
            widened = []
            for f in fields:
                part, other = parts.get(f.key), theirs.get(f.key)
                inner = NULL if part is None else part.type
                widened.append(f if other is None else _with_type(f, widen(f.type, other.type, limits, inner)))
            widened += [_field(o) for o in others if o.key not in of.by_key and not isinstance(o.type, Null)]
            if len(widened) <= limits.struct_keys and len({f.name for f in widened}) == len(widened):
                return Struct(tuple(widened))
        case List(element), List(other):
            return List(widen(element, other, limits, held.element if isinstance(held, List) else NULL))
        case Map(value), Map() | Struct():
            parts_of = held.value if isinstance(held, Map) else NULL
            # One by one they would forget that a number is better known than its type.
            return Map(widen(value, merge_all(_values(seen), limits), limits, parts_of))
        case _:
            pass
    return _settle(merge(of, seen, limits))


def number_within(of: Number, least: int | Decimal, greatest: int | Decimal) -> Number:
    """Return what an integer or decimal column holds, from its least and greatest value (the bounds of data files)."""
    digits = max(observe_number(least).integer, observe_number(greatest).integer)
    return Number(digits, of.scale, digits + of.scale, of.int64)


def _with_type(f: Field, of: Type) -> Field:
    return f if of is f.type else replace(f, type=of)


def _values(seen: Map | Struct) -> Iterable[Type]:
    return (seen.value,) if isinstance(seen, Map) else (f.type for f in seen.fields)
