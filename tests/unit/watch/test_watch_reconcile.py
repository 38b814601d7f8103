"""Items compared with the lake: equal, in doubt, resolved, different."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.aws.clients import Clients
from dynalake.convert.read.raw import parse_line
from dynalake.lake.catalog.table import Table
from dynalake.names import Lake
from dynalake.record.change import encode_change
from dynalake.record.key import ItemKey, KeyAttribute
from dynalake.watch.readings import Comparison, Doubt
from dynalake.watch.reconcile import (
    COMPARED_MS,
    FORGOTTEN_MS,
    Candidate,
    candidate,
    choose,
    clear_up,
    compare,
    image_of,
    read_images,
)
from tests.support.values.items import STORABLE

KEY = ItemKey(KeyAttribute("id", "S"), KeyAttribute("n", "N"))
NAMES = Lake("dev", "1", "eu-west-1").table("RECEIPTS")
MINUTE = 60_000
NOW = 1_700_000_000_000


def change(image: dict[str, Any], operation: str = "MODIFY", sequence: int = 1) -> dict[str, Any]:
    line = encode_change(image, operation=operation, sequence_number=str(sequence), event_time=NOW)
    return parse_line(line.encode())


def made(key: str, image: str = "same") -> Candidate:
    return Candidate(key, {"id": {"S": key}}, "1", image, NOW, NOW)


@pytest.mark.parametrize(
    "record",
    [
        change({"id": {"S": "a"}, "n": {"N": "1"}}, "SNAPSHOT"),
        change({"id": {"S": "a"}}),
        {**change({"id": {"S": "a"}, "n": {"N": "1"}}), "n": "1"},
        {**change({"id": {"S": "a"}, "n": {"N": "1"}}), "n": True},
        {**change({"id": {"S": "a"}, "n": {"N": "1"}}), "__event_time": "now"},
        {**change({"id": {"S": "a"}, "n": {"N": "1"}}), "__sequence_number": f"{7:040}.5"},
        {},
    ],
)
def test_only_changes_of_the_stream_are_compared(record: dict[str, Any]) -> None:
    assert candidate(KEY, record, NOW) is None


def test_an_invalid_binary_key_is_not_compared() -> None:
    key = ItemKey(KeyAttribute("id", "B"))
    item = candidate(key, change({"id": {"B": b"\x00\xff"}}), NOW)
    assert item is not None
    assert item.attributes == {"id": {"B": b"\x00\xff"}}
    assert candidate(key, {**change({"id": {"B": b"x"}}), "id": "%"}, NOW) is None


class Source:
    """A DynamoDB that answers BatchGetItem with items, and leaves some keys unprocessed."""

    def __init__(self, items: list[dict[str, Any]], later: list[dict[str, Any]]) -> None:
        self.items, self.later, self.asked = items, later, cast("dict[str, Any]", {})

    def batch_get_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:
        self.asked = RequestItems
        unprocessed = {NAMES.table: {"Keys": self.later}} if self.later else {}
        return {"Responses": {NAMES.table: self.items}, "UnprocessedKeys": unprocessed}


def read(source: Source, chosen: list[Candidate]) -> dict[str, str]:
    return read_images(Table(Clients(lambda _: source), NAMES), KEY, chosen)


@given(STORABLE)
def test_an_item_that_matches_its_landed_change_is_equal(item: dict[str, Any]) -> None:
    """Through the lake's text or directly from the table: the same digits, sets and bytes."""
    item = {**item, "id": {"S": "a"}, "n": {"N": "1.50"}}
    landed = candidate(KEY, change(item), NOW)
    assert landed is not None
    table = Source([item], [])
    assert read(table, [landed]) == {landed.key: landed.image}
    assert table.asked[NAMES.table]["ConsistentRead"] is True


def test_a_missing_item_equals_only_its_removal() -> None:
    item = {"id": {"S": "a"}, "n": {"N": "1"}, "x": {"S": "y"}}
    written, removed = candidate(KEY, change(item), NOW), candidate(KEY, change(item, "REMOVE"), NOW)
    assert written is not None
    assert removed is not None
    assert read(Source([], []), [removed]) == {removed.key: removed.image}
    assert read(Source([], []), [written]) != {written.key: written.image}
    assert read(Source([item], []), [removed]) != {removed.key: removed.image}


def test_half_of_a_surrogate_pair_is_compared_except_in_a_key() -> None:
    half = {"id": {"S": "a"}, "n": {"N": "1"}, "x": {"S": "\ud800"}}
    item = candidate(KEY, change(half), NOW)
    assert item is not None
    assert read(Source([half], []), [item]) == {item.key: item.image}
    assert candidate(KEY, change({**half, "id": {"S": "\udc00"}}), NOW) is None


