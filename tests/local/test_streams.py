"""DynamoDB writes its items and change records as its documentation says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.waiting import eventually

Client = Callable[[str], Any]


@pytest.fixture
def changes(client: Client) -> Callable[[str], list[dict[str, Any]]]:
    def read(arn: str) -> list[dict[str, Any]]:
        streams = client("dynamodbstreams")
        (shard,) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
        iterator = streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        return list(streams.get_records(ShardIterator=iterator)["Records"])

    return read


def test_an_expired_item_is_removed_by_the_service(client: Client, name: str, make_table: Any, changes: Any) -> None:
    """TTL removes an item with a change record whose userIdentity is DynamoDB itself.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html
    """
    arn, dynamodb = make_table(name), client("dynamodb")
    item = {"id": {"S": "old"}, "expires": {"N": "1"}}
    dynamodb.put_item(TableName=name, Item=item)
    dynamodb.put_item(TableName=name, Item={"id": {"S": "new"}, "expires": {"N": "99999999999"}})
    dynamodb.put_item(TableName=name, Item={"id": {"S": "text"}, "expires": {"S": "1"}})
    dynamodb.delete_item(TableName=name, Key={"id": {"S": "new"}})
    specification = {"Enabled": True, "AttributeName": "expires"}
    dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=specification)
    by_user, by_service = eventually(
        lambda: [change for change in changes(arn) if change["eventName"] == "REMOVE"],
        lambda removals: len(removals) == 2,
    )
    assert not by_user.get("userIdentity")
    assert by_service["userIdentity"] == {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
    assert by_service["dynamodb"]["OldImage"] == item
    assert [item["id"]["S"] for item in dynamodb.scan(TableName=name)["Items"]] == ["text"]


def test_lambda_sees_who_removed_an_item(
    client: Client, name: str, bucket: str, make_table: Any, make_function: Any, objects: Any
) -> None:
    """In Lambda's event the members of userIdentity are in lower case.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html
    """
    source = """
import json, os, botocore.session
s3 = botocore.session.get_session().create_client("s3", region_name="us-east-1")
def handler(event, context):
    for record in event["Records"]:
        if record["eventName"] == "REMOVE":
            body = json.dumps(record["userIdentity"]).encode()
            s3.put_object(Bucket=os.environ["BUCKET"], Key="identity", Body=body)
"""
    arn, dynamodb = make_table(name), client("dynamodb")
    make_function(name, source, BUCKET=bucket)
    client("lambda").create_event_source_mapping(FunctionName=name, EventSourceArn=arn, StartingPosition="TRIM_HORIZON")
    specification = {"Enabled": True, "AttributeName": "expires"}
    dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=specification)
    dynamodb.put_item(TableName=name, Item={"id": {"S": "old"}, "expires": {"N": "1"}})
    (body,) = eventually(lambda: objects(bucket)).values()
    assert body == b'{"type": "Service", "principalId": "dynamodb.amazonaws.com"}'


def test_sequence_numbers_are_numbers(client: Client, name: str, make_table: Any, changes: Any) -> None:
    """A sequence number is a string of 21 to 40 digits; within a shard it grows with every change.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_StreamRecord.html
    """
    arn, dynamodb = make_table(name), client("dynamodb")
    for number in range(20):
        dynamodb.put_item(TableName=name, Item={"id": {"S": str(number)}})
    numbers = [change["dynamodb"]["SequenceNumber"] for change in changes(arn)]
    assert all(21 <= len(number) <= 40 and number[0] != "0" for number in numbers)
    assert [int(number) for number in numbers] == sorted({int(number) for number in numbers})


@pytest.mark.parametrize(("view", "old", "new"), [("NEW_IMAGE", False, True), ("NEW_AND_OLD_IMAGES", True, True)])
def test_images_follow_the_view_type(
    client: Client, name: str, make_table: Any, changes: Any, view: str, old: bool, new: bool
) -> None:
    """A removal always has the keys, and the old image only if the view type includes it.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html
    """
    arn, dynamodb = make_table(name, view=view), client("dynamodb")
    dynamodb.put_item(TableName=name, Item={"id": {"S": "a"}, "n": {"N": "1"}})
    dynamodb.update_item(
        TableName=name,
        Key={"id": {"S": "a"}},
        UpdateExpression="SET n = :n",
        ExpressionAttributeValues={":n": {"N": "2"}},
    )
    dynamodb.delete_item(TableName=name, Key={"id": {"S": "a"}})
    insert, modify, remove = (change["dynamodb"] for change in changes(arn))
    assert insert["NewImage"]["n"] == {"N": "1"}
    assert modify["NewImage"]["n"] == {"N": "2"}
    assert ("OldImage" in modify, "OldImage" in remove, "NewImage" in insert) == (old, old, new)
    assert "NewImage" not in remove
    assert remove["Keys"] == {"id": {"S": "a"}}


def test_equal_numbers_are_one_key(client: Client, name: str, make_table: Any, changes: Any) -> None:
    """Leading and trailing zeroes of numbers are trimmed, so 1, 1.0 and 01 are one key.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
    """
    arn, dynamodb = make_table(name, key_type="N"), client("dynamodb")
    dynamodb.put_item(TableName=name, Item={"id": {"N": "1.0"}, "n": {"N": "1.500"}})
    for key in ("01", "1.00", "1E0"):
        stored = dynamodb.get_item(TableName=name, Key={"id": {"N": key}})["Item"]
        assert stored == {"id": {"N": "1"}, "n": {"N": "1.5"}}
    dynamodb.update_item(
        TableName=name,
        Key={"id": {"N": "1.0"}},
        UpdateExpression="ADD n :n",
        ExpressionAttributeValues={":n": {"N": "0.50"}},
    )
    dynamodb.delete_item(TableName=name, Key={"id": {"N": "001"}})
    assert [change["eventName"] for change in changes(arn)] == ["INSERT", "MODIFY", "REMOVE"]
    assert changes(arn)[1]["dynamodb"]["NewImage"] == {"id": {"N": "1"}, "n": {"N": "2"}}
