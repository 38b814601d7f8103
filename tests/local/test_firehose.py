"""Firehose delivers to S3 as its documentation says."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.roles import ACCOUNT, ROLE
from tests.support.waiting import eventually

SOON = 0.2
"""Seconds after which a shard of a new stream is not read yet: the first reader starts after 15 s, a real 0.25 s."""

Client = Callable[[str], Any]
Read = Callable[..., dict[str, bytes]]


def destination(bucket: str, **settings: Any) -> dict[str, Any]:
    """An S3 destination that buffers for a minute: one real second."""
    return {
        "BucketARN": f"arn:aws:s3:::{bucket}",
        "RoleARN": ROLE,
        "Prefix": "raw/dt=!{timestamp:yyyyMMdd}/",
        "ErrorOutputPrefix": "errors/!{firehose:error-output-type}/",
        "CompressionFormat": "GZIP",
        "BufferingHints": {"SizeInMBs": 64, "IntervalInSeconds": 60},
        **settings,
    }


def create(client: Client, name: str, **settings: Any) -> None:
    client("firehose").create_delivery_stream(
        DeliveryStreamName=name, ExtendedS3DestinationConfiguration=destination(**settings)
    )


def put(client: Client, name: str, records: list[bytes]) -> Any:
    batch = [{"Data": data} for data in records]
    return client("firehose").put_record_batch(DeliveryStreamName=name, Records=batch)


def test_records_of_an_interval_become_one_gzip_object(client: Client, bucket: str, name: str, objects: Read) -> None:
    """Records are concatenated as they are, compressed, and named
    `<evaluated prefix><stream>-<version>-YYYY-MM-DD-HH-MM-SS-<uuid>.gz`.

    https://docs.aws.amazon.com/firehose/latest/dev/s3-object-name.html
    https://docs.aws.amazon.com/firehose/latest/dev/basic-deliver.html
    """
    # Long enough for a busy machine to put them all.
    create(client, name, bucket=bucket, BufferingHints={"SizeInMBs": 1, "IntervalInSeconds": 240})
    before = datetime.now(UTC)
    for _ in range(20):
        put(client, name, [b"line\n"])
    (key, body), *others = eventually(lambda: objects(bucket)).items()
    assert not others
    assert body == b"line\n" * 20
    pattern = rf"raw/dt=(\d{{8}})/{name}-1-(\d{{4}}-\d\d-\d\d-\d\d-\d\d-\d\d)-[0-9a-f-]{{36}}\.gz"
    match = re.fullmatch(pattern, key)
    assert match
    arrived = datetime.strptime(match[2], "%Y-%m-%d-%H-%M-%S").replace(tzinfo=UTC)
    assert before - timedelta(seconds=2) < arrived <= datetime.now(UTC)
    assert match[1] == f"{arrived:%Y%m%d}"


def test_a_kinesis_record_over_the_limit_of_firehose_is_not_delivered(
    client: Client, bucket: str, name: str, objects: Read
) -> None:
    """A record of Firehose has 1,000 KiB at most; one of a Kinesis stream may have 1 MiB.

    https://docs.aws.amazon.com/firehose/latest/dev/limits.html
    """
    create_reader(client, name, bucket, 1)

    def lengths() -> set[int]:
        put_into_shards(client, name, 1, "proof")
        return {len(line) for line in lines_of(objects, bucket)}

    eventually(lengths)
    for size in (1000 * 1024 + 1, 1000 * 1024):
        record = b"x" * (size - 1) + b"\n"
        client("kinesis").put_record(StreamName=name, Data=record, PartitionKey="a")
    delivered: set[int] = eventually(lengths, lambda sizes: len(sizes) > 1)
    assert max(delivered) == 1000 * 1024 - 1


def test_a_full_buffer_is_delivered_before_its_interval(client: Client, bucket: str, name: str, objects: Read) -> None:
    """Whichever of size and interval is satisfied first triggers the delivery.

    https://docs.aws.amazon.com/firehose/latest/APIReference/API_BufferingHints.html
    """
    hints = {"SizeInMBs": 1, "IntervalInSeconds": 900}
    create(client, name, bucket=bucket, BufferingHints=hints, CompressionFormat="UNCOMPRESSED")
    put(client, name, [b"x" * 512 * 1024] * 5)
    bodies = eventually(lambda: objects(bucket), lambda bodies: len(bodies) == 2)
    assert [len(body) for body in bodies.values()] == [1024 * 1024] * 2
    assert not any(key.endswith(".gz") for key in bodies)


def create_reader(client: Client, name: str, bucket: str, shards: int, **settings: Any) -> None:
    """Create a Kinesis stream, and a Firehose stream that reads it."""
    client("kinesis").create_stream(StreamName=name, ShardCount=shards)
    client("firehose").create_delivery_stream(
        DeliveryStreamName=name,
        DeliveryStreamType="KinesisStreamAsSource",
        KinesisStreamSourceConfiguration={
            "KinesisStreamARN": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/{name}",
            "RoleARN": ROLE,
        },
        ExtendedS3DestinationConfiguration=destination(bucket, **settings),
    )


def put_into_shards(client: Client, name: str, shards: int, text: str, *more: Any) -> None:
    """Put one record with the shard's number into each shard, and more records."""
    step = 2**128 // shards
    records: list[Any] = [
        {"Data": f"{text} {shard}\n".encode(), "PartitionKey": "-", "ExplicitHashKey": str(shard * step)}
        for shard in range(shards)
    ]
    client("kinesis").put_records(StreamName=name, Records=[*records, *more])


