"""What DynamoDB takes and exports, and what CloudWatch makes of metrics that never had a value."""

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
    asks="Does DynamoDB take half a surrogate pair as text?",
    documented="Strings are Unicode with UTF-8 encoding, in which there is no such text.",
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
    return Seen("taken" if read == HALF else "taken, and changed", f"It is read as {read!a}.")


def _exportable(place: Place, name: str) -> str:
    """A table with one item."""
    made = place.stack(name, {"Table": table()})["Table"]
    make_recoverable(place, made)
    writer(place, made)()
    return made


def _exported(place: Place, name: str, dynamodb: Any, bucket: str, exported: str) -> dict[str, Any]:
    """How an export ends that `dynamodb` requests."""
    arn = place.arn("dynamodb", f"table/{exported}")
    request = {"TableArn": arn, "S3Bucket": place.base[bucket], "S3Prefix": name, "ExportFormat": "DYNAMODB_JSON"}
    export = dynamodb.export_table_to_point_in_time(**request)["ExportDescription"]["ExportArn"]

    def described() -> dict[str, Any]:
        found: dict[str, Any] = place.client("dynamodb").describe_export(ExportArn=export)["ExportDescription"]
        return found

    return place.until(described, lambda found: found["ExportStatus"] != "IN_PROGRESS", seconds=3600)


@experiment(
    asks="Does an export end well that takes longer than the session of the role which has requested it?",
    documented="DynamoDB writes in the caller's name; what happens when the session ends is not said.",
    page=EXPORT,
    local="COMPLETED",
    matters="Backfills of large tables, whose exports take longer than the hour of Airflow's session.",
)
def export_after_session(place: Place) -> Seen:
    name = "export-after-session"
    made = _exportable(place, name)
    taken = datetime.now(UTC)
    mine = [action for action in CALLER if action.startswith(("dynamodb:", "s3:"))]
    dynamodb = place.assume(place.base["Caller"], allow(mine), seconds=SESSION_SECONDS)("dynamodb")
    # An export takes some minutes even of one item, so that the session ends during it.
    place.wait(SESSION_SECONDS - 40)
    found = _exported(place, name, dynamodb, "Bucket", made)
    minutes = (datetime.now(UTC) - taken).total_seconds() * place.time_scale / 60
    detail = f"It ended {minutes:.0f} minutes after the session of 15 began. {found.get('FailureMessage', '')}"
    return Seen(found["ExportStatus"], detail.strip())


@experiment(
    asks="How are an export's files encrypted in a bucket whose default is AWS KMS, where the request says nothing?",
    documented="S3SseAlgorithm is AES256 or KMS; its default is not said.",
    page=EXPORT,
    local="AES256",
    matters="Lakes with kms_key_arn: an export is asked to use the key.",
)
def export_encryption(place: Place) -> Seen:
    name = "export-encryption"
    made = _exportable(place, name)
    found = _exported(place, name, place.client("dynamodb"), "EncryptedBucket", made)
    keys = [o["Key"] for o in objects(place, f"{name}/", "EncryptedBucket") if "/data/" in o["Key"] and o["Size"]]
    if not keys:
        return Seen("no files", f"{found['ExportStatus']}: {found.get('FailureMessage', '')}")
    head = place.client("s3").head_object(Bucket=place.base["EncryptedBucket"], Key=keys[0])
    return Seen(head.get("ServerSideEncryption", "AES256"))


@experiment(
    asks="Which state has an alarm on FILL(m, 0) where m never had a value?",
    documented="FILL fills the missing values of a metric; of one that never had any it is not said.",
    page="https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html",
    local="OK",
    matters="The alarm on rejected data, which adds three metrics up.",
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
    (found,) = place.client("cloudwatch").describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    return Seen(found["StateValue"], found.get("StateReason", ""))
