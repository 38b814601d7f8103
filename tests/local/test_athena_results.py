"""Results are where and what the API documents, so that awswrangler reads them as it does from AWS."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import awswrangler as wr
import boto3
import pandas as pd
import pyarrow as pa
import pytest

from infra.local.process import LocalAws
from tests.local.athena_lake import PARQUET, Lake, QueryFailed

WIDE = Decimal("1234567890123456789012345678.9012345678")


@pytest.fixture
def lake(client: Callable[[str], Any], name: str) -> Lake:
    """A lake with a Parquet table of two rows, one of NULLs."""
    lake = Lake(client, name)
    columns = {"id": "bigint", "amount": "decimal(38,10)", "name": "string", "at": "timestamp", "day": "date"}
    lake.table("t", {**columns, "ok": "boolean", "f": "double", "tags": "array<string>"}, serde=PARQUET)
    rows = pa.table(
        {
            "id": [1, 2],
            "amount": pa.array([WIDE, None], pa.decimal128(38, 10)),
            "name": ['quo"te, and\nline', None],
            "at": pa.array([pd.Timestamp("2019-05-25 01:02:03"), None], pa.timestamp("us")),
            "day": [datetime.date(2019, 5, 25), None],
            "ok": [True, None],
            "f": [1.5, None],
            "tags": [["a", "b"], None],
        }
    )
    lake.parquet("t/a.parquet", rows)
    return lake


@pytest.fixture
def session(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> boto3.Session:
    """A session whose clients, awswrangler's too, talk to the local server."""
    for variable, value in local_aws.env().items():
        monkeypatch.setenv(variable, value)
    return boto3.Session(region_name="us-east-1")


def test_the_csv_object(lake: Lake) -> None:
    """Values in quotes, NULL as nothing at all, an empty string as two quotes.

    https://docs.aws.amazon.com/athena/latest/ug/querying-finding-output-files.html
    """
    execution = lake.run("SELECT id, name, '' AS empty, ARRAY[1, 2] AS a, ROW(1, 2) AS r FROM t ORDER BY id")
    location = execution["ResultConfiguration"]["OutputLocation"]
    assert location == f"{lake.output}{execution['QueryExecutionId']}.csv"
    lines = lake.read(location).decode()
    assert lines == (
        '"id","name","empty","a","r"\n'
        '"1","quo""te, and\nline","","[1, 2]","{field0=1, field1=2}"\n'
        '"2",,"","[1, 2]","{field0=1, field1=2}"\n'
    )
    assert lake.read(f"{location}.metadata")


def test_results_come_in_pages_after_a_header(lake: Lake) -> None:
    """The first row of the first page names the columns.

    https://docs.aws.amazon.com/athena/latest/APIReference/API_GetQueryResults.html
    """
    query_id = lake.run("SELECT n FROM UNNEST(sequence(1, 5)) AS u(n) ORDER BY n")["QueryExecutionId"]
    first = lake.athena.get_query_results(QueryExecutionId=query_id, MaxResults=2)
    assert [row["Data"][0]["VarCharValue"] for row in first["ResultSet"]["Rows"]] == ["n", "1"]
    assert lake.results(query_id) == [["n"], ["1"], ["2"], ["3"], ["4"], ["5"]]