def lines_of(objects: Read, bucket: str) -> list[str]:
    return [line for body in objects(bucket).values() for line in body.decode().splitlines()]


def test_a_kinesis_stream_is_read_from_latest_some_time_after_active(
    client: Client, bucket: str, name: str, objects: Read
) -> None:
    """Firehose starts reading from LATEST, each shard when its reader has started; earlier records are never read.

    https://docs.aws.amazon.com/firehose/latest/dev/create-name.html
    """
    for attempt in range(10):
        stream, started = f"{name}-{attempt}", time.monotonic()
        create_reader(client, stream, bucket, 2)
        state = client("firehose").describe_delivery_stream(DeliveryStreamName=stream)["DeliveryStreamDescription"]
        assert state["DeliveryStreamStatus"] == "ACTIVE"
        put_into_shards(client, stream, 2, f"early-{attempt}")
        if time.monotonic() - started < SOON:
            break
    else:
        pytest.fail(f"The machine is too busy to put a record within {SOON} s")

    def read() -> set[str]:
        put_into_shards(client, stream, 2, "later")
        return {line for line in lines_of(objects, bucket) if line.startswith((f"early-{attempt} ", "later "))}

    # The shards' readers start at different times, so one shard's records do not prove the other.
    assert eventually(read) == {"later 1"}
    assert eventually(read, lambda lines: len(lines) > 1) == {"later 0", "later 1"}


def test_each_shard_has_a_buffer_of_its_own(client: Client, bucket: str, name: str, objects: Read) -> None:
    """Buffer hints are applied on a shard or partition level.

    https://docs.aws.amazon.com/firehose/latest/dev/buffering-hints.html
    """
    create_reader(client, name, bucket, 4, BufferingHints={"SizeInMBs": 1, "IntervalInSeconds": 300})

    def proven() -> bool:
        put_into_shards(client, name, 4, "proof")
        return len(set(lines_of(objects, bucket))) == 4

    eventually(proven, every=1)
    full: Any = {"Data": b"x" * 900 * 1024, "PartitionKey": "-", "ExplicitHashKey": "0"}
    put_into_shards(client, name, 4, "held", full, full, full)
    bodies = eventually(
        lambda: [body for body in objects(bucket).values() if b"held" in body], lambda bodies: len(bodies) > 3
    )
    assert sorted(line for body in bodies for line in body.splitlines() if b"held" in line) == [
        b"held %d" % shard for shard in range(4)
    ]
    # Two of the three records filled a buffer, which was written before its interval ended.
    (written,) = (body for body in bodies if b"x" in body)
    assert b"held 0" in written
    assert written.count(b"x") == 2 * len(full["Data"])


def test_the_partitions_of_a_stream_without_a_source_have_buffers_too(
    client: Client, bucket: str, name: str, objects: Read
) -> None:
    """Buffer hints are applied on a shard or partition level, and a producer cannot choose the partition.

    https://docs.aws.amazon.com/firehose/latest/dev/buffering-hints.html
    """
    create(client, name, bucket=bucket)
    put(client, name, [f"{number}\n".encode() for number in range(20)])
    parts = eventually(lambda: objects(bucket), lambda bodies: len(bodies) == 2).values()
    assert sorted(int(line) for part in parts for line in part.splitlines()) == list(range(20))


def test_a_delivery_that_s3_refuses_is_tried_again(client: Client, name: str, objects: Read) -> None:
    """Firehose retries a failed delivery to S3 and keeps the data in the meantime.

    https://docs.aws.amazon.com/firehose/latest/dev/retry.html
    """
    create(client, name, bucket=name)
    put(client, name, [b"kept\n"])
    eventually(lambda: _metric(client, name, "DeliveryToS3.Success"))
    client("s3").create_bucket(Bucket=name)
    assert list(eventually(lambda: objects(name)).values()) == [b"kept\n"]


