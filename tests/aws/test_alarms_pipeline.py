"""Every alarm of the stacks goes off when its condition holds, and notifies the lake's topic."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config

from dynalake.aws.clients import Clients
from dynalake.capture.proof.alarms import arm_alarms, silence_alarms
from dynalake.capture.stacks.specs import storage_spec
from dynalake.capture.stacks.stacks import apply_stack, stack_outputs
from dynalake.errors import NotReadyError
from dynalake.lake.catalog.table import Table
from dynalake.names import STAGE_CONVERT, TableNames
from dynalake.options.lake_options import LakeOptions
from dynalake.options.settings import TableSettings
from infra.local.run.process import LocalAws
from tests.support.aws.capture_steps import break_changes, capture, make_table, patiently, set_up, wait_for_changes

TEMPLATES = Path("infra/cloudformation")
Fail = Callable[..., Any]


# Alarms on events that must never happen have no threshold to choose.
NEVER = ("DroppedAlarm", "UndeliveredAlarm", "StreamUnreadAlarm", "KinesisUnreadAlarm", "RefusedAlarm")
ENVIRONMENT = "alarms"
# The alarms' thresholds, as low as allowed.
OPTIONS = LakeOptions.parse({"timeout_seconds": 15, "iterator_age_alarm_minutes": 1, "duration_alarm_percent": 1})


@pytest.fixture
def fail(local_aws: LocalAws) -> Iterator[Fail]:
    """Arms a fault on local AWS; all are cleared at the end."""
    yield lambda **fault: local_aws.call("POST", "/_dynalake/faults", fault)
    local_aws.call("DELETE", "/_dynalake/faults")


def captured(clients: Clients, name: str, environment: str = ENVIRONMENT, **settings: Any) -> TableNames:
    """Set up a table in the lake that most of these tests share."""
    table = f"WATCHED-{name}"
    make_table(clients, table)
    return set_up(clients, environment, TableSettings(table, **settings), options=OPTIONS).names


_numbers = count()


def write(clients: Clients, table: str, items: int, size: int = 10) -> None:
    """Write new items, since writing an item unchanged makes no change."""
    for _ in range(items):
        clients.dynamodb.put_item(TableName=table, Item={"id": {"S": f"{next(_numbers)}"}, "x": {"S": "x" * size}})


def take_nothing(fail: Fail, names: TableNames) -> None:
    """Make the bucket refuse all raw objects of the table."""
    where = {"resource": names.lake.bucket, "key_prefix": names.raw_prefix}
    fail(service="s3", operation="PutObject", code="SlowDown", status=503, **where)


def alarm(clients: Clients, stack: str, logical_id: str) -> Any:
    resource = clients.cloudformation.describe_stack_resource(StackName=stack, LogicalResourceId=logical_id)
    name = resource["StackResourceDetail"]["PhysicalResourceId"]
    return clients.cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]


def goes_off(clients: Clients, stack: str, logical_id: str, repeat: Callable[[], object] = lambda: None) -> Any:
    """Return the alarm as soon as it is in ALARM, calling `repeat` until then. An alarm that needs three bad
    minutes of five sees them as seconds here."""

    def look() -> Any:
        repeat()
        state = alarm(clients, stack, logical_id)
        if state["StateValue"] != "ALARM":
            raise NotReadyError(f"{logical_id} is {state['StateValue']}")
        return state

    return patiently(look)


def is_quiet(clients: Clients, stack: str, logical_id: str) -> None:
    """Wait until the alarm is not in ALARM, where another test may have left it."""

    def look() -> None:
        if alarm(clients, stack, logical_id)["StateValue"] == "ALARM":
            raise NotReadyError(f"{logical_id} is still in ALARM")

    patiently(look)


def test_throttled_writes(clients: Clients, fail: Fail) -> None:
    names = captured(clients, "write", shards=1)
    fail(
        service="kinesis",
        operation="PutRecords",
        code="ProvisionedThroughputExceededException",
        fraction=0.5,
        resource=names.stream,
    )
    description = goes_off(clients, names.stack, "WriteThrottledAlarm", lambda: write(clients, names.table, 5))
    outputs = stack_outputs(clients, names.lake.storage_stack)
    assert outputs is not None
    assert description["AlarmActions"] == description["OKActions"] == [outputs["TopicArn"]]
    assert "Run dynalake_setup" in description["AlarmDescription"]


def test_throttled_reads(clients: Clients, client: Callable[..., Any]) -> None:
    """A consumer reads too often, so Firehose, which reads the same shards, is refused as well."""
    names = captured(clients, "read")
    # Without its own retries.
    consumer = client("kinesis", config=Config(retries={"total_max_attempts": 1}))
    shard = consumer.list_shards(StreamName=names.stream)["Shards"][0]["ShardId"]
    where = {"StreamName": names.stream, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
    iterator = consumer.get_shard_iterator(**where)["ShardIterator"]

    def read() -> None:
        for _ in range(10):
            with suppress(consumer.exceptions.ProvisionedThroughputExceededException):
                consumer.get_records(ShardIterator=iterator)

    goes_off(clients, names.stack, "ReadThrottledAlarm", read)


def test_throttled_direct_writes(clients: Clients, fail: Fail) -> None:
    names = captured(clients, "direct", delivery="direct")
    stream = names.direct_delivery_stream
    fail(
        service="firehose",
        operation="PutRecordBatch",
        code="ServiceUnavailableException",
        fraction=0.5,
        resource=stream,
    )
    goes_off(clients, names.stack, "DirectThrottledAlarm", lambda: write(clients, names.table, 5))


def test_a_stream_that_nobody_reads(clients: Clients) -> None:
    """Nobody writes either, so no late change shows the fault."""
    names = captured(clients, "unread")
    is_quiet(clients, names.stack, "StreamUnreadAlarm")
    mapping = mapping_of(clients, names)
    clients.lambda_.update_event_source_mapping(UUID=mapping, Enabled=False)
    found = goes_off(clients, names.stack, "StreamUnreadAlarm")
    assert found["AlarmName"] == names.unread_alarms[0]
    assert "lost 24 hours after they were made" in found["AlarmDescription"]
    clients.lambda_.update_event_source_mapping(UUID=mapping, Enabled=True)
    is_quiet(clients, names.stack, "StreamUnreadAlarm")


def test_a_kinesis_stream_that_firehose_does_not_read(clients: Clients) -> None:
    """Nothing is put into it either, so Firehose has nothing to report."""
    names = captured(clients, "kinesisunread", stream_retention_hours=30)
    is_quiet(clients, names.stack, "KinesisUnreadAlarm")
    clients.firehose.delete_delivery_stream(DeliveryStreamName=names.delivery_stream)
    found = goes_off(clients, names.stack, "KinesisUnreadAlarm")
    assert found["AlarmName"] == names.unread_alarms[1]
    assert "lost after 30 hours" in found["AlarmDescription"]


def test_a_temporary_refusal_needs_no_repair(clients: Clients, fail: Fail, local_aws: LocalAws) -> None:
    """It comes at once, many times. The function reports its changes as not stored: no error, and none is given up."""
    names = captured(clients, "refused", max_record_kb=5)
    bucket, prefix = names.lake.bucket, names.raw_prefix
    fail(service="s3", operation="PutObject", code="AccessDenied", status=403, resource=bucket, key_prefix=prefix)
    write(clients, names.table, 4, size=20_000)
    found = goes_off(clients, names.stack, "RefusedAlarm")
    assert "until they are 86400 seconds old" in found["AlarmDescription"]
    local_aws.call("DELETE", "/_dynalake/faults")
    assert len(wait_for_changes(clients, names, 4)) == 4
    given_up = f"{names.lake.failed_batches}{mapping_of(clients, names)}/"
    assert not clients.s3.list_objects_v2(Bucket=bucket, Prefix=given_up).get("Contents")
    is_quiet(clients, names.stack, "RefusedAlarm")


def test_alarms_on_unread_changes_are_silent_during_a_teardown(clients: Clients) -> None:
    """They notify again when the table is set up again, also after an unfinished teardown."""
    names = captured(clients, "silent")

    def notifies() -> set[bool]:
        return {
            alarm(clients, names.stack, name)["ActionsEnabled"] for name in ("StreamUnreadAlarm", "KinesisUnreadAlarm")
        }

    silence_alarms(Table(clients, names))
    assert notifies() == {False}
    arm_alarms(Table(clients, names))
    assert notifies() == {True}


def mapping_of(clients: Clients, names: TableNames) -> str:
    outputs = stack_outputs(clients, names.stack)
    assert outputs is not None
    return outputs["MappingId"]


def test_a_failing_function_whose_changes_wait(clients: Clients, fail: Fail) -> None:
    """It fails each time, and the oldest change gets too old."""
    names = captured(clients, "fails", max_retries=10000)
    stack = names.lake.forwarder_stack
    is_quiet(clients, stack, "ErrorsAlarm")
    fail(service="lambda", operation="Invoke", code="Runtime.ExitError", resource=names.lake.forwarder)
    write(clients, names.table, 5)
    goes_off(clients, stack, "ErrorsAlarm")
    goes_off(clients, stack, "IteratorAgeAlarm")


def test_a_function_that_may_not_run(clients: Clients) -> None:
    """All of its concurrency is taken, as by other functions of the account."""
    names = captured(clients, "held")
    forwarder = names.lake.forwarder
    clients.lambda_.put_function_concurrency(FunctionName=forwarder, ReservedConcurrentExecutions=0)
    try:
        write(clients, names.table, 5)
        goes_off(clients, names.lake.forwarder_stack, "ThrottlesAlarm")
    finally:
        clients.lambda_.delete_function_concurrency(FunctionName=forwarder)
    assert len(wait_for_changes(clients, names, 5)) == 5


def test_a_function_that_retries_for_too_long(clients: Clients, fail: Fail) -> None:
    """Its stream accepts nothing for a while, so it uses up its time: here at least 150 ms of 15 s."""
    names = captured(clients, "slow")
    forwarder = names.lake.forwarder
    clients.lambda_.update_function_configuration(FunctionName=forwarder, Timeout=4)
    try:
        fail(
            service="kinesis",
            operation="PutRecords",
            code="ProvisionedThroughputExceededException",
            resource=names.stream,
        )
        write(clients, names.table, 5)
        goes_off(clients, names.lake.forwarder_stack, "DurationAlarm")
    finally:
        clients.lambda_.update_function_configuration(FunctionName=forwarder, Timeout=15)


def test_a_bucket_that_refuses_every_object(clients: Clients, fail: Fail) -> None:
    """Firehose fails and tries again, and its oldest change gets too old."""
    names = captured(clients, "delivery", freshness_alarm_minutes=2)
    take_nothing(fail, names)
    write(clients, names.table, 3)
    goes_off(clients, names.stack, "DeliveryAlarm")
    goes_off(clients, names.stack, "FreshnessAlarm")


def test_a_former_delivery_that_delivers_nothing(clients: Clients, fail: Fail) -> None:
    """No other alarm would report that its buffered changes are about to be lost."""
    make_table(clients, "WATCHED-left")
    settings = TableSettings("WATCHED-left", freshness_alarm_minutes=2)
    stack = set_up(clients, ENVIRONMENT, settings, options=OPTIONS).stack
    capture(replace(stack, settings=replace(settings, delivery="direct")))
    names = stack.table.names
    take_nothing(fail, names)
    clients.kinesis.put_record(StreamName=names.stream, Data=b"{}\n", PartitionKey="-")
    goes_off(clients, names.stack, "FormerFreshnessAlarm")


def test_rejected_changes_and_objects(clients: Clients, local_aws: LocalAws) -> None:
    """One count from the forwarder's log, one from the bucket's request metrics."""
    names = captured(clients, "rejected")
    break_changes(local_aws, names.table, times=2)
    write(clients, names.table, 1)
    goes_off(clients, names.stack, "RejectedAlarm")
    write(clients, names.table, 1)
    goes_off(clients, names.lake.storage_stack, "RejectedAlarm")


def test_quarantined_lines_are_objects_in_the_error_prefix(clients: Clients) -> None:
    names = captured(clients, "lines", "alarmlines")
    clients.s3.put_object(Bucket=names.lake.bucket, Key=f"{names.rejected('done')}x", Body=b"x")
    assert alarm(clients, names.lake.storage_stack, "RejectedAlarm")["StateValue"] != "ALARM"
    clients.s3.put_object(Bucket=names.lake.bucket, Key=f"{names.rejected(STAGE_CONVERT)}x", Body=b"x")
    goes_off(clients, names.lake.storage_stack, "RejectedAlarm")


def test_changes_that_failed_for_good(clients: Clients, fail: Fail) -> None:
    """The function dies with them; then the on-failure destination fails, too."""
    names = captured(clients, "failed", max_retries=0)
    fail(service="lambda", operation="Invoke", code="Runtime.ExitError", resource=names.lake.forwarder)
    write(clients, names.table, 3)
    goes_off(clients, names.stack, "FailedBatchesAlarm")
    assert alarm(clients, names.stack, "DroppedAlarm")["StateValue"] != "ALARM"
    bucket, prefix = names.lake.bucket, names.lake.failed_batches
    fail(service="s3", operation="PutObject", code="AccessDenied", status=403, resource=bucket, key_prefix=prefix)
    write(clients, names.table, 3)
    goes_off(clients, names.stack, "DroppedAlarm")
    write(clients, names.table, 3)
    goes_off(clients, names.lake.forwarder_stack, "UndeliveredAlarm")


def test_a_threshold_is_a_parameter(clients: Clients) -> None:
    names = captured(clients, "limit", "alarmlimit", throttles_alarm_count=7, failed_alarm_count=3)
    assert alarm(clients, names.stack, "WriteThrottledAlarm")["Threshold"] == 7
    assert alarm(clients, names.stack, "RejectedAlarm")["Threshold"] == 3
    options = LakeOptions.parse({"rejected_alarm_objects": 5})
    apply_stack(clients, storage_spec(names.lake, create_bucket=True, options=options))
    assert alarm(clients, names.lake.storage_stack, "RejectedAlarm")["Threshold"] == 5
    # Another setup that omits it leaves it unchanged.
    set_up(clients, "alarmlimit", TableSettings(names.table, throttles_alarm_count=7, failed_alarm_count=3))
    assert alarm(clients, names.lake.storage_stack, "RejectedAlarm")["Threshold"] == 5


def test_the_dashboard_finds_the_tables_by_itself(clients: Clients) -> None:
    names = captured(clients, "board", "alarm-board")
    body = clients.cloudwatch.get_dashboard(DashboardName=names.lake.dashboard)["DashboardBody"]
    widgets = json.loads(body)["widgets"]
    expressions = re.findall(
        r"SEARCH\('[^']+', '[A-Za-z]+', 60\)", " ".join(str(w).replace("\\'", "'") for w in widgets)
    )
    assert len(expressions) == 7
    assert all(re.fullmatch(r"SEARCH\('[^']+', '[A-Za-z]+', 60\)", text) for text in expressions)
    assert names.table not in body
    for expression in expressions:
        assert ('Environment="alarm-board"' in expression) or ("dynalake alarm board" in expression)
    places = [(w["x"], w["y"]) for w in widgets]
    assert len(set(places)) == len(widgets) == 9


def test_every_alarm_notifies_the_topic_and_says_what_to_do() -> None:
    """Each alarm of the templates is in a test above."""
    text = Path(__file__).read_text(encoding="utf-8")
    for template in ("storage", "forwarder", "table"):
        source = (TEMPLATES / f"{template}.yaml").read_text(encoding="utf-8")
        for match in re.finditer(r"^  (\w+):\n    Type: AWS::CloudWatch::Alarm\n((?:    .*\n)+)", source, re.MULTILINE):
            assert f'"{match[1]}"' in text, match[1]
            assert "AlarmActions: [!Ref Topic" in match[2], match[1]
            assert "AlarmDescription: " in match[2], match[1]
            assert re.search(r"Threshold: (!Ref \w+)", match[2]) or match[1] in NEVER, match[1]


def test_writes_still_arrive(clients: Clients) -> None:
    names = captured(clients, "quiet")
    write(clients, names.table, 20)
    assert len(wait_for_changes(clients, names, 20)) == 20
    for logical_id in ("WriteThrottledAlarm", "RejectedAlarm", "DeliveryAlarm", "FailedBatchesAlarm"):
        assert alarm(clients, names.stack, logical_id)["StateValue"] != "ALARM"
