"""The change record."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.errors import RecordError
from dynalake.record.change import (
    METADATA,
    RESERVED_KEYS,
    SNAPSHOT_SEQUENCE,
    attribute_name,
    encode_change,
    json_key,
    pad_sequence_number,
    snapshot_encoder,
)
from tests.support.values.items import ITEMS, NAMES, Pair, ambiguous


def read(text: str) -> Any:
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


@given(ITEMS, st.integers(1, 10**40 - 1), st.integers(0, 10**13), st.booleans())
def test_every_item_reads_back_unchanged(item: dict[str, Pair], sequence: int, moment: int, expired: bool) -> None:
    image = {name: value for name, (value, _) in item.items()}
    line = encode_change(image, operation="REMOVE", sequence_number=str(sequence), event_time=moment, expired=expired)
    record = read(line)
    assert record.pop("__operation") == "REMOVE"
    assert record.pop("__sequence_number") == f"{sequence:040}"
    assert record.pop("__event_time") == moment
    assert record.pop("__expired", None) == (True if expired else None)
    assert record.pop("__types", {}) == dict(ambiguous(image))
    assert {attribute_name(key): value for key, value in record.items()} == {
        name: expected for name, (_, expected) in item.items()
    }
    assert "\n" not in line


@given(ITEMS)
def test_the_order_of_the_attributes_does_not_matter(item: dict[str, Pair]) -> None:
    image = {name: value for name, (value, _) in item.items()}
    turned = dict(reversed(list(image.items())))
    first, second = (encode_change(i, operation="INSERT", sequence_number="1", event_time=0) for i in (image, turned))
    assert first == second


def test_types_that_json_lacks_come_before_the_attributes_in_order() -> None:
    """Under the item's own names, escaped for JSON Pointer and then for JSON."""
    tags = {"SS": ["x"]}
    image = {
        "photo": {"B": b""},
        "meta": {"M": {"tags": tags, "": {"NS": ["1"]}, "é": {"BS": [b"a"]}}},
        "list": {"L": [{"S": "a"}, {"L": [tags]}, *[{"M": {"a/b~c": tags}}] * 9]},
        "__types": tags,
        'q"\\\n': tags,
        "text": {"S": "a"},
    }
    line = encode_change(image, operation="REMOVE", sequence_number="1", event_time=0, expired=True)
    lists = "".join(f'"/list/{n}/a~1b~0c":"SS",' for n in range(2, 11))
    assert (
        f',"__expired":true,"__types":{{"/__types":"SS","/list/1/0":"SS",{lists}"/meta/":"NS","/meta/tags":"SS",'
        in line
    )
    assert ',"/meta/é":"BS","/photo":"B","/q\\"\\\\\\n":"SS"},"___types":["x"],"list":' in line
    assert dict(ambiguous(image)) == json.loads(line)["__types"]
    assert '"__types"' not in encode_change({"a": {"L": []}}, operation="INSERT", sequence_number="1", event_time=0)


def test_binary_as_text_and_python_sets_give_the_same_line() -> None:
    given_by_boto3 = {"a": {"B": b"\x00"}, "b": {"BS": {b"b", b"a"}}, "c": {"L": ({"SS": {"y", "x"}},)}}
    given_by_lambda = {"a": {"B": "AA=="}, "b": {"BS": ["YQ==", "Yg=="]}, "c": {"L": [{"SS": ["x", "y"]}]}}
    assert snapshot_encoder(0)(given_by_boto3) == snapshot_encoder(0)(given_by_lambda)
    assert b'"__types":{"/a":"B","/b":"BS","/c/0":"SS"}' in snapshot_encoder(0)(given_by_lambda)


