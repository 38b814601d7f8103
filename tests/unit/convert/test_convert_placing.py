"""With given columns, values that fit are in them, all others in `__other`, and both readers agree."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynalake.lake.columns.column_types import DOUBLE
from dynalake.lake.columns.pins import Pins
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.types.arrow import json_text
from dynalake.record.key import ItemKey
from tests.support.values.json_values import BUDGET, ITEMS, NUMBERS, VALUES
from tests.unit.convert.batches import KEYS, change, check_alike, line_of, small, table_of

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("DYNALAKE_EXAMPLES", "40"))
"""Examples of each property; thousands take a quarter of an hour."""

ODD = st.sampled_from(
    [
        b"", b" ", b"\t\r", b"{}", b"[]", b"null", b"not json", b'{"id":', b"\xff\xfe", b'{"__operation":"CANARY"}',
        b'{"__operation":"CANARY","new":[1.25,"x"],"__canary_id":"c"}', b'{"a":1,"a":2}', b'{"id":"\xc3"}',
    ]
)  # fmt: skip


def written(record: Mapping[str, Any], way: int) -> bytes:
    """Return the line as the forwarder writes it, or in an equivalent form."""
    if way == 0:
        return json.dumps(record, default=str).encode()
    if way == 1:
        return json_text(dict(reversed([*record.items()]))).encode()
    if way == 2:
        return line_of(record).replace(b'":', b'" : ', 1)
    if way == 3:
        return line_of(record) + b" \r"
    if way == 4:
        return line_of(record).replace(b'"x', b'"\\u0078')
    if way == 5:
        return line_of(record).replace(b'"y', b'"\\ud83d').replace(b'"x', b'"\\/')
    return line_of(record)


def broken(line: bytes, way: int) -> bytes:
    """Return the line with a fault, or with what looks like one."""
    old, new = [
        (b"0", b"x"), (b"INSERT", b"UPSERT"), (b"}", b""), (b":", b":-"), (b"1600000000000", b"16e11"),
        (b"1600000000000", b"1600000000000.0"), (b'"a":', b'"a":1,"a":'), (b'"id":"', b'"id":{"":"'),
        (b'"n":', b'"n":1e400,"m":'), (b'"n":', b'"n":"7","m":'), (b'"a":', b'"a":1e1000000000000000000,"m":'),
        (b'"a":', b'"a":' + b"[" * 70 + b"]" * 70 + b',"m":'), (b'"b":', b'"b":' + b"[" * 30 + b"]" * 30 + b',"m":'),
        (b'"id":', b'"___operation":1,"id":'), (b'"id":', b'"__other":{},"id":'),
        (b'"id":', b'"__types":{"/a":"B"},"id":'),
    ][way]  # fmt: skip
    return line.replace(old, new, 1)


@st.composite
def batches(draw: st.DrawFn, key: ItemKey, items: st.SearchStrategy[dict[str, Any]]) -> list[bytes]:
    """Draw the objects of a batch: mostly changes as the forwarder writes them."""
    lines: list[bytes] = []
    for number, item in enumerate(draw(st.lists(items, min_size=1, max_size=8))):
        values = {**item, "id": f"item {number % 5}", "n": draw(st.sampled_from([number, 7, -1, Decimal("1.5")]))}
        if draw(st.integers(0, 19)) == 0:
            values["n"] = draw(NUMBERS)
        record = change(values, draw(st.integers(1, 3)), number % 3, draw(st.sampled_from(["INSERT", "REMOVE"])))
        line = written(record, draw(st.integers(0, 60)))
        if draw(st.integers(0, 12)) == 0:
            line = broken(line, draw(st.integers(0, 15)))
        lines += [line] * draw(st.sampled_from([1, 1, 1, 2]))
    lines += draw(st.lists(ODD, max_size=2))
    lines = draw(st.permutations(lines))
    cut = draw(st.integers(0, len(lines)))
    return [b"\n".join(part) + b"\n" for part in (lines[:cut], lines[cut:])]


SIZES = st.tuples(st.sampled_from([1, 300, 1 << 20]), st.sampled_from([1, 100, 10_000]), st.sampled_from([1, 1 << 12]))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(KEYS), st.lists(ITEMS, max_size=3), SIZES, st.sampled_from([None, None, 4, 12]))
def test_both_readers_read_any_batch_alike_and_lose_nothing(
    data: st.DataObject, key: ItemKey, before: Sequence[dict[str, Any]], sizes: tuple[int, int, int], dense: int | None
) -> None:
    """Under a table created for other items, within budgets that are often exhausted."""
    table = table_of(key, [{**item, "n": 1} for item in before], BUDGET)
    bodies = data.draw(batches(key, ITEMS))
    with small(*sizes, dense=dense):
        check_alike(bodies, table, BUDGET)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.lists(ITEMS, max_size=2), st.lists(ITEMS, min_size=1, max_size=2))
def test_rows_follow_the_schema_that_the_table_got(
    data: st.DataObject, before: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]
) -> None:
    """Another run was first, and gave attributes of the batch columns of other types."""
    key = KEYS[1]
    table = table_of(key, before, BUDGET)
    bodies = data.draw(batches(key, ITEMS))
    with small():
        result = check_alike(bodies, table, BUDGET)
        other = table_of(key, [*before, *others], BUDGET)
        schema = TableSchema(key, merged(table, other)).admit(result.observed, BUDGET)
        check_alike(bodies, table, BUDGET, schema)


def merged(table: TableSchema, other: TableSchema) -> tuple[Any, ...]:
    """Return the table's columns and those added by another run."""
    return (*table.columns, *(c for c in other.columns if c.attribute not in table.known))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_values_that_come_after_the_column_was_created(data: st.DataObject) -> None:
    """A column is created for some values; others come later, in one block or in several."""
    key = KEYS[0]
    table = table_of(key, [{"v": v} for v in data.draw(st.lists(VALUES, max_size=3))], BUDGET)
    values = data.draw(st.lists(VALUES, min_size=1, max_size=12))
    lines = [line_of(change({"id": str(i), "v": v, "m": {"k": v}, "l": [v]}, i)) for i, v in enumerate(values)]
    with small(block=data.draw(st.sampled_from([1, 1 << 20]))):
        check_alike([b"\n".join(lines) + b"\n"], table, BUDGET)


