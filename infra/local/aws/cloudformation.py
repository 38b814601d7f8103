"""CloudFormation resources: the properties that ministack ignores, applied through each service's own API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ministack.services import dynamodb, firehose, iam, lambda_svc, sns
from ministack.services import kinesis as kinesis_service
from ministack.services.cloudformation import changesets, provisioners

from infra.local.aws import kinesis
from infra.local.aws.lambda_ import mapping_lifecycle
from infra.local.aws.patch import Original, patch
from infra.local.aws.responses import require_success
from infra.local.aws.s3 import bucket_properties

Properties = Mapping[str, Any]
Apply = Callable[[str, Properties, Properties], None]

# "Update requires: Replacement" in the resource reference; all other properties update in place.
_REPLACING = {
    "AWS::CloudWatch::Alarm": ("AlarmName",),
    "AWS::CloudWatch::Dashboard": ("DashboardName",),
    "AWS::Kinesis::Stream": ("Name",),
    "AWS::KinesisFirehose::DeliveryStream": (
        "DeliveryStreamName",
        "DeliveryStreamType",
        "KinesisStreamSourceConfiguration",
    ),
    "AWS::Lambda::EventSourceMapping": ("EventSourceArn", "StartingPosition", "StartingPositionTimestamp"),
    "AWS::Logs::LogGroup": ("LogGroupName",),
    "AWS::S3::Bucket": ("BucketName", "ObjectLockEnabled"),
    "AWS::S3::BucketPolicy": ("Bucket",),
}


provisioners._REPLACING_PROPERTIES.update(_REPLACING)


def _applied(resource_type: str) -> Callable[[Apply], Apply]:
    """Decorate the function that applies a type's properties, which ministack ignores, after each create and update."""

    def extend(apply: Apply) -> Apply:
        handler = provisioners._RESOURCE_HANDLERS[resource_type]

        @patch(provisioners, "_RESOURCE_HANDLERS", resource_type, "create")
        def create(original: Original, logical_id: str, properties: Properties, *rest: Any, **options: Any) -> Any:
            """Apply the properties that ministack ignores; delete the resource if they are refused."""
            result = original(logical_id, properties, *rest, **options)
            try:
                apply(result[0], {}, properties)
            except ValueError:
                # The stack does not know a resource whose creation failed, so nothing else would delete it.
                handler["delete"](result[0], properties)
                raise
            return result

        @patch(provisioners, "_RESOURCE_HANDLERS", resource_type, "update")
        def update(
            original: Original, physical_id: str, old: Properties, new: Properties, *rest: Any, **options: Any
        ) -> Any:
            """Apply the properties that ministack ignores; undo the update if they are refused."""
            result = original(physical_id, old, new, *rest, **options)
            try:
                apply(result[0], old if result[0] == physical_id else {}, new)
            except ValueError:
                # The rollback omits the failed resource, so its changes are undone here.
                if result[0] == physical_id:
                    original(physical_id, new, old, *rest, **options)
                    apply(physical_id, new, old)
                raise
            return result

        return apply

    return extend


_applied("AWS::S3::Bucket")(bucket_properties.apply)


@_applied("AWS::Kinesis::Stream")
def _apply_stream(name: str, old: Properties, new: Properties) -> None:
    stream = kinesis_service._streams[name]
    count = int(new.get("ShardCount") or 0)
    provisioned = stream["StreamModeDetails"]["StreamMode"] == "PROVISIONED"
    if provisioned and count and count != len(kinesis.open_shards(stream)):
        require_success(kinesis.update_shard_count({"StreamName": name, "TargetShardCount": count}))
    if "RetentionPeriodHours" not in new:
        stream["RetentionPeriodHours"] = 24
    encryption = new.get("StreamEncryption")
    if encryption:
        require_success(kinesis_service._start_stream_encryption({"StreamName": name, **encryption}))
    elif old.get("StreamEncryption"):
        require_success(kinesis_service._stop_stream_encryption({"StreamName": name}))


@_applied("AWS::Lambda::Function")
def _apply_function(name: str, old: Properties, new: Properties) -> None:
    lambda_svc._functions[name]["config"]["KMSKeyArn"] = str(new.get("KmsKeyArn") or "")
    reserved = new.get("ReservedConcurrentExecutions")
    if reserved is not None:
        request = {"ReservedConcurrentExecutions": int(reserved)}
        require_success(lambda_svc._put_function_concurrency(name, request))
    elif "ReservedConcurrentExecutions" in old:
        require_success(lambda_svc._delete_function_concurrency(name))


