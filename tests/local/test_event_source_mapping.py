"""Lambda reads DynamoDB streams as its documentation says."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.waiting import eventually

STOP_SECONDS = 120
"""Seconds of AWS's time for which a mapping still reads after it says Disabled."""

Client = Callable[[str], Any]

EVENT_COUNT: dict[str, Any] = {"MetricsConfig": {"Metrics": ["EventCount"]}}

# Writes its events to a bucket, one object per call; POISON and MODE say how it fails.
SOURCE = """
import json, os, time, botocore.session
s3 = botocore.session.get_session().create_client("s3", region_name="us-east-1")
def handler(event, context):
    records = [(r["dynamodb"]["Keys"]["id"]["S"], r["dynamodb"]["SequenceNumber"]) for r in event["Records"]]
    body = json.dumps([key for key, _ in records]).encode()
    name = f"{os.environ['PREFIX']}/{time.time_ns():020}"
    s3.put_object(Bucket=os.environ["BUCKET"], Key=name, Body=body)
    failed = [number for key, number in records if key.startswith("poison")]
    mode = os.environ.get("MODE", "")
    if failed and mode == "raise":
        raise ValueError("poison")
    if mode.startswith("{"):
        return json.loads(mode)
    return {"batchItemFailures": [{"itemIdentifier": number} for number in reversed(failed)]}
"""


class Mapped:
    """A table, a function that reads its stream, and the function's calls."""

    def __init__(self, client: Client, table: str, arn: str, bucket: str) -> None:
        self.client, self.table, self.arn, self.bucket = client, table, arn, bucket
        self.uuid = ""
        self.written: list[float] = []

    def write(self, *keys: str) -> None:
        for key in keys:
            self.written.append(time.time())
            self.client("dynamodb").put_item(TableName=self.table, Item={"id": {"S": key}})

    def map(self, **settings: Any) -> Any:
        created = self.client("lambda").create_event_source_mapping(
            FunctionName=self.table,
            EventSourceArn=self.arn,
            **{"StartingPosition": "TRIM_HORIZON", **settings},
        )
        self.uuid = created["UUID"]
        return created

    def describe(self) -> Any:
        return self.client("lambda").get_event_source_mapping(UUID=self.uuid)

    def stopped(self) -> None:
        """Wait for longer than a disabled mapping still reads."""
        time.sleep(1.2 * STOP_SECONDS / 60)

    def calls(self) -> list[list[str]]:
        return [json.loads(body) for _, body in sorted(self.read(f"{self.table}/").items())]

    def seen(self) -> list[str]:
        return [key for call in self.calls() for key in call]

    def discarded(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.read("aws/lambda/").values()]

    def read(self, prefix: str) -> dict[str, bytes]:
        s3 = self.client("s3")
        entries = s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        keys = [entry["Key"] for entry in entries]
        return {key: s3.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}

    def events(self, metric: str, statistic: str, uuid: str = "") -> float:
        """Return one of the mapping's metrics, or 0 if there is none."""
        dimension = {"Name": "EventSourceMappingUUID", "Value": uuid or self.uuid}
        return _statistic(self.client, metric, dimension, statistic)

    def destination(self) -> dict[str, Any]:
        return {"OnFailure": {"Destination": f"arn:aws:s3:::{self.bucket}"}}


@pytest.fixture
def mapped(client: Client, name: str, bucket: str, make_function: Any, make_table: Any) -> Callable[..., Mapped]:
    def make(mode: str = "") -> Mapped:
        make_function(name, SOURCE, BUCKET=bucket, PREFIX=name, MODE=mode)
        return Mapped(client, name, make_table(name), bucket)

    return make


