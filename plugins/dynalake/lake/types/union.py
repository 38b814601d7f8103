"""The type of an attribute: the exact union over all its values, within bounds.

A small lattice. `observe` gives the type of one value, `merge` the least type that holds what two types hold. `merge`
is associative, commutative and idempotent (up to the names of struct fields), so a type may be gathered in any order,
in parallel, and from day to day. `holds` and `takes` tell which values and types a column takes.

    Null  <  Boolean, Number, Text, List, Struct < Map  <  Mixed

Types are bounded while they are gathered (`budget.Limits`), and the laws hold with the bounds, since nothing that
counts for a bound is ever forgotten: a struct that becomes a map goes on counting as the largest struct that it may
have been (`Map.keys`), and `Mixed` goes on counting the lists and maps that are in it. So a type that is too large is
so in any order. (Of a type that went through JSON, `Mixed` counts no longer: the type is still right, but where it is
about as large as it may be, another order might give JSON text.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Literal, TypeAlias

from dynalake.lake.types.budget import LIMITS, Limits

DOUBLE_DIGITS = 15
"""Significant digits with which a double holds any decimal number, and gives it back digit for digit."""

DECIMAL_DIGITS = 38
DOUBLE_MAGNITUDE = 290  # a double's exponent holds 10^±290 with all its 15 digits; DynamoDB ends at 10^125
_INT64 = range(-(2**63), 2**63)
_TOO_LARGE = 1 << 62

NumberKind: TypeAlias = Literal["bigint", "double", "decimal", "text"]


@dataclass(frozen=True, slots=True)
class Null:
    """Nothing but nulls so far."""

    size: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Boolean:
    """`true` and `false`."""

    size: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Text:
    """Strings (and binary, as base64 text)."""

    size: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Number:
    """Numbers, by what is needed to hold all of them.

    `integer`: most digits before the point; `scale`: most digits after it; `significant`: most significant digits of
    one number; `int64`: all are integers within 64 bits.
    """

    size: ClassVar[int] = 1
    integer: int = 0
    scale: int = 0
    significant: int = 0
    int64: bool = True

    @property
    def kind(self) -> NumberKind:
        """Kind that holds every one of the numbers exactly: the first of these four that does.

        `double` has a step of its own because most numbers with a point (prices, measures, coordinates) have at most 15
        digits, with the point anywhere: as decimals they would have to be rewritten with every further place after the
        point, and a product of two such decimals overflows in most engines. As doubles they never change.
        """
        if self.int64:
            return "bigint"
        double = self.significant <= DOUBLE_DIGITS and max(self.integer, self.scale) <= DOUBLE_MAGNITUDE
        if double and self.scale:
            return "double"
        return "decimal" if self.integer + self.scale <= DECIMAL_DIGITS else "text"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a struct: its key in the items, its name in the catalog ('' until one is given), its type."""

    key: str
    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Struct:
    """Maps whose keys are few: fields in the order of their keys. Without fields: empty maps only."""

    fields: tuple[Field, ...] = ()
    size: int = field(init=False, repr=False, compare=False)
    _by_key: dict[str, Field] | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", 1 + sum(f.type.size for f in self.fields))

    @property
    def by_key(self) -> dict[str, Field]:
        """Fields by their keys."""
        if self._by_key is None:  # most types live too briefly to need it
            object.__setattr__(self, "_by_key", {f.key: f for f in self.fields})
        return self._by_key  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Map:
    """Maps with many different keys whose values agree. `keys`: how many count for the size, whatever it has."""

    value: Type
    keys: int = field(default=LIMITS.struct_keys, repr=False, compare=False)
    size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", 1 + self.keys * self.value.size)


@dataclass(frozen=True, slots=True)
class List:
    """Lists and sets. `List(Null())`: only empty ones, or ones that hold only nulls."""

    element: Type
    size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", 1 + self.element.size)


