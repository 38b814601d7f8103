"""CloudFormation creates and updates the stacks' resources as their reference says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.local.roles import ACCOUNT, ROLE
from tests.support.waiting import eventually

Client = Callable[[str], Any]
Template = dict[str, Any]


@pytest.fixture
def deploy(client: Client, name: str) -> Callable[..., Any]:
    """Creates or updates the stack by change set, and returns it when it has settled."""
    cloudformation = client("cloudformation")
    runs = iter(range(1, 100))

    def run(
        resources: Template,
        outputs: Template | None = None,
        stack: str = name,
        *,
        replacing: bool = False,
        **rest: Any,
    ) -> Any:
        run_name = f"run-{next(runs)}"
        cloudformation.create_change_set(
            StackName=stack,
            ChangeSetName=run_name,
            ChangeSetType="UPDATE" if stack in _stacks(client) else "CREATE",
            TemplateBody=json.dumps({"Resources": resources, "Outputs": outputs or {}, **rest}),
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )

        def changes() -> Any:
            described = cloudformation.describe_change_set(StackName=stack, ChangeSetName=run_name)
            return described["Status"] == "CREATE_COMPLETE" and described["Changes"]

        replaced = [change["ResourceChange"].get("Replacement") for change in eventually(changes)]
        assert ("True" in replaced) == replacing
        cloudformation.execute_change_set(StackName=stack, ChangeSetName=run_name)

        def still() -> Any:
            (description,) = cloudformation.describe_stacks(StackName=stack)["Stacks"]
            return not description["StackStatus"].endswith("_IN_PROGRESS") and description

        return eventually(still)

    return run


def _stacks(client: Client) -> set[str]:
    """Return the names of all stacks, which take several pages because all tests share local AWS."""
    pages = client("cloudformation").get_paginator("describe_stacks").paginate()
    return {stack["StackName"] for page in pages for stack in page["Stacks"]}


def resource(kind: str, properties: Template, **attributes: Any) -> Template:
    return {"R": {"Type": f"AWS::{kind}", "Properties": properties, **attributes}}


def test_a_kinesis_stream_is_updated_in_place(client: Client, name: str, deploy: Any) -> None:
    """ShardCount, RetentionPeriodHours, StreamEncryption and StreamModeDetails update without
    interruption.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-kinesis-stream.html
    """
    summary = client("kinesis").describe_stream_summary

    def stream(**properties: Any) -> Any:
        assert deploy(resource("Kinesis::Stream", {"Name": name, **properties}))["StackStatus"].endswith("E_COMPLETE")
        return summary(StreamName=name)["StreamDescriptionSummary"]

    encryption = {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}
    created = stream(ShardCount=1, RetentionPeriodHours=48, StreamEncryption=encryption)
    assert (created["OpenShardCount"], created["RetentionPeriodHours"]) == (1, 48)
    assert (created["EncryptionType"], created["KeyId"]) == ("KMS", "alias/aws/kinesis")
    client("kinesis").put_record(StreamName=name, Data=b"kept", PartitionKey="1")
    updated = stream(ShardCount=2)
    assert (updated["OpenShardCount"], updated["RetentionPeriodHours"]) == (2, 24)
    assert updated["EncryptionType"] == "NONE"
    iterator = client("kinesis").get_shard_iterator(
        StreamName=name, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    assert [r["Data"] for r in client("kinesis").get_records(ShardIterator=iterator)["Records"]] == [b"kept"]
    on_demand = stream(StreamModeDetails={"StreamMode": "ON_DEMAND"})
    assert on_demand["StreamModeDetails"]["StreamMode"] == "ON_DEMAND"


def test_a_bucket_has_what_its_template_says(client: Client, name: str, deploy: Any) -> None:
    """Lifecycle, tags, encryption with bucket key, versioning and ownership are applied on creation
    and on update.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-s3-bucket.html
    """
    s3 = client("s3")

    def bucket(**properties: Any) -> None:
        stack = deploy(resource("S3::Bucket", {"BucketName": name, **properties}))
        assert stack["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE")

    def encryption(algorithm: str) -> Template:
        default = {"SSEAlgorithm": algorithm}
        rule = {"BucketKeyEnabled": True, "ServerSideEncryptionByDefault": default}
        return {"ServerSideEncryptionConfiguration": [rule]}

    rule = {"Id": "raw", "Status": "Enabled", "Prefix": "raw/", "ExpirationInDays": 30}
    abort = {"Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}
    bucket(
        LifecycleConfiguration={"Rules": [rule, abort]},
        Tags=[{"Key": "owner", "Value": "a"}],
        BucketEncryption=encryption("aws:kms"),
        VersioningConfiguration={"Status": "Enabled"},
        OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
    )
    raw, multipart = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert (raw["Filter"], raw["Expiration"]) == ({"Prefix": "raw/"}, {"Days": 30})
    assert multipart["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert multipart["Filter"] == {"Prefix": ""}
    assert s3.get_bucket_tagging(Bucket=name)["TagSet"] == [{"Key": "owner", "Value": "a"}]
    (applied,) = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert applied["BucketKeyEnabled"] is True
    assert applied["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms"}
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    (control,) = s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"]
    assert control == {"ObjectOwnership": "BucketOwnerEnforced"}

    bucket(
        LifecycleConfiguration={"Rules": [{**rule, "ExpirationInDays": 60}]},
        VersioningConfiguration={"Status": "Suspended"},
    )
    (raw,) = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert raw["Expiration"] == {"Days": 60}
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Suspended"
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchTagSet"):
        s3.get_bucket_tagging(Bucket=name)


def test_a_function_reserves_concurrency(client: Client, name: str, deploy: Any) -> None:
    """ReservedConcurrentExecutions updates without interruption.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-lambda-function.html
    """
    code = {"ZipFile": "def handler(event, context): return 1"}
    properties = {"FunctionName": name, "Runtime": "python3.12", "Handler": "index.handler"}
    properties["Role"] = ROLE
    for reserved in (5, 7, None):
        concurrency = {} if reserved is None else {"ReservedConcurrentExecutions": reserved}
        deploy(resource("Lambda::Function", {**properties, "Code": code, **concurrency}))
        answer = client("lambda").get_function_concurrency(FunctionName=name)
        assert answer.get("ReservedConcurrentExecutions") == reserved


def test_a_mapping_is_updated_in_place(
    client: Client, name: str, deploy: Any, make_function: Any, make_table: Any
) -> None:
    """All properties of a mapping except source and starting position update without interruption;
    omitted ones have their default.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-lambda-eventsourcemapping.html
    """
    make_function(name, "def handler(event, context): return None")
    properties = {"FunctionName": name, "EventSourceArn": make_table(name)}
    properties["StartingPosition"] = "TRIM_HORIZON"
    deploy(resource("Lambda::EventSourceMapping", properties))
    (created,) = client("lambda").list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    assert (created["BatchSize"], created["State"], created["MaximumRetryAttempts"]) == (100, "Enabled", -1)
    changed = {
        "BatchSize": 500,
        "MaximumBatchingWindowInSeconds": 5,
        "MaximumRetryAttempts": 3,
        "MaximumRecordAgeInSeconds": 3600,
        "BisectBatchOnFunctionError": True,
        "ParallelizationFactor": 4,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "DestinationConfig": {"OnFailure": {"Destination": f"arn:aws:s3:::{name}"}},
    }
    deploy(resource("Lambda::EventSourceMapping", {**properties, **changed, "Enabled": False}))
    (updated,) = client("lambda").list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    assert updated["UUID"] == created["UUID"]
    assert updated["State"] == "Disabled"
    assert {member: updated[member] for member in changed} == changed


@pytest.mark.parametrize("missing", ["FunctionName", "EventSourceArn"])
def test_a_mapping_with_a_missing_function_or_stream_rolls_back(
    client: Client, name: str, deploy: Any, make_function: Any, make_table: Any, missing: str
) -> None:
    """A resource that fails rolls the stack back, and its own reason is in the stack's events.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/stack-failure-options.html
    """
    make_function(name, "def handler(event, context): return None")
    properties = {"FunctionName": name, "EventSourceArn": make_table(name), "StartingPosition": "LATEST"}
    properties[missing] = properties[missing].replace(name, "absent")
    topic = {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": name}}}
    mapping = resource("Lambda::EventSourceMapping", properties, DependsOn="Topic")
    assert deploy({**topic, **mapping})["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "not found" in _failure(client, name, "CREATE_FAILED")
    assert name not in str(client("sns").list_topics()["Topics"])


def test_a_delivery_stream_with_a_name_is_not_replaced(client: Client, name: str, deploy: Any, bucket: str) -> None:
    """KinesisStreamSourceConfiguration cannot be changed in place, and a named resource cannot be replaced.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-kinesisfirehose-deliverystream.html
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/troubleshooting.html#troubleshooting-errors-custom-named-resource
    """
    client("kinesis").create_stream(StreamName=name, ShardCount=1)
    stream = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/{name}"

    def delivery(role: str) -> Template:
        return {
            "DeliveryStreamName": name,
            "DeliveryStreamType": "KinesisStreamAsSource",
            "KinesisStreamSourceConfiguration": {"KinesisStreamARN": stream, "RoleARN": role},
            "ExtendedS3DestinationConfiguration": {"BucketARN": f"arn:aws:s3:::{bucket}", "RoleARN": role},
        }

    deploy(resource("KinesisFirehose::DeliveryStream", delivery(ROLE)))
    stack = deploy(resource("KinesisFirehose::DeliveryStream", delivery(f"{ROLE}-other")), replacing=True)
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"


def test_a_condition_that_changes_adds_and_removes_resources(client: Client, name: str, deploy: Any) -> None:
    """Resources are created if their condition is true, and not created, or removed, if it is false.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/conditions-section-structure.html
    """
    streams = {
        key: {"Type": "AWS::Kinesis::Stream", "Properties": {"Name": f"{name}-{key}", "ShardCount": 1}}
        for key in ("A", "B")
    }
    streams["B"]["Condition"] = "HasB"
    for wanted in (False, True, False):
        parameters = {"Wanted": {"Type": "String", "Default": str(wanted)}}
        deploy(streams, Parameters=parameters, Conditions={"HasB": {"Fn::Equals": [{"Ref": "Wanted"}, "True"]}})
        names = client("kinesis").list_streams(Limit=1000)["StreamNames"]
        assert [stream for stream in names if stream.startswith(name)] == [f"{name}-A", *[f"{name}-B"] * wanted]


def test_a_failed_update_is_rolled_back(client: Client, name: str, deploy: Any) -> None:
    """A failed update restores the old state, including the failed resource.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks.html
    """
    properties = {"Name": name, "ShardCount": 2, "RetentionPeriodHours": 24}
    deploy(resource("Kinesis::Stream", properties))
    changed = {**properties, "ShardCount": 9, "RetentionPeriodHours": 72}
    stack = deploy(resource("Kinesis::Stream", changed))
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "at most double" in _failure(client, name, "UPDATE_FAILED")
    summary = client("kinesis").describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["RetentionPeriodHours"]) == (2, 24)


def test_a_delivery_stream_is_updated_in_place(
    client: Client, name: str, bucket: str, deploy: Any, objects: Any
) -> None:
    """The destination's prefix and buffering update without interruption, and no buffered
    data is lost.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-kinesisfirehose-deliverystream.html
    """
    firehose = client("firehose")

    def delivery_stream(prefix: str, interval: int, tag: str) -> Any:
        hints = {"SizeInMBs": 64, "IntervalInSeconds": interval}
        configuration = {"RoleARN": ROLE, "Prefix": prefix, "BufferingHints": hints}
        properties = {
            "DeliveryStreamName": name,
            "Tags": [{"Key": "owner", "Value": tag}],
            "ExtendedS3DestinationConfiguration": {**configuration, "BucketARN": f"arn:aws:s3:::{bucket}"},
        }
        deploy(resource("KinesisFirehose::DeliveryStream", properties))
        return firehose.describe_delivery_stream(DeliveryStreamName=name)["DeliveryStreamDescription"]

    created = delivery_stream("one/", 900, "a")
    firehose.put_record(DeliveryStreamName=name, Record={"Data": b"buffered"})
    updated = delivery_stream("two/", 60, "b")
    assert updated["CreateTimestamp"] == created["CreateTimestamp"]
    assert updated["VersionId"] == "2"
    assert updated["Destinations"][0]["DestinationId"] == created["Destinations"][0]["DestinationId"]
    assert {"Key": "owner", "Value": "b"} in firehose.list_tags_for_delivery_stream(DeliveryStreamName=name)["Tags"]
    ((key, body),) = eventually(lambda: objects(bucket)).items()
    assert (key.split("/")[0], body) == ("two", b"buffered")


def test_a_topic_names_its_key(client: Client, name: str, deploy: Any) -> None:
    """KmsMasterKeyId is an attribute of the topic.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-sns-topic.html
    """
    arn = f"arn:aws:sns:us-east-1:{ACCOUNT}:{name}"
    for key in ("alias/aws/sns", None):
        deploy(resource("SNS::Topic", {"TopicName": name, **({"KmsMasterKeyId": key} if key else {})}))
        assert client("sns").get_topic_attributes(TopicArn=arn)["Attributes"].get("KmsMasterKeyId") == key


def test_an_alarm_may_be_on_metric_math(client: Client, name: str, deploy: Any) -> None:
    """An alarm has either a metric or Metrics.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-cloudwatch-alarm.html
    """
    metric = {"Namespace": "AWS/Lambda", "MetricName": "Errors"}
    metrics = [
        {"Id": "doubled", "Expression": "errors * 2"},
        {"Id": "errors", "ReturnData": False, "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}},
    ]
    properties = {"AlarmName": name, "Metrics": metrics, "EvaluationPeriods": 1, "Threshold": 1}
    properties["ComparisonOperator"] = "GreaterThanThreshold"
    assert deploy(resource("CloudWatch::Alarm", properties))["StackStatus"] == "CREATE_COMPLETE"
    (alarm,) = client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert alarm["StateValue"] == "INSUFFICIENT_DATA"


def test_a_retained_resource_outlives_its_stack(client: Client, name: str, deploy: Any) -> None:
    """DeletionPolicy Retain keeps the resource when the stack is deleted.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-attribute-deletionpolicy.html
    """
    deploy(resource("S3::Bucket", {"BucketName": name}, DeletionPolicy="Retain"))
    cloudformation = client("cloudformation")
    cloudformation.delete_stack(StackName=name)
    eventually(lambda: name not in _stacks(client))
    client("s3").head_bucket(Bucket=name)


def test_exports_are_imported(client: Client, name: str, deploy: Any) -> None:
    """An exported output can be imported, and then its stack cannot be deleted.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-stack-exports.html
    """
    export = {"Name": {"Value": {"Ref": "R"}, "Export": {"Name": f"{name}-export"}}}
    deploy(resource("SNS::Topic", {"TopicName": name}), export)
    value = {"Fn::ImportValue": f"{name}-export"}
    parameter = {"Name": f"/{name}", "Type": "String", "Value": value, "Tags": {"owner": "a"}}
    deploy(resource("SSM::Parameter", parameter), stack=f"{name}-importing")
    ssm = client("ssm")
    assert ssm.get_parameter(Name=f"/{name}")["Parameter"]["Value"].endswith(f":{name}")
    tags = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=f"/{name}")["TagList"]
    assert {"Key": "owner", "Value": "a"} in tags
    cloudformation = client("cloudformation")
    with pytest.raises(cloudformation.exceptions.ClientError, match="imported"):
        cloudformation.delete_stack(StackName=name)


def _failure(client: Client, stack: str, status: str) -> str:
    events = client("cloudformation").describe_stack_events(StackName=stack)["StackEvents"]
    return next(str(e["ResourceStatusReason"]) for e in events if e["ResourceStatus"] == status)
