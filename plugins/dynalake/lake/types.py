"""The type of an attribute: the exact union over all its values.

A small lattice. `observe` gives the type of one value, `merge` the least type that holds what two types hold. `merge`
is associative, commutative and idempotent (up to the names of struct fields), so a type may be gathered in any order,
in parallel, and from day to day.

    Null  <  Boolean, Number, Text, List, Struct < Map  <  Mixed
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import Any, Literal, TypeAlias

MAX_STRUCT_FIELDS = 100
"""A map with more different keys is `map<string,T>`, or JSON text where its values do not agree."""

DOUBLE_DIGITS = 15
"""Any decimal number with so many significant digits is held by a double, and comes back digit for digit."""

DECIMAL_DIGITS = 38
_DOUBLE_MAGNITUDE = 290  # a double's exponent holds 10^±290 with all its 15 digits; DynamoDB ends at 10^125
_INT64 = range(-(2**63), 2**63)

NumberKind: TypeAlias = Literal["bigint", "double", "decimal", "text"]


@dataclass(frozen=True)
class Null:
    """Nothing but nulls so far."""


@dataclass(frozen=True)
class Boolean:
    """`true` and `false`."""


@dataclass(frozen=True)
class Text:
    """Strings (and binary, as base64 text)."""


@dataclass(frozen=True)
class Mixed:
    """Values that share no type: each is kept as its JSON text."""


@dataclass(frozen=True)
class Number:
    """Numbers, by what it takes to hold all of them.

    `integer`: most digits before the point; `scale`: most digits after it; `significant`: most significant digits of
    one number; `int64`: all are integers within 64 bits.
    """

    integer: int = 0
    scale: int = 0
    significant: int = 0
    int64: bool = True

    @property
    def kind(self) -> NumberKind:
        """What holds every one of the numbers exactly."""
        if self.int64:
            return "bigint"
        double = self.significant <= DOUBLE_DIGITS and max(self.integer, self.scale) <= _DOUBLE_MAGNITUDE
        if double and self.scale:
            return "double"
        return "decimal" if self.integer + self.scale <= DECIMAL_DIGITS else "text"


@dataclass(frozen=True)
class Field:
    """A field of a struct: its key in the items, its name in the catalog ('' until one is given), its type."""

    key: str
    name: str
    type: Type


@dataclass(frozen=True)
class Struct:
    """Maps whose keys are few: fields in the order of their keys. Without fields: empty maps only."""

    fields: tuple[Field, ...] = ()
    # Looked up at every value that is converted.
    by_key: dict[str, Field] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_key", {f.key: f for f in self.fields})


@dataclass(frozen=True)
class Map:
    """Maps with many different keys whose values agree."""

    value: Type


@dataclass(frozen=True)
class List:
    """Lists and sets. `List(Null())`: only empty ones, or such that hold only nulls."""

    element: Type


Type: TypeAlias = Null | Boolean | Number | Text | Struct | Map | List | Mixed

NULL, BOOLEAN, TEXT, MIXED = Null(), Boolean(), Text(), Mixed()
_BIGINTS = tuple(Number(digits, 0, digits, True) for digits in range(20))


def observe(value: object, max_struct_fields: int = MAX_STRUCT_FIELDS) -> Type:
    """The type of one JSON value as `compact.read` parses it: None, bool, int, Decimal, str, list or dict."""
    if value is None:
        return NULL
    if isinstance(value, str):
        return TEXT
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int | Decimal):
        return observe_number(value)
    if isinstance(value, list):
        return List(merge_all((observe(v, max_struct_fields) for v in value), max_struct_fields))
    if isinstance(value, dict):
        fields = tuple(Field(k, "", observe(v, max_struct_fields)) for k, v in sorted(value.items()))
        return _struct(fields, max_struct_fields)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def observe_number(value: int | Decimal) -> Number:
    """The type of one number, by its value: `1.0` is the integer 1."""
    if isinstance(value, int):
        digits = str(abs(value)) if value else ""
        if value in _INT64:
            return _BIGINTS[len(digits)]
        return Number(len(digits), 0, len(digits.rstrip("0")), False)
    _, figures, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise TypeError(f"{value} is no JSON number")
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


def merge(a: Type, b: Type, max_struct_fields: int = MAX_STRUCT_FIELDS) -> Type:
    """The least type that holds what `a` and `b` hold. Names of struct fields that `a` has given are kept."""
    if a is b or isinstance(b, Null):
        return a
    if isinstance(a, Null):
        return b
    if isinstance(a, Number) and isinstance(b, Number):
        return merge_numbers(a, b)
    if isinstance(a, List) and isinstance(b, List):
        return List(merge(a.element, b.element, max_struct_fields))
    if isinstance(a, Struct) and isinstance(b, Struct):
        theirs = dict(b.by_key)
        merged = []
        for f in a.fields:
            other = theirs.pop(f.key, None)
            merged.append(
                f if other is None else Field(f.key, f.name or other.name, merge(f.type, other.type, max_struct_fields))
            )
        if theirs:
            merged = sorted([*merged, *theirs.values()], key=lambda f: f.key)
        return _struct(tuple(merged), max_struct_fields)
    if isinstance(a, Struct | Map) and isinstance(b, Struct | Map):
        return _map(merge(_value_type(a, max_struct_fields), _value_type(b, max_struct_fields), max_struct_fields))
    return a if type(a) is type(b) else MIXED


def merge_numbers(a: Number, b: Number) -> Number:
    """The least number type that holds both."""
    return Number(
        max(a.integer, b.integer), max(a.scale, b.scale), max(a.significant, b.significant), a.int64 and b.int64
    )


def merge_all(types: Iterable[Type], max_struct_fields: int = MAX_STRUCT_FIELDS) -> Type:
    """`merge` over many types; `Null` over none."""
    merged: Type = NULL
    for one in types:
        merged = merge(merged, one, max_struct_fields)
    return merged


def _struct(fields: tuple[Field, ...], limit: int) -> Type:
    if len(fields) <= limit:
        return Struct(fields)
    return _map(_merge_fields(fields, limit))


def _map(value: Type) -> Type:
    return MIXED if isinstance(value, Mixed) else Map(value)


def _value_type(of: Struct | Map, limit: int) -> Type:
    return of.value if isinstance(of, Map) else _merge_fields(of.fields, limit)


def _merge_fields(fields: Iterable[Field], limit: int) -> Type:
    """One type for the values of all fields. Two of them may have given one name to different keys: so all are new."""
    return merge_all((_unnamed(f.type) for f in fields), limit)


def _unnamed(a: Type) -> Type:
    if isinstance(a, Struct):
        return Struct(tuple(Field(f.key, "", _unnamed(f.type)) for f in a.fields))
    if isinstance(a, List):
        return List(_unnamed(a.element))
    return Map(_unnamed(a.value)) if isinstance(a, Map) else a


# -- names ---------------------------------------------------------------------------------------------------------

# A name is used unquoted in Glue's type strings; Hive, Athena and Spark all take these characters.
_PLAIN = re.compile(r"[^a-z0-9_]")
NAME_LIMIT = 240  # 255 in Glue, and the parameter `mapping.{name}` has to fit there too


def fold(original: str) -> str:
    """`original` as the catalog can take it: lower case, other characters `_`, at most `NAME_LIMIT` of them."""
    folded = _PLAIN.sub("_", original.lower())
    return folded[:NAME_LIMIT] or "_"


def give_names(originals: Iterable[str], taken: Mapping[str, str], reserved: Iterable[str] = ()) -> dict[str, str]:
    """`{original: name}` for new originals beside those in `taken` (`{original: name}`), which never change.

    Where the folded name is taken or reserved, a hash of the original follows. An original that is its own folded
    name goes first, so that among new ones it is the other that gets the suffix.
    """
    used = {*taken.values(), *reserved}
    given: dict[str, str] = {}
    for original in sorted(set(originals) - set(taken), key=lambda o: (o != fold(o), o)):
        name = fold(original)
        length = 8
        while name in used:
            suffix = "_" + sha256(original.encode("utf-8", "surrogatepass")).hexdigest()[:length]
            name = fold(original)[: NAME_LIMIT - len(suffix)] + suffix
            length += 8
        used.add(name)
        given[original] = name
    return given


def name_fields(a: Type) -> Type:
    """`a` with a name for every struct field; names once given are kept."""
    if isinstance(a, Struct):
        given = give_names((f.key for f in a.fields), {f.key: f.name for f in a.fields if f.name})
        return Struct(tuple(Field(f.key, f.name or given[f.key], name_fields(f.type)) for f in a.fields))
    if isinstance(a, List):
        return List(name_fields(a.element))
    if isinstance(a, Map):
        return Map(name_fields(a.value))
    return a


# -- JSON ----------------------------------------------------------------------------------------------------------

_SIMPLE: dict[str, Type] = {"null": NULL, "boolean": BOOLEAN, "text": TEXT, "mixed": MIXED}
_SIMPLE_NAMES: dict[type, str] = {type(t): name for name, t in _SIMPLE.items()}


def type_to_json(a: Type) -> Any:
    """A compact JSON value, e.g. `{"number": [3, 2, 4, false]}` or `{"list": "text"}`."""
    if isinstance(a, Number):
        return {"number": [a.integer, a.scale, a.significant, a.int64]}
    if isinstance(a, Struct):
        return {"struct": [[f.key, f.name, type_to_json(f.type)] for f in a.fields]}
    if isinstance(a, Map):
        return {"map": type_to_json(a.value)}
    if isinstance(a, List):
        return {"list": type_to_json(a.element)}
    return _SIMPLE_NAMES[type(a)]


def type_from_json(value: Any) -> Type:
    """The reverse of `type_to_json`."""
    if isinstance(value, str):
        return _SIMPLE[value]
    ((kind, content),) = value.items()
    if kind == "number":
        return Number(*content)
    if kind == "struct":
        return Struct(tuple(Field(key, name, type_from_json(t)) for key, name, t in content))
    return Map(type_from_json(content)) if kind == "map" else List(type_from_json(content))
