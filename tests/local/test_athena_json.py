"""JSON tables are read as the OpenX SerDe of Athena engine 3 reads them, digit for digit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.local.athena_lake import Lake, QueryFailed

WIDE = "1234567890123456789012345678.9012345678"
HUGE = "1180591620717411303424"


@pytest.fixture
def lake(client: Callable[[str], Any], name: str) -> Lake:
    """A new lake."""
    return Lake(client, name)


def test_string_columns_keep_digits_and_text(lake: Lake) -> None:
    """Numbers of 38 digits, at the top and inside; strings plain; objects and arrays as JSON text.

    https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html
    """
    lake.table("t", {"s": "string", "n": "string", "big": "string", "o": "string", "a": "string", "b": "string"})
    lake.lines(
        "t/1.gz",
        f'{{"s":"te\\"xt","n":{WIDE},"big":{HUGE},"o":{{"x":{WIDE},"Ké":null}},"a":[{HUGE}, "b"],"b":true}}',
        '{"s":null}',
    )
    assert lake.query("SELECT * FROM t ORDER BY s NULLS LAST") == [
        ['te"xt', WIDE, HUGE, f'{{"x":{WIDE},"Ké":null}}', f'[{HUGE},"b"]', "true"],
        [None] * 6,
    ]


def test_typed_columns(lake: Lake) -> None:
    """What does not fit a column's type is NULL; a value that is no array is an array of one.

    https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html
    """
    lake.table(
        "t",
        {
            "i": "bigint",
            "f": "double",
            "b": "boolean",
            "d": "decimal(38,10)",
            "a": "array<bigint>",
            "m": "map<string,decimal(38,0)>",
            "r": "struct<x:bigint,yy:array<struct<z:string>>>",
            "w": "int",
        },
    )
    lake.lines(
        "t/1",
        f'{{"i":7,"f":1.5,"b":true,"d":{WIDE},"a":[1,null],"m":{{"k":{HUGE}}},"r":{{"x":1,"YY":[{{"z":2}}]}}}}',
        '{"i":"8","f":"2","b":"TRUE","d":"x","a":5,"m":{},"r":[3],"w":99999999999}',
    )
    assert lake.query("SELECT * FROM t ORDER BY i") == [
        ["7", "1.5", "true", WIDE, "[1, null]", f"{{k={HUGE}}}", "{x=1, yy=[{z=2}]}", None],
        ["8", "2.0", "true", None, "[5]", "{}", "{x=3, yy=null}", None],
    ]


def test_keys_are_matched_without_regard_to_case(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html"""
    lake.table("t", {"userid": "string"})
    lake.lines("t/1", '{"UserId":"1"}')
    assert lake.scalar("SELECT userid FROM t") == "1"


def test_keys_that_differ_only_in_case_are_an_error(lake: Lake) -> None:
    """Unless `case.insensitive` is false, and the keys are mapped to columns.

    https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html
    """
    columns = {"url": "string", "url_2": "string"}
    lake.table("folded", columns)
    exact = {"case.insensitive": "false", "mapping.url": "URL", "mapping.url_2": "Url"}
    lake.table("exact", columns, properties=exact)
    for table in ("folded", "exact"):
        lake.lines(f"{table}/1", '{"URL":"a","Url":"b"}')
    with pytest.raises(QueryFailed, match=r"HIVE_CURSOR_ERROR.*Duplicate key"):
        lake.query("SELECT * FROM folded")
    assert lake.query("SELECT url, url_2 FROM exact") == [["a", "b"]]


def test_mapping_and_dots(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html"""
    lake.table("t", {"ts": "string", "a_b": "string"}, properties={"mapping.ts": "@t", "dots.in.keys": "true"})
    lake.lines("t/1", '{"@t":"now","a.b":"dotted"}')
    assert lake.query("SELECT ts, a_b FROM t") == [["now", "dotted"]]


def test_malformed_lines(lake: Lake) -> None:
    """They fail the query, or are rows of NULLs where `ignore.malformed.json` is true.

    https://docs.aws.amazon.com/athena/latest/ug/openx-json-serde.html
    """
    lake.table("strict", {"id": "string"})
    lake.table("lenient", {"id": "string"}, properties={"ignore.malformed.json": "true"})
    for table in ("strict", "lenient"):
        lake.lines(f"{table}/1", '{"id":"1"}', '{"id":"2"')
    with pytest.raises(QueryFailed, match="HIVE_CURSOR_ERROR"):
        lake.query("SELECT * FROM strict")
    assert lake.query("SELECT * FROM lenient ORDER BY id") == [["1"], [None]]


def test_odd_names_in_quotes(lake: Lake) -> None:
    """Names with special characters stand in double quotes.

    https://docs.aws.amazon.com/athena/latest/ug/reserved-words.html
    """
    odd = {
        "a-b": "string",
        "c d": "string",
        'e"f': "string",
        "$g": "string",
        "ключ": "string",
        "select": "string",
    }
    lake.table("t", odd)
    lake.lines("t/1", json.dumps(dict(zip(odd, "123456", strict=True)), ensure_ascii=False))
    sql = 'SELECT "a-b", "c d", "e""f", "$g", "ключ", "select" FROM t WHERE "A-B" = \'1\''
    assert lake.query(sql) == [list("123456")]


def test_plain_and_gzip_are_told_apart_by_content(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/compression-formats.html"""
    lake.table("t", {"id": "string"})
    lake.lines("t/plain", '{"id":"1"}')
    lake.lines("t/packed.gz", '{"id":"2"}')
    assert lake.query("SELECT id FROM t ORDER BY id") == [["1"], ["2"]]


def test_a_truncated_gzip_fails_the_query(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/troubleshooting-athena.html"""
    lake.table("t", {"id": "string"})
    lake.lines("t/whole.gz", *(f'{{"id":"{i}"}}' for i in range(100)))
    body = lake.read(lake.uri("t/whole.gz"))
    lake.put("t/whole.gz", body[: len(body) // 2])
    with pytest.raises(QueryFailed, match="HIVE_CURSOR_ERROR"):
        lake.query("SELECT * FROM t")


def test_repeated_queries_see_new_objects(lake: Lake) -> None:
    """Parsed objects are remembered by version, so an object written anew is read anew.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel
    """
    lake.table("t", {"id": "string", "items": "string"})
    record = {"items": [{"sku": "s", "price": 1.25, "tags": ["a", "b"]}] * 3}
    lines = [json.dumps({"id": str(i), **record}) for i in range(50_000)]
    lake.lines("t/big.gz", *lines)
    for _ in range(2):
        assert lake.scalar("SELECT count(*) FROM t WHERE items LIKE '%1.25%'") == "50000"
    lake.lines("t/big.gz", *lines[:10])
    assert lake.scalar("SELECT count(*) FROM t") == "10"