@dataclass(frozen=True, slots=True)
class Mixed:
    """Values that share no type, or that are too large for one: each is kept as its JSON text.

    `objects` and `lists` are the types of the maps and lists among them, which only count for the size.
    """

    objects: Struct | Map | None = field(default=None, repr=False, compare=False)
    lists: List | None = field(default=None, repr=False, compare=False)
    too_large: bool = field(default=False, repr=False, compare=False)
    size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        inside = sum(part.size for part in (self.objects, self.lists) if part is not None)
        object.__setattr__(self, "size", _TOO_LARGE if self.too_large else 1 + inside)


Type: TypeAlias = Null | Boolean | Number | Text | Struct | Map | List | Mixed

NULL, BOOLEAN, TEXT, MIXED = Null(), Boolean(), Text(), Mixed()
TOO_LARGE = Mixed(too_large=True)
_BIGINTS = tuple(Number(digits, 0, digits, True) for digits in range(20))


# -- gathering -----------------------------------------------------------------------------------------------------


def observe(value: object, limits: Limits = LIMITS, depth: int = 0) -> Type:
    """Return the type of one JSON value as `parse_line` gives it: None, bool, int, Decimal, str, list or dict.

    `depth`: how many lists and maps of its attribute contain the value.
    """
    if value is None:
        return NULL
    if isinstance(value, str):
        return TEXT
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int | Decimal):
        return observe_number(value)
    if not isinstance(value, list | dict):
        raise TypeError(f"{type(value).__name__} is not a JSON value")
    if depth >= limits.depth:
        return MIXED
    if isinstance(value, list):
        return _bounded(List(merge_all((observe(v, limits, depth + 1) for v in value), limits)), limits)
    if _is_struct(value, limits):
        fields = tuple(Field(k, "", observe(v, limits, depth + 1)) for k, v in sorted(value.items()))
        return _bounded(Struct(fields), limits)
    return _map(merge_all((observe(v, limits, depth + 1) for v in value.values()), limits), limits)


def observe_number(value: int | Decimal) -> Number:
    """Return the type of one number, by its value: `1.0` is the integer 1."""
    if isinstance(value, int):
        digits = str(abs(value)) if value else ""
        if value in _INT64:
            return _BIGINTS[len(digits)]
        return Number(len(digits), 0, len(digits.rstrip("0")), False)
    _, figures, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise TypeError(f"{value} is not a JSON number")
    text = "".join(map(str, figures)).lstrip("0")
    stripped = text.rstrip("0")
    exponent += len(text) - len(stripped)
    if not stripped:
        return _BIGINTS[0]
    if exponent >= 0:
        whole = len(stripped) + exponent
        if whole <= 19 and int(value) in _INT64:
            return _BIGINTS[whole]
        return Number(whole, 0, len(stripped), False)
    return Number(max(0, len(stripped) + exponent), -exponent, len(stripped), False)


def merge(a: Type, b: Type, limits: Limits = LIMITS) -> Type:
    """Return the least type that holds what `a` and `b` hold. Names of struct fields that `a` has given are kept.

    It is `a` itself where `b` adds nothing. The time does not grow with `a`, so many small types merge into a
    large one in time that is linear in what they hold.
    """
    if a is b or isinstance(b, Null):
        return a
    if isinstance(a, Null):
        return b
    if isinstance(a, Number) and isinstance(b, Number):
        return merge_numbers(a, b)
    if isinstance(a, Struct) and isinstance(b, Struct):
        return _merge_structs(a, b, limits)
    if isinstance(a, List) and isinstance(b, List):
        element = merge(a.element, b.element, limits)
        return a if element is a.element else _bounded(List(element), limits)
    if isinstance(a, Struct | Map) and isinstance(b, Struct | Map):
        value = merge(_value_type(a, limits), _value_type(b, limits), limits)
        return a if isinstance(a, Map) and value is a.value else _map(value, limits)
    if isinstance(a, Boolean | Text) and type(a) is type(b):
        return a
    return _mix(a, b, limits)


def merge_numbers(a: Number, b: Number) -> Number:
    """Return the least number type that holds both."""
    if a.integer >= b.integer and a.scale >= b.scale and a.significant >= b.significant and a.int64 <= b.int64:
        return a
    return Number(
        max(a.integer, b.integer), max(a.scale, b.scale), max(a.significant, b.significant), a.int64 and b.int64
    )


