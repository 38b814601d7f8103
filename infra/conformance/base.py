"""The two buckets and the roles that experiments share, and the resources that several of them use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infra.conformance.place import Place, allow

Resource = dict[str, Any]

# Writes an object for each call, with S3's time. Every Python runtime of Lambda contains botocore.
SOURCE = """
import os, time, botocore.session
s3 = botocore.session.get_session().create_client("s3", region_name=os.environ["AWS_REGION"])
def handler(event, context):
    key = f"{os.environ['PREFIX']}/{time.time_ns():020}"
    s3.put_object(Bucket=os.environ["BUCKET"], Key=key, Body=b"")
    if os.environ["FAILS"]:
        raise ValueError("the experiment lets it fail")
"""

CALLER = (
    "cloudformation:CreateChangeSet",
    "cloudformation:DescribeChangeSet",
    "cloudformation:ExecuteChangeSet",
    "cloudformation:TagResource",
    "dynamodb:DescribeExport",
    "dynamodb:ExportTableToPointInTime",
    "kinesis:UpdateShardCount",
    "s3:AbortMultipartUpload",
    "s3:PutObject",
    "s3:PutObjectAcl",
)
"""The rights of the role in which experiments test whether fewer rights are enough."""


def make_base(place: Place) -> None:
    """Create the buckets and roles as one stack."""
    pattern = f"{place.lake.stack_prefix}-*"
    streams = place.arn("kinesis", f"stream/{pattern}")
    table = place.arn("dynamodb", f"table/{pattern}")
    bucket = {"Fn::GetAtt": ["Bucket", "Arn"]}
    account = {"AWS": place.arn("iam", "root")}
    key = {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    actions = ("DescribeStream", "DescribeStreamSummary", "GetRecords", "GetShardIterator", "ListShards", "PutRecord")
    kinesis = [f"kinesis:{action}" for action in actions]
    place.base = place.stack(
        "base",
        {
            "Bucket": {"Type": "AWS::S3::Bucket"},
            "EncryptedBucket": {
                "Type": "AWS::S3::Bucket",
                "Properties": {"BucketEncryption": {"ServerSideEncryptionConfiguration": [key]}},
            },
            "ServiceRole": role(
                {"Service": ["firehose.amazonaws.com", "lambda.amazonaws.com"]},
                allow(
                    ["s3:AbortMultipartUpload", "s3:GetBucketLocation", "s3:ListBucket", "s3:PutObject"],
                    bucket,
                    {"Fn::Sub": "${Bucket.Arn}/*"},
                ),
                allow(kinesis, streams),
                allow(
                    [f"dynamodb:{action}" for action in ("DescribeStream", "GetRecords", "GetShardIterator")],
                    f"{table}/stream/*",
                ),
                allow(["dynamodb:ListStreams"]),
            ),
            "Caller": role(account, allow(CALLER)),
            # CloudFormation uses it to create a bucket with tags, without the permission to tag.
            "Maker": role(
                {"Service": "cloudformation.amazonaws.com"},
                allow(["s3:*"], place.arn("s3", f"{place.lake.stack_prefix}-*")),
                {"Effect": "Deny", "Action": "s3:TagResource", "Resource": "*"},
            ),
            "Boundary": {
                "Type": "AWS::IAM::ManagedPolicy",
                "Properties": {"PolicyDocument": {"Version": "2012-10-17", "Statement": [allow(kinesis)]}},
            },
            "Bounded": role(account, allow(kinesis, streams), boundary={"Ref": "Boundary"}),
        },
    )
    place.wait(20)  # until the roles are known everywhere


def role(trusted: Resource, *statements: Any, boundary: Resource | None = None) -> Resource:
    """Return the template of a role."""
    trust = {"Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole"}
    policy = {"PolicyName": "own", "PolicyDocument": {"Version": "2012-10-17", "Statement": list(statements)}}
    document = {"Version": "2012-10-17", "Statement": [trust]}
    bounded = {"PermissionsBoundary": boundary} if boundary else {}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {"AssumeRolePolicyDocument": document, "Policies": [policy], **bounded},
    }


def table(key: str = "id") -> Resource:
    """Return the template of a DynamoDB table with a stream and a string key."""
    return {
        "Type": "AWS::DynamoDB::Table",
        "Properties": {
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
            "StreamSpecification": {"StreamViewType": "NEW_AND_OLD_IMAGES"},
        },
    }


def make_recoverable(place: Place, table: str) -> None:
    """Turn on point-in-time recovery, which exports need."""
    recovery = {"PointInTimeRecoveryEnabled": True}
    place.client("dynamodb").update_continuous_backups(TableName=table, PointInTimeRecoverySpecification=recovery)


def function(place: Place, prefix: str, *, fails: bool = False) -> Resource:
    """Return the template of a Lambda function that writes an object below `prefix` for each call."""
    variables = {"BUCKET": place.base["Bucket"], "PREFIX": prefix, "FAILS": "yes" if fails else ""}
    return {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "Runtime": "python3.13",
            "Handler": "index.handler",
            "Role": place.arn("iam", f"role/{place.base['ServiceRole']}"),
            "Code": {"ZipFile": SOURCE},
            "Environment": {"Variables": variables},
            "Timeout": 30,
        },
    }


def mapping(**properties: Any) -> Resource:
    """Return the template of a mapping from the stack's `Table` to its `Function`, from the oldest record on."""
    source = {"EventSourceArn": {"Fn::GetAtt": ["Table", "StreamArn"]}, "FunctionName": {"Ref": "Function"}}
    return {
        "Type": "AWS::Lambda::EventSourceMapping",
        "Properties": {**source, "StartingPosition": "TRIM_HORIZON", **properties},
    }