def test_column_types(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/APIReference/API_ColumnInfo.html"""
    query_id = lake.run("SELECT id, amount, name, at, tags, count(*) OVER () FROM t")["QueryExecutionId"]
    metadata = lake.athena.get_query_results(QueryExecutionId=query_id)["ResultSet"]["ResultSetMetadata"]
    shown = [(c["Name"], c["Type"], c["Precision"], c["Scale"]) for c in metadata["ColumnInfo"]]
    assert shown == [
        ("id", "bigint", 19, 0),
        ("amount", "decimal", 38, 10),
        ("name", "varchar", 2147483647, 0),
        ("at", "timestamp", 3, 0),
        ("tags", "array", 0, 0),
        ("_col5", "bigint", 19, 0),
    ]


def test_the_execution_of_a_failed_query(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/APIReference/API_QueryExecutionStatus.html"""
    execution = lake.wait(lake.start("SELECT nope FROM t"))
    assert execution["Status"]["State"] == "FAILED"
    assert "nope" in execution["Status"]["StateChangeReason"]
    assert execution["Status"]["AthenaError"]["ErrorMessage"] == execution["Status"]["StateChangeReason"]
    with pytest.raises(lake.athena.exceptions.InvalidRequestException):
        lake.athena.get_query_results(QueryExecutionId=execution["QueryExecutionId"])


def test_statistics_and_kind(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/APIReference/API_QueryExecution.html"""
    execution = lake.run("-- a comment\nSELECT id FROM t;")
    assert execution["StatementType"] == "DML"
    assert execution["SubstatementType"] == "SELECT"
    assert execution["Statistics"]["DataScannedInBytes"] > 0
    assert execution["Status"]["CompletionDateTime"] >= execution["Status"]["SubmissionDateTime"]


def test_a_workgroup_enforces_its_location(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/workgroups-settings-override.html"""
    lake.athena.create_work_group(
        Name=lake.name,
        Configuration={
            "ResultConfiguration": {"OutputLocation": lake.uri("enforced/")},
            "EnforceWorkGroupConfiguration": True,
        },
    )
    execution = lake.run("SELECT 1", WorkGroup=lake.name)
    assert execution["ResultConfiguration"]["OutputLocation"].startswith(lake.uri("enforced/"))
    with pytest.raises(lake.athena.exceptions.InvalidRequestException, match="not found"):
        lake.start("SELECT 1", WorkGroup="no-such-group")


def test_a_client_request_token_runs_a_query_once(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/APIReference/API_StartQueryExecution.html"""
    token = "t" * 32 + lake.name
    assert lake.start("SELECT 1", ClientRequestToken=token) == lake.start("SELECT 1", ClientRequestToken=token)


def test_queries_run_beside_each_other_and_other_requests(lake: Lake) -> None:
    """Queries run on threads; other requests are served meanwhile.

    https://docs.aws.amazon.com/athena/latest/ug/service-limits.html
    """
    slow = "SELECT count(*) FROM UNNEST(sequence(1, 3000)) a(x) CROSS JOIN UNNEST(sequence(1, 3000)) b(y)"
    running = [threading.Thread(target=lake.run, args=(slow,)) for _ in range(3)]
    for thread in running:
        thread.start()
    lake.keys("t/")
    assert any(thread.is_alive() for thread in running), "the listing was answered before them"
    for thread in running:
        thread.join()


def _check(frame: pd.DataFrame) -> None:
    frame = frame.sort_values("id", ignore_index=True)
    assert frame["id"].dtype == "Int64"
    assert frame["amount"][0] == WIDE
    assert isinstance(frame["amount"][0], Decimal)
    assert frame["amount"][1] is None
    assert frame["name"][0] == 'quo"te, and\nline'
    assert pd.isna(frame["name"][1])
    assert frame["at"][0] == pd.Timestamp("2019-05-25 01:02:03")
    assert frame["day"][0] == datetime.date(2019, 5, 25)
    assert frame["ok"].dtype == "boolean"
    assert frame["f"][0] == 1.5


@pytest.mark.parametrize("approach", ["plain", "ctas", "unload"])
def test_awswrangler_reads_a_query(lake: Lake, session: boto3.Session, approach: str) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/querying-finding-output-files.html,
    https://docs.aws.amazon.com/athena/latest/ug/ctas.html, https://docs.aws.amazon.com/athena/latest/ug/unload.html
    """
    frame = wr.athena.read_sql_query(
        "SELECT id, amount, name, at, day, ok, f FROM t",
        database=lake.name,
        ctas_approach=approach == "ctas",
        unload_approach=approach == "unload",
        s3_output=lake.uri(f"{approach}/"),
        boto3_session=session,
    )
    _check(frame)
    tables = lake.glue.get_tables(DatabaseName=lake.name)["TableList"]
    assert [table["Name"] for table in tables] == ["t"]


def test_awswrangler_starts_and_waits(lake: Lake, session: boto3.Session) -> None:
    """https://docs.aws.amazon.com/athena/latest/APIReference/API_GetQueryExecution.html"""
    query_id = wr.athena.start_query_execution(
        "SELECT 1 AS one", database=lake.name, s3_output=lake.output, boto3_session=session
    )
    assert wr.athena.wait_query(query_id, boto3_session=session)["Status"]["State"] == "SUCCEEDED"
    frame = wr.athena.get_query_results(query_id, boto3_session=session)
    assert frame["one"].tolist() == [1]


def test_a_bucket_that_does_not_exist_fails_the_query(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/troubleshooting-athena.html"""
    with pytest.raises(QueryFailed, match="no-such-bucket"):
        lake.run("SELECT 1", ResultConfiguration={"OutputLocation": "s3://no-such-bucket/"})