def merge_all(types: Iterable[Type], limits: Limits = LIMITS) -> Type:
    """Return `merge` over many types; `Null` over none."""
    merged: Type = NULL
    for observed in types:
        merged = merge(merged, observed, limits)
    return merged


def _merge_structs(a: Struct, b: Struct, limits: Limits) -> Type:
    by_key, changed, new = a.by_key, {}, []
    for f in b.fields:
        before = by_key.get(f.key)
        if before is None:
            new.append(f)
            continue
        merged = merge(before.type, f.type, limits)
        if merged is not before.type or (f.name and not before.name):
            changed[f.key] = Field(f.key, before.name or f.name, merged)
    if not new and not changed:
        return a
    fields = [changed.get(f.key, f) for f in a.fields] if changed else list(a.fields)
    if new:
        fields = sorted([*fields, *new], key=lambda f: f.key)
    if len(fields) > limits.struct_keys:
        return _map(_merge_fields(fields, limits), limits)
    return _bounded(Struct(tuple(fields)), limits)


def _is_struct(keys: dict[str, Any], limits: Limits) -> bool:
    return len(keys) <= limits.struct_keys and max(map(len, keys), default=0) <= limits.key_length


def _map(value: Type, limits: Limits) -> Type:
    """Return `Map(value)`, or `Mixed` where its values do not agree."""
    of = Map(value, limits.struct_keys)
    return _bounded(Mixed(of) if isinstance(value, Mixed) else of, limits)


def _mix(a: Type, b: Type, limits: Limits) -> Type:
    objects, lists = _merge_parts(_objects(a), _objects(b), limits), _merge_parts(_lists(a), _lists(b), limits)
    if any(isinstance(part, Mixed) and part.too_large for part in (a, b, objects, lists)):
        return TOO_LARGE
    objects, lists = _objects(objects), _lists(lists)
    if isinstance(a, Mixed) and objects is a.objects and lists is a.lists:
        return a
    return _bounded(Mixed(objects, lists), limits)


def _merge_parts(a: Type | None, b: Type | None, limits: Limits) -> Type | None:
    return (a or b) if a is None or b is None else merge(a, b, limits)


def _objects(a: Type | None) -> Struct | Map | None:
    return a.objects if isinstance(a, Mixed) else a if isinstance(a, Struct | Map) else None


def _lists(a: Type | None) -> List | None:
    return a.lists if isinstance(a, Mixed) else a if isinstance(a, List) else None


def _bounded(a: Type, limits: Limits) -> Type:
    return a if a.size <= limits.size else TOO_LARGE


def _value_type(of: Struct | Map, limits: Limits) -> Type:
    return of.value if isinstance(of, Map) else _merge_fields(of.fields, limits)


def _merge_fields(fields: Iterable[Field], limits: Limits) -> Type:
    """Return one type for the values of all fields. All names are new: two may have one name for different keys."""
    return merge_all((_unnamed(f.type) for f in fields), limits)


def _unnamed(a: Type) -> Type:
    if isinstance(a, Struct):
        fields = tuple(Field(f.key, "", _unnamed(f.type)) for f in a.fields)
        same = all(x.type is y.type and not y.name for x, y in zip(fields, a.fields, strict=True))
        return a if same else Struct(fields)
    if isinstance(a, List):
        element = _unnamed(a.element)
        return a if element is a.element else List(element)
    if isinstance(a, Map):
        value = _unnamed(a.value)
        return a if value is a.value else Map(value, a.keys)
    return a


# -- columns -------------------------------------------------------------------------------------------------------


