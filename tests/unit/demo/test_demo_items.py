from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from dynalake.backfill.plan.filter import microseconds as moment_of
from dynalake.backfill.plan.filter import of_datetime
from infra.local.demo.formats import ItemsError
from infra.local.demo.items import Change, changes, generated, load_items, parse_key
from infra.local.demo.receipts import generate_receipts
from infra.local.demo.writing import apply_changes, create_table, key_values, write_items

ALL_TYPES = {"S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS"}


def types_in(value: Mapping[str, Any]) -> set[str]:
    ((kind, content),) = value.items()
    members = content if kind == "L" else content.values() if kind == "M" else ()
    return {kind}.union(*map(types_in, members))


def test_receipts_are_deterministic_and_have_everything() -> None:
    items = list(generate_receipts(500, seed=3))
    assert items == list(generate_receipts(500, seed=3))
    assert items[:10] != list(generate_receipts(10, seed=4))
    assert set().union(*(types_in(value) for item in items for value in item.values())) == ALL_TYPES
    assert len({item["receiptId"]["S"] for item in items}) == 500
    assert any("userid" in item and "userId" in item for item in items)
    assert {next(iter(item["loyalty"])) for item in items if "loyalty" in item} == {"S", "N", "M", "L"}
    assert {len(item["exact"]["N"]) for item in items} == {39}  # 38 digits and the point
    assert min(int(item["ledgerId"]["N"]) for item in items) >= 2**64
    assert {"S": ""} in [item.get("notes") for item in items]
    assert any(item.get("coupons") == {"L": []} for item in items)
    assert any(item.get("metadata") == {"M": {}} for item in items)


def test_updated_at_is_a_past_moment_in_four_notations() -> None:
    now = of_datetime(datetime.now(UTC))
    ways = Counter[str]()
    for item in generate_receipts(400):
        if "updatedAt" not in item:
            ways["none"] += 1
            continue
        ((kind, text),) = item["updatedAt"].items()
        moment = moment_of(text, number=kind == "N")
        assert moment is not None
        assert 1_500_000_000 * 10**6 < moment < now
        ways[kind if kind == "S" else f"N{len(text)}"] += 1
    assert set(ways) == {"none", "S", "N10", "N13"}


def test_a_json_file_is_read_exactly(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    exact = "12345678901234567890123456789.123456789"
    path.write_text(
        f'[{{"year": 2013, "title": "Rush", "n": {exact}, "f": 0.1, "b": true, "z": null, "e": "",'
        ' "m": {"l": [1, [], {}]}}, {"year": 2013.0, "title": "Rush"}, {"year": 2014, "title": "Rush"}]'
    )
    loaded = load_items(path, "year:N,title:S")
    assert [a.type for a in loaded.key.attributes] == ["N", "S"]
    assert [item["year"]["N"] for item in loaded.items] == ["2013.0", "2014"]
    path.write_text(path.read_text().replace(', {"year": 2013.0, "title": "Rush"}', ""))
    assert load_items(path, "year:N").items[0] == {
        "year": {"N": "2013"},
        "title": {"S": "Rush"},
        "n": {"N": exact},
        "f": {"N": "0.1"},
        "b": {"BOOL": True},
        "z": {"NULL": True},
        "e": {"S": ""},
        "m": {"M": {"l": {"L": [{"N": "1"}, {"L": []}, {"M": {}}]}}},
    }


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("[{}]", "year", "KEY is 'year'"),
        ("[{}]", "year:X", "KEY is 'year:X'"),
        ("[{}]", "a:S,a:S", "two different attributes"),
        ("[{}]", "a:S,b:S,c:S", "one or two"),
        ('[{"id": "1"}, {"x": 1}]', "id:S", "element 1 has no key attribute 'id'"),
        ('[{"id": 1}]', "id:S", "element 0 has the value"),
        ('[{"id": ""}]', "id:S", "element 0 has the value"),
        ('[{"id": "1", "n": {"x": [1E400]}}]', "id:S", r"element 0: n.x\[0\] is 1E\+400"),
        (f'[{{"id": "1", "n": {"1" * 39}}}]', "id:S", "at most 38 digits"),
        ('[{"id": "1", "n": NaN}]', "id:S", "NaN is not a JSON number"),
        ("{}", "id:S", "element 0 has no key attribute 'id'"),
        ("[]", "id:S", "holds an empty array"),
        ("[1]", "id:S", "element 0 is a number"),
        ("[", "id:S", "is not valid JSON"),
    ],
)
def test_an_invalid_file_is_refused(tmp_path: Path, text: str, key: str, message: str) -> None:
    path = tmp_path / "items.json"
    path.write_text(text)
    with pytest.raises(ItemsError, match=message):
        load_items(path, key)
    with pytest.raises(ItemsError, match="cannot be read"):
        load_items(tmp_path / "none.json", "id:S")


def replay(items: list[Any], key: Any, changes: list[Change]) -> dict[Any, Any]:
    table = {key_values(key, item): item for item in items}
    for change in changes:
        values = key_values(key, change.item)
        if change.operation == "INSERT":
            assert values not in table
            table[values] = change.item
        elif change.operation == "MODIFY":
            assert table[values] != change.item or "NULL" in str(table[values])
            table[values] = change.item
        else:
            assert set(change.item) == set(key.names)
            del table[values]
    return table