def test_trim_horizon_reads_existing_records(mapped: Any) -> None:
    """TRIM_HORIZON starts at the oldest record; a batch has at most BatchSize records, in order.

    https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html
    """
    source = mapped()
    written = [f"item-{number:03}" for number in range(25)]
    source.write(*written)
    assert source.map(BatchSize=10)["State"] == "Creating"
    eventually(lambda: source.seen() == written)
    assert [len(call) for call in source.calls()] == [10, 10, 5]
    assert eventually(lambda: source.describe()["State"] == "Enabled")
    assert source.describe()["LastProcessingResult"] == "OK"


def test_a_large_batch_needs_a_window(mapped: Any, client: Client) -> None:
    """A BatchSize greater than 10 takes a MaximumBatchingWindowInSeconds of at least 1. The default of 100 does not.

    https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html
    """
    source = mapped()
    for window in ({}, {"MaximumBatchingWindowInSeconds": 0}):
        with pytest.raises(ClientError) as refused:
            source.map(BatchSize=11, **window)
        assert refused.value.response["Error"]["Code"] == "InvalidParameterValueException"
    source.map(BatchSize=10)
    change = {"UUID": source.uuid, "BatchSize": 11}
    with pytest.raises(ClientError, match="at least 1"):
        client("lambda").update_event_source_mapping(**change)
    assert client("lambda").update_event_source_mapping(**change, MaximumBatchingWindowInSeconds=1)["BatchSize"] == 11


def test_latest_reads_only_new_records(mapped: Any) -> None:
    """LATEST starts behind the newest record; the default batch has up to 100 records.

    https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html
    """
    source = mapped()
    source.write("before")
    created = source.map(StartingPosition="LATEST")
    assert (created["BatchSize"], created["MaximumRetryAttempts"]) == (100, -1)
    source.write("after")
    eventually(lambda: source.seen() == ["after"])


def test_a_poison_record_is_isolated_and_handed_over(mapped: Any) -> None:
    """A failed batch is split until the bad record is alone. After its retries, it goes to the on-failure
    destination with its payload, and the shard continues. Splitting consumes no retry.

    https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
    """
    source = mapped("raise")
    good = [f"item-{number}" for number in range(8)]
    source.write(*good[:5], "poison", *good[5:])
    source.map(BisectBatchOnFunctionError=True, MaximumRetryAttempts=2, DestinationConfig=source.destination())
    (record,) = eventually(source.discarded)
    eventually(lambda: source.calls()[-1][-1] == good[-1])
    succeeded = [key for call in source.calls() if "poison" not in call for key in call]
    assert succeeded == good
    assert source.calls().count(["poison"]) == 3
    assert record["requestContext"]["condition"] == "RetryAttemptsExhausted"
    batch = record["DDBStreamBatchInfo"]
    (lost,) = json.loads(record["payload"])["Records"]
    assert lost["dynamodb"]["Keys"] == {"id": {"S": "poison"}}
    assert lost["dynamodb"]["NewImage"] == {"id": {"S": "poison"}}
    assert (batch["batchSize"], batch["streamArn"]) == (1, source.arn)
    assert batch["startSequenceNumber"] == batch["endSequenceNumber"]
    assert batch["startSequenceNumber"] == lost["dynamodb"]["SequenceNumber"]


def test_the_s3_destination_names_its_objects(mapped: Any) -> None:
    """`aws/lambda/<mapping's UUID>/<shard>/YYYY/MM/DD/YYYY-MM-DDTHH.MM.SS-<random UUID>`.

    https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
    """
    source = mapped("raise")
    source.write("poison")
    source.map(MaximumRetryAttempts=0, DestinationConfig=source.destination())
    (key,) = eventually(lambda: source.read("aws/lambda/"))
    pattern = r"aws/lambda/%s/shardId-[0-9-]+/\d{4}/\d\d/\d\d/\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d-[0-9a-f-]{36}"
    assert re.fullmatch(pattern % source.uuid, key)


