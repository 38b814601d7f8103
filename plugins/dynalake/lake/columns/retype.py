"""Rows under one schema as rows under another: every value stays exact, in its column or in `__other`.

This is the part of a widening that changes the rows of a file, as pure functions. Arrow turns a column from one type
into the other where that is certainly right. All else goes through Python, value by value, by way of the JSON that the
values stand for: so `1` may become a decimal, a struct a map, and anything its JSON text. A value that does not fit its
column goes to `__other`, and one that waited there goes to its column once it fits.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.types.arrow import arrow_type, converter, json_text
from dynalake.lake.types.layout import signature
from dynalake.lake.types.union import (
    DECIMAL_DIGITS,
    DOUBLE_DIGITS,
    NULL,
    Boolean,
    Field,
    List,
    Map,
    Mixed,
    Number,
    Struct,
    Type,
    holds,
    merge,
    observe,
)
from dynalake.record.change import OTHER

_pa: Any = pa  # its stubs take types only as literals; here they are data

_WIDE = Context(prec=1000)

_ROWS = 4096
"""Rows of one column that are Python objects at once."""

_EXACT = 10**DOUBLE_DIGITS
"""Bound of integers that are doubles, digit for digit."""

DENSE = 1 << 18
"""Words that the elements of one value may take in its column; 2 MB. A larger value is in `__other`."""

Other = dict[str, str]
"""Attribute → JSON text: the entries of one row in `__other`."""


class Retyper:
    """Turns rows under `old` into rows under `new`; `arrow` has its columns in order, with their types.

    Columns that hold no attribute are taken as they are, and are null where they are missing. `lifted` counts the
    values that went from `__other` to a column, by attribute, and `spilled` those that went the other way, whose types
    are `misfits`.
    """

    def __init__(self, old: TableSchema, new: TableSchema, arrow: pa.Schema) -> None:
        self._old, self._new, self._arrow = old.known, new.known, arrow
        self._attributes = {c.name: c.attribute for c in new.columns}
        # A column that is gone, or renamed, is no longer found under its name.
        self._own = {f.name for f in arrow} - {c.name for c in new.columns}
        self._columns = _pa.array(sorted(self._new), pa.string())
        self.lifted: Counter[str] = Counter()
        self.spilled: Counter[str] = Counter()
        self.misfits: dict[str, Type] = {}

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Return the rows under the new schema, in the same order."""
        spilled: dict[int, Other] = {}
        columns: dict[str, Any] = {}
        for field in self._arrow:
            if field.name in self._own:
                present = field.name in rows.column_names
                columns[field.name] = _whole(rows[field.name]) if present else _pa.nulls(rows.num_rows, field.type)
                continue
            attribute = self._attributes[field.name]
            old, new = self._old.get(attribute), self._new[attribute]
            if old is None or old.name not in rows.column_names:
                columns[field.name] = _pa.nulls(rows.num_rows, field.type)
            else:
                columns[field.name] = self._retype(_whole(rows[old.name]), attribute, old.type, new.type, spilled)
        for attribute in self._old.keys() - self._new.keys():
            if self._old[attribute].name in rows.column_names:
                self._retype(
                    _whole(rows[self._old[attribute].name]), attribute, self._old[attribute].type, None, spilled
                )
        self._move(columns, spilled)
        return _pa.table([columns[f.name] for f in self._arrow], schema=self._arrow)  # type: ignore[no-any-return]

    def _retype(self, values: Any, attribute: str, old: Type, new: Type | None, spilled: dict[int, Other]) -> Any:
        """Return the values as the new type has them; those that do not fit, or all without a type, are `spilled`."""
        fast = None if new is None else recast(values, old, new)
        if fast is not None or values.null_count == len(values):
            return fast if fast is not None or new is None else _pa.nulls(len(values), arrow_type(new))
        restore = json_value(old)
        convert = None if new is None else converter(new)
        pieces = []
        for start in range(0, len(values), _ROWS):
            made: list[Any] = []
            for place, value in enumerate(values.slice(start, _ROWS).to_pylist(), start):
                if value is None:
                    made.append(None)
                    continue
                plain = restore(value)
                if new is not None and convert is not None and has_place(new, plain):
                    made.append(convert(plain))
                    continue
                made.append(None)
                spilled.setdefault(place, {})[attribute] = value if isinstance(old, Mixed) else json_text(plain)
                self.spilled[attribute] += 1
                self.misfits[attribute] = merge(self.misfits.get(attribute, NULL), observe(plain))
            if new is not None:
                pieces.append(_pa.array(made, arrow_type(new)))
        return _pa.concat_arrays(pieces) if pieces else None

    def _move(self, columns: dict[str, Any], spilled: dict[int, Other]) -> None:
        """Move values that fit now from `__other` into their columns, and values that do not fit any longer into it."""
        other = columns[OTHER]
        waiting = self._waiting(other)
        if not spilled and not waiting:
            return
        lifted: dict[str, dict[int, Any]] = {}
        pieces = []
        for start in range(0, len(other), _ROWS):
            made: list[Any] = []
            for place, entries in enumerate(other.slice(start, _ROWS).to_pylist(), start):
                left = {}
                for attribute, text in entries or ():
                    fits = attribute in waiting and attribute not in spilled.get(place, ())
                    if not fits or not self._lift(attribute, text, place, columns, lifted):
                        left[attribute] = text
                left |= spilled.get(place, {})
                made.append(sorted(left.items()) or None)
            pieces.append(_pa.array(made, other.type))
        columns[OTHER] = _pa.concat_arrays(pieces)
        for attribute, values in lifted.items():
            name = self._new[attribute].name
            columns[name] = _put(columns[name], values)
            self.lifted[attribute] += len(values)

    def _waiting(self, other: Any) -> set[str]:
        """Return the attributes in `__other` that have a column."""
        start, end = (other.offsets[0].as_py(), other.offsets[-1].as_py()) if len(other) else (0, 0)
        if start == end:
            return set()
        keys = pc.unique(other.keys.slice(start, end - start))
        return set(keys.filter(pc.is_in(keys, self._columns)).to_pylist())

    def _lift(
        self, attribute: str, text: str, place: int, columns: dict[str, Any], lifted: dict[str, dict[int, Any]]
    ) -> bool:
        column = self._new[attribute]
        value = parse_json(text)
        if value is None or not has_place(column.type, value) or columns[column.name][place].is_valid:
            return False
        lifted.setdefault(attribute, {})[place] = converter(column.type)(value)
        return True