def test_keys_that_dynamodb_leaves_unprocessed_are_not_judged() -> None:
    item = candidate(KEY, change({"id": {"S": "a"}, "n": {"N": "100"}}), NOW)
    assert item is not None
    assert read(Source([], [{"id": {"S": "a"}, "n": {"N": "1E+2"}}]), [item]) == {}
    assert read(Source([], []), []) == {}


def test_one_digit_more_or_less_is_noticed() -> None:
    images = {image_of("k", {"n": n}) for n in (Decimal("1.5"), Decimal("1.50"), 15, "1.5", None, True, 1)}
    assert len(images) == 7


def test_the_choice_is_bounded_and_repeatable() -> None:
    candidates = [made(str(n)) for n in range(500)]
    chosen = choose(candidates, 20, NOW)
    assert len(chosen) == 20
    assert choose(reversed(candidates), 20, NOW) == chosen
    assert len(choose(candidates, 1000, NOW)) == 100
    assert choose([], 20, NOW) == []


def test_a_late_change_is_not_compared() -> None:
    """It was replayed, and later changes may be in a day that is not listed any more."""
    assert choose([made("a")], 20, NOW + COMPARED_MS - 1) == [made("a")]
    assert choose([made("a")], 20, NOW + COMPARED_MS) == []


def test_a_fast_clock_hides_no_later_change() -> None:
    """Event times need not rise with sequence numbers: the time of landing counts."""
    item = {"id": {"S": "a"}, "n": {"N": "1"}}
    ahead, behind = candidate(KEY, change(item), NOW - MINUTE), candidate(KEY, change(item), NOW + MINUTE)
    assert ahead is not None
    assert behind is not None
    assert (ahead.at, ahead.since, behind.since) == (NOW, NOW - MINUTE - 1, NOW)
    (doubt,) = compare([ahead], {ahead.key: "other"}, Comparison(), NOW).doubts
    assert doubt.since == NOW - MINUTE - 1


def test_equal_items_are_counted_and_others_are_in_doubt_once() -> None:
    first = compare([made("a"), made("b"), made("c")], {"a": "same", "b": "other"}, Comparison(), NOW)
    assert (first.compared, first.equal, first.at) == (1, 1, NOW)
    assert first.doubts == (Doubt("b", "other", NOW, NOW),)
    again = compare([made("b")], {"b": "other"}, first, NOW + 1)
    assert again == first


def test_a_landing_change_resolves_a_doubt() -> None:
    before = Comparison(NOW, 1, 1, (Doubt("b", "other", NOW, NOW),))
    done = clear_up(before, frozenset({"other"}), NOW + 10 * MINUTE, 15, conclude=True)
    assert (done.compared, done.equal, done.doubts, done.differing) == (2, 2, (), ())


@pytest.mark.parametrize(
    ("landed", "minutes", "conclude", "differs"),
    [
        (frozenset(), 29, True, False),
        (frozenset(), 31, True, True),
        (frozenset(), 31, False, False),
        (None, 31, True, False),
    ],
)
def test_an_item_differs_when_its_change_has_not_landed(
    landed: frozenset[str] | None, minutes: int, conclude: bool, differs: bool
) -> None:
    doubt = Doubt("b", "other", NOW, NOW)
    done = clear_up(Comparison(NOW, 1, 1, (doubt,)), landed, NOW + minutes * MINUTE, 15, conclude=conclude)
    assert done.differing == ((doubt,) if differs else ())
    assert done.doubts == (() if differs else (doubt,))
    assert (done.compared, done.equal) == (2 if differs else 1, 1)


def test_a_difference_is_reported_for_a_day_or_until_the_change_lands() -> None:
    before = Comparison(NOW, 2, 1, (), (Doubt("b", "other", NOW, NOW),))
    assert clear_up(before, frozenset(), NOW + FORGOTTEN_MS, 15, conclude=True) == before
    assert clear_up(before, frozenset(), NOW + FORGOTTEN_MS + 1, 15, conclude=True).differing == ()
    assert clear_up(before, frozenset({"other"}), NOW + MINUTE, 15, conclude=True).differing == ()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["same", "other"])), max_size=6))
def test_the_counts_always_add_up(answers: list[tuple[str, str]]) -> None:
    comparison = Comparison()
    for step, (key, image) in enumerate(answers):
        comparison = compare([made(key)], {key: image}, comparison, NOW + step * 20 * MINUTE)
        comparison = clear_up(comparison, frozenset(), NOW + step * 20 * MINUTE, 5, conclude=True)
        assert comparison.compared == comparison.equal + len(comparison.differing)
        assert json.dumps(comparison, default=vars)