def test_a_partial_response_is_checkpointed(mapped: Any) -> None:
    """With ReportBatchItemFailures, Lambda retries from the lowest sequence number that is named.

    https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
    """
    source = mapped()
    source.write("a", "b", "poison-1", "c", "poison-2", "d")
    source.map(
        FunctionResponseTypes=["ReportBatchItemFailures"],
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=1,
        DestinationConfig=source.destination(),
    )
    eventually(lambda: len(source.discarded()) == 2)
    eventually(lambda: source.seen()[-1] == "d")
    for key in ("a", "b"):
        assert source.seen().count(key) == 1
    assert source.calls()[1][0] == "poison-1"
    lost = [json.loads(record["payload"])["Records"] for record in source.discarded()]
    assert sorted(r["dynamodb"]["Keys"]["id"]["S"] for (r,) in lost) == ["poison-1", "poison-2"]


@pytest.mark.parametrize(
    ("response", "calls"),
    [
        ({"batchItemFailures": []}, 1),
        ({"batchItemFailures": None}, 1),
        ({}, 1),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, 3),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, 3),
        ({"batchItemFailures": [{"wrong": "name"}]}, 3),
        ({"batchItemFailures": [{"itemIdentifier": "4711"}]}, 3),
    ],
)
def test_a_response_that_names_no_record(mapped: Any, response: dict[str, Any], calls: int) -> None:
    """An empty or absent list is success; a name that is not in the batch fails the whole batch.

    https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
    """
    source = mapped(json.dumps(response))
    source.write("a", "b")
    source.map(
        FunctionResponseTypes=["ReportBatchItemFailures"],
        MaximumRetryAttempts=2,
        DestinationConfig=source.destination(),
        BatchSize=2,
    )
    if calls > 1:
        eventually(source.discarded)
    source.write("next")
    eventually(lambda: "next" in source.seen())
    assert source.calls().count(["a", "b"]) == calls


def test_a_response_is_ignored_unless_requested(mapped: Any) -> None:
    """Without ReportBatchItemFailures in FunctionResponseTypes, any response is success.

    https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
    """
    source = mapped()
    source.write("poison")
    source.map()
    eventually(lambda: source.seen() == ["poison"])
    source.write("next")
    eventually(lambda: source.seen() == ["poison", "next"])


def test_records_are_retried_until_they_are_too_old(mapped: Any) -> None:
    """MaximumRetryAttempts -1 retries until MaximumRecordAgeInSeconds, here five real seconds.

    https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
    """
    source = mapped("raise")
    source.write("poison")
    source.map(MaximumRecordAgeInSeconds=300, DestinationConfig=source.destination())
    (record,) = eventually(source.discarded)
    assert record["requestContext"]["condition"] == "RecordAgeExceeded"
    assert record["requestContext"]["approximateInvokeCount"] == len(source.calls()) > 1


def test_a_change_can_be_too_old_before_its_first_try(mapped: Any) -> None:
    """MaximumRecordAgeInSeconds counts from the change on, before the first invocation and between retries.

    https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
    """
    source = mapped()
    source.write("old")
    eventually(lambda: time.time() - source.written[0] > 1.5)
    source.map(MaximumRecordAgeInSeconds=60, DestinationConfig=source.destination())
    (record,) = eventually(source.discarded)
    assert record["requestContext"]["condition"] == "RecordAgeExceeded"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    source.write("young")
    eventually(lambda: source.seen() == ["young"])


def test_a_window_gathers_records(mapped: Any) -> None:
    """MaximumBatchingWindowInSeconds waits for more records, or until the batch is full.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html
    """
    source = mapped()
    source.map(MaximumBatchingWindowInSeconds=120, BatchSize=1000)
    eventually(lambda: source.describe()["State"] == "Enabled")
    for number in range(10):
        source.write(f"item-{number}")
    eventually(source.seen)
    assert len(source.calls()) == 1
    assert len(source.seen()) == 10