def has_place(of: Type, value: Any) -> bool:
    """Return whether a column of type `of` holds a JSON value exactly, and not in far more space than its text.

    A list of structs is as wide as all fields of these: 100,000 times `{}` under 250 fields would take 200 MB.
    """
    return holds(of, value) and element_words(of, value) <= DENSE


def element_words(of: Type, value: Any) -> int:
    """Return how many words of 8 bytes a value's list and map elements take in a column of type `of`."""
    match of:
        case Struct(fields) if value:
            by_key = of.by_key if fields else {}
            return sum(element_words(by_key[key].type, v) for key, v in value.items() if key in by_key)
        case List(element) if value:
            return len(value) * _words(element) + sum(element_words(element, v) for v in value)
        case Map(inner) if value:
            return len(value) * (1 + _words(inner)) + sum(element_words(inner, v) for v in value.values())
        case _:
            return 0


def _words(of: Type) -> int:
    return 1 + sum(_words(f.type) for f in of.fields) if isinstance(of, Struct) else 1


def parse_json(text: str) -> Any:
    """Return a JSON text as plain values with every digit: None, bool, int, Decimal, str, list and dict."""
    return json.loads(text, parse_float=Decimal)


def json_value(of: Type) -> Callable[[Any], Any]:
    """Return a function from Arrow's value of type `of` to the JSON value that it stands for.

    A null in a struct stands for a key that is missing.
    """
    match of:
        case Number():
            by_kind: dict[str, Callable[[Any], Any]] = {"bigint": int, "double": _of_double, "text": Decimal}
            return by_kind.get(of.kind, _of_decimal)
        case Struct(fields) if fields:
            parts = [(f.key, f.name, json_value(f.type)) for f in fields]
            return lambda value: {
                key: restore(part) for key, name, restore in parts if (part := value.get(name)) is not None
            }
        case Struct():
            return lambda value: {}
        case Map(inner):
            restore = _nullable(json_value(inner))
            return lambda value: {key: restore(part) for key, part in value}
        case List(element):
            restore = _nullable(json_value(element))
            return lambda value: [restore(part) for part in value]
        case Mixed():
            return parse_json
        case _:
            return lambda value: value