def test_a_slow_down_of_s3_delays_delivery(client: Client, bucket: str, name: str, objects: Read, fault: Any) -> None:
    """S3 may answer 503 Slow Down while it scales a prefix; the injected fault does so three times.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
    """
    fault(service="s3", operation="PutObject", code="SlowDown", status=503, times=3, resource=bucket)
    create(client, name, bucket=bucket)
    put(client, name, [b"kept\n"])
    assert list(eventually(lambda: objects(bucket)).values()) == [b"kept\n"]
    outcomes = _metric(client, name, "DeliveryToS3.Success")
    assert (outcomes["SampleCount"], outcomes["Sum"]) == (4, 1)


def test_an_update_keeps_what_is_buffered(client: Client, bucket: str, name: str, objects: Read) -> None:
    """UpdateDestination applies to later deliveries, and increases the version in the name.

    https://docs.aws.amazon.com/firehose/latest/APIReference/API_UpdateDestination.html
    """
    firehose = client("firehose")
    create(client, name, bucket=bucket)
    put(client, name, [b"buffered\n"])
    described = firehose.describe_delivery_stream(DeliveryStreamName=name)["DeliveryStreamDescription"]
    firehose.update_destination(
        DeliveryStreamName=name,
        CurrentDeliveryStreamVersionId=described["VersionId"],
        DestinationId=described["Destinations"][0]["DestinationId"],
        ExtendedS3DestinationUpdate={"Prefix": "other/!{timestamp:yyyy}/"},
    )
    ((key, body),) = eventually(lambda: objects(bucket)).items()
    assert key.startswith(f"other/{datetime.now(UTC):%Y}/{name}-2-")
    assert body == b"buffered\n"


def test_the_custom_time_zone_is_that_of_the_prefix(client: Client, bucket: str, name: str, objects: Read) -> None:
    """Prefixes and names are in UTC, or in the CustomTimeZone.

    https://docs.aws.amazon.com/firehose/latest/dev/s3-prefixes.html
    """
    zone = "Pacific/Kiritimati"  # UTC+14
    prefix = "!{timestamp:yyyyMMddHH}/"
    create(client, name, bucket=bucket, Prefix=prefix, CustomTimeZone=zone)
    put(client, name, [b"x"])
    (key,) = eventually(lambda: objects(bucket))
    hour = datetime.strptime(key[:10], "%Y%m%d%H").replace(tzinfo=UTC)
    assert timedelta(hours=12) < hour - datetime.now(UTC) <= timedelta(hours=14)


@pytest.mark.parametrize(
    ("zone", "taken"),
    [
        ("UTC", True),
        ("Asia/Calcutta", True),
        ("Europe/Kiev", True),
        ("Asia/Kolkata", False),
        ("Europe/Kyiv", False),
        ("America/Toronto", False),
        ("Australia/Melbourne", False),
        ("Africa/Porto-Novo", False),
    ],
)
def test_only_listed_time_zones_are_accepted(client: Client, bucket: str, name: str, zone: str, taken: bool) -> None:
    """CustomTimeZone is from a closed list with old names of zones instead of their new ones; a listed name with a `-`
    does not fit the API's pattern.

    https://docs.aws.amazon.com/firehose/latest/dev/s3-object-name.html
    https://docs.aws.amazon.com/firehose/latest/APIReference/API_ExtendedS3DestinationConfiguration.html
    """
    if taken:
        create(client, name, bucket=bucket, CustomTimeZone=zone)
        return
    with pytest.raises(ClientError, match="CustomTimeZone") as error:
        create(client, name, bucket=bucket, CustomTimeZone=zone)
    assert error.value.response["Error"]["Code"] == "InvalidArgumentException"


def test_a_deleted_stream_loses_its_buffer(client: Client, bucket: str, name: str, objects: Read) -> None:
    """DeleteDeliveryStream "deletes a Firehose stream and its data", and promises no delivery of its buffer.

    https://docs.aws.amazon.com/firehose/latest/APIReference/API_DeleteDeliveryStream.html
    """
    create(client, name, bucket=bucket)
    put(client, name, [b"last\n"])
    client("firehose").delete_delivery_stream(DeliveryStreamName=name)
    # When a new stream of the same name has delivered, the deleted one would have delivered, too.
    create(client, name, bucket=bucket)
    put(client, name, [b"new\n"])
    assert list(eventually(lambda: objects(bucket)).values()) == [b"new\n"]


@pytest.mark.parametrize(
    ("records", "code"),
    [
        ([b"x"] * 501, "ValidationException"),
        ([b"x" * 1_024_001], "ValidationException"),
        ([b"x" * 1_000_000] * 5, "InvalidArgumentException"),
    ],
)
def test_a_batch_has_limits(client: Client, bucket: str, name: str, records: list[bytes], code: str) -> None:
    """At most 500 records and 4 MiB in a call, and 1,000 KiB in a record.

    https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html
    """
    create(client, name, bucket=bucket)
    with pytest.raises(ClientError) as error:
        put(client, name, records)
    assert error.value.response["Error"]["Code"] == code


