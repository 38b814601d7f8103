"""The lattice of types within bounds: its laws, its cost, and the values that a column of a type accepts."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynalake.lake.columns.column_types import cut, settle, widen
from dynalake.lake.types.arrow import arrow_type, converter
from dynalake.lake.types.budget import LIMITS as REAL
from dynalake.lake.types.budget import Limits
from dynalake.lake.types.union import (
    MIXED,
    NULL,
    TOO_LARGE,
    Field,
    List,
    Map,
    Mixed,
    Struct,
    Type,
    holds,
    merge,
    merge_all,
    observe,
    takes,
    tells,
)
from tests.support.values.json_values import LIMITS, VALUES, plain
from tests.support.values.recover import recover

pytestmark = pytest.mark.slow

TYPES = st.lists(VALUES, min_size=1, max_size=3).map(lambda v: merge_all((observe(x, LIMITS) for x in v), LIMITS))
COLUMN_TYPES = TYPES.map(settle).filter(lambda of: of is not None)


def whole(kind: Type) -> Any:
    """Return a type with everything that counts for its size."""
    match kind:
        case Mixed():
            return kind.too_large, *(part and whole(part) for part in (kind.objects, kind.lists))
        case Struct(fields):
            return [(f.key, whole(f.type)) for f in fields]
        case Map(inner) | List(inner):
            return type(kind), whole(inner)
        case _:
            return kind


# -- laws ----------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(TYPES, TYPES, TYPES)
def test_merge_obeys_its_laws_within_the_bounds(a: Type, b: Type, c: Type) -> None:
    def both(x: Type, y: Type) -> Type:
        return merge(x, y, LIMITS)

    assert whole(both(a, b)) == whole(both(b, a))
    assert whole(both(both(a, b), c)) == whole(both(a, both(b, c)))
    assert both(a, a) is a
    merged = both(a, b)
    assert both(merged, a) is merged, "a merge that adds nothing changes nothing"
    assert both(merged, b) is merged


@settings(max_examples=300)
@given(st.lists(VALUES, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_a_type_does_not_depend_on_the_order_of_gathering(values: list[Any], rnd: random.Random) -> None:
    parts = [observe(v, LIMITS) for v in values]
    expected = whole(merge_all(parts, LIMITS))
    rnd.shuffle(parts)
    while len(parts) > 1:
        a = parts.pop(rnd.randrange(len(parts)))
        parts.append(merge(parts.pop(rnd.randrange(len(parts))), a, LIMITS))
    assert whole(parts[0]) == expected


@settings(max_examples=300)
@given(TYPES)
def test_types_stay_within_the_limits(a: Type) -> None:
    assert a == MIXED or a.size <= LIMITS.size
    assert _depth(a) <= LIMITS.depth
    for struct in _structs(a):
        assert len(struct.fields) <= LIMITS.struct_keys
        assert all(len(f.key) <= LIMITS.key_length for f in struct.fields)


def _depth(kind: Type) -> int:
    match kind:
        case Struct(fields):
            return 1 + max((_depth(f.type) for f in fields), default=0)
        case Map(inner) | List(inner):
            return 1 + _depth(inner)
        case _:
            return 0


def _structs(kind: Type) -> list[Struct]:
    match kind:
        case Struct(fields):
            return [kind, *(s for f in fields for s in _structs(f.type))]
        case Map(inner) | List(inner):
            return _structs(inner)
        case _:
            return []


def test_a_type_is_too_large_in_any_order() -> None:
    """Neither does a map hide the size of its original structs, nor a text that of the struct next to it."""
    child = {f"x{a}": {f"y{b}": 1 for b in range(20)} for a in range(20)}
    structs = [observe({f"k{i}": child}) for i in range(50)]
    many_keys = observe({f"z{i}": {"x0": {"y0": 1}} for i in range(101)})
    assert merge_all([*structs, many_keys]) == merge_all([many_keys, *structs]) == MIXED
    assert merge_all([*structs[:30], many_keys]) == merge_all([many_keys, *structs[:30]]) == MIXED
    fields = [observe({"a": {f"k{i}": child}}) for i in range(30)] + [
        observe({"b": {f"k{i}": child}}) for i in range(30)
    ]
    text = observe({"a": "text"})
    assert merge_all([*fields, text]) == merge_all([text, *fields]) == MIXED
    assert merge_all([*fields[:30], text]) == merge_all([text, *fields[:30]]) == Struct((Field("a", "", MIXED),))


# -- what it costs -------------------------------------------------------------------------------------------------


def nested_item(i: int) -> dict[str, Any]:
    """Return 10,000 leaves that no other item has."""
    g, h = divmod(i, 100)
    return {f"h{g}": {f"g{h}": {f"k{a}": {f"k{b}": 1 for b in range(100)} for a in range(100)}}}


def test_many_items_of_ten_thousand_new_fields_each_cost_a_few_megabytes() -> None:
    """Each item adds at most the limit, and nothing of the items before it is copied."""
    items = [nested_item(i) for i in range(8)]
    merged: Type = NULL
    tracemalloc.start()
    try:
        for item in items:
            merged = merge(merged, observe(item))
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert merged == MIXED
    assert all(merge(merged, observe(nested_item(i))) is merged for i in range(8, 120))


def test_merging_many_small_types_into_a_large_one_copies_nothing() -> None:
    """A merge that adds nothing returns the type itself, so it cannot have cost a copy."""
    large = merge_all(observe({f"a{i}": {f"b{j}": {"c": 1} for j in range(50)}}) for i in range(100))
    assert isinstance(large, Struct)
    for i in range(100):
        assert merge(large, observe({f"a{i}": {"b7": {"c": i % 10}}})) is large
    in_list = List(large)
    assert merge(in_list, observe([{"a1": {"b1": {"c": 1}}}, {}, None])) is in_list


@pytest.mark.parametrize(
    "value",
    [
        {f"k{i}": {f"k{j}": 1 for j in range(100)} for i in range(100)},
        {"é" * 29_000 + str(i): 1 for i in range(3)},
        [{f"k{i}": {f"k{j}": 1 for j in range(80)} for i in range(80)}, *[{}] * 70_000],
        {"".join(chr(1 + n) for n in range(30)) * 2_000: 1, "b": "x"},
    ],
    ids=["100 x 100", "keys of 58 KB", "dense list", "control characters"],
)
def test_one_item_has_a_type_of_bounded_size(value: Any) -> None:
    observed = observe(value)
    assert observed == MIXED or observed.size <= REAL.size
    column = settle(observed)
    assert column is not None
    assert holds(column, value)


def test_levels_beyond_the_depth_are_json_text() -> None:
    value: Any = 12345678901234567890123456789012345678
    for level in range(31):
        value = [value] if level % 2 else {"m": value}
    observed = observe(value)
    assert _depth(observed) == REAL.depth
    assert holds(observed, value)
    inner = Struct((Field("m", "", MIXED),))
    assert observe(value, Limits(depth=3)) == Struct((Field("m", "", List(inner)),))
    assert observe([1], depth=REAL.depth) == MIXED
    assert observe(1, depth=REAL.depth) != MIXED


# -- columns -------------------------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(st.one_of(TYPES, COLUMN_TYPES), TYPES, VALUES)
def test_a_type_holds_the_values_that_it_takes(a: Type, b: Type, value: Any) -> None:
    observed = observe(value, LIMITS)
    assert holds(observed, value)
    if takes(a, observed):
        assert holds(a, value)
    if takes(a, b) and holds(b, value):
        assert holds(a, value)
    merged = merge(a, b, LIMITS)
    assert takes(merged, a)
    assert takes(merged, b)


@settings(max_examples=400)
@given(TYPES, TYPES)
def test_a_column_takes_the_values_that_it_was_settled_cut_or_widened_for(a: Type, b: Type) -> None:
    column = settle(a)
    assert (column is None) == (not tells(a))
    if column is None:
        return
    assert takes(column, a)
    for depth in range(4):
        assert takes(cut(column, depth), column)
    wider = widen(column, b, LIMITS)
    assert takes(wider, column)
    assert takes(wider, b)
    assert widen(wider, b, LIMITS) is wider
    assert wider.size < TOO_LARGE.size


@settings(max_examples=800)
@given(COLUMN_TYPES, VALUES)
def test_values_of_a_column_come_back_from_arrow(of: Type, value: Any) -> None:
    """And other values do not: they are refused, or another value comes back."""

    def write_and_read() -> Any:
        array: Any = pa.array([converter(of)(value)], arrow_type(of))
        array.validate(full=True)
        return recover(array.to_pylist()[0], of)

    if holds(of, value):
        assert tagged(write_and_read()) == tagged(value)
        return
    try:
        came = write_and_read()
    except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError, pa.ArrowException):
        return
    # A double may hold more than it is trusted with: some numbers of 16 digits, but not their neighbours.
    assert tagged(came) != tagged(value) or "double" in str(arrow_type(of))


def tagged(value: Any) -> Any:
    """Return a value that equals no other: in Python False is 0."""
    if isinstance(value, dict):
        return {k: tagged(v) for k, v in plain(value).items()}
    if isinstance(value, list):
        return [tagged(v) for v in value]
    return type(plain(value)), plain(value)
