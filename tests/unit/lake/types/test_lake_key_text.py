"""An item's key as one text: equal for equal keys, in the order of the keys, and the same for Arrow's arrays."""

from __future__ import annotations

from decimal import Decimal, localcontext
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dynalake.errors import RecordError
from dynalake.lake.types.key_text import key_text, key_texts, number_key, number_keys

pytestmark = pytest.mark.slow


@st.composite
def numbers(draw: st.DrawFn) -> int | Decimal:
    """Draw any number of DynamoDB in any form that a line may have; some are close to each other."""
    digits = draw(st.one_of(st.integers(0, 30), st.integers(0, 10**38 - 1)))
    exponent = draw(st.one_of(st.integers(-3, 3), st.integers(-130, 125 - len(str(digits)))))
    value = Decimal((draw(st.integers(0, 1)), tuple(map(int, str(digits))), exponent))
    return int(value) if exponent >= 0 and draw(st.booleans()) else value


TEXTS = st.one_of(st.text("a!~01", max_size=4), st.text(max_size=4))


@settings(max_examples=1000)
@given(numbers(), numbers())
@example(1, Decimal("1.0"))
@example(Decimal("10E-1"), Decimal("1"))
@example(Decimal("-0.0"), 0)
@example(-1, Decimal("-1.5"))
@example(Decimal("9.99999999999999999999999999999999999999E+125"), Decimal("1E-130"))
def test_numbers_are_equal_and_ordered_by_their_values(a: int | Decimal, b: int | Decimal) -> None:
    assert (number_key(a) == number_key(b)) == (a == b)
    assert (number_key(a) < number_key(b)) == (a < b)


@settings(max_examples=500)
@given(TEXTS, TEXTS, numbers(), numbers())
def test_keys_of_two_parts_are_distinct(a: str, b: str, m: int | Decimal, n: int | Decimal) -> None:
    for first, second in (((a, m), (b, n)), ((m, a), (n, b)), ((a, b), (b, a)), ((m, n), (n, m)), ((a, m), (a, n))):
        assert (key_text(first) == key_text(second)) == (first == second)
    assert (key_text((m, a)) < key_text((n, a))) == (m < n)
    assert (key_text((a, m)) < key_text((a, n))) == (m < n)
    assert (key_text((m, n)) < key_text((n, m))) == ((m, n) < (n, m))
    assert (key_text((n, a)) < key_text((n, b))) == (a < b)


def test_examples_of_texts() -> None:
    assert number_key(Decimal("1558778400.123")) == "15091558778400123"
    assert number_key(Decimal("-1.5")) == "-49984~"
    assert [number_key(n) for n in (0, 1, 10, 20, -1)] == ["0", "15001", "15011", "15012", "-4998~"]
    assert key_text(("a!b~c", 7)) == "a~1b~0c!15007"
    assert key_text((7, "a!b~c")) == "15007!a!b~c"
    assert key_text(("a!b~c",)) == "a!b~c"
    partitions = ["user#1", "user#10", "user#2", "user#2!", "user#20"]
    assert sorted(partitions, key=lambda p: key_text((p, 1))) == ["user#1", "user#10", "user#2", "user#20", "user#2!"]


@pytest.mark.parametrize("text", ["1E+500", "1E-501", "-1E+1000", "NaN", "Infinity"])
def test_numbers_that_dynamodb_cannot_hold_are_refused(text: str) -> None:
    with pytest.raises(RecordError, match="number of a key"):
        number_key(Decimal(text))


def test_the_decimal_context_has_no_effect() -> None:
    value = Decimal("1234567890123456789012345678.9012345678")
    with localcontext(prec=5):
        assert number_key(value) == "1" + "527" + "12345678901234567890123456789012345678"


@settings(max_examples=300)
@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-3, 1_000))))
@example([0, 10, -10, None, 2**63 - 1, -(2**63)])
@example([0, 7, 70])
def test_arrays_of_integers(values: list[int | None]) -> None:
    texts = [None if v is None else number_key(v) for v in values]
    assert number_keys(pa.array(values, pa.int64())).to_pylist() == texts
    chunked = pa.chunked_array([pa.array(values[:2], pa.int64()), pa.array(values[2:], pa.int64())])
    assert number_keys(chunked).to_pylist() == texts


@settings(max_examples=200)
@given(st.lists(st.tuples(TEXTS, st.integers(0, 10**15 - 1), st.integers(0, 9)), min_size=1))
def test_arrays_of_whole_keys(rows: list[tuple[str, int, int]]) -> None:
    texts = pa.array([t for t, _, _ in rows])
    values = [Decimal(n).scaleb(-places) for _, n, places in rows]
    decimals = pa.array(values, pa.decimal128(38, 9))
    doubles = pa.array([float(v) for v in values])
    as_text = number_keys(pa.array([str(v) for v in values]))
    expected = [key_text((t, v)) for (t, _, _), v in zip(rows, values, strict=True)]
    for numbers_of in (decimals, doubles, as_text):
        assert key_texts([texts, numbers_of]).to_pylist() == expected
    assert key_texts([decimals]).to_pylist() == [key_text((v,)) for v in values]
    turned = [key_text((v, t)) for (t, _, _), v in zip(rows, values, strict=True)]
    assert key_texts([decimals, texts]).to_pylist() == turned


def test_keys_read_in_order_form_ranges() -> None:
    """Files in the order of the text have disjoint bounds in the number's column."""
    values = sorted([*range(-200, 200), Decimal("0.5"), Decimal("-0.5"), 10**20, -(10**20)], key=number_key)
    assert all(a < b for a, b in pairwise(values))
