"""Item keys."""

from __future__ import annotations

import json

import pytest

from dynalake.errors import RecordError
from dynalake.record.key import ItemKey, KeyAttribute

YEAR, TITLE = KeyAttribute("year", "N"), KeyAttribute("title", "S")


def test_from_a_table_description() -> None:
    table = {
        "KeySchema": [{"AttributeName": "title", "KeyType": "RANGE"}, {"AttributeName": "year", "KeyType": "HASH"}],
        "AttributeDefinitions": [
            {"AttributeName": "other", "AttributeType": "B"},
            {"AttributeName": "title", "AttributeType": "S"},
            {"AttributeName": "year", "AttributeType": "N"},
        ],
    }
    key = ItemKey.of(table)
    assert key == ItemKey(YEAR, TITLE)
    assert key.names == ("year", "title")
    table["KeySchema"] = table["KeySchema"][1:]
    assert ItemKey.of(table) == ItemKey(YEAR)


@pytest.mark.parametrize("key", [ItemKey(YEAR), ItemKey(YEAR, TITLE)])
def test_to_json_and_back(key: ItemKey) -> None:
    assert ItemKey.from_dict(json.loads(json.dumps(key.to_dict()))) == key


def test_a_type_that_no_key_can_have_is_refused() -> None:
    with pytest.raises(RecordError, match="S or N or B"):
        KeyAttribute("id", "M")
