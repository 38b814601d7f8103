"""The actions that CloudFormation needs in the role of a stack to create, change and delete each type of resource.

A resource's schema lists the actions for all of its properties. Here are only those for the properties that our
templates set. Nothing here needs the server, so tests can compare it with the schemas.
https://docs.aws.amazon.com/cloudcontrolapi/latest/userguide/resource-types.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One type of resource: its ARN, the property with its name, and the actions of each operation.

    An action with `?Property` is called only if that property is set or changes. An action with `@ARN` applies to
    another resource than the type's own. `tag` and `untag`: a stack's tags apply to each of its resources that can
    have tags. `context`: the condition keys of each action, and the properties that they come from.
    """

    arn: str
    name: str
    create: str
    update: str
    delete: str
    tag: str = ""
    untag: str = ""
    context: Mapping[str, str] = field(default_factory=dict)


def actions_of(kind: Kind, operation: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each action of an operation with its resource. `old`: the properties before an update."""
    texts = getattr(kind, operation).split()
    before, after = _tags(old), _tags(new)
    if operation == "create" or (operation == "update" and before != after):
        texts += kind.tag.split()
    if operation == "update" and not before.keys() <= after.keys():
        texts += kind.untag.split()
    for text in texts:
        action, _, place = text.partition("@")
        action, _, needed = action.partition("?")
        value = _get(new, needed)
        if needed and not (value != _get(old, needed) if operation == "update" else value):
            continue
        yield action, place or kind.arn


def _get(properties: Mapping[str, Any], name: str) -> Any:
    value: Any = properties
    for part in name.split("."):
        value = (value or {}).get(part)
    return value


def _tags(properties: Mapping[str, Any]) -> dict[str, str]:
    tags = properties.get("Tags") or {}
    return dict(tags) if isinstance(tags, Mapping) else {tag["Key"]: tag["Value"] for tag in tags}


_LOG_GROUPS = "@*"
_CATALOG = "@glue:catalog"
_GOVERNED = (
    "lakeformation:ListResources@* lakeformation:DescribeResource@* "
    "lakeformation:DescribeLakeFormationIdentityCenterConfiguration@*"
)
_RESULTS = (
    "s3:GetBucketLocation@results-bucket s3:ListBucket@results-bucket s3:ListBucketMultipartUploads@results-bucket "
    "s3:GetObject@results s3:PutObject@results s3:AbortMultipartUpload@results s3:ListMultipartUploadParts@results"
)
_KEY = "?KmsKeyArn@key"
_DELIVERY_KEY = "?DeliveryStreamEncryptionConfigurationInput.KeyARN@key"

KINDS = {
    "AWS::S3::Bucket": Kind(
        "arn:aws:s3:::{name}",
        "BucketName",
        "s3:CreateBucket s3:PutEncryptionConfiguration?BucketEncryption s3:PutBucketVersioning?VersioningConfiguration "
        "s3:PutBucketPublicAccessBlock?PublicAccessBlockConfiguration s3:PutBucketOwnershipControls?OwnershipControls "
        "s3:PutLifecycleConfiguration?LifecycleConfiguration s3:PutMetricsConfiguration?MetricsConfigurations "
        "s3:PutBucketLogging?LoggingConfiguration",
        "s3:PutBucketVersioning?VersioningConfiguration s3:PutLifecycleConfiguration?LifecycleConfiguration "
        "s3:PutMetricsConfiguration?MetricsConfigurations s3:PutBucketLogging?LoggingConfiguration",
        "s3:ListBucket s3:DeleteBucket",
        # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucketConfiguration.html
        "s3:PutBucketTagging s3:TagResource",
        "s3:UntagResource",
    ),
    "AWS::S3::BucketPolicy": Kind(
        "arn:aws:s3:::{name}",
        "Bucket",
        "s3:GetBucketPolicy s3:PutBucketPolicy",
        "s3:GetBucketPolicy s3:PutBucketPolicy",
        "s3:GetBucketPolicy s3:DeleteBucketPolicy",
    ),
    "AWS::Glue::Database": Kind(
        "glue:database/{name}",
        "DatabaseInput.Name",
        f"glue:CreateDatabase glue:CreateDatabase{_CATALOG} glue:GetDatabase glue:GetDatabase{_CATALOG} {_GOVERNED}",
        f"glue:UpdateDatabase glue:UpdateDatabase{_CATALOG} {_GOVERNED}",
        # Deleting a database deletes its tables and functions, so it needs rights on them.
        # https://docs.aws.amazon.com/glue/latest/dg/glue-specifying-resource-arns.html
        f"glue:GetDatabase glue:DeleteDatabase glue:DeleteDatabase{_CATALOG} glue:DeleteDatabase@glue:table/{{name}}/* "
        f"glue:DeleteDatabase@glue:userDefinedFunction/{{name}}/* {_GOVERNED}",
    ),
    "AWS::Athena::WorkGroup": Kind(
        "athena:workgroup/{name}",
        "Name",
        f"athena:CreateWorkGroup {_RESULTS}",
        f"athena:UpdateWorkGroup {_RESULTS}",
        "athena:GetWorkGroup athena:DeleteWorkGroup",
        "athena:TagResource",
        "athena:UntagResource",
    ),
    "AWS::SSM::Parameter": Kind(
        "ssm:parameter{name}",
        "Name",
        "ssm:PutParameter ssm:GetParameters",
        "ssm:PutParameter ssm:GetParameters",
        "ssm:DeleteParameter",
        "ssm:AddTagsToResource",
        "ssm:RemoveTagsFromResource",
    ),
    "AWS::IAM::Role": Kind(
        "iam::role/{name}",
        "RoleName",
        "iam:CreateRole iam:PutRolePolicy?Policies iam:GetRole",
        "iam:PutRolePermissionsBoundary?PermissionsBoundary iam:PutRolePolicy?Policies "
        "iam:UpdateRoleDescription?Description iam:UpdateAssumeRolePolicy?AssumeRolePolicyDocument",
        "iam:GetRole iam:ListRolePolicies iam:ListAttachedRolePolicies iam:DeleteRolePolicy?Policies iam:DeleteRole",
        "iam:TagRole",
        "iam:UntagRole",
        {"iam:permissionsboundary": "PermissionsBoundary"},
    ),
    "AWS::SNS::Topic": Kind(
        "sns:{name}",
        "TopicName",
        "sns:CreateTopic sns:GetTopicAttributes",
        "sns:SetTopicAttributes sns:GetTopicAttributes sns:ListSubscriptionsByTopic sns:ListTagsForResource "
        "sns:GetDataProtectionPolicy",
        "sns:GetTopicAttributes sns:DeleteTopic",
        "sns:TagResource",
        "sns:UntagResource",
    ),
    "AWS::SNS::TopicPolicy": Kind(
        "{name}", "Topics", "sns:SetTopicAttributes", "sns:SetTopicAttributes", "sns:SetTopicAttributes"
    ),
    "AWS::SNS::Subscription": Kind(
        "{name}",
        "TopicArn",
        "sns:Subscribe",
        "",
        "sns:Unsubscribe sns:GetSubscriptionAttributes",
    ),
    "AWS::Lambda::Function": Kind(
        "lambda:function:{name}",
        "FunctionName",
        "lambda:CreateFunction lambda:GetFunction iam:PassRole@role s3:GetObject@code "
        "s3:GetObjectVersion?Code.S3ObjectVersion@code "
        f"lambda:PutFunctionConcurrency?ReservedConcurrentExecutions kms:CreateGrant{_KEY} kms:DescribeKey{_KEY} "
        f"kms:Encrypt{_KEY}",
        "lambda:UpdateFunctionCode lambda:UpdateFunctionConfiguration lambda:GetFunction iam:PassRole@role "
        "s3:GetObject@code s3:GetObjectVersion?Code.S3ObjectVersion@code "
        "lambda:PutFunctionConcurrency?ReservedConcurrentExecutions "
        "lambda:DeleteFunctionConcurrency?ReservedConcurrentExecutions",
        "lambda:GetFunction lambda:DeleteFunction",
        "lambda:TagResource",
        "lambda:UntagResource",
    ),
    "AWS::Lambda::EventSourceMapping": Kind(
        "lambda:event-source-mapping:{name}",
        "",
        "lambda:CreateEventSourceMapping@* lambda:GetEventSourceMapping",
        "lambda:UpdateEventSourceMapping lambda:GetEventSourceMapping",
        "lambda:DeleteEventSourceMapping lambda:GetEventSourceMapping",
        "lambda:TagResource",
        "lambda:UntagResource",
        {"lambda:functionarn": "FunctionName"},
    ),
    "AWS::Kinesis::Stream": Kind(
        "kinesis:stream/{name}",
        "Name",
        "kinesis:CreateStream kinesis:DescribeStreamSummary "
        "kinesis:IncreaseStreamRetentionPeriod?RetentionPeriodHours kinesis:StartStreamEncryption?StreamEncryption",
        # Two actions have no resource: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonkinesis.html
        "kinesis:DescribeStreamSummary kinesis:UpdateShardCount?ShardCount@* "
        "kinesis:UpdateStreamMode?StreamModeDetails@* "
        "kinesis:IncreaseStreamRetentionPeriod?RetentionPeriodHours "
        "kinesis:DecreaseStreamRetentionPeriod?RetentionPeriodHours kinesis:StartStreamEncryption?StreamEncryption",
        "kinesis:DescribeStreamSummary kinesis:DeleteStream",
        "kinesis:AddTagsToStream kinesis:TagResource",
        "kinesis:RemoveTagsFromStream kinesis:UntagResource",
    ),
    "AWS::KinesisFirehose::DeliveryStream": Kind(
        "firehose:deliverystream/{name}",
        "DeliveryStreamName",
        "firehose:CreateDeliveryStream firehose:DescribeDeliveryStream iam:PassRole@destination "
        f"kms:CreateGrant{_DELIVERY_KEY} kms:DescribeKey{_DELIVERY_KEY}",
        "firehose:UpdateDestination firehose:DescribeDeliveryStream iam:PassRole@destination "
        "firehose:StartDeliveryStreamEncryption?DeliveryStreamEncryptionConfigurationInput",
        f"firehose:DescribeDeliveryStream firehose:DeleteDeliveryStream kms:RevokeGrant{_DELIVERY_KEY}",
        "firehose:TagDeliveryStream",
        "firehose:UntagDeliveryStream",
    ),
    "AWS::Logs::LogGroup": Kind(
        "logs:log-group:{name}",
        "LogGroupName",
        f"logs:DescribeLogGroups{_LOG_GROUPS} logs:CreateLogGroup logs:PutRetentionPolicy?RetentionInDays",
        f"logs:DescribeLogGroups{_LOG_GROUPS} logs:PutRetentionPolicy?RetentionInDays logs:AssociateKmsKey?KmsKeyId",
        f"logs:DescribeLogGroups{_LOG_GROUPS} logs:DeleteLogGroup",
        "logs:TagResource",
        "logs:UntagResource",
    ),
    "AWS::Logs::LogStream": Kind(
        "logs:log-group:{name}:log-stream:DestinationDelivery",
        "LogGroupName",
        "logs:CreateLogStream logs:DescribeLogStreams",
        "",
        "logs:DeleteLogStream",
    ),
    "AWS::CloudWatch::Alarm": Kind(
        "cloudwatch:alarm:{name}",
        "AlarmName",
        "cloudwatch:PutMetricAlarm cloudwatch:DescribeAlarms",
        "cloudwatch:PutMetricAlarm cloudwatch:DescribeAlarms",
        "cloudwatch:DescribeAlarms cloudwatch:DeleteAlarms",
        "cloudwatch:TagResource",
        "cloudwatch:UntagResource",
    ),
    "AWS::CloudWatch::Dashboard": Kind(
        "cloudwatch::dashboard/{name}",
        "DashboardName",
        "cloudwatch:PutDashboard cloudwatch:GetDashboard",
        "cloudwatch:PutDashboard",
        "cloudwatch:GetDashboard cloudwatch:DeleteDashboards",
        "cloudwatch:TagResource",
        "cloudwatch:UntagResource",
    ),
}
"""The kinds by type. Other types cannot be deployed in a role (`deploy_role`)."""