def kinesis_stream() -> Resource:
    """Return the template of a Kinesis stream with one shard, encrypted with AWS's own key."""
    encryption = {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}
    return {"Type": "AWS::Kinesis::Stream", "Properties": {"ShardCount": 1, "StreamEncryption": encryption}}


def firehose(place: Place, prefix: str, stream: str = "", **settings: Any) -> Resource:
    """Return the template of a Firehose stream to the bucket, from a Kinesis stream or from direct puts."""
    service = place.arn("iam", f"role/{place.base['ServiceRole']}")
    source = {"KinesisStreamARN": place.arn("kinesis", f"stream/{stream}"), "RoleARN": service}
    kind = {"DeliveryStreamType": "KinesisStreamAsSource", "KinesisStreamSourceConfiguration": source}
    destination = {
        "BucketARN": place.arn("s3", place.base["Bucket"]),
        "RoleARN": service,
        "Prefix": f"{prefix}/!{{timestamp:yyyy}}/",
        "ErrorOutputPrefix": f"{prefix}-errors/!{{firehose:error-output-type}}/",
        "BufferingHints": {"IntervalInSeconds": 60, "SizeInMBs": 1},
        **settings,
    }
    properties = {"ExtendedS3DestinationConfiguration": destination, **(kind if stream else {})}
    return {"Type": "AWS::KinesisFirehose::DeliveryStream", "Properties": properties}


def objects(place: Place, prefix: str, bucket: str = "Bucket") -> list[dict[str, Any]]:
    """Return the objects below a prefix, oldest first."""
    pages = place.client("s3").get_paginator("list_objects_v2").paginate(Bucket=place.base[bucket], Prefix=prefix)
    return sorted((o for page in pages for o in page.get("Contents", [])), key=lambda o: o["LastModified"])


def body(place: Place, key: str) -> bytes:
    """Return the content of an object of the bucket."""
    content: bytes = place.client("s3").get_object(Bucket=place.base["Bucket"], Key=key)["Body"].read()
    return content


def writer(place: Place, table: str, prefix: str = "item") -> Callable[[], None]:
    """Return a function that puts a new item into a table at each call."""
    numbers = iter(range(10**9))

    def write() -> None:
        place.client("dynamodb").put_item(TableName=table, Item={"id": {"S": f"{prefix}-{next(numbers)}"}})

    return write
