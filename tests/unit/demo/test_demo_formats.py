"""The files of items that the demo reads, and the sample in the repository."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from infra.local.demo.formats import ItemsError
from infra.local.demo.items import load_items
from tests.support.machine import REPOSITORY

EXACT = "12345678901234567890123456789.123456789"
TYPED: list[dict[str, Any]] = [
    {
        "id": {"S": "a"},
        "n": {"N": EXACT},
        "b": {"B": "AP8="},
        "t": {"BOOL": False},
        "z": {"NULL": True},
        "l": {"L": [{"N": "1"}, {"L": []}, {"M": {"B": {"S": "not binary"}}}]},
        "ss": {"SS": ["x", "y"]},
        "ns": {"NS": ["1", "2.50"]},
        "bs": {"BS": ["AA==", "/w=="]},
    },
    {"id": {"S": "ü\u2028"}},
]
ITEMS = [
    {**TYPED[0], "b": {"B": b"\x00\xff"}, "bs": {"BS": [b"\x00", b"\xff"]}},
    TYPED[1],
]
PLAIN = '{"id": "a", "n": ' + EXACT + "}"
PLAIN_ITEM = {"id": {"S": "a"}, "n": {"N": EXACT}}


def load(folder: Path, content: str | bytes, key: str = "id:S") -> Any:
    path = folder / "items.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_items(path, key)


FIRST, SECOND = (json.dumps({"Item": item}, ensure_ascii=False) + "\n" for item in TYPED)
LINES = FIRST + SECOND


@pytest.mark.parametrize(
    "content",
    [
        LINES,
        gzip.compress(LINES.encode()),
        gzip.compress(LINES.splitlines(keepends=True)[0].encode())
        + gzip.compress(json.dumps({"Item": TYPED[1]}).encode()),
        json.dumps({"Items": TYPED, "Count": 2, "ScannedCount": 2}, indent=4),
        json.dumps([{"Item": item} for item in TYPED]),
    ],
    ids=["an export", "gz", "gz files joined", "a scan", "an array"],
)
def test_dynamodb_json_keeps_every_type(tmp_path: Path, content: str | bytes) -> None:
    assert list(load(tmp_path, content).items) == ITEMS


@pytest.mark.parametrize(
    "content",
    [PLAIN, f"{PLAIN}\n", f"[{PLAIN}]", f"[\n{PLAIN}\n]", f'\n{PLAIN}\r\n\n{{"id": "b"}}'],
    ids=["a line", "a line with its end", "an array", "an array in lines", "lines"],
)
def test_plain_json_keeps_every_digit(tmp_path: Path, content: str) -> None:
    assert load(tmp_path, content).items[0] == PLAIN_ITEM


def test_one_object_over_several_lines_is_one_item(tmp_path: Path) -> None:
    assert load(tmp_path, json.dumps({"id": "a", "m": {"x": {}}}, indent=1)).items == (
        {"id": {"S": "a"}, "m": {"M": {"x": {"M": {}}}}},
    )


def test_repeated_keys_are_counted_and_the_last_stays(tmp_path: Path) -> None:
    loaded = load(tmp_path, '[{"id": 1, "x": 1}, {"id": 2}, {"id": 1.0, "x": 2}, {"id": 1}]', "id:N")
    assert (loaded.repeated, [item["id"] for item in loaded.items]) == (2, [{"N": "1"}, {"N": "2"}])
    assert load(tmp_path, PLAIN).repeated == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": "a"}\n{"id": }', "line 2 is not valid JSON"),
        ('{"id": "a"}\n\n{"x": 1}', "line 3 has no key attribute 'id'"),
        (
            '{"Item": {"id": {"S": "a"}}}\n{"Item": {"id": {"S": 1}}}',
            r"line 2: id is {'S': .*such as {\"S\": \"text\"}",
        ),
        ('{"Item": {"id": {"S": "a"}, "n": {"N": "many"}}}', "n is 'many'. Needed: a number"),
        ('{"Item": {"id": {"S": "a"}, "n": {"N": "NaN"}}}', "n is NaN"),
        ('{"Item": {"id": {"S": "a"}, "b": {"B": "?"}}}', "b is '.'. Needed: base64"),
        ('{"Item": {"id": {"S": "a"}, "s": {"SS": []}}}', "s is {'SS': ..}"),
        ('{"Item": {"id": {"S": "a"}, "s": {"L": [{"NS": ["1", "x"]}]}}}', r"s\[0\]\[1\] is 'x'"),
        ('{"Item": 1}', "Item is a number"),
        ('{"Items": [{"id": "a"}]}', r"Items\[0\]: id is 'a'. Needed: an attribute value of DynamoDB JSON"),
        (b"\x1f\x8b\x08broken", "cannot be read: "),
        (b"\xff\xfe", "cannot be read: .utf-8. codec"),
        ("", "is not valid JSON"),
    ],
)
def test_a_wrong_file_says_where_and_what_is_needed(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(ItemsError, match=message):
        load(tmp_path, content)


def test_the_sample_has_every_type_and_the_key_that_the_readme_says() -> None:
    (path, key) = (REPOSITORY / "README.md").read_text().partition("make demo ITEMS=")[2].split()[:2]
    loaded = load_items(REPOSITORY / path, key.removeprefix("KEY="))
    assert len(loaded.items) > 250
    assert loaded.repeated == 0
    kinds = {kind for item in loaded.items for value in item.values() for kind in value}
    assert kinds == {"S", "N", "B", "NULL", "L", "M", "SS", "NS", "BS"}
    assert max(len(value.get("N", "")) for item in loaded.items for value in item.values()) == 38