@pytest.mark.parametrize("source", ["receipts", "json"])
def test_changes_are_deterministic_and_possible(tmp_path: Path, source: str) -> None:
    if source == "receipts":
        loaded = generated(300)
    else:
        path = tmp_path / "items.json"
        path.write_text(json.dumps([{"year": 1900 + n, "title": f"t{n}", "info": {"rank": n}} for n in range(300)]))
        loaded = load_items(path, "year:N,title:S")
    made_changes = list(changes(loaded.items, loaded.key, seed=5, count=1000))
    assert made_changes == list(changes(loaded.items, loaded.key, seed=5, count=1000))
    assert made_changes != list(changes(loaded.items, loaded.key, seed=6, count=1000))
    counts = Counter(change.operation for change in made_changes)
    assert min(counts.values()) > 120
    replay(list(loaded.items), loaded.key, made_changes)


def test_changes_stamp_items_that_have_a_time() -> None:
    loaded = generated(100)
    made = changes(loaded.items, loaded.key, seed=1, count=300, updated_at=lambda n: {"N": str(1_900_000_000 + n)})
    for number, change in enumerate(made):
        if change.operation != "REMOVE" and "updatedAt" in change.item:
            assert change.item["updatedAt"] == {"N": str(1_900_000_000 + number)}


def test_changes_of_an_empty_table_are_inserts() -> None:
    key = generated(0).key
    assert next(changes([], key, seed=1, count=1)).operation == "INSERT"


class Table:
    """Takes batches, leaves some of them unprocessed, and refuses what DynamoDB refuses."""

    def __init__(self, key: Any) -> None:
        self.items: dict[Any, Any] = {}
        self.calls = 0
        self._key = key
        self._lock = Lock()

    def batch_write_item(self, RequestItems: dict[str, list[Any]]) -> dict[str, Any]:
        with self._lock:
            return self._write(RequestItems)

    def _write(self, batches: dict[str, list[Any]]) -> dict[str, Any]:
        ((table, requests),) = batches.items()
        self.calls += 1
        assert 1 <= len(requests) <= 25
        left = requests[3:] if self.calls % 4 == 1 else []
        keys = set()
        for request in requests[:3] if left else requests:
            put, delete = request.get("PutRequest"), request.get("DeleteRequest")
            values = key_values(self._key, put["Item"] if put else delete["Key"])
            assert values not in keys
            keys.add(values)
            if put:
                self.items[values] = put["Item"]
            else:
                del self.items[values]
        return {"UnprocessedItems": {table: left} if left else {}}


def test_everything_is_written_in_order_for_each_key() -> None:
    loaded = generated(300)
    planned = list(changes(loaded.items, loaded.key, seed=2, count=1500))
    table = Table(loaded.key)
    counts: list[int] = []
    assert write_items(table, "T", loaded.items, counts.append) == 300
    assert sorted(counts)[-1] == 300
    assert apply_changes(table, "T", loaded.key, planned) == 1500
    assert table.items == replay(list(loaded.items), loaded.key, planned)


def test_items_that_stay_unprocessed_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def batch_write_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:
            return {"UnprocessedItems": RequestItems}

    monkeypatch.setattr("infra.local.demo.writing.time.sleep", lambda seconds: None)
    for count in (3, 2000):
        with pytest.raises(RuntimeError, match="still unprocessed"):
            write_items(Full(), "T", islice(generate_receipts(3), 3) if count == 3 else [{}] * count)


def test_items_are_generated_only_shortly_before_they_are_written() -> None:
    """So that a time of writing in an item is true."""
    table = Table(generated(0).key)
    ahead: list[int] = []

    def items() -> Any:
        for number, item in enumerate(generate_receipts(3000)):
            ahead.append(number - len(table.items))
            yield item

    assert write_items(table, "T", items()) == 3000
    assert max(ahead) <= 25 * 18


def test_create_table_has_stream_and_recovery() -> None:
    calls: dict[str, Any] = {}

    class DynamoDB:
        def create_table(self, **request: Any) -> None:
            calls["create"] = request

        def update_continuous_backups(self, **request: Any) -> None:
            calls["backups"] = request

        def get_waiter(self, name: str) -> Any:
            return type("Waiter", (), {"wait": lambda self, **_: calls.update(waited=name)})()

    create_table(DynamoDB(), "movies", parse_key("year:N,title:S"))
    assert calls["create"]["KeySchema"] == [
        {"AttributeName": "year", "KeyType": "HASH"},
        {"AttributeName": "title", "KeyType": "RANGE"},
    ]
    assert calls["create"]["StreamSpecification"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert calls["backups"]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert calls["waited"] == "table_exists"


def test_numbers_stay_numbers_after_changes() -> None:
    loaded = generated(50)
    for change in changes(loaded.items, loaded.key, seed=9, count=400):
        for value in change.item.values():
            if "N" in value:
                assert len(str(Decimal(value["N"]).as_tuple().digits)) > 0
                assert len("".join(map(str, Decimal(value["N"]).as_tuple().digits)).strip("0")) <= 38
