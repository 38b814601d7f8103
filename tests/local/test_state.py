"""The state of local AWS as a file: another server goes on from the moment at which it was written."""

from __future__ import annotations

import io
import time
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from infra.local.run import kept, up
from infra.local.run.kept import Identity
from infra.local.run.process import LocalAws
from tests.support.waiting import eventually

ROLE = "arn:aws:iam::000000000000:role/any"
COPY = """
import boto3, json

def handler(event, context):
    for record in event["Records"]:
        key = record["dynamodb"]["Keys"]["id"]["S"]
        boto3.client("firehose").put_record(DeliveryStreamName="out", Record={"Data": f"{key}\\n"})
"""


def client(aws: LocalAws, service: str) -> Any:
    session: Any = boto3.Session(aws.key, aws.key, region_name="us-east-1")
    return session.client(service, endpoint_url=aws.endpoint_url)


def put(aws: LocalAws, *keys: str) -> None:
    for key in keys:
        item = {"id": {"S": key}, "n": {"N": "1.50"}, "b": {"B": b"\x00\xff"}, "s": {"NS": ["1", "2"]}}
        client(aws, "dynamodb").put_item(TableName="items", Item=item)


def make_pipeline(aws: LocalAws) -> None:
    """A table → Lambda → Firehose → S3, whose buffer waits for a minute of the server's time."""
    s3, dynamodb = client(aws, "s3"), client(aws, "dynamodb")
    s3.create_bucket(Bucket="lake")
    table = dynamodb.create_table(
        TableName="items",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]
    dynamodb.update_continuous_backups(
        TableName="items", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    client(aws, "firehose").create_delivery_stream(
        DeliveryStreamName="out",
        ExtendedS3DestinationConfiguration={
            "RoleARN": ROLE,
            "BucketARN": "arn:aws:s3:::lake",
            "Prefix": "out/",
            "BufferingHints": {"IntervalInSeconds": 60, "SizeInMBs": 5},
        },
    )
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("forward.py", COPY)
    functions = client(aws, "lambda")
    functions.create_function(
        FunctionName="forward",
        Runtime="python3.11",
        Role=ROLE,
        Handler="forward.handler",
        Code={"ZipFile": code.getvalue()},
    )
    functions.create_event_source_mapping(
        EventSourceArn=table["LatestStreamArn"],
        FunctionName="forward",
        StartingPosition="TRIM_HORIZON",
        BatchSize=10,
    )


def buffered(aws: LocalAws) -> float:
    """The number of records that Firehose has received."""
    now = datetime.now(UTC)
    points = client(aws, "cloudwatch").get_metric_statistics(
        Namespace="AWS/Firehose",
        MetricName="IncomingRecords",
        Dimensions=[{"Name": "DeliveryStreamName", "Value": "out"}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=3600,
        Statistics=["Sum"],
    )["Datapoints"]
    return float(sum(point["Sum"] for point in points))


def forwarded(aws: LocalAws) -> list[str]:
    s3 = client(aws, "s3")
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket="lake", Prefix="out/").get("Contents", [])]
    return sorted(b"".join(s3.get_object(Bucket="lake", Key=key)["Body"].read() for key in keys).decode().split())


def test_another_server_goes_on_from_a_saved_state(tmp_path: Path) -> None:
    state = tmp_path / "state"
    # At this scale Firehose's buffer of a minute waits for real minutes, so it is saved, not delivered.
    with LocalAws(tmp_path / "log", time_scale=0.5) as aws:
        make_pipeline(aws)
        put(aws, "a", "b")
        eventually(lambda: buffered(aws) == 2)
        client(aws, "s3").put_object(Bucket="lake", Key="x/ü", Body=b"\x00\x01", ContentType="text/odd")
        arn = client(aws, "dynamodb").describe_table(TableName="items")["Table"]["TableArn"]
        export = client(aws, "dynamodb").export_table_to_point_in_time(TableArn=arn, S3Bucket="lake")
        aws.save(state)
        put(aws, "later")
        key = aws.key
    with LocalAws(tmp_path / "log", key=key, state=state) as aws:
        items = client(aws, "dynamodb").scan(TableName="items")["Items"]
        assert sorted(item["id"]["S"] for item in items) == ["a", "b"]
        assert items[0]["b"] == {"B": b"\x00\xff"}
        read = client(aws, "s3").get_object(Bucket="lake", Key="x/ü")
        assert (read["Body"].read(), read["ContentType"]) == (b"\x00\x01", "text/odd")
        # Nobody writes that export any more.
        ended = client(aws, "dynamodb").describe_export(ExportArn=export["ExportDescription"]["ExportArn"])
        assert ended["ExportDescription"]["ExportStatus"] == "FAILED"
        # The buffered records are delivered, and the mapping reads on, each change once.
        put(aws, "c")
        eventually(lambda: forwarded(aws), lambda keys: "c" in keys and len(keys) >= 3)
        time.sleep(1)
        assert forwarded(aws) == ["a", "b", "c"]


def test_up_starts_empty_and_says_so_if_its_last_state_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, place in (
        (kept, "STATES", tmp_path / "kept"),
        (up, "HOME", tmp_path),
        (up, "NOTES", tmp_path / "notes"),
        (up, "REPOSITORY", tmp_path),
    ):
        monkeypatch.setattr(module, name, place)
    last = tmp_path / "kept" / "00000007"
    last.mkdir(parents=True)
    (last / "aws").write_bytes(b"of another version")
    aws, state = up.start_aws(Identity())
    with aws:
        assert client(aws, "dynamodb").list_tables()["TableNames"] == []
    assert state is None
    assert "starts empty. It is in kept/unreadable-00000007" in (tmp_path / "notes").read_text()
    assert (tmp_path / "kept" / "unreadable-00000007" / "aws").read_bytes() == b"of another version"
