"""A change record is decoded to its original item."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.errors import RecordError
from dynalake.record.change import encode_change, snapshot_encoder
from dynalake.record.item import decode_item
from tests.support.values.items import ITEMS, STORABLE, VALUES


def line_of(image: dict[str, Any], operation: str = "MODIFY") -> str:
    return encode_change(image, operation=operation, sequence_number="7", event_time=5, expired=operation == "REMOVE")


def alike(value: dict[str, Any]) -> dict[str, Any]:
    """Return the value with its sets sorted."""
    ((kind, content),) = value.items()
    match kind:
        case "SS" | "NS" | "BS":
            return {kind: sorted(content)}
        case "L":
            return {kind: [alike(v) for v in content]}
        case "M":
            return {kind: {name: alike(v) for name, v in content.items()}}
    return value


def in_order(value: dict[str, Any]) -> dict[str, Any]:
    """Return the value with the names of its maps sorted."""
    ((kind, content),) = value.items()
    match kind:
        case "L":
            return {kind: [in_order(v) for v in content]}
        case "M":
            return {kind: {name: in_order(content[name]) for name in sorted(content)}}
    return value


def check(item: dict[str, Any]) -> None:
    """Check that every attribute value comes back by `repr`, since `True` equals 1, and encodes to the same line."""
    for line in (line_of(item), line_of(item, "REMOVE"), snapshot_encoder(5)(item)):
        decoded = decode_item(line)
        assert repr(alike(in_order({"M": decoded}))) == repr(alike(in_order({"M": item})))
    assert line_of(decode_item(line_of(item))) == line_of(item)


@given(ITEMS, VALUES)
def test_any_item_comes_back_from_its_line(item: dict[str, Any], value: Any) -> None:
    image = {name: pair[0] for name, pair in item.items()}
    check(image)
    check({**image, "empty name": {"M": {"": value[0], "a": {"M": {"": value[0]}}}}})


@given(STORABLE)
def test_any_item_of_32_levels_comes_back(item: dict[str, Any]) -> None:
    check(item)


@given(st.text(st.characters(), max_size=9), st.text(st.characters(), max_size=9))
def test_half_of_a_surrogate_pair_comes_back(name: str, text: str) -> None:
    """As the character if both halves are next to each other."""
    item = {f"a{name}": {"S": text}, "m": {"M": {name: {"SS": [text]}}}}
    joined = {
        key: {"S": value["S"].encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")}
        for key, value in decode_item(line_of(item)).items()
        if "S" in value
    }
    assert joined == {
        f"a{name}".encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass"): {
            "S": text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        }
    }


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"a": {"N": "-0"}, "b": {"N": "1E-130"}, "c": {"N": f"9.{'9' * 37}E+125"}, "d": {"NS": ["-0.0", "1.500"]}},
        {"a": {"B": b""}, "b": {"BS": [b"", b"a"]}, "c": {"S": ""}, "d": {"S": "AP8="}, "e": {"B": b"\x00\xff"}},
        {"a": {"SS": []}, "b": {"NS": []}, "c": {"BS": []}, "d": {"L": []}, "e": {"M": {}}},
        {"a": {"L": [{"N": "1"}]}, "b": {"NS": ["1"]}, "c": {"L": [{"S": "1"}]}, "d": {"SS": ["1"]}},
        {
            name: {"SS": [name]}
            for name in ("/", "~", "~0", "~1", "a/b", "/a", "0", '"', "\\", "\n", "é", "__types", "")
        },
        {"l": {"L": [{"M": {str(n): {"BS": [b"a"]}}} for n in range(12)]}},
        {"__types": {"S": "x"}, "___types": {"SS": ["x"]}, "__other": {"B": b"x"}, "__operation": {"NULL": True}},
    ],
)
def test_edges(item: dict[str, Any]) -> None:
    check(item)


def test_the_line_may_come_from_another_program() -> None:
    line = b'{"n": 1.50, "__operation": "INSERT", "s": ["b", "a"], "__types": {"/s": "SS"}}\r\n'
    assert decode_item(line) == {"n": {"N": "1.50"}, "s": {"SS": ["b", "a"]}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "not JSON"),
        ("[1]", r"is \['1'\]"),
        ("{", "not JSON"),
        (b"\xff", "not JSON"),
        ('{"a":NaN}', "NaN is not a JSON number"),
        ('{"a":1,"a":2}', "twice"),
        ('{"a":' + "[" * 100_000, "32 levels"),
        ('{"__other":1}', "__other"),
        ('{"__types":["B"]}', "__types is"),
        ('{"a":"","__types":{"/a":"S"}}', "__types is"),
        ('{"a":"","__types":{"/b":"B"}}', "'/b' is B, but the record has no value there"),
        ('{"a":"","__types":{"a":"B"}}', "'a' is B, but the record has no value there"),
        ('{"a":"x","__types":{"/a":"B"}}', "'/a' is B, but it is 'x'"),
        ('{"a":1,"__types":{"/a":"B"}}', "'/a' is B"),
        ('{"a":["x"],"__types":{"/a":"NS"}}', "'/a' is NS"),
        ('{"a":[1],"__types":{"/a":"SS"}}', "'/a' is SS"),
        ('{"a":[null],"__types":{"/a":"BS"}}', "'/a' is BS"),
        ('{"a":{},"__types":{"/a":"SS"}}', "'/a' is SS"),
    ],
)
def test_lines_that_the_encoder_never_writes_are_refused(line: str | bytes, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        decode_item(line)
