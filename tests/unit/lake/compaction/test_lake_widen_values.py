"""Values under changing types: every value in a column, or waiting for one, stays readable and exact."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynalake.lake.columns.column import DAY
from dynalake.lake.columns.pins import Pins
from dynalake.lake.columns.retype import Retyper, has_place, json_value, parse_json
from dynalake.lake.columns.schema import TableSchema, merge_observed
from dynalake.lake.types.arrow import arrow_type, converter, json_text
from dynalake.lake.types.union import Number, observe
from dynalake.record.change import OTHER
from dynalake.record.key import ItemKey, KeyAttribute

pytestmark = pytest.mark.slow

KEY = ItemKey(KeyAttribute("id", "S"))

NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.integers(-(10**38), 10**38),
    st.sampled_from([2**53, 2**63 - 1, -(2**63), 2**63, 10**15, 10**15 - 1, 10**22]),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**6), max_value=10**6),
    st.builds(
        lambda digits, exponent: Decimal((0, tuple(map(int, str(digits))), exponent)).normalize(),
        st.integers(1, 10**38 - 1),
        st.integers(-40, 60),
    ),
)
TEXTS = st.one_of(
    st.sampled_from(
        ["", "null", "1", "true", "[]", "</a>", '"'],
    ),
    st.text(max_size=5),
)
KEYS = st.sampled_from(["a", "b", "A", "2019", "x y", ""])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
ATTRIBUTES = st.sampled_from(["v", "w", "Other Name"])
ITEMS = st.lists(st.dictionaries(ATTRIBUTES, VALUES, max_size=3), max_size=6)


def observed(items: list[dict[str, Any]]) -> dict[str, Any]:
    return merge_observed({a: observe(v) for a, v in item.items()} for item in items)


def arrow(schema: TableSchema) -> pa.Schema:
    attributes: list[Any] = [pa.field(c.name, arrow_type(c.type)) for c in schema.columns]
    own: list[Any] = [(OTHER, pa.map_(pa.string(), pa.string())), (DAY, pa.string())]
    return pa.schema([*own, *attributes])


def rows_of(items: list[dict[str, Any]], schema: TableSchema) -> pa.Table:
    """Return the items as a conversion writes them: values that fit in their columns, all others in `__other`."""
    rows = []
    for number, item in enumerate([{**item, "id": str(i)} for i, item in enumerate(items)]):
        row: dict[str, Any] = {DAY: f"2024010{number % 9}"}
        other = []
        for attribute, value in item.items():
            column = schema.column(attribute)
            if value is None:
                continue
            if column is None or not has_place(column.type, value):
                other.append((attribute, json_text(value)))
            else:
                row[column.name] = converter(column.type)(value)
        row[OTHER] = other or None
        rows.append(row)
    return pa.Table.from_pylist(rows, arrow(schema))


def items_of(rows: pa.Table, schema: TableSchema) -> list[dict[str, Any]]:
    """Return the rows as a reader understands them, without nulls in objects: these mean missing keys."""
    items = []
    for row in rows.to_pylist():
        item = {a: parse_json(text) for a, text in row[OTHER] or ()}
        for column in schema.columns:
            if row[column.name] is not None and column.attribute != "id":
                assert column.attribute not in item
                item[column.attribute] = json_value(column.type)(row[column.name])
        items.append(without_nulls(item))
    return items


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(v) for v in value]
    return value


def exact(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return items that compare like numbers, but with `True` distinct from 1."""

    def marked(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: marked(v) for k, v in value.items()}
        if isinstance(value, list):
            return [marked(v) for v in value]
        return ("number", Decimal(value)) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value

    return [marked(without_nulls(item)) for item in items]


@settings(max_examples=400, deadline=None)
@given(ITEMS, ITEMS, ITEMS, st.booleans(), st.integers(0, 4))
def test_every_value_is_exact_before_during_and_after(
    early: list[dict[str, Any]],
    misfits: list[dict[str, Any]],
    others: list[dict[str, Any]],
    by_values: bool,
    skipped: int,
) -> None:
    """`others` are values unknown when the new types were decided, such as those of a late commit."""
    old = TableSchema.of_new_table(KEY).admit(observed(early))
    numbers = {a: t for a, t in observed(early).items() if isinstance(t, Number)} if by_values else {}
    new = old.widen_for(observed([*early, *misfits]), numbers=numbers)
    items = [*early, *misfits, *others][skipped:]
    before = rows_of([*early, *misfits, *others], old).slice(skipped)
    assert exact(items_of(before, old)) == exact(items)

    after = Retyper(old, new, arrow(new))(before)
    back = Retyper(new, old, arrow(old))(after)

    assert exact(items_of(after, new)) == exact(items)
    assert exact(items_of(back, old)) == exact(items)
    assert after[DAY] == before[DAY]
    assert not [row[OTHER] for row in after.to_pylist() if any(fits(entry, new) for entry in row[OTHER] or ())]


def fits(entry: tuple[str, str], schema: TableSchema) -> bool:
    """Return whether a waiting attribute has a column that holds its value."""
    column = schema.column(entry[0])
    return column is not None and has_place(column.type, parse_json(entry[1]))


def test_counts_give_the_values_that_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynalake.lake.columns.retype._ROWS", 2)
    old = TableSchema.of_new_table(KEY).admit({"v": observe(1)})
    new = old.widen_for({"v": observe(Decimal("1.5"))}, numbers={"v": Number(1, 0, 1, True)})
    rows = rows_of([{"v": 1}, {"v": Decimal("1.5")}, {"v": 10**15 + 1}, {"w": 1}], old)

    forward = Retyper(old, new, arrow(new))
    after = forward(rows)

    column = new.column("v")
    assert column is not None
    assert column.glue_type == "double"
    assert after["v"].to_pylist() == [1.0, 1.5, None, None]
    assert after[OTHER].to_pylist() == [None, None, [("v", "1000000000000001")], [("w", "1")]]
    assert (forward.lifted, forward.spilled) == ({"v": 1}, {"v": 1})
    assert forward.misfits == {"v": observe(10**15 + 1)}


def test_values_of_a_removed_column_stay_readable() -> None:
    old = TableSchema.of_new_table(KEY).admit({"v": observe({"a": [1]}), "w": observe("x")})
    new = old.with_pins(Pins(never=("v",), names={"w": "other_w"})).widen_for({})
    rows = rows_of([{"v": {"a": [1, None]}, "w": "x"}, {"w": "y"}], old)

    after = Retyper(old, new, arrow(new))(rows)

    assert after.column_names == [OTHER, DAY, "id", "other_w"]
    assert after[OTHER].to_pylist() == [[("v", '{"a":[1,null]}')], None]
    assert after["other_w"].to_pylist() == ["x", "y"]


def test_a_value_that_would_be_much_larger_in_a_column_waits_for_good() -> None:
    wide = {"v": observe([{f"field{n}": 1 for n in range(90)}])}
    old = TableSchema.of_new_table(KEY)
    new = old.admit(wide)
    dense: list[Any] = [{}] * 20_000
    rows = rows_of([{"v": dense}, {"v": dense[:9]}], old)

    after = Retyper(old, new, arrow(new))(rows)

    assert has_place(new.columns[-1].type, dense[:9])
    assert not has_place(new.columns[-1].type, dense)
    assert [None if v is None else len(v) for v in after["v"].to_pylist()] == [None, 9]
    assert exact(items_of(after, new)) == [{"v": dense}, {"v": dense[:9]}]