@pytest.mark.parametrize("nested", ["list", "map", "lists"])
def test_paths_do_not_blow_up_an_item_of_400_kb(nested: str) -> None:
    """A name is part of the path of each value below it. The first paths that fit are included."""
    name, sets = "n" * 60_000, [{"SS": ["x"]}] * 50_000
    below = {
        "list": {"L": sets},
        "map": {"M": {str(n): value for n, value in enumerate(sets)}},
        "lists": {"L": [{"L": [value]} for value in sets]},
    }
    line = snapshot_encoder(0)({"a": {"SS": ["x"]}, name: below[nested], "z": {"B": b"x"}})
    assert len(line) < 3 << 20
    assert list(json.loads(line)["__types"])[:2] == ["/a", f"/{name}/0{'/0' if nested == 'lists' else ''}"]
    assert len(json.loads(line)["__types"]) == 1 + (1 << 20) // len(f"/{name}/10")


@given(ITEMS)
def test_a_backfill_writes_the_same_lines(item: dict[str, Pair]) -> None:
    image = {name: value for name, (value, _) in item.items()}
    line = encode_change(image, operation="SNAPSHOT", sequence_number=SNAPSHOT_SEQUENCE, event_time=5)
    assert snapshot_encoder(5)(image) == line.encode()


def test_half_of_a_surrogate_pair_is_escaped() -> None:
    assert snapshot_encoder(5)({"a": {"S": "\ud83c"}}).endswith(b'"a":"\\ud83c"}')


def test_the_line_of_a_change() -> None:
    line = encode_change(
        {"id": {"S": "a"}, "__operation": {"S": "mine"}, "amount": {"N": "1.50"}},
        operation="MODIFY",
        sequence_number="4421584500000000017450439091",
        event_time=1558742400123,
    )
    assert line == (
        '{"__operation":"MODIFY","__sequence_number":"0000000000004421584500000000017450439091",'
        '"__event_time":1558742400123,"___operation":"mine","amount":1.50,"id":"a"}'
    )


@given(st.one_of(NAMES, st.from_regex(r"\A_{0,5}(operation|sequence_number|event_time|expired|types|other)\Z")))
def test_keys_are_reversible_and_never_reserved(name: str) -> None:
    assert json_key(name) not in RESERVED_KEYS
    assert attribute_name(json_key(name)) == name


@given(st.lists(st.from_regex(r"\A_{0,5}(operation|types|other)\Z"), unique=True))
def test_no_two_names_share_a_key(names: list[str]) -> None:
    assert len({json_key(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", ["_operation", "operation", "__operations", "x__operation", "__OPERATION", "__"])
def test_other_names_are_left_alone(name: str) -> None:
    assert json_key(name) == name
    assert attribute_name(name) == name


def test_reserved_keys_are_not_attributes() -> None:
    assert [attribute_name(key) for key in RESERVED_KEYS] == list(RESERVED_KEYS)
    assert set(RESERVED_KEYS) == {*METADATA, "__other"}


@given(st.integers(0, 10**40 - 1), st.integers(0, 10**40 - 1))
def test_the_text_order_of_sequence_numbers_is_their_numeric_order(first: int, second: int) -> None:
    assert (pad_sequence_number(str(first)) < pad_sequence_number(str(second))) == (first < second)


def test_a_snapshot_sorts_below_every_change() -> None:
    assert pad_sequence_number("1") > SNAPSHOT_SEQUENCE == pad_sequence_number("0")


@pytest.mark.parametrize("text", ["", "-1", "1.0", "a", "1" * 41, "١", 5, None])
def test_an_invalid_sequence_number_is_refused(text: Any) -> None:
    with pytest.raises(RecordError, match="sequence number"):
        pad_sequence_number(text)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"operation": "UPSERT"}, "operation is 'UPSERT'"),
        ({"event_time": 1.5}, "event time is 1.5"),
        ({"event_time": True}, "event time is True"),
        ({"sequence_number": "x"}, "sequence number is 'x'"),
        ({"image": {"price": {"N": "NaN"}}}, r"Attribute 'price': A number \(N\) is 'NaN'"),
        ({"image": None}, "image is NoneType"),
        ({"image": {1: {"S": "a"}, "b": {"S": "a"}}}, "image"),
    ],
)
def test_an_invalid_change_is_refused(changed: dict[str, Any], message: str) -> None:
    arguments = {"image": {}, "operation": "INSERT", "sequence_number": "1", "event_time": 0, **changed}
    with pytest.raises(RecordError, match=message):
        encode_change(arguments.pop("image"), **arguments)
