"""Trino's functions and casts, JSON's losses included, as Athena engine 3 computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.local.athena_lake import Lake, QueryFailed

WIDE = "1234567890123456789012345678.9012345678"
LOSSY = "1.2345678901234569E27"


@pytest.fixture(scope="module")
def lake(client: Callable[[str], Any]) -> Lake:
    """A lake with one table of JSON texts."""
    lake = Lake(client, "athena-sql")
    lake.table("texts", {"j": "string", "n": "string"})
    lake.lines("texts/1", f'{{"j":{{"a":{WIDE},"b c":1.50,"B":12345678901234567890123}},"n":{WIDE}}}')
    return lake


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (f"json_format(json_parse('{WIDE}'))", LOSSY),
        ("json_format(json_parse('{\"b\": 1, \"a\": [1.10, 12345678901234567890123]}'))",
         '{"a":[1.1,12345678901234567890123],"b":1}'),
        (f"CAST(json_parse('{WIDE}') AS decimal(38,10))", "1234567890123456900000000000.0000000000"),
        ("CAST(JSON '12345678901234567890123' AS decimal(38,0))", "12345678901234567890123"),
        ("json_extract_scalar(j, '$.a')", WIDE),
        ("json_extract_scalar(j, '$[\"b c\"]')", "1.50"),
        ("json_format(json_extract(j, '$.a'))", LOSSY),
        ("json_extract(j, '$.nope')", None),
        ("json_extract_scalar('{\"a\":{\"b\":1}}', '$.a')", None),
        ("json_array_length('[1,2,3]')", "3"),
        ("CAST(json_parse(j) AS ROW(a decimal(38,10))).a", WIDE),
        ("CAST(CAST(json_parse(j) AS ROW(a varchar)).a AS varchar)", LOSSY),
        ("CAST(json_parse(j) AS MAP(varchar, decimal(38,10)))['a']", WIDE),
        ("json_format(CAST(json_parse(j) AS ROW(a JSON)).a)", LOSSY),
        ("TRY_CAST(n AS decimal(38,10))", WIDE),
        ("TRY_CAST(n AS decimal(38,15))", None),
        ("CAST(TRY_CAST(json_parse(j) AS ROW(a decimal(38,10))).a AS varchar)",
         "1234567890123456900000000000.0000000000"),
    ],
)  # fmt: skip
def test_digits_of_json(lake: Lake, expression: str, expected: str | None) -> None:
    """A number with a point becomes a double in json_parse and json_extract; in json_extract_scalar, in casts
    of plain text and in CAST(json_parse(column) AS a nested type) it keeps its digits.

    https://docs.aws.amazon.com/athena/latest/ug/extracting-data-from-JSON.html
    https://github.com/trinodb/trino/issues/28867
    """
    assert lake.scalar(f"SELECT {expression} FROM texts") == expected


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ('{"a":1,"other":[2]}', "ROW(a bigint, b varchar)", "{a=1, b=null}"),
        ('{"A":1}', "ROW(a bigint)", "{a=1}"),
        ('{"A":1}', 'ROW("A" bigint)', "{A=null}"),
        ('{"a":1,"A":2}', "ROW(a bigint)", None),
        ('{"a-b":1,"c d":"x"}', 'ROW("a-b" bigint, "c d" varchar)', "{a-b=1, c d=x}"),
        ("[1,2]", "ROW(a bigint, b bigint)", "{a=1, b=2}"),
        ("[1]", "ROW(a bigint, b bigint)", None),
        ('{"a":"5"}', "ROW(a bigint)", "{a=5}"),
        ('{"a":"5.5"}', "ROW(a bigint)", None),
        ('{"a":5.5}', "ROW(a bigint)", "{a=6}"),
        ('{"a":{"b":1}}', "ROW(a varchar)", None),
        ('{"a":1.0}', "ROW(a varchar)", "{a=1E0}"),
        ('{"a":null}', "ROW(a bigint)", "{a=null}"),
        ("null", "ROW(a bigint)", None),
        ('{"k":[1,null]}', "MAP(varchar, ARRAY(bigint))", "{k=[1, null]}"),
        ("{bad", "ROW(a bigint)", None),
        ("1", "ARRAY(bigint)", None),
        ('[{"a":true}]', "ARRAY(ROW(a boolean))", "[{a=true}]"),
    ],
)
def test_json_casts_to_nested_types(lake: Lake, text: str, kind: str, expected: str | None) -> None:
    """Members are found by their name in lower case; missing ones are NULL, others ignored, two are an error.

    https://docs.aws.amazon.com/athena/latest/ug/extracting-data-from-JSON.html
    """
    sql = f"SELECT TRY(CAST(json_parse(x) AS {kind})) FROM (VALUES '{text}') AS t(x)"
    assert lake.scalar(sql) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("7 / 2", "3"),
        ("7 / 2.0", "3.5"),
        ("TRY(1 / 0)", None),
        ("TRY_CAST('1.5' AS bigint)", None),
        ("TRY_CAST(' 5' AS bigint)", None),
        ("CAST('1e2' AS double)", "100.0"),
        ("CAST(1e10 AS varchar)", "1E10"),
        ("1e10", "1.0E10"),
        ("DECIMAL '5.50'", "5.50"),
        ("CAST(TIMESTAMP '2019-05-25 01:02:03.004' AS varchar)", "2019-05-25 01:02:03.004"),
        ("CAST('abcdef' AS varchar(3))", "abc"),
        ("CAST(ROW(1, 'x') AS ROW(a bigint, b varchar)).b", "x"),
        ("cardinality(ARRAY[1, 2])", "2"),
        ("cardinality(MAP(ARRAY['a'], ARRAY[1]))", "1"),
        ("element_at(MAP(ARRAY['a'], ARRAY[1]), 'b')", None),
        ("element_at(ARRAY[1, 2], -1)", "2"),
        ("transform(ARRAY[1, 2], x -> x + 1)", "[2, 3]"),
        ("reduce(ARRAY[1, 2], 0, (s, x) -> s + x, s -> s)", "3"),
        ("regexp_extract('a1', '[0-9]')", "1"),
        ("regexp_extract('a', '[0-9]')", None),
        ("regexp_replace('aab', 'a+(b)', '$1!')", "b!"),
        ("regexp_like('abc', 'b')", "true"),
        ("split('a,b', ',')", "[a, b]"),
        ("lpad('7', 3, '0') || upper('x') || substr('abc', 2, 1)", "007Xb"),
        ("format_datetime(from_unixtime(1558742400), 'yyyyMMdd')", "20190525"),
        ("from_unixtime(1558742400)", "2019-05-25 00:00:00.000 UTC"),
        (
            "date_format(at_timezone(from_unixtime(0), 'America/New_York'), '%Y-%m-%d %H:%i')",
            "1969-12-31 19:00",
        ),
        ("date_parse('20190525', '%Y%m%d')", "2019-05-25 00:00:00.000"),
        ("date_diff('hour', TIMESTAMP '2019-05-25 00:59:00', TIMESTAMP '2019-05-25 01:01:00')", "0"),
        ("date_add('day', -1, DATE '2019-05-25')", "2019-05-24"),
        ("date_trunc('month', DATE '2019-05-25')", "2019-05-01"),
        ("to_unixtime(TIMESTAMP '2019-05-25 00:00:00')", "1.5587424E9"),
        ("json_format(CAST(MAP(ARRAY['k'], ARRAY[1]) AS JSON))", '{"k":1}'),
        ("CAST(JSON '\"q\"' AS varchar)", "q"),
        ("'a' LIKE 'A'", "false"),
        ("IF(1 = 1, 'y')", "y"),
    ],
)
def test_expressions(lake: Lake, expression: str, expected: str | None) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/functions-env3.html"""
    assert lake.scalar(f"SELECT {expression}") == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT x, n FROM UNNEST(ARRAY['a', 'b']) WITH ORDINALITY AS u(x, n)", [["a", "1"], ["b", "2"]]),
        (
            "SELECT id, k, v FROM (VALUES (1, MAP(ARRAY['p'], ARRAY[2]))) t(id, m) CROSS JOIN UNNEST(m) AS u(k, v)",
            [["1", "p", "2"]],
        ),
        (
            'WITH c AS (SELECT \'[{"a":1,"b":"x"},{"a":2}]\' AS j) SELECT u.a, u.b FROM c, '
            "UNNEST(CAST(json_parse(j) AS ARRAY(ROW(a bigint, b varchar)))) AS u(a, b) ORDER BY 1",
            [["1", "x"], ["2", None]],
        ),
        (
            "SELECT t.id, u.x FROM (VALUES (1, ARRAY[5]), (2, ARRAY[])) t(id, a) "
            "LEFT JOIN UNNEST(a) AS u(x) ON TRUE ORDER BY 1",
            [["1", "5"], ["2", None]],
        ),
        (
            "SELECT max_by(v, k), min_by(v, k), array_agg(v ORDER BY k), map_agg(k, v)['b'], "
            "approx_distinct(k) FROM (VALUES ('a', 1), ('b', NULL)) t(k, v)",
            [[None, "1", "[1, null]", None, "2"]],
        ),
        (
            "SELECT k, row_number() OVER (PARTITION BY k ORDER BY v DESC), sum(v) OVER (PARTITION BY k) "
            "FROM (VALUES ('a', 1), ('a', 2)) t(k, v) ORDER BY 2",
            [["a", "1", "3"], ["a", "2", "3"]],
        ),
        ("SELECT v FROM (VALUES 1, NULL, 2) t(v) ORDER BY v DESC", [["2"], ["1"], [None]]),
        ("SELECT 1 UNION ALL SELECT 1 UNION SELECT 1", [["1"]]),
        ("SELECT v FROM (VALUES 1, 2, 3) t(v) ORDER BY v OFFSET 1 LIMIT 1", [["2"]]),
        ("VALUES (1, 'a')", [["1", "a"]]),
    ],
)
def test_queries(lake: Lake, sql: str, expected: list[list[str | None]]) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/select.html"""
    assert lake.query(sql) == expected


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT nope FROM texts", "SYNTAX_ERROR.*nope"),
        ("SELECT no_such_function(1)", "FUNCTION_NOT_FOUND.*no_such_function"),
        ("SELECT CAST('x' AS bigint)", "INVALID_CAST_ARGUMENT: Cannot cast 'x' to BIGINT"),
        ("SELECT * FROM no_such_table", "TABLE_NOT_FOUND.*no_such_table"),
        ("SELECT CAST(json_parse(j) AS ROW(a timestamp)) FROM texts", "TYPE_MISMATCH"),
        ("SELECT json_value('{}', 'lax $.a')", "NOT_SUPPORTED.*JSONValue"),
        ("SELECT typeof(1)", "NOT_SUPPORTED.*Typeof"),
        ("EXPLAIN SELECT 1", "NOT_SUPPORTED.*EXPLAIN"),
        ("VACUUM texts", "NOT_SUPPORTED.*VACUUM"),
        ("SELECT FROM WHERE", "SYNTAX_ERROR"),
    ],
)
def test_what_cannot_run_fails_and_names_it(lake: Lake, sql: str, reason: str) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/error-reference.html"""
    with pytest.raises(QueryFailed, match=reason):
        lake.run(sql)


def test_execution_parameters(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/querying-with-prepared-statements.html"""
    execution = lake.run("SELECT '?', ? + 1 AS n WHERE ? = 'a'", ExecutionParameters=["41", "'a'"])
    assert lake.results(execution["QueryExecutionId"])[1:] == [["?", "42"]]
