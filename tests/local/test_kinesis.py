"""Kinesis: limits, faults, resharding and metrics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

Client = Callable[[str], Any]


def entries(count: int, size: int = 10) -> list[dict[str, Any]]:
    return [{"Data": b"x" * size, "PartitionKey": str(number)} for number in range(count)]


def read_all(client: Client, stream: str) -> list[str]:
    """Return the partition keys of every record of every shard, including closed ones."""
    kinesis = client("kinesis")
    keys: list[str] = []
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        answer = kinesis.get_records(ShardIterator=iterator)
        keys += [record["PartitionKey"] for record in answer["Records"]]
        closed = "EndingSequenceNumber" in shard["SequenceNumberRange"]
        assert closed == ("NextShardIterator" not in answer)
    return keys


def test_a_request_may_carry_ten_mebibytes(client: Client, name: str) -> None:
    """Up to 500 records and 10 MiB in a request, partition keys included.

    https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html
    """
    kinesis = client("kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=1)
    response = kinesis.put_records(StreamName=name, Records=entries(10, 1024 * 1024 - 1))
    assert response["FailedRecordCount"] == 0
    assert len({entry["SequenceNumber"] for entry in response["Records"]}) == 10
    assert sorted(read_all(client, name), key=int) == [str(number) for number in range(10)]


@pytest.mark.real
@pytest.mark.parametrize(
    ("records", "code"),
    [
        (entries(501), "ValidationException"),
        (entries(11, 1_000_000), "InvalidArgumentException"),
        (entries(1, 1024 * 1024), "InvalidArgumentException"),
    ],
)
def test_requests_over_a_limit_are_refused(client: Client, name: str, records: list[dict[str, Any]], code: str) -> None:
    """The record size limit, by default 1 MiB, applies to partition key and data together.

    https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html
    https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html
    """
    kinesis = client("kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=1)
    with pytest.raises(ClientError) as error:
        kinesis.put_records(StreamName=name, Records=records)
    assert error.value.response["Error"]["Code"] == code
    assert read_all(client, name) == []


def test_each_entry_is_throttled_by_itself(client: Client, name: str, fault: Any) -> None:
    """A response's entries are in the order of the request's; failed ones have ErrorCode.

    https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html
    """
    kinesis = client("kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=1)
    code = "ProvisionedThroughputExceededException"
    fault(service="kinesis", operation="PutRecords", code=code, times=2, fraction=0.5, resource=name)
    for _ in range(2):
        response = kinesis.put_records(StreamName=name, Records=entries(200))
        failed = [entry for entry in response["Records"] if entry.get("ErrorCode") == code]
        assert len(failed) == response["FailedRecordCount"]
        assert 50 < len(failed) < 150
    assert kinesis.put_records(StreamName=name, Records=entries(1))["FailedRecordCount"] == 0
    assert _sum(client, name, "WriteProvisionedThroughputExceeded") > 100


def test_a_shard_is_read_five_times_a_second(client: Client, name: str) -> None:
    """Each shard allows five reads a second for all consumers together.

    https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html
    """
    kinesis = client("kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=2)
    for shard in kinesis.list_shards(StreamName=name)["Shards"]:
        where = {"StreamName": name, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = kinesis.get_shard_iterator(**where)["ShardIterator"]
        for _ in range(20):
            # boto3 retries on its own until the call succeeds.
            kinesis.get_records(ShardIterator=iterator)
    assert _sum(client, name, "ReadProvisionedThroughputExceeded") > 0


def test_a_resharded_stream_keeps_its_records(client: Client, name: str) -> None:
    """Resharding closes the parents, which stay readable, and opens children for new records.

    https://docs.aws.amazon.com/streams/latest/dev/kinesis-using-sdk-java-after-resharding.html
    """
    kinesis = client("kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=2)
    kinesis.put_records(StreamName=name, Records=entries(50))
    kinesis.update_shard_count(StreamName=name, TargetShardCount=4, ScalingType="UNIFORM_SCALING")
    later = kinesis.put_records(StreamName=name, Records=entries(50))["Records"]
    assert len(read_all(client, name)) == 100
    summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    assert summary["OpenShardCount"] == 4
    shards = kinesis.list_shards(StreamName=name)["Shards"]
    assert len(shards) == 6
    parents = {shard["ShardId"] for shard in shards if "ParentShardId" not in shard}
    assert not parents & {answer["ShardId"] for answer in later}
    assert {shard["ParentShardId"] for shard in shards if "ParentShardId" in shard} == parents


@pytest.mark.real
@pytest.mark.parametrize("target", [9, 1])
def test_resharding_at_most_doubles(client: Client, name: str, target: int) -> None:
    """A call cannot scale to more than double or less than half of the shards.

    https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateShardCount.html
    """
    kinesis = client("kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=4)
    with pytest.raises(ClientError):
        kinesis.update_shard_count(StreamName=name, TargetShardCount=target, ScalingType="UNIFORM_SCALING")


def test_the_limits_of_an_account_count_its_streams(client: Callable[..., Any], name: str) -> None:
    """A new stream on demand has four shards.

    https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DescribeLimits.html
    https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html
    """
    kinesis = client("kinesis", region_name="ap-south-2")
    kinesis.create_stream(StreamName=name, ShardCount=1)
    kinesis.create_stream(StreamName=f"{name}-on-demand", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    limits = {"ShardLimit": 20_000, "OpenShardCount": 5, "OnDemandStreamCount": 1, "OnDemandStreamCountLimit": 50}
    assert kinesis.describe_limits().items() >= limits.items()


@pytest.mark.real
def test_the_shards_of_a_stream_on_demand_cannot_be_set(client: Client, name: str) -> None:
    """https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateShardCount.html"""
    kinesis = client("kinesis")
    kinesis.create_stream(StreamName=name, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    with pytest.raises(ClientError, match="InvalidArgumentException"):
        kinesis.update_shard_count(StreamName=name, TargetShardCount=2, ScalingType="UNIFORM_SCALING")


def test_puts_are_measured(client: Client, name: str) -> None:
    """Stream metrics have the dimension StreamName; throttles are zero if there were none.

    https://docs.aws.amazon.com/streams/latest/dev/monitoring-with-cloudwatch.html
    """
    client("kinesis").create_stream(StreamName=name, ShardCount=1)
    client("kinesis").put_records(StreamName=name, Records=entries(7))
    client("kinesis").put_record(StreamName=name, Data=b"x", PartitionKey="1")
    assert _sum(client, name, "IncomingRecords") == 8
    assert _sum(client, name, "WriteProvisionedThroughputExceeded") == 0
    assert _sum(client, name, "ReadProvisionedThroughputExceeded") == 0


def _sum(client: Client, stream: str, metric: str) -> float:
    now = datetime.now(UTC)
    dimensions = [{"Name": "StreamName", "Value": stream}]
    result = client("cloudwatch").get_metric_data(
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        MetricDataQueries=[
            {
                "Id": "m",
                "MetricStat": {
                    "Metric": {"Namespace": "AWS/Kinesis", "MetricName": metric, "Dimensions": dimensions},
                    "Period": 60,
                    "Stat": "Sum",
                },
            }
        ],
    )["MetricDataResults"][0]
    assert result["Values"], f"{metric} was not published"
    return float(sum(result["Values"]))
