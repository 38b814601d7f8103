"""Athena reads the registered partitions, each at its own location, and no more than a query needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from tests.local.athena_lake import PARQUET, Lake, QueryFailed


@pytest.fixture
def lake(client: Callable[[str], Any], name: str) -> Lake:
    """A new lake."""
    return Lake(client, name)


@pytest.fixture
def days(lake: Lake) -> Lake:
    """A lake with a table `events` of three days of one row each."""
    lake.table("events", {"id": "string"}, keys={"dt": "string"})
    for day in ("20190524", "20190525", "20190526"):
        lake.lines(f"anywhere/{day}/v=abc/data.gz", f'{{"id":"{day}"}}')
        lake.partition("events", day, path=f"anywhere/{day}/v=abc/")
    return lake


def test_only_registered_partitions_are_read(days: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/partitions.html"""
    days.lines("events/dt=20190527/unregistered.gz", '{"id":"unseen"}')
    days.lines("anywhere/20190524/v=old/data.gz", '{"id":"superseded"}')
    rows = days.query("SELECT id, dt FROM events ORDER BY dt")
    assert rows == [["20190524"] * 2, ["20190525"] * 2, ["20190526"] * 2]


def test_a_partition_that_moves_is_read_at_its_new_place(days: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/partitions.html"""
    days.lines("anywhere/20190524/v=new/data.gz", '{"id":"new"}')
    location = {"StorageDescriptor": {"Location": days.uri("anywhere/20190524/v=new/")}}
    days.glue.update_partition(
        DatabaseName=days.name,
        TableName="events",
        PartitionValueList=["20190524"],
        PartitionInput={"Values": ["20190524"], **location},
    )
    assert days.query("SELECT id FROM events WHERE dt = '20190524'") == [["new"]]


def test_a_partition_without_objects_has_no_rows(days: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/partitions.html"""
    days.partition("events", "20190527", path="nothing/here/")
    assert days.scalar("SELECT count(*) FROM events") == "3"
    assert days.scalar("SELECT count(*) FROM events WHERE dt = '20190527'") == "0"


def test_hidden_files_are_not_read(days: Lake) -> None:
    """Files whose names begin with an underscore or a dot are hidden; folders are read recursively.

    https://docs.aws.amazon.com/athena/latest/ug/tables-location-format.html
    """
    days.lines("anywhere/20190524/v=abc/_SUCCESS", "not json")
    days.lines("anywhere/20190524/v=abc/.hidden", "not json")
    days.lines("anywhere/20190524/v=abc/_temporary/part.gz", '{"id":"hidden"}')
    days.lines("anywhere/20190524/v=abc/deeper/part", '{"id":"seen"}')
    assert days.query("SELECT id FROM events WHERE dt = '20190524' ORDER BY id") == [["20190524"], ["seen"]]


@pytest.mark.parametrize(
    ("where", "rows", "read"),
    [
        ("dt = '20190525'", 1, 1),
        ("dt > '20190524' AND id <> 'x'", 2, 2),
        ("dt BETWEEN '20190525' AND '20190526'", 2, 2),
        ("dt IN ('20190524', '20190526')", 2, 2),
        ("dt = '20190524' OR dt = '20190526'", 2, 2),
        ("dt LIKE '2019%' AND NOT dt = '20190524'", 2, 2),
        ("dt = '20190524' OR id = '20190526'", 2, 3),
        ("substr(dt, 7) = '24'", 1, 3),
        ("dt = '20300101'", 0, 0),
    ],
)
def test_a_condition_on_a_key_limits_what_is_read(days: Lake, where: str, rows: int, read: int) -> None:
    """DataScannedInBytes shows it.

    https://docs.aws.amazon.com/athena/latest/ug/partitions.html
    """
    one = int(days.run("SELECT * FROM events WHERE dt = '20190524'")["Statistics"]["DataScannedInBytes"])
    execution = days.run(f"SELECT id FROM events WHERE {where}")
    assert len(days.results(execution["QueryExecutionId"])) - 1 == rows
    assert round(execution["Statistics"]["DataScannedInBytes"] / one) == read


def test_a_condition_outside_a_window_does_not_limit_what_is_read(days: Lake) -> None:
    """A window over all days must see all days, though only one is asked for.

    https://docs.aws.amazon.com/athena/latest/ug/select.html
    """
    days.lines("anywhere/20190525/v=abc/more.gz", '{"id":"20190524"}')
    sql = (
        "SELECT count(*) FROM (SELECT dt, row_number() OVER (PARTITION BY id ORDER BY dt DESC) AS n "
        "FROM events) WHERE n = 1 AND dt = '20190524'"
    )
    assert days.scalar(sql) == "0"


def test_a_condition_reaches_through_a_subquery_and_a_cte(days: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/select.html"""
    one = int(days.run("SELECT * FROM events WHERE dt = '20190524'")["Statistics"]["DataScannedInBytes"])
    for sql in (
        "SELECT * FROM (SELECT upper(id) i, dt AS d FROM events) WHERE d = '20190525'",
        "WITH c AS (SELECT * FROM events) SELECT c.id FROM c WHERE c.dt = '20190525'",
    ):
        execution = days.run(sql)
        assert len(days.results(execution["QueryExecutionId"])) == 2
        assert abs(execution["Statistics"]["DataScannedInBytes"] - one) < 5


def test_keys_have_their_declared_types(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/partitions.html"""
    lake.table("typed", {"id": "string"}, keys={"year": "int", "day": "date"})
    for year in (9, 10):
        lake.lines(f"y/{year}/a", '{"id":"x"}')
        lake.partition("typed", str(year), "2019-05-25", path=f"y/{year}/")
    assert lake.query("SELECT year + 1 FROM typed WHERE year > 9 AND day = DATE '2019-05-25'") == [["11"]]


def test_an_unpartitioned_table_is_read_at_its_location(lake: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/tables-location-format.html"""
    lake.table("plain", {"id": "string"})
    lake.lines("plain/a.json", '{"id":"1"}')
    lake.lines("plain/deep/b.gz", '{"id":"2"}')
    lake.lines("plain-not/c.json", '{"id":"3"}')
    assert lake.query("SELECT id FROM plain ORDER BY 1") == [["1"], ["2"]]


def test_partition_metadata_and_paths_can_be_queried(days: Lake) -> None:
    """https://docs.aws.amazon.com/athena/latest/ug/querying-glue-catalog.html"""
    assert days.query('SELECT dt FROM "events$partitions" ORDER BY 1') == [
        ["20190524"],
        ["20190525"],
        ["20190526"],
    ]
    path = days.scalar("SELECT \"$path\" FROM events WHERE dt = '20190524'")
    assert path == days.uri("anywhere/20190524/v=abc/data.gz")


def test_a_thousand_days_with_a_condition_are_quick(lake: Lake) -> None:
    """A query over many partitions reads only those its condition allows.

    https://docs.aws.amazon.com/athena/latest/ug/partitions.html
    """
    lake.table("years", {"id": "bigint"}, serde=PARQUET, keys={"dt": "string"})
    inputs = [
        {"Values": [f"{day:08}"], "StorageDescriptor": {"Location": lake.uri(f"years/dt={day:08}/")}}
        for day in range(1000)
    ]
    for start in range(0, 1000, 100):
        lake.glue.batch_create_partition(
            DatabaseName=lake.name, TableName="years", PartitionInputList=inputs[start : start + 100]
        )
    lake.parquet("years/dt=00000500/a.parquet", pa.table({"id": [1, 2]}))
    # An unreadable file in every other partition would fail the query if it were opened.
    lake.put("years/dt=00000501/a.parquet", b"no parquet")
    assert lake.scalar("SELECT count(*) FROM years WHERE dt = '00000500'") == "2"
    with pytest.raises(QueryFailed, match="HIVE_BAD_DATA"):
        lake.query("SELECT count(id) FROM years")