def test_each_record_of_a_batch_succeeds_or_fails_by_itself(
    client: Client, bucket: str, name: str, objects: Read, fault: Any
) -> None:
    """FailedPutCount counts the records that failed; RequestResponses is in the order of the request.

    https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html
    """
    create(client, name, bucket=bucket)
    fault(
        service="firehose",
        operation="PutRecordBatch",
        code="ServiceUnavailableException",
        times=1,
        fraction=0.5,
        resource=name,
    )
    response = put(client, name, [f"{number}\n".encode() for number in range(200)])
    answers = response["RequestResponses"]
    stored = {number for number, answer in enumerate(answers) if "RecordId" in answer}
    failed = [answer for answer in answers if answer.get("ErrorCode") == "ServiceUnavailableException"]
    assert len(failed) == response["FailedPutCount"] == 200 - len(stored)
    assert 50 < len(stored) < 150
    bodies = eventually(lambda: objects(bucket), lambda bodies: len(bodies) == 2).values()
    assert {int(line) for body in bodies for line in body.split()} == stored


def test_deliveries_are_measured(client: Client, bucket: str, name: str, objects: Read) -> None:
    """Firehose publishes the incoming and the delivered data, and its age.

    https://docs.aws.amazon.com/firehose/latest/dev/monitoring-with-cloudwatch-metrics.html
    """
    create(client, name, bucket=bucket)
    put(client, name, [b"12345", b"12345"])
    eventually(lambda: objects(bucket))
    assert _metric(client, name, "IncomingRecords")["Sum"] == 2
    assert _metric(client, name, "IncomingBytes")["Sum"] == 10
    eventually(lambda: (_metric(client, name, "DeliveryToS3.Records") or {}).get("Sum") == 2)
    assert _metric(client, name, "DeliveryToS3.Success")["Average"] == 1
    # In AWS's time, like its alarms: a second here is a minute there.
    assert 30 < _metric(client, name, "DeliveryToS3.DataFreshness")["Maximum"] < 1200


def test_reads_of_an_empty_kinesis_stream_are_measured_too(client: Client, bucket: str, name: str) -> None:
    """Firehose calls GetRecords once a second for each shard, and Kinesis counts the successful calls. While Firehose
    may not read, there are no calls, and Firehose itself has no data on records that it does not know.

    https://docs.aws.amazon.com/firehose/latest/dev/writing-with-kinesis-streams.html
    https://docs.aws.amazon.com/streams/latest/dev/monitoring-with-cloudwatch.html
    """
    kinesis, firehose = client("kinesis"), client("firehose")
    kinesis.create_stream(StreamName=name, ShardCount=1)
    firehose.create_delivery_stream(
        DeliveryStreamName=name,
        DeliveryStreamType="KinesisStreamAsSource",
        KinesisStreamSourceConfiguration={
            "KinesisStreamARN": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/{name}",
            "RoleARN": ROLE,
        },
        ExtendedS3DestinationConfiguration=destination(bucket),
    )
    eventually(lambda: _reads(client, name) > 2)
    firehose.delete_delivery_stream(DeliveryStreamName=name)
    eventually(lambda: _reads(client, name) > 0)
    reads = _reads(client, name)
    kinesis.put_record(StreamName=name, Data=b"unread", PartitionKey="a")
    shard = kinesis.list_shards(StreamName=name)["Shards"][0]["ShardId"]
    where = {"StreamName": name, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
    assert kinesis.get_records(ShardIterator=kinesis.get_shard_iterator(**where)["ShardIterator"])["Records"]
    # The only read is the test's own.
    assert _reads(client, name) - reads in (1, 2)
    assert _metric(client, name, "DeliveryToS3.DataFreshness") is None


def _reads(client: Client, stream: str) -> float:
    now = datetime.now(UTC)
    points = client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Kinesis",
        MetricName="GetRecords.Success",
        Dimensions=[{"Name": "StreamName", "Value": stream}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=7200,
        Statistics=["Sum"],
    )["Datapoints"]
    return float(sum(point["Sum"] for point in points))


def _metric(client: Client, stream: str, metric: str) -> Any:
    now = datetime.now(UTC)
    points = client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Firehose",
        MetricName=metric,
        Dimensions=[{"Name": "DeliveryStreamName", "Value": stream}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=7200,
        Statistics=["Sum", "SampleCount", "Average", "Maximum"],
    )["Datapoints"]
    assert len(points) < 3
    return points[-1] if points else None
