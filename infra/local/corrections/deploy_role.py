"""CloudFormation in the role that a stack was given: each resource is made, changed and deleted with its permissions.

Only what CloudFormation calls for the properties that a template sets is asked for; a resource's schema lists that for
all of its properties. https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ministack import app as gateway
from ministack.core.responses import get_account_id, get_region
from ministack.services.cloudformation import stacks

from infra.local.corrections import access

SERVICE = "cloudformation.amazonaws.com"

Properties = Mapping[str, Any]


@dataclass(frozen=True)
class _Kind:
    """What one type of resource takes: its ARN, the property with its name, and the actions of each operation.

    An action with `?Property` is called only where the template sets that property; one with `@ARN` is asked for
    another resource than the type's own. Every stack of ours has tags, which CloudFormation hands on.
    """

    arn: str
    name: str
    create: str
    update: str
    delete: str
    context: Callable[[Properties], dict[str, str]] = lambda _: {}


def _bounded(properties: Properties) -> dict[str, str]:
    return {"iam:permissionsboundary": str(properties.get("PermissionsBoundary", ""))}


def _of_function(properties: Properties) -> dict[str, str]:
    return {"lambda:functionarn": str(properties.get("FunctionName", ""))}


_LOG_GROUPS = "@logs:log-group:*"
_CATALOG = "@glue:catalog"
_KEY = "?KmsKeyArn@key"

_KINDS = {
    "AWS::S3::Bucket": _Kind(
        "arn:aws:s3:::{name}",
        "BucketName",
        "s3:CreateBucket s3:PutEncryptionConfiguration?BucketEncryption s3:PutBucketVersioning?VersioningConfiguration "
        "s3:PutBucketPublicAccessBlock?PublicAccessBlockConfiguration s3:PutBucketOwnershipControls?OwnershipControls "
        "s3:PutLifecycleConfiguration?LifecycleConfiguration s3:PutMetricsConfiguration?MetricsConfigurations "
        "s3:PutBucketLogging?LoggingConfiguration s3:PutBucketTagging",
        "s3:PutLifecycleConfiguration?LifecycleConfiguration s3:PutBucketLogging?LoggingConfiguration "
        "s3:PutBucketTagging",
        "s3:ListBucket s3:DeleteBucket",
    ),
    "AWS::S3::BucketPolicy": _Kind(
        "arn:aws:s3:::{name}",
        "Bucket",
        "s3:GetBucketPolicy s3:PutBucketPolicy",
        "s3:GetBucketPolicy s3:PutBucketPolicy",
        "s3:GetBucketPolicy s3:DeleteBucketPolicy",
    ),
    "AWS::Glue::Database": _Kind(
        "glue:database/{name}",
        "DatabaseInput.Name",
        f"glue:CreateDatabase glue:CreateDatabase{_CATALOG} glue:GetDatabase glue:GetDatabase{_CATALOG}",
        f"glue:UpdateDatabase glue:UpdateDatabase{_CATALOG}",
        f"glue:GetDatabase glue:DeleteDatabase glue:DeleteDatabase{_CATALOG}",
    ),
    "AWS::Athena::WorkGroup": _Kind(
        "athena:workgroup/{name}",
        "Name",
        "athena:CreateWorkGroup athena:TagResource",
        "athena:UpdateWorkGroup athena:TagResource",
        "athena:GetWorkGroup athena:DeleteWorkGroup",
    ),
    "AWS::SSM::Parameter": _Kind(
        "ssm:parameter{name}",
        "Name",
        "ssm:PutParameter ssm:AddTagsToResource ssm:GetParameters",
        "ssm:PutParameter ssm:AddTagsToResource ssm:GetParameters",
        "ssm:DeleteParameter",
    ),
    "AWS::IAM::Role": _Kind(
        "iam::role/{name}",
        "RoleName",
        "iam:CreateRole iam:PutRolePolicy?Policies iam:TagRole iam:GetRole",
        "iam:PutRolePolicy?Policies iam:UpdateRoleDescription?Description iam:UpdateAssumeRolePolicy",
        "iam:GetRole iam:ListRolePolicies iam:ListAttachedRolePolicies iam:DeleteRolePolicy?Policies iam:DeleteRole",
        _bounded,
    ),
    "AWS::SNS::Topic": _Kind(
        "sns:{name}",
        "TopicName",
        "sns:CreateTopic sns:TagResource sns:GetTopicAttributes",
        "sns:SetTopicAttributes sns:GetTopicAttributes sns:ListSubscriptionsByTopic sns:ListTagsForResource "
        "sns:GetDataProtectionPolicy",
        "sns:GetTopicAttributes sns:DeleteTopic",
    ),
    "AWS::SNS::TopicPolicy": _Kind(
        "{name}", "Topics", "sns:SetTopicAttributes", "sns:SetTopicAttributes", "sns:SetTopicAttributes"
    ),
    "AWS::SNS::Subscription": _Kind(
        "{name}",
        "TopicArn",
        "sns:Subscribe sns:GetSubscriptionAttributes",
        "sns:Subscribe sns:GetSubscriptionAttributes",
        "sns:Unsubscribe sns:GetSubscriptionAttributes",
    ),
    "AWS::Lambda::Function": _Kind(
        "lambda:function:{name}",
        "FunctionName",
        "lambda:CreateFunction lambda:GetFunction lambda:TagResource iam:PassRole@role s3:GetObject@code "
        f"lambda:PutFunctionConcurrency?ReservedConcurrentExecutions kms:CreateGrant{_KEY} kms:DescribeKey{_KEY} "
        f"kms:Encrypt{_KEY}",
        "lambda:UpdateFunctionCode lambda:UpdateFunctionConfiguration lambda:GetFunction iam:PassRole@role "
        "s3:GetObject@code lambda:PutFunctionConcurrency?ReservedConcurrentExecutions "
        "lambda:DeleteFunctionConcurrency",
        "lambda:GetFunction lambda:DeleteFunction",
    ),
    "AWS::Lambda::EventSourceMapping": _Kind(
        "lambda:event-source-mapping:{name}",
        "",
        "lambda:CreateEventSourceMapping@* lambda:GetEventSourceMapping lambda:TagResource",
        "lambda:UpdateEventSourceMapping lambda:GetEventSourceMapping",
        "lambda:DeleteEventSourceMapping lambda:GetEventSourceMapping",
        _of_function,
    ),
    "AWS::Kinesis::Stream": _Kind(
        "kinesis:stream/{name}",
        "Name",
        "kinesis:CreateStream kinesis:DescribeStreamSummary kinesis:AddTagsToStream "
        "kinesis:IncreaseStreamRetentionPeriod?RetentionPeriodHours kinesis:StartStreamEncryption?StreamEncryption",
        "kinesis:DescribeStreamSummary kinesis:UpdateShardCount?ShardCount kinesis:UpdateStreamMode?StreamModeDetails "
        "kinesis:IncreaseStreamRetentionPeriod?RetentionPeriodHours "
        "kinesis:DecreaseStreamRetentionPeriod?RetentionPeriodHours",
        "kinesis:DescribeStreamSummary kinesis:DeleteStream",
    ),
    "AWS::KinesisFirehose::DeliveryStream": _Kind(
        "firehose:deliverystream/{name}",
        "DeliveryStreamName",
        "firehose:CreateDeliveryStream firehose:DescribeDeliveryStream firehose:TagDeliveryStream "
        "iam:PassRole@destination",
        "firehose:UpdateDestination firehose:DescribeDeliveryStream iam:PassRole@destination",
        "firehose:DescribeDeliveryStream firehose:DeleteDeliveryStream",
    ),
    "AWS::Logs::LogGroup": _Kind(
        "logs:log-group:{name}",
        "LogGroupName",
        f"logs:DescribeLogGroups{_LOG_GROUPS} logs:CreateLogGroup logs:PutRetentionPolicy?RetentionInDays "
        "logs:TagResource",
        f"logs:DescribeLogGroups{_LOG_GROUPS} logs:PutRetentionPolicy?RetentionInDays logs:AssociateKmsKey?KmsKeyId",
        f"logs:DescribeLogGroups{_LOG_GROUPS} logs:DeleteLogGroup",
    ),
    "AWS::Logs::LogStream": _Kind(
        "logs:log-group:{name}:log-stream:DestinationDelivery",
        "LogGroupName",
        "logs:CreateLogStream logs:DescribeLogStreams",
        "",
        "logs:DeleteLogStream",
    ),
    "AWS::CloudWatch::Alarm": _Kind(
        "cloudwatch:alarm:{name}",
        "AlarmName",
        "cloudwatch:PutMetricAlarm cloudwatch:DescribeAlarms cloudwatch:TagResource",
        "cloudwatch:PutMetricAlarm cloudwatch:DescribeAlarms",
        "cloudwatch:DescribeAlarms cloudwatch:DeleteAlarms",
    ),
    "AWS::CloudWatch::Dashboard": _Kind(
        "cloudwatch::dashboard/{name}",
        "DashboardName",
        "cloudwatch:PutDashboard cloudwatch:GetDashboard cloudwatch:TagResource",
        "cloudwatch:PutDashboard",
        "cloudwatch:GetDashboard cloudwatch:DeleteDashboards",
    ),
}


def install() -> None:
    """Ask before each resource of a stack with a role."""
    create, update, delete = stacks._provision_resource, stacks._update_resource, stacks._delete_resource

    def create_allowed(kind: str, logical_id: str, properties: Properties, stack: str) -> Any:
        _require(stack, kind, "create", properties, f"{stack}-{logical_id}-X")
        return create(kind, logical_id, properties, stack)

    def update_allowed(
        kind: str, physical_id: str, old: Properties, new: Properties, stack: str, *rest: Any, **options: Any
    ) -> Any:
        if old != new:
            _require(stack, kind, "update", new, physical_id)
        return update(kind, physical_id, old, new, stack, *rest, **options)

    def delete_allowed(
        kind: str, physical_id: str, properties: Properties, stack: str = "", *rest: Any, **options: Any
    ) -> Any:
        _require(stack, kind, "delete", properties, physical_id)
        return delete(kind, physical_id, properties, stack, *rest, **options)

    stacks._provision_resource = create_allowed
    stacks._update_resource = update_allowed
    stacks._delete_resource = delete_allowed


def _require(stack: str, kind: str, operation: str, properties: Properties, unnamed: str) -> None:
    role = access.role_of_stack(stack)
    if not gateway.AUTH or not role or kind not in _KINDS:
        return
    requests = list(_requests(_KINDS[kind], operation, properties, unnamed))
    if not access.allows(role, SERVICE, requests):
        # It becomes the resource's ResourceStatusReason.
        raise ValueError(f"{role} may not {operation} {kind} {requests[0][1]} (AccessDenied)")


def _requests(kind: _Kind, operation: str, properties: Properties, unnamed: str) -> Sequence[access.Request]:
    name: Any = properties
    for part in kind.name.split("."):
        name = (name or {}).get(part)
    name = name[0] if isinstance(name, list) else name
    own = _arn(kind.arn.format(name=name or unnamed.rpartition(":")[2]))
    found: list[access.Request] = []
    for text in getattr(kind, operation).split():
        action, _, elsewhere = text.partition("@")
        action, _, needed = action.partition("?")
        if needed and not properties.get(needed):
            continue
        resource, context = _elsewhere(elsewhere, properties) if elsewhere else (own, {})
        found.append((action, resource, {**kind.context(properties), **context}))
    return found


def _elsewhere(place: str, properties: Properties) -> tuple[str, dict[str, str]]:
    match place:
        case "*":
            return "*", {}
        case "role":
            return str(properties["Role"]), {"iam:passedtoservice": "lambda.amazonaws.com"}
        case "destination":
            role = str(properties["ExtendedS3DestinationConfiguration"]["RoleARN"])
            return role, {"iam:passedtoservice": "firehose.amazonaws.com"}
        case "code":
            return f"arn:aws:s3:::{properties['Code']['S3Bucket']}/{properties['Code']['S3Key']}", {}
        case "key":
            return str(properties["KmsKeyArn"]), {}
    return _arn(place), {}


def _arn(short: str) -> str:
    """`service:resource`, in this region and account; `service::resource` where the service knows no regions."""
    if short.startswith("arn:"):
        return short
    service, _, resource = short.partition(":")
    region = "" if resource.startswith(":") else get_region()
    return f"arn:aws:{service}:{region}:{get_account_id()}:{resource.removeprefix(':')}"
