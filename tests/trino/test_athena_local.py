"""Local Athena: Trino's answers as Athena documents them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.run.process import LocalAws
from tests.support.aws.connect import connect
from tests.support.waiting import eventually
from tests.trino.docs_lake import DocsLake, Readings

VALUES = """SELECT DECIMAL '12345678901234567890123456789012345.678' AS digits, 1e0 AS number, 'a "b"' AS text,
'' AS empty,
CAST(NULL AS varchar) AS nothing, true AS yes, ARRAY[CAST(ROW('x', 1) AS ROW(article varchar, price bigint))] AS lines,
MAP(ARRAY['k'], ARRAY[NULL]) AS pairs, TIMESTAMP '2019-05-25 12:00:00.003' AS at"""


@pytest.fixture
def athena(docs_lake: tuple[DocsLake, Readings], client: Callable[[str], Any]) -> Any:
    return client("athena")


def run(athena: Any, query: str, group: str = "dynalake-prod") -> dict[str, Any]:
    """Run a query until it ends, and return its description."""
    query_id = athena.start_query_execution(
        QueryString=query, WorkGroup=group, QueryExecutionContext={"Database": "dynalake_prod"}
    )["QueryExecutionId"]

    def ended() -> dict[str, Any]:
        described: dict[str, Any] = athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]
        return described

    return eventually(ended, lambda described: described["Status"]["State"] in ("SUCCEEDED", "FAILED"))


def test_values_and_types_are_athena_s(athena: Any, client: Callable[[str], Any]) -> None:
    """https://docs.aws.amazon.com/athena/latest/APIReference/API_GetQueryResults.html

    The object: https://docs.aws.amazon.com/athena/latest/ug/querying.html#query-output
    """
    described = run(athena, f"{VALUES};")
    assert described["Status"]["State"] == "SUCCEEDED", described["Status"]
    results = athena.get_query_results(QueryExecutionId=described["QueryExecutionId"])["ResultSet"]
    header, row = ([value.get("VarCharValue") for value in row["Data"]] for row in results["Rows"])
    assert header == ["digits", "number", "text", "empty", "nothing", "yes", "lines", "pairs", "at"]
    assert row == [
        "12345678901234567890123456789012345.678",
        "1.0",
        'a "b"',
        "",
        None,
        "true",
        "[{article=x, price=1}]",
        "{k=null}",
        "2019-05-25 12:00:00.003",
    ]
    columns = results["ResultSetMetadata"]["ColumnInfo"]
    assert (columns[0]["Type"], columns[0]["Precision"], columns[0]["Scale"]) == ("decimal", 38, 3)
    assert [column["Type"] for column in columns[1:]] == [
        *("double", "varchar", "varchar", "varchar", "boolean", "array", "map", "timestamp")
    ]
    bucket, _, key = described["ResultConfiguration"]["OutputLocation"].removeprefix("s3://").partition("/")
    assert key == f"athena-results/{described['QueryExecutionId']}.csv"
    text = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    assert text.splitlines()[1].startswith('"12345678901234567890123456789012345.678","1.0","a ""b""","",,"true",')


def test_the_workgroup_decides_where_results_go(athena: Any) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/workgroups-settings-override.html"""
    athena.create_work_group(Name="free", Configuration={"EnforceWorkGroupConfiguration": False})
    place = "s3://dynalake-prod-000000000000-us-east-1/"
    for group, folder in (("dynalake-prod", f"{place}athena-results/"), ("free", f"{place}mine/")):
        started = athena.start_query_execution(
            QueryString="SELECT 1", WorkGroup=group, ResultConfiguration={"OutputLocation": f"{place}mine/"}
        )
        described = athena.get_query_execution(QueryExecutionId=started["QueryExecutionId"])["QueryExecution"]
        location = described["ResultConfiguration"]["OutputLocation"]
        assert location == f"{folder}{started['QueryExecutionId']}.csv"


def test_long_results_have_pages(athena: Any) -> None:
    described = run(athena, "SELECT n FROM UNNEST(sequence(1, 2500)) AS t (n)")
    pages = athena.get_paginator("get_query_results").paginate(QueryExecutionId=described["QueryExecutionId"])
    rows = [row["Data"][0]["VarCharValue"] for page in pages for row in page["ResultSet"]["Rows"]]
    assert rows == ["n", *(str(n) for n in range(1, 2501))]


def test_a_refused_query_says_why(athena: Any) -> None:
    described = run(athena, "SELECT * FROM nowhere")
    assert described["Status"]["State"] == "FAILED"
    assert described["Status"]["StateChangeReason"].startswith("TABLE_NOT_FOUND: line 1:15: Table ")
    with pytest.raises(ClientError, match="TABLE_NOT_FOUND"):
        athena.get_query_results(QueryExecutionId=described["QueryExecutionId"])


@pytest.fixture
def alone(tmp_path: Any) -> Iterator[LocalAws]:
    with LocalAws(tmp_path / "server.log") as aws:
        yield aws


def test_without_trino_it_says_what_to_run(alone: LocalAws) -> None:
    athena = connect(alone)("athena")
    athena.create_work_group(
        Name="dynalake-prod", Configuration={"ResultConfiguration": {"OutputLocation": "s3://somewhere/"}}
    )
    assert "run `make trino`" in run(athena, "SELECT 1")["Status"]["StateChangeReason"]