def test_a_disabled_mapping_resumes_where_it_stopped(mapped: Any) -> None:
    """UpdateEventSourceMapping changes a mapping in place; it loses no record when it is enabled again.

    https://docs.aws.amazon.com/lambda/latest/api/API_UpdateEventSourceMapping.html
    """
    source = mapped()
    source.map()
    source.write("first")
    eventually(lambda: source.seen() == ["first"])
    update = source.client("lambda").update_event_source_mapping
    assert update(UUID=source.uuid, Enabled=False)["State"] == "Disabling"
    eventually(lambda: source.describe()["State"] == "Disabled")
    source.stopped()
    source.write("second", "third")
    assert update(UUID=source.uuid, Enabled=True, BatchSize=1)["State"] == "Enabling"
    eventually(lambda: source.seen() == ["first", "second", "third"])
    assert source.calls()[1:] == [["second"], ["third"]]


def test_a_mapping_that_says_disabled_may_still_read(mapped: Any) -> None:
    """ "It may take several minutes to stop and restart polling events from streams"; its metrics say when it has.

    https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html#event-source-mapping-metrics
    """
    source = mapped()
    source.map(**EVENT_COUNT)
    source.write("first")
    eventually(lambda: source.seen() == ["first"])
    source.client("lambda").update_event_source_mapping(UUID=source.uuid, Enabled=False)
    eventually(lambda: source.describe()["State"] == "Disabled")
    source.write("second")
    eventually(lambda: source.seen() == ["first", "second"])
    for metric in ("PolledEventCount", "InvokedEventCount"):
        assert source.events(metric, "Sum") == 2
    source.stopped()
    source.write("third")
    source.stopped()
    assert source.seen() == ["first", "second"]


def test_a_slow_mapping_delays_no_other(mapped: Any, fault: Any) -> None:
    """Each mapping polls its shard by itself; a failing function blocks its own shard only.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html
    """
    source = mapped()
    fault(service="lambda", operation="Invoke", code="Broken", times=3, resource=source.table)
    source.map(MaximumRetryAttempts=10)
    source.write("a")
    eventually(lambda: source.seen() == ["a"])
    assert _sum(source.client, source.table, "Errors") == 3


def test_unwanted_records_are_not_sent(mapped: Any) -> None:
    """FilterCriteria leaves records out before the function is called.

    https://docs.aws.amazon.com/lambda/latest/dg/with-ddb-filtering.html
    """
    source = mapped()
    pattern = json.dumps({"eventName": ["REMOVE"]})
    source.map(FilterCriteria={"Filters": [{"Pattern": pattern}]})
    source.write("a")
    source.client("dynamodb").delete_item(TableName=source.table, Key={"id": {"S": "a"}})
    source.write("b")
    eventually(lambda: source.seen() == ["a"])


def test_invocations_are_measured(mapped: Any) -> None:
    """Lambda publishes Invocations, Errors, Duration and IteratorAge per function.

    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
    """
    source = mapped()
    source.write("a")
    source.map()
    eventually(lambda: source.seen() == ["a"])
    eventually(lambda: source.describe()["LastProcessingResult"] == "OK")
    for metric, least in {"Invocations": 1, "Errors": 0, "Throttles": 0, "Duration": 1}.items():
        assert _sum(source.client, source.table, metric) >= least
    # In AWS's time, like its alarms: a second here is a minute there.
    assert 0 < _sum(source.client, source.table, "IteratorAge") < 1_200_000


def test_empty_polls_are_counted_too(mapped: Any) -> None:
    """PolledEventCount is 0 for an empty poll, which shows that the mapping polls. Without polls it has no data.

    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html#event-source-mapping-metrics
    """
    source = mapped()
    source.map(**EVENT_COUNT)
    polls = eventually(lambda: source.events("PolledEventCount", "SampleCount"))
    assert source.events("PolledEventCount", "Sum") == 0
    source.write("a", "b")
    eventually(lambda: source.events("PolledEventCount", "Sum") == 2)
    eventually(lambda: source.events("PolledEventCount", "SampleCount") > polls + 2)
    source.client("lambda").update_event_source_mapping(UUID=source.uuid, Enabled=False)
    eventually(lambda: source.describe()["State"] == "Disabled")
    source.stopped()
    polls = source.events("PolledEventCount", "SampleCount")
    # Another mapping goes on polling, so the reader of all mappings was running in the meantime.
    second = source.client("lambda").create_event_source_mapping(
        FunctionName=source.table, EventSourceArn=source.arn, StartingPosition="LATEST", **EVENT_COUNT
    )["UUID"]
    eventually(lambda: source.events("PolledEventCount", "SampleCount", second) > 2)
    assert source.events("PolledEventCount", "SampleCount") == polls


