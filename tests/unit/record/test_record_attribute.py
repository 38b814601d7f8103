"""The JSON text of attribute values."""

from __future__ import annotations

import json
from decimal import Decimal
from json.encoder import py_encode_basestring
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.errors import RecordError
from dynalake.record.attribute import encode_value, escape_surrogates
from tests.support.values.items import VALUES, Pair, numbers


def read(text: str) -> Any:
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


@given(VALUES)
def test_every_value_reads_back_unchanged(pair: Pair) -> None:
    value, expected = pair
    text = encode_value(value)
    assert read(text) == expected
    assert "\n" not in text
    assert "\r" not in text


@given(numbers())
def test_numbers_keep_every_digit(number: str) -> None:
    assert encode_value({"N": number}) == number


@pytest.mark.parametrize(
    "number",
    ["0", "-0", "-0.0", "1.50", "12345678901234567890123456789012345678", "1E-130", "9.99E+125", "1e5"],
)
def test_numbers_are_not_normalised(number: str) -> None:
    assert encode_value({"N": number}) == number
    assert encode_value({"NS": [number]}) == f"[{number}]"


@given(st.text(st.characters(), max_size=30))
def test_any_text_can_be_stored_as_utf8_on_one_line(text: str) -> None:
    stored = encode_value({"S": text}).encode("utf-8")
    assert b"\n" not in stored
    assert b"\r" not in stored
    # A high and a low surrogate next to each other are the two halves of one character.
    assert json.loads(stored).encode("utf-16", "surrogatepass") == text.encode("utf-16", "surrogatepass")


@given(
    st.lists(st.text(st.characters(), min_size=1, max_size=30), min_size=1, max_size=5),
    st.integers(0, 3000),
    st.sampled_from(["", '"', "\\", "\n", "\x00\x1f", "é", "\U0001f600", '\\"\n']),
)
def test_long_text_is_escaped_like_short_text(pieces: list[str], length: int, sprinkled: str) -> None:
    text = "plain text, ".join(pieces).ljust(length, "x") + sprinkled
    for long in (text, text + "y" * 5000, text * (1 + 3000 // len(text))):
        assert encode_value({"S": long}) == escape_surrogates(py_encode_basestring(long))
        assert encode_value({"M": {"a": {"S": long}}}) == f'{{"a":{escape_surrogates(py_encode_basestring(long))}}}'


@pytest.mark.parametrize("kind", ["S", "N", "B", "SS"])
@pytest.mark.parametrize("content", [None, 1, b"x" * 2000, ["x"] * 2000, {"x": 1}, ("x",) * 2000])
def test_invalid_text_is_refused_at_any_length(kind: str, content: Any) -> None:
    if isinstance(content, {"SS": list | tuple, "B": bytes}.get(kind, ())):
        return
    with pytest.raises(RecordError):
        encode_value({kind: content})
    with pytest.raises(RecordError):
        encode_value({"L": [{"M": {"a": {kind: content}}}]})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"B": b"\x00\xff"}, '"AP8="'),
        ({"B": "AP8="}, '"AP8="'),
        ({"B": b""}, '""'),
        ({"SS": ["b", "a", "B"]}, '["B","a","b"]'),
        ({"NS": ["10", "9", "-1E2", "0.5"]}, "[-1E2,0.5,9,10]"),
        ({"BS": [b"b", b"a"]}, '["YQ==","Yg=="]'),
        ({"L": []}, "[]"),
        ({"M": {}}, "{}"),
        ({"M": {"b": {"NULL": True}, "a": {"BOOL": False}}}, '{"a":false,"b":null}'),
        ({"S": 'a"\\\u0001\n\u2028é'}, '"a\\"\\\\\\u0001\\n\u2028é"'),
    ],
)
def test_forms(value: dict[str, Any], text: str) -> None:
    assert encode_value(value) == text


def test_sets_are_sorted_whatever_order_they_had() -> None:
    assert encode_value({"NS": ["3", "1", "2"]}) == encode_value({"NS": ["2", "3", "1"]})
    assert encode_value({"SS": ["c", "a"]}) == encode_value({"SS": ["a", "c"]})


def test_nesting_far_beyond_the_limit_of_dynamodb() -> None:
    value: dict[str, Any] = {"N": "1"}
    for level in range(100):
        value = {"L": [value]} if level % 2 else {"M": {"m": value}}
    text = encode_value(value)
    assert text.count("[") == text.count("{") == 50


def test_endless_nesting_raises_our_own_error() -> None:
    value: dict[str, Any] = {"N": "1"}
    for _ in range(100_000):
        value = {"L": [value]}
    with pytest.raises(RecordError, match="32 levels"):
        encode_value(value)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"S": "a", "N": "1"},
        {"X": "a"},
        "text",
        None,
        ["S"],
        {"S": 1},
        {"S": None},
        {"N": 1},
        {"N": ""},
        {"N": "NaN"},
        {"N": "Infinity"},
        {"N": "01"},
        {"N": "1."},
        {"N": ".5"},
        {"N": "+1"},
        {"N": "1\n"},
        {"N": "١"},
        {"N": "0x1"},
        {"B": "not base64!"},
        {"B": "AP8"},
        {"B": 5},
        {"BOOL": "true"},
        {"BOOL": 1},
        {"NULL": False},
        {"L": "ab"},
        {"L": {"S": "a"}},
        {"L": ["a"]},
        {"M": []},
        {"M": {"a": "b"}},
        {"M": {1: {"S": "a"}}},
        {"SS": [1]},
        {"SS": "ab"},
        {"NS": ["a"]},
        {"NS": [1]},
        {"BS": ["?"]},
    ],
)
def test_an_invalid_attribute_value_is_refused(value: Any) -> None:
    with pytest.raises(RecordError, match="Needed"):
        encode_value(value)
