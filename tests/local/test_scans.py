"""A scan reads every item once, for any pages and segments, and its cost is what it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@pytest.fixture
def dynamodb(client: Any) -> DynamoDBClient:
    return client("dynamodb")  # type: ignore[no-any-return]


def pages(dynamodb: DynamoDBClient, table: str, **options: Any) -> list[dict[str, Any]]:
    """Return every page of a scan."""
    answers: list[dict[str, Any]] = []
    while not answers or "LastEvaluatedKey" in answers[-1]:
        after = {"ExclusiveStartKey": answers[-1]["LastEvaluatedKey"]} if answers else {}
        answers.append(dict(dynamodb.scan(TableName=table, **options, **after)))
    return answers


def keys(answers: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(item["id"]["S"], item["at"]["N"]) for page in answers for item in page["Items"]]


def put(dynamodb: DynamoDBClient, table: str, name: str, at: int) -> None:
    dynamodb.put_item(TableName=table, Item={"id": {"S": name}, "at": {"N": f"{at}.50"}, "text": {"S": "x" * 3000}})


@pytest.fixture
def table(dynamodb: DynamoDBClient, name: str) -> str:
    """Sixty items of about 3 KB, some of them with the same partition key."""
    schema: Any = [{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}]
    types: Any = [{"AttributeName": "id", "AttributeType": "S"}, {"AttributeName": "at", "AttributeType": "N"}]
    dynamodb.create_table(TableName=name, KeySchema=schema, AttributeDefinitions=types, BillingMode="PAY_PER_REQUEST")
    for n in range(60):
        put(dynamodb, name, f"item {n // 2}", n)
    return name


@pytest.mark.real
def test_every_item_comes_once_in_pages_and_segments(dynamodb: DynamoDBClient, table: str) -> None:
    whole = keys(pages(dynamodb, table))
    assert len(set(whole)) == len(whole) == 60
    assert keys(pages(dynamodb, table, Limit=7)) == whole
    segments = [keys(pages(dynamodb, table, Segment=n, TotalSegments=3, Limit=5)) for n in range(3)]
    assert sorted(key for segment in segments for key in segment) == sorted(whole)
    assert all(segments)
    # As ministack pages them if there is a filter.
    filtered: Any = {"FilterExpression": "attribute_exists(id)", "Segment": 1, "TotalSegments": 3}
    assert keys(pages(dynamodb, table, **filtered)) == segments[1]


def test_a_scan_sees_writes_between_two_pages(dynamodb: DynamoDBClient, table: str) -> None:
    first = dynamodb.scan(TableName=table, Limit=1)

    def rest() -> list[tuple[str, str]]:
        return keys([dict(dynamodb.scan(TableName=table, ExclusiveStartKey=first["LastEvaluatedKey"]))])

    assert len(rest()) == 59
    dynamodb.delete_item(TableName=table, Key={"id": {"S": "item 9"}, "at": {"N": "19.5"}})
    assert len(rest()) == 58
    assert ("item 9", "19.5") not in rest()
    put(dynamodb, table, "zzz", 1)
    assert rest()[-1][0] == "zzz"


@pytest.mark.real
def test_a_page_costs_what_it_reads(dynamodb: DynamoDBClient, table: str) -> None:
    def units(**options: Any) -> float:
        response = dynamodb.scan(TableName=table, ReturnConsumedCapacity="TOTAL", **options)
        return response["ConsumedCapacity"]["CapacityUnits"]

    assert units(Limit=1) == 0.5
    assert units(Limit=1, ConsistentRead=True) == 1.0
    assert 40 <= units(ConsistentRead=True) <= 50, "60 items of 3 KB, in units of 4 KB"
    assert 20 <= units() <= 25