def test_a_mapping_whose_stream_is_gone_does_not_poll(mapped: Any, make_table: Any) -> None:
    """A table that is created again under its name has another stream, which the mapping does not read.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html
    """
    source = mapped()
    source.map(**EVENT_COUNT)
    eventually(lambda: source.events("PolledEventCount", "SampleCount"))
    source.client("dynamodb").delete_table(TableName=source.table)
    assert make_table(source.table) != source.arn
    polls = source.events("PolledEventCount", "SampleCount")
    source.write("of the new table")
    second = source.client("lambda").create_event_source_mapping(
        FunctionName=source.table,
        EventSourceArn=source.client("dynamodb").describe_table(TableName=source.table)["Table"]["LatestStreamArn"],
        StartingPosition="LATEST",
        **EVENT_COUNT,
    )["UUID"]
    eventually(lambda: source.events("PolledEventCount", "SampleCount", second) > 2)
    assert source.events("PolledEventCount", "SampleCount") == polls
    assert source.seen() == []


@pytest.mark.parametrize("mode", ["", "raise"])
def test_events_of_failed_invocations_are_counted(mapped: Any, mode: str) -> None:
    """FailedInvokeEventCount has the events of failed calls and of partial batch responses, which are not errors of the
    function.

    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html#event-source-mapping-metrics
    """
    source = mapped(mode)
    source.write("a", "poison", "b")
    source.map(
        MaximumRetryAttempts=1,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        DestinationConfig=source.destination(),
        **EVENT_COUNT,
    )
    eventually(source.discarded)
    # Two of three are tried once more; if the function raises, all three are.
    eventually(lambda: source.events("FailedInvokeEventCount", "Sum") == (6 if mode else 4))
    assert source.events("InvokedEventCount", "Sum") == (6 if mode else 5)
    assert (_sum(source.client, source.table, "Errors") > 0) == bool(mode)


def test_a_function_at_its_concurrency_limit_is_retried(mapped: Any) -> None:
    """A throttled invocation is not an attempt: it is retried without consuming MaximumRetryAttempts.

    https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
    """
    source = mapped()
    functions = source.client("lambda")
    functions.put_function_concurrency(FunctionName=source.table, ReservedConcurrentExecutions=0)
    source.write("a")
    source.map(MaximumRetryAttempts=0, DestinationConfig=source.destination())
    eventually(lambda: "throttled" in source.describe()["LastProcessingResult"])
    functions.delete_function_concurrency(FunctionName=source.table)
    eventually(lambda: source.seen() == ["a"])
    assert source.discarded() == []


def test_a_starting_position_is_required(mapped: Any) -> None:
    """StartingPosition is required for DynamoDB streams.

    https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html
    """
    source = mapped()
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        source.client("lambda").create_event_source_mapping(FunctionName=source.table, EventSourceArn=source.arn)


def _sum(client: Client, function: str, metric: str) -> float:
    return _statistic(client, metric, {"Name": "FunctionName", "Value": function}, "Sum")


def _statistic(client: Client, metric: str, dimension: dict[str, str], statistic: str) -> float:
    now = datetime.now(UTC)
    points = client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName=metric,
        Dimensions=[dimension],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=60,
        Statistics=[statistic],
    )["Datapoints"]
    return float(sum(point[statistic] for point in points))
