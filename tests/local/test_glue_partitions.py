"""Glue partitions answer as the Data Catalog's API documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Client = Callable[[str], Any]

pytestmark = pytest.mark.real


@pytest.fixture
def glue(client: Client) -> Any:
    """The Glue client."""
    return client("glue")


@pytest.fixture
def table(glue: Any, name: str) -> dict[str, str]:
    """A new table partitioned by a string, an integer and a date."""
    glue.create_database(DatabaseInput={"Name": name})
    keys = [("dt", "string"), ("hour", "int"), ("day", "date")]
    glue.create_table(
        DatabaseName=name,
        TableInput={
            "Name": "events",
            "StorageDescriptor": {
                "Columns": [{"Name": "id", "Type": "string"}],
                "Location": "s3://lake/events/",
            },
            "PartitionKeys": [{"Name": key, "Type": kind} for key, kind in keys],
        },
    )
    return {"DatabaseName": name, "TableName": "events"}


def _partition(*values: str, location: str = "s3://lake/events/x/") -> dict[str, Any]:
    return {"Values": list(values), "StorageDescriptor": {"Location": location}}


def _values(partitions: list[dict[str, Any]]) -> list[str]:
    return ["/".join(partition["Values"]) for partition in partitions]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("dt = '20190525'", ["20190525/2/2019-05-25", "20190525/10/2019-05-25"]),
        ("dt <> '20190525'", ["20190526/1/2019-05-26"]),
        ("hour > 2", ["20190525/10/2019-05-25"]),
        ("hour >= 2 AND hour < 10", ["20190525/2/2019-05-25"]),
        ("hour BETWEEN 1 AND 2", ["20190525/2/2019-05-25", "20190526/1/2019-05-26"]),
        ("hour IN (1, 10)", ["20190525/10/2019-05-25", "20190526/1/2019-05-26"]),
        ("dt LIKE '%26'", ["20190526/1/2019-05-26"]),
        ("NOT (dt = '20190525')", ["20190526/1/2019-05-26"]),
        (
            "(dt = '20190526' OR hour = 10) AND hour <= 10",
            ["20190525/10/2019-05-25", "20190526/1/2019-05-26"],
        ),
        ("day > '2019-05-25'", ["20190526/1/2019-05-26"]),
    ],
)
def test_an_expression_selects_partitions(
    glue: Any, table: dict[str, str], expression: str, expected: list[str]
) -> None:
    """Integers and dates compare as such: `hour > 2` holds for 10.

    https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog-partitions.html#aws-glue-api-catalog-partitions-GetPartitions
    """
    glue.batch_create_partition(
        **table,
        PartitionInputList=[
            _partition("20190525", "2", "2019-05-25"),
            _partition("20190525", "10", "2019-05-25"),
            _partition("20190526", "1", "2019-05-26"),
        ],
    )
    partitions = glue.get_partitions(**table, Expression=expression)["Partitions"]
    assert sorted(_values(partitions)) == sorted(expected)


def test_an_invalid_expression_is_refused(glue: Any, table: dict[str, str]) -> None:
    """https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog-partitions.html"""
    glue.create_partition(**table, PartitionInput=_partition("20190525", "2", "2019-05-25"))
    for expression in ("nope = 1", "dt = ", "lower(dt) = 'x'"):
        with pytest.raises(glue.exceptions.InvalidInputException):
            glue.get_partitions(**table, Expression=expression)


def test_partitions_come_in_pages_and_segments(glue: Any, table: dict[str, str]) -> None:
    """Segments are disjoint and together complete; a page's NextToken leads to the next page.

    https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog-partitions.html#aws-glue-api-catalog-partitions-Segment
    """
    for hour in range(7):
        partition = _partition("20190525", str(hour), "2019-05-25")
        glue.create_partition(**table, PartitionInput=partition)
    pages = list(glue.get_paginator("get_partitions").paginate(**table, PaginationConfig={"PageSize": 3}))
    assert [len(page["Partitions"]) for page in pages] == [3, 3, 1]
    segments = [
        _values(glue.get_partitions(**table, Segment={"SegmentNumber": n, "TotalSegments": 3})["Partitions"])
        for n in range(3)
    ]
    listed = [values for segment in segments for values in segment]
    assert sorted(listed) == sorted(values for page in pages for values in _values(page["Partitions"]))


def test_a_batch_reports_what_exists_and_creates_the_rest(glue: Any, table: dict[str, str]) -> None:
    """https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog-partitions.html#aws-glue-api-catalog-partitions-BatchCreatePartition"""
    first, second = _partition("1", "1", "2019-05-25"), _partition("2", "1", "2019-05-25")
    glue.create_partition(**table, PartitionInput=first)
    errors = glue.batch_create_partition(**table, PartitionInputList=[first, second])["Errors"]
    assert [error["PartitionValues"] for error in errors] == [["1", "1", "2019-05-25"]]
    assert errors[0]["ErrorDetail"]["ErrorCode"] == "AlreadyExistsException"
    assert len(glue.get_partitions(**table)["Partitions"]) == 2
    with pytest.raises(glue.exceptions.AlreadyExistsException):
        glue.create_partition(**table, PartitionInput=first)


def test_batches_update_get_and_delete(glue: Any, table: dict[str, str]) -> None:
    """Missing entries are reported by their values, or left out of BatchGetPartition's response.

    https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog-partitions.html#aws-glue-api-catalog-partitions-BatchUpdatePartition
    https://docs.aws.amazon.com/glue/latest/dg/aws-glue-api-catalog-partitions.html#aws-glue-api-catalog-partitions-BatchDeletePartition
    """
    existing, missing = ["1", "1", "2019-05-25"], ["9", "9", "2019-05-25"]
    glue.create_partition(**table, PartitionInput=_partition(*existing))
    entries = [
        {"PartitionValueList": values, "PartitionInput": _partition(*values, location="s3://lake/v2/")}
        for values in (existing, missing)
    ]
    errors = glue.batch_update_partition(**table, Entries=entries)["Errors"]
    assert [error["PartitionValueList"] for error in errors] == [missing]
    requested = [{"Values": existing}, {"Values": missing}]
    partitions = glue.batch_get_partition(**table, PartitionsToGet=requested)["Partitions"]
    assert [partition["StorageDescriptor"]["Location"] for partition in partitions] == ["s3://lake/v2/"]
    errors = glue.batch_delete_partition(**table, PartitionsToDelete=requested)["Errors"]
    assert [error["PartitionValues"] for error in errors] == [missing]
    assert errors[0]["ErrorDetail"]["ErrorCode"] == "EntityNotFoundException"
    assert glue.get_partitions(**table)["Partitions"] == []
