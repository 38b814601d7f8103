"""An item has one canonical text, from DynamoDB and from the lake's columns, and no other item has it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynalake.backfill.export.numbers import item_key
from dynalake.certify.canonical import canonical, differing, digest
from dynalake.certify.versions import LakeItem, lake_items
from dynalake.convert.options import ReadOptions
from dynalake.convert.read.raw_batch import read_batch
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.files.folders import Input
from dynalake.names import Lake
from dynalake.record.change import encode_change
from dynalake.record.key import ItemKey, KeyAttribute
from tests.support.memory.aws import Clock, MemoryGlue, MemoryS3, memory_clients
from tests.support.values.items import STORABLE

NAMES = Lake("dev", "123456789012", "us-east-1").table("RECEIPTS")
EXAMPLES = int(os.environ.get("DYNALAKE_EXAMPLES", "20"))
KEYS = {
    "S": ItemKey(KeyAttribute("id", "S")),
    "N": ItemKey(KeyAttribute("id", "N")),
    "B": ItemKey(KeyAttribute("id", "B")),
}
IDS: dict[str, Any] = {"S": "item {}", "N": "{}.50", "B": "item {}"}


def converted(items: Sequence[dict[str, Any]], key: ItemKey, *, compiled: bool) -> list[LakeItem]:
    """Return the items as the lake has them, in the order of their changes: through encoder, reader and columns."""
    lines = [
        encode_change(item, operation="MODIFY", sequence_number=str(number), event_time=number)
        for number, item in enumerate(items)
    ]
    clock = Clock()
    s3 = MemoryS3(clock)
    body = "\n".join([*lines, ""]).encode()
    raw = f"{NAMES.raw_day('20240101')}a"
    etag = s3.put_object(Bucket=NAMES.lake.bucket, Key=raw, Body=body)["ETag"]
    table = Table(memory_clients(s3, MemoryGlue(clock)), NAMES)
    options = ReadOptions(memory_mb=1, compiled_from_mb=0 if compiled else 1 << 20)
    with TemporaryDirectory() as directory:
        new = TableSchema.of_new_table(key)
        batch = read_batch(table, [Input(raw, etag, len(body))], new, options, Path(directory))
        rows = [r for t in batch.tables() for r in lake_items(t, batch.schema, key, after_state=True)]
    return sorted(rows, key=lambda row: row.version.time)


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True], ids=["exact", "compiled"])
@pytest.mark.parametrize("kind", KEYS)
@settings(max_examples=EXAMPLES)
@given(st.lists(STORABLE, min_size=1, max_size=4))
def test_the_lake_has_the_digest_of_dynamodb(kind: str, compiled: bool, items: list[dict[str, Any]]) -> None:
    """Every type, nested, in its column and in `__other`: numbers with all digits, sets, binary, odd names."""
    keyed = []
    for number, item in enumerate(items):
        text = IDS[kind].format(number)
        keyed.append({**item, "id": {kind: text.encode() if kind == "B" else text}})
    rows = converted(keyed, KEYS[kind], compiled=compiled)
    assert [row.version.image for row in rows] == [digest(item) for item in keyed]
    assert [row.key for row in rows] == [item_key(KEYS[kind], item) for item in keyed]
    assert [differing(item, row.item) for item, row in zip(keyed, rows, strict=True)] == [()] * len(rows)


def test_equal_values_have_one_text_and_others_another() -> None:
    """Numbers by value, sets and maps in any order, binary in both forms; null in a map is a missing name."""
    equal: list[list[Any]] = [
        [{"N": "100"}, {"N": "1E2"}, {"N": "1.00e+2"}],
        [{"N": "0"}, {"N": "-0"}, {"N": "0.00"}, {"N": "0E-130"}],
        [{"N": "1.00000000000000000000000000000000000001"}],
        [{"N": "1.00000000000000000000000000000000000002"}],
        [{"S": "100"}],
        [{"B": b"100"}, {"B": "MTAw"}],
        [{"S": "MTAw"}],
        [{"S": "b:MTAw"}],
        [{"NS": ["1", "2E1"]}, {"NS": ["20", "1.0"]}],
        [{"SS": ["1", "20"]}, {"SS": ["20", "1"]}],
        [{"BS": [b"1", b"2"]}, {"BS": ["Mg==", "MQ=="]}],
        [{"L": [{"S": "1"}, {"S": "20"}]}],
        [{"L": [{"S": "20"}, {"S": "1"}]}],
        [{"L": [{"S": "20"}, {"NULL": True}, {"S": "1"}]}],
        [{"L": []}],
        [{"M": {}}, {"M": {"a": {"NULL": True}}}],
        [{"M": {"a": {"S": "x"}, "b": {"BOOL": True}}}, {"M": {"b": {"BOOL": True}, "a": {"S": "x"}}}],
        [{"M": {"a": {"S": 'x","b":true'}}}],
        [{"BOOL": True}],
        [{"BOOL": False}],
        [{"S": "true"}],
    ]
    texts = [{canonical(value) for value in values} for values in equal]
    assert [len(of_one) for of_one in texts] == [1] * len(equal)
    assert len(set.union(*texts)) == len(equal)


def test_the_names_of_attributes_that_differ() -> None:
    one: dict[str, dict[str, Any]] = {"id": {"S": "a"}, "n": {"N": "1"}, "gone": {"S": "x"}, "null": {"NULL": True}}
    other = {"id": {"S": "a"}, "n": {"N": "1.0"}, "new": {"S": "x"}}
    assert differing(one, other) == ("gone", "new")
    assert digest({"n": {"N": "1.0"}, "id": {"S": "a"}}) == digest({"id": {"S": "a"}, "n": {"N": "1"}})
