"""Every alarm of the stacks goes off when what it watches happens, and tells the lake's topic."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from dynalake.capture.specs import storage_spec
from dynalake.capture.stacks import apply_stack, stack_outputs
from dynalake.clients import Clients
from dynalake.errors import NotReadyError
from dynalake.lake_options import LakeOptions
from dynalake.names import TableNames
from dynalake.settings import TableSettings
from infra.local.process import LocalAws
from tests.aws.capture_steps import break_changes, make_table, patiently, set_up, wait_for_changes

TEMPLATES = Path("infra/cloudformation")
Fail = Callable[..., Any]


@pytest.fixture
def fail(local_aws: LocalAws) -> Iterator[Fail]:
    """Arms a fault on local AWS; all are cleared at the end."""
    yield lambda **fault: local_aws.call("POST", "/_dynalake/faults", fault)
    local_aws.call("DELETE", "/_dynalake/faults")


def captured(clients: Clients, environment: str, **settings: Any) -> TableNames:
    table = f"WATCHED-{environment}"
    make_table(clients, table)
    return set_up(clients, environment, TableSettings(table, **settings)).names


_numbers = count()


def write(clients: Clients, table: str, items: int, size: int = 10) -> None:
    """Items that were never there: one that is written as it is makes no change."""
    for _ in range(items):
        clients.dynamodb.put_item(TableName=table, Item={"id": {"S": f"{next(_numbers)}"}, "x": {"S": "x" * size}})


def alarm(clients: Clients, stack: str, logical_id: str) -> Any:
    resource = clients.cloudformation.describe_stack_resource(StackName=stack, LogicalResourceId=logical_id)
    name = resource["StackResourceDetail"]["PhysicalResourceId"]
    return clients.cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]


def goes_off(clients: Clients, stack: str, logical_id: str, meanwhile: Callable[[], object] = lambda: None) -> Any:
    """The alarm once it is in ALARM; what is watched goes on `meanwhile`. An alarm that needs three bad minutes of five
    sees them as seconds here."""

    def look() -> Any:
        meanwhile()
        found = alarm(clients, stack, logical_id)
        if found["StateValue"] != "ALARM":
            raise NotReadyError(f"{logical_id} is {found['StateValue']}")
        return found

    return patiently(look, seconds=60)


def publish(clients: Clients, namespace: str, name: str, value: float, **dimensions: str) -> None:
    """What AWS publishes and the local AWS does not."""
    listed = [{"Name": key, "Value": text} for key, text in dimensions.items()]
    data: Any = [{"MetricName": name, "Value": value, "Dimensions": listed}]
    clients.cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)


def test_throttled_writes(clients: Clients, fail: Fail) -> None:
    names = captured(clients, "alarmwrite", shards=1)
    fail(
        service="kinesis",
        operation="PutRecords",
        code="ProvisionedThroughputExceededException",
        fraction=0.5,
        resource=names.stream,
    )
    found = goes_off(clients, names.stack, "WriteThrottledAlarm", lambda: write(clients, names.table, 5))
    outputs = stack_outputs(clients, names.lake.storage_stack)
    assert outputs is not None
    assert found["AlarmActions"] == found["OKActions"] == [outputs["TopicArn"]]
    assert "Raise shards" in found["AlarmDescription"]


def test_throttled_reads(clients: Clients) -> None:
    names = captured(clients, "alarmread")
    metric = "ReadProvisionedThroughputExceeded"
    goes_off(
        clients,
        names.stack,
        "ReadThrottledAlarm",
        lambda: publish(clients, "AWS/Kinesis", metric, 1, StreamName=names.stream),
    )


def test_throttled_direct_writes(clients: Clients, fail: Fail) -> None:
    names = captured(clients, "alarmdirect", delivery="direct")
    stream = names.direct_delivery_stream
    fail(
        service="firehose",
        operation="PutRecordBatch",
        code="ServiceUnavailableException",
        fraction=0.5,
        resource=stream,
    )
    goes_off(clients, names.stack, "DirectThrottledAlarm", lambda: write(clients, names.table, 5))


def test_a_failing_function(clients: Clients, fail: Fail) -> None:
    names = captured(clients, "alarmerror", max_retries=10000)
    forwarder = names.lake.forwarder
    fail(service="lambda", operation="Invoke", code="Runtime.ExitError", resource=forwarder)
    write(clients, names.table, 5)
    goes_off(clients, names.lake.forwarder_stack, "ErrorsAlarm")


@pytest.mark.parametrize(
    ("logical_id", "metric", "value"),
    [
        ("ThrottlesAlarm", "Throttles", 1),
        ("DurationAlarm", "Duration", 50_000),
        ("IteratorAgeAlarm", "IteratorAge", 960_000),
    ],
)
def test_a_function_that_is_throttled_slow_or_late(
    clients: Clients, logical_id: str, metric: str, value: float
) -> None:
    names = captured(clients, f"alarm{metric.lower()}"[:16])
    lake = names.lake
    below = 0 if metric == "Throttles" else value * 0.9
    publish(clients, "AWS/Lambda", metric, below, FunctionName=lake.forwarder)
    assert alarm(clients, lake.forwarder_stack, logical_id)["StateValue"] != "ALARM"
    goes_off(
        clients,
        lake.forwarder_stack,
        logical_id,
        lambda: publish(clients, "AWS/Lambda", metric, value, FunctionName=lake.forwarder),
    )


def test_a_bucket_that_takes_nothing(clients: Clients, fail: Fail) -> None:
    """Firehose fails, tries again, and its oldest change grows old."""
    names = captured(clients, "alarmdelivery", freshness_alarm_minutes=2)
    fail(
        service="s3",
        operation="PutObject",
        code="SlowDown",
        status=503,
        resource=names.lake.bucket,
        key_prefix=names.raw_prefix,
    )
    write(clients, names.table, 3)
    goes_off(clients, names.stack, "DeliveryAlarm")
    # A second here is a minute there; the local metric is in real seconds.
    goes_off(
        clients,
        names.stack,
        "FreshnessAlarm",
        lambda: publish(
            clients, "AWS/Firehose", "DeliveryToS3.DataFreshness", 121, DeliveryStreamName=names.delivery_stream
        ),
    )


def test_rejected_changes_and_objects(clients: Clients, local_aws: LocalAws) -> None:
    """One number from the forwarder's log, one from the bucket's request metrics."""
    names = captured(clients, "alarmrejected")
    break_changes(local_aws, names.table, times=2)
    write(clients, names.table, 1)
    goes_off(clients, names.stack, "RejectedAlarm")
    write(clients, names.table, 1)
    goes_off(clients, names.lake.storage_stack, "RejectedAlarm")


def test_quarantined_lines_are_objects_in_the_error_prefix(clients: Clients) -> None:
    names = captured(clients, "alarmquarantine")
    clients.s3.put_object(Bucket=names.lake.bucket, Key=f"{names.rejected('done')}x", Body=b"x")
    assert alarm(clients, names.lake.storage_stack, "RejectedAlarm")["StateValue"] != "ALARM"
    clients.s3.put_object(Bucket=names.lake.bucket, Key=f"{names.rejected('compact')}x", Body=b"x")
    goes_off(clients, names.lake.storage_stack, "RejectedAlarm")


@pytest.mark.parametrize(
    ("logical_id", "metric"),
    [("FailedBatchesAlarm", "OnFailureDestinationDeliveredEventCount"), ("DroppedAlarm", "DroppedEventCount")],
)
def test_changes_that_failed_for_good(clients: Clients, logical_id: str, metric: str) -> None:
    names = captured(clients, "alarmdropped" if metric.startswith("Dropped") else "alarmfailed")
    outputs = stack_outputs(clients, names.stack)
    assert outputs is not None
    publish(clients, "AWS/Lambda", metric, 1, EventSourceMappingUUID=outputs["MappingId"])
    goes_off(clients, names.stack, logical_id)


def test_a_threshold_is_a_parameter(clients: Clients) -> None:
    names = captured(clients, "alarmlimit", throttles_alarm_count=7, failed_alarm_count=3)
    assert alarm(clients, names.stack, "WriteThrottledAlarm")["Threshold"] == 7
    assert alarm(clients, names.stack, "RejectedAlarm")["Threshold"] == 3
    options = LakeOptions.parse({"rejected_alarm_objects": 5})
    apply_stack(clients, storage_spec(names.lake, create_bucket=True, options=options))
    assert alarm(clients, names.lake.storage_stack, "RejectedAlarm")["Threshold"] == 5
    # Another setup that says nothing of it leaves it as it is.
    set_up(clients, "alarmlimit", TableSettings(names.table, throttles_alarm_count=7, failed_alarm_count=3))
    assert alarm(clients, names.lake.storage_stack, "RejectedAlarm")["Threshold"] == 5


def test_the_dashboard_finds_the_tables_by_itself(clients: Clients) -> None:
    names = captured(clients, "alarm-board")
    body = clients.cloudwatch.get_dashboard(DashboardName=names.lake.dashboard)["DashboardBody"]
    widgets = json.loads(body)["widgets"]
    expressions = re.findall(
        r"SEARCH\('[^']+', '[A-Za-z]+', 60\)", " ".join(str(w).replace("\\'", "'") for w in widgets)
    )
    assert len(expressions) == 7
    assert all(re.fullmatch(r"SEARCH\('[^']+', '[A-Za-z]+', 60\)", one) for one in expressions)
    assert names.table not in body
    for expression in expressions:
        assert ('Environment="alarm-board"' in expression) or ("dynalake alarm board" in expression)
    places = [(w["x"], w["y"]) for w in widgets]
    assert len(set(places)) == len(widgets) == 9


def test_every_alarm_tells_the_topic_and_says_what_to_do() -> None:
    """Each of the templates' alarms is in a test above."""
    text = Path(__file__).read_text(encoding="utf-8")
    for template in ("storage", "forwarder", "table"):
        source = (TEMPLATES / f"{template}.yaml").read_text(encoding="utf-8")
        for found in re.finditer(r"^  (\w+):\n    Type: AWS::CloudWatch::Alarm\n((?:    .*\n)+)", source, re.MULTILINE):
            assert f'"{found[1]}"' in text, found[1]
            assert "AlarmActions: [!Ref Topic" in found[2], found[1]
            assert "AlarmDescription: " in found[2], found[1]
            assert re.search(r"Threshold: (!Ref \w+)", found[2]) or found[1] == "DroppedAlarm", found[1]


def test_what_is_written_still_arrives(clients: Clients) -> None:
    names = captured(clients, "alarmquiet")
    write(clients, names.table, 20)
    assert len(wait_for_changes(clients, names, 20)) == 20
    for logical_id in ("WriteThrottledAlarm", "RejectedAlarm", "DeliveryAlarm", "FailedBatchesAlarm"):
        assert alarm(clients, names.stack, logical_id)["StateValue"] != "ALARM"