def _nullable(restore: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else restore(value)


def _of_double(value: float) -> Decimal:
    """Return the number of at most `DOUBLE_DIGITS` digits that the double stands for, as one would write it."""
    return _of_decimal(Decimal(repr(value)))


def _of_decimal(value: Decimal) -> Decimal:
    """Return the number without zeros at its end, and without an exponent where that takes few digits."""
    plain = value.normalize(_WIDE)
    return Decimal(format(plain, "f")) if 0 < plain.as_tuple().exponent < DECIMAL_DIGITS else plain  # type: ignore[operator]


def recast(values: Any, old: Type, new: Type) -> Any | None:
    """Return the values as `new` has them, where Arrow gives them exactly; None where it does not, or may not."""
    of: Any = arrow_type(new)
    if values.null_count == len(values):
        return _pa.nulls(len(values), of)
    if signature(old) == signature(new):
        return values
    match old, new:
        case Number(), Number():
            return _recast_numbers(values, old, new)
        case Number(), Mixed() if old.kind in ("bigint", "text"):
            return values.cast(pa.string())
        case Boolean(), Mixed():
            return values.cast(pa.string())
        case List(a), List(b):
            inner = recast(values.values, a, b)
            return None if inner is None else _with_children(values, of, [inner])
        case Map(a), Map(b):
            inner = recast(values.items, a, b)
            if inner is None:
                return None
            entry = _pa.StructArray.from_arrays([values.keys, inner], fields=[of.key_field, of.item_field])
            return _with_children(values, of, [entry])
        case Struct(fields), Struct(others) if fields and others:
            return _recast_struct(values, fields, others, of)
        case _:
            return None


def _recast_struct(values: Any, fields: tuple[Field, ...], others: tuple[Field, ...], of: Any) -> Any | None:
    places = {f.key: i for i, f in enumerate(fields)}
    if not places.keys() <= {f.key for f in others}:
        return None
    children = []
    for f in others:
        if f.key not in places:
            children.append(_pa.nulls(len(values), arrow_type(f.type)))
            continue
        child = values.field(places[f.key])
        inner = recast(child, fields[places[f.key]].type, f.type)
        if inner is None:
            return None
        children.append(inner)
    return _pa.StructArray.from_arrays(children, fields=list(of), mask=values.is_null())


def _recast_numbers(values: Any, old: Number, new: Number) -> Any | None:
    of: Any = arrow_type(new)
    try:
        match old.kind, new.kind:
            case "bigint", "double":
                least, most = pc.min_max(values).values()
                small = least.as_py() > -_EXACT and most.as_py() < _EXACT
                return values.cast(of) if small else None
            case "bigint", "decimal":
                # In one step, Arrow wants room for the 19 digits that any integer may have, whatever these have.
                return values.cast(pa.decimal128(38, 0)).cast(of)
            case "decimal", "decimal":
                return values.cast(of)
            case "bigint", "text":
                return values.cast(pa.string())
            case _:
                return None
    except pa.ArrowInvalid:  # a number does not fit: the values are tried one by one
        return None


def _with_children(values: Any, of: Any, children: list[Any]) -> Any:
    """Return a list or map with other values at the same places."""
    own = values.buffers()[:2]
    return _pa.Array.from_buffers(of, len(values), own, values.null_count, values.offset, children)


def _put(values: Any, new: dict[int, Any]) -> Any:
    """Return the array with other values at some places."""
    made = _pa.array(list(new.values()), values.type)
    places = list(range(len(values)))
    for i, place in enumerate(new):
        places[place] = len(values) + i
    return _pa.concat_arrays([values, made]).take(_pa.array(places, pa.int64()))


def _whole(column: Any) -> Any:
    combined = column.combine_chunks()
    return _pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined


def entries_of(other: Any) -> Iterator[tuple[str, str]]:
    """Yield attribute and JSON text of all entries in a column `__other`."""
    for entries in other.to_pylist():
        yield from entries or ()
