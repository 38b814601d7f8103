"""Experiments on what DynamoDB accepts and exports, and on alarms on metrics that never had a value."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from infra.conformance.base import CALLER, make_recoverable, objects, table, writer
from infra.conformance.experiment import Seen, experiment
from infra.conformance.place import Place, allow

SESSION_SECONDS = 900
"""The shortest session of a role."""
HALF = "\ud800"
EXPORT = "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ExportTableToPointInTime.html"


@experiment(
    asks="Does DynamoDB accept half a surrogate pair in a string?",
    documented="Strings are Unicode with UTF-8 encoding, which cannot encode it.",
    page="https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html",
    local="refused",
    matters="The change record's encoding, and every reader of its JSON.",
)
def half_a_surrogate_pair(place: Place) -> Seen:
    made = place.stack("half-a-surrogate-pair", {"Table": table()})["Table"]
    dynamodb, key = place.client("dynamodb"), {"id": {"S": "half"}}
    try:
        dynamodb.put_item(TableName=made, Item={**key, "text": {"S": HALF}})
    except ClientError as error:
        return Seen("refused", str(error))
    read = dynamodb.get_item(TableName=made, Key=key, ConsistentRead=True)["Item"]["text"]["S"]
    return Seen("accepted" if read == HALF else "accepted, and changed", f"It is read as {read!a}.")


def _exportable(place: Place, name: str) -> str:
    """Create a table with one item; return its name."""
    made = place.stack(name, {"Table": table()})["Table"]
    make_recoverable(place, made)
    writer(place, made)()
    return made


def _exported(place: Place, name: str, dynamodb: Any, bucket: str, exported: str) -> dict[str, Any]:
    """Export the table with the client `dynamodb`; return the export's description at its end."""
    arn = place.arn("dynamodb", f"table/{exported}")
    request = {"TableArn": arn, "S3Bucket": place.base[bucket], "S3Prefix": name, "ExportFormat": "DYNAMODB_JSON"}
    export = dynamodb.export_table_to_point_in_time(**request)["ExportDescription"]["ExportArn"]

    def described() -> dict[str, Any]:
        description: dict[str, Any] = place.client("dynamodb").describe_export(ExportArn=export)["ExportDescription"]
        return description

    return place.until(described, lambda last: last["ExportStatus"] != "IN_PROGRESS", seconds=3600)


@experiment(
    asks="Does an export succeed if it takes longer than the session of the role that requested it?",
    documented="DynamoDB writes in the caller's name; AWS does not say what happens when the session ends.",
    page=EXPORT,
    local="COMPLETED",
    matters="Backfills of large tables, whose exports take longer than the hour of Airflow's session.",
)
def export_after_session(place: Place) -> Seen:
    name = "export-after-session"
    made = _exportable(place, name)
    began = datetime.now(UTC)
    actions = [action for action in CALLER if action.startswith(("dynamodb:", "s3:"))]
    dynamodb = place.assume(place.base["Caller"], allow(actions), seconds=SESSION_SECONDS)("dynamodb")
    # Even an export of one item takes some minutes, so the session ends during it.
    place.wait(SESSION_SECONDS - 40)
    export = _exported(place, name, dynamodb, "Bucket", made)
    minutes = (datetime.now(UTC) - began).total_seconds() * place.time_scale / 60
    detail = f"It ended {minutes:.0f} minutes after the 15-minute session began. {export.get('FailureMessage', '')}"
    return Seen(export["ExportStatus"], detail.strip())


@experiment(
    asks="How does an export encrypt its files by default, if the bucket's default is AWS KMS?",
    documented="S3SseAlgorithm is AES256 or KMS; AWS does not state the default.",
    page=EXPORT,
    local="AES256",
    matters="Lakes with kms_key_arn: the request for an export names the key.",
)
def export_encryption(place: Place) -> Seen:
    name = "export-encryption"
    made = _exportable(place, name)
    export = _exported(place, name, place.client("dynamodb"), "EncryptedBucket", made)
    keys = [o["Key"] for o in objects(place, f"{name}/", "EncryptedBucket") if "/data/" in o["Key"] and o["Size"]]
    if not keys:
        return Seen("no files", f"{export['ExportStatus']}: {export.get('FailureMessage', '')}")
    head = place.client("s3").head_object(Bucket=place.base["EncryptedBucket"], Key=keys[0])
    return Seen(head.get("ServerSideEncryption", "AES256"))


@experiment(
    asks="What is the state of an alarm on FILL(m, 0) if m never had a value?",
    documented="FILL fills the missing values of a metric; AWS does not mention metrics that never had a value.",
    page="https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html",
    local="OK",
    matters="The alarm on rejected data, which adds three metrics.",
)
def alarm_on_nothing(place: Place) -> Seen:
    name = "alarm-on-nothing"

    def query(metric: str) -> dict[str, Any]:
        stat = {"Metric": {"Namespace": "dynalake/conformance", "MetricName": metric}, "Period": 60, "Stat": "Sum"}
        return {"Id": metric, "MetricStat": stat, "ReturnData": False}

    properties = {
        "Metrics": [query("m1"), query("m2"), {"Id": "all", "Expression": "FILL(m1, 0) + FILL(m2, 0)"}],
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 0,
        "EvaluationPeriods": 1,
        "TreatMissingData": "notBreaching",
    }
    alarm = place.stack(name, {"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}})["Alarm"]
    place.wait(600)
    (described,) = place.client("cloudwatch").describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    return Seen(described["StateValue"], described.get("StateReason", ""))