def test_a_number_that_only_python_reads_is_in_its_column_in_every_reading() -> None:
    """A second reading only checks whether a value fits."""
    table = TableSchema.of_new_table(KEYS[1])
    lines = [line_of(change({"id": "a", "n": n, "x": Decimal("1E-23"), "y": False}, n)) for n in range(3)]
    schema = table_of(KEYS[1], [{"n": 1, "y": 1}], BUDGET).admit({"x": DOUBLE}, BUDGET)
    result = check_alike([b"\n".join(lines)], table, BUDGET, schema)
    assert [row["x"] for row in result.rows] == [1e-23] * 3
    assert result.misfits == {"y": {"type": "boolean", "count": 3}}


def test_closed_columns_leave_all_that_is_new_to_other_in_every_reading() -> None:
    pins = Pins(never=("secret",), closed=True)
    table = table_of(KEYS[0], [{"id": "a", "n": 1, "m": {"x": 1}}], BUDGET).with_pins(pins)
    new = {"id": "a", "n": Decimal("1.5"), "m": {"x": 1, "y": 2}, "b": [1], "secret": "s"}
    lines = [line_of(change(new, 1)), line_of(change({"id": "b", "n": 2, "m": {"x": 3}}, 2))]

    result = check_alike([b"\n".join(lines)], table, BUDGET)

    assert result.schema == table
    assert [(row["n"], row["m"]) for row in result.rows] == [(None, None), (2, {"x": 3})]
    assert {a: misfit["count"] for a, misfit in result.misfits.items()} == {"b": 1, "m": 1, "n": 1}
    assert dict(result.rows[0]["__other"]) == {"b": "[1]", "m": '{"x":1,"y":2}', "n": "1.5", "secret": '"s"'}