@_applied("AWS::IAM::Role")
def _apply_role(name: str, old: Properties, new: Properties) -> None:
    role = iam._roles[name]
    if "PermissionsBoundary" in new:
        role["PermissionsBoundary"] = new["PermissionsBoundary"]
    else:
        role.pop("PermissionsBoundary", None)


@_applied("AWS::SNS::Topic")
def _apply_topic(arn: str, old: Properties, new: Properties) -> None:
    attributes = sns._topics[arn]["attributes"]
    for name in ("KmsMasterKeyId", "SignatureVersion", "TracingConfig"):
        if name in new:
            attributes[name] = str(new[name])
        else:
            attributes.pop(name, None)


@_applied("AWS::Lambda::EventSourceMapping")
def _apply_mapping(identifier: str, old: Properties, new: Properties) -> None:
    if problem := mapping_lifecycle.window_problem(new):
        raise ValueError(f"{problem} (InvalidParameterValueException)")
    mapping_lifecycle.normalize(lambda_svc._esms[identifier], new)


@patch(changesets, "_resolve_props_for_diff")
def resolve_by_condition(
    original: Original, template: dict[str, Any], parameters: dict[str, Any], *rest: Any
) -> dict[str, Any]:
    """Limit the resources that a change set compares to those whose condition holds.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/conditions-section-structure.html
    """
    resources = original(template, parameters, *rest).get("Resources", {})
    conditions = changesets._evaluate_conditions(template, parameters)
    return {"Resources": {k: v for k, v in resources.items() if conditions.get(v.get("Condition"), True)}}


@patch(provisioners, "_RESOURCE_HANDLERS", "AWS::Lambda::EventSourceMapping", "create")
def create_mapping(original: Original, logical_id: str, properties: Properties, *rest: Any) -> Any:
    """Refuse a mapping without its function or stream."""
    function, name, _, _ = provisioners._lambda_function_for_cfn_ref(properties.get("FunctionName", ""))
    if function is None:
        raise ValueError(f"Function not found: {name} (ResourceNotFoundException)")
    source = str(properties.get("EventSourceArn", ""))
    streams = [table.get("LatestStreamArn") for table in dynamodb._tables.values()]
    if ":dynamodb:" in source and source not in streams:
        raise ValueError(f"Stream not found: {source} (InvalidParameterValueException)")
    # A parameter's "false" is a string. ministack treats it as true, and reads, until the mapping is corrected.
    enabled = str(properties.get("Enabled", True)).lower() == "true"
    return original(logical_id, {**properties, "Enabled": enabled}, *rest)


@patch(provisioners, "_RESOURCE_HANDLERS", "AWS::KinesisFirehose::DeliveryStream", "update")
def update_delivery_stream(
    original: Original, physical_id: str, old: Properties, new: Properties, stack_name: str
) -> Any:
    """Update a destination by UpdateDestination, which keeps buffered records; ministack would replace it."""
    stream = firehose._streams.get(physical_id)
    replacing = _REPLACING["AWS::KinesisFirehose::DeliveryStream"]
    if stream is None or any(old.get(name) != new.get(name) for name in replacing):
        return original(physical_id, old, new, stack_name)
    kind, config = firehose._resolve_dest_type_and_config(dict(new))
    if (kind, config) != firehose._resolve_dest_type_and_config(dict(old)):
        request = {
            "DeliveryStreamName": physical_id,
            "CurrentDeliveryStreamVersionId": str(stream["version"]),
            "DestinationId": stream["destinations"][0]["id"],
            f"{kind}DestinationUpdate": config,
        }
        require_success(firehose._update_destination(request))
    provisioners._reconcile_tag_map(stream["tags"], old, new)
    return physical_id, {"Arn": stream["arn"]}


@patch(provisioners, "_cw_metric_alarm_record")
def alarm_record(original: Original, name: str, properties: Properties) -> Any:
    """Support alarms on `Metrics`, which ministack refuses."""
    metrics = properties.get("Metrics")
    if not metrics:
        return original(name, properties)
    single = {**properties, "Metrics": None, "MetricName": "-", "Namespace": "-"}
    alarm = original(name, single)
    for member in ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Period", "Dimensions"):
        del alarm[member]
    return {**alarm, "Metrics": metrics}