def holds(of: Type, value: object) -> bool:
    """Return whether one JSON value, as `parse_line` gives it, can be written exactly into a column of type `of`.

    A null always can, anywhere: a null in a struct and a missing field are the same. A text with half of a
    surrogate pair fits only as JSON text, where it is an escape.
    """
    if value is None or isinstance(of, Mixed):
        return True
    match of:
        case Text():
            return isinstance(value, str) and not has_half(value)
        case Boolean():
            return isinstance(value, bool)
        case Number():
            if isinstance(value, bool) or not isinstance(value, int | Decimal):
                return False
            return _takes_number(of, observe_number(value))
        case Struct():
            if not isinstance(value, dict):
                return False
            fields = of.by_key
            return all(v is None or (k in fields and holds(fields[k].type, v)) for k, v in value.items())
        case Map():
            return isinstance(value, dict) and all(not has_half(k) and holds(of.value, v) for k, v in value.items())
        case List():
            return isinstance(value, list) and all(holds(of.element, v) for v in value)
        case _:
            return False


_HALF = re.compile("[\ud800-\udfff]")


def has_half(text: str) -> bool:
    """Return whether a text has half of a surrogate pair: JSON can write it, and UTF-8 cannot."""
    return not text.isascii() and _HALF.search(text) is not None


def takes(of: Type, seen: Type) -> bool:
    """Return whether a column of type `of` holds every value of type `seen`."""
    if isinstance(seen, Null) or isinstance(of, Mixed):
        return True
    match of, seen:
        case Number(), Number():
            return _takes_number(of, seen)
        case Struct(), Struct(fields):
            known = of.by_key
            return all(
                isinstance(f.type, Null) or (f.key in known and takes(known[f.key].type, f.type)) for f in fields
            )
        case Struct(), Map(value):
            return isinstance(value, Null)
        case Map(value), Struct(fields):
            return all(takes(value, f.type) for f in fields)
        case Map(value), Map(other):
            return takes(value, other)
        case List(element), List(other):
            return takes(element, other)
        case (Text(), Text()) | (Boolean(), Boolean()):
            return True
        case _:
            return False


def _takes_number(of: Number, seen: Number) -> bool:
    match of.kind:
        case "bigint":
            return seen.int64
        case "double":
            return seen.significant <= DOUBLE_DIGITS and max(seen.integer, seen.scale) <= DOUBLE_MAGNITUDE
        case "decimal":
            return seen.scale <= of.scale and seen.integer <= DECIMAL_DIGITS - of.scale
        case _:
            return True


def tells(seen: Type) -> bool:
    """Return whether a type says more than nulls, and lists and maps without any value."""
    match seen:
        case Null():
            return False
        case Struct(fields):
            return any(tells(f.type) for f in fields)
        case Map(inner) | List(inner):
            return tells(inner)
        case _:
            return True


# -- JSON ----------------------------------------------------------------------------------------------------------

_SIMPLE: dict[str, Type] = {"null": NULL, "boolean": BOOLEAN, "text": TEXT, "mixed": MIXED}
_SIMPLE_NAMES: dict[type, str] = {type(t): name for name, t in _SIMPLE.items()}


def type_to_json(a: Type) -> Any:
    """Return compact JSON: `{"number": [3, 2, 4, false]}`, `{"list": "text"}`, `{"struct": [["Id", "id", "text"]]}`.

    A field whose name is its key has it once.
    """
    if isinstance(a, Number):
        return {"number": [a.integer, a.scale, a.significant, a.int64]}
    if isinstance(a, Struct):
        return {"struct": [[f.key, *([] if f.name == f.key else [f.name]), type_to_json(f.type)] for f in a.fields]}
    if isinstance(a, Map):
        return {"map": type_to_json(a.value)}
    if isinstance(a, List):
        return {"list": type_to_json(a.element)}
    return _SIMPLE_NAMES[type(a)]


def type_from_json(value: Any) -> Type:
    """Return the type from what `type_to_json` returned."""
    if isinstance(value, str):
        return _SIMPLE[value]
    ((kind, content),) = value.items()
    if kind == "number":
        return Number(*content)
    if kind == "struct":
        return Struct(tuple(Field(f[0], f[-2], type_from_json(f[-1])) for f in content))
    return Map(type_from_json(content)) if kind == "map" else List(type_from_json(content))
