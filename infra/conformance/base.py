"""What the experiments share: two buckets, and roles; and the resources that several of them are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infra.conformance.place import Place, allow

Resource = dict[str, Any]

# Notes each of its calls as an object, whose time is S3's. botocore is in every Python runtime of Lambda.
SOURCE = """
import os, time, botocore.session
s3 = botocore.session.get_session().create_client("s3", region_name=os.environ["AWS_REGION"])
def handler(event, context):
    key = f"{os.environ['PREFIX']}/{time.time_ns():020}"
    s3.put_object(Bucket=os.environ["BUCKET"], Key=key, Body=b"")
    if os.environ["FAILS"]:
        raise ValueError("as the experiment wants it")
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
"""What the role may do in which an experiment asks whether fewer rights are enough."""


def make_base(place: Place) -> None:
    """Make it, as one stack."""
    pattern = f"{place.lake.stack_prefix}-*"
    streams = place.arn("kinesis", f"stream/{pattern}")
    table = place.arn("dynamodb", f"table/{pattern}")
    bucket = {"Fn::GetAtt": ["Bucket", "Arn"]}
    account = {"AWS": place.arn("iam", "root")}
    key = {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    used = ("DescribeStream", "DescribeStreamSummary", "GetRecords", "GetShardIterator", "ListShards", "PutRecord")
    kinesis = [f"kinesis:{action}" for action in used]
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
            # For CloudFormation, to make a bucket with tags without this one permission.
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
    place.wait(20)  # so that the roles are known everywhere


def role(trusted: Resource, *statements: Any, boundary: Resource | None = None) -> Resource:
    """A role, by a template."""
    trust = {"Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole"}
    policy = {"PolicyName": "own", "PolicyDocument": {"Version": "2012-10-17", "Statement": list(statements)}}
    document = {"Version": "2012-10-17", "Statement": [trust]}
    bounded = {"PermissionsBoundary": boundary} if boundary else {}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {"AssumeRolePolicyDocument": document, "Policies": [policy], **bounded},
    }


def table(key: str = "id") -> Resource:
    """A DynamoDB table with a stream; its key is a text."""
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
    """Turn point-in-time recovery on, which an export needs."""
    wanted = {"PointInTimeRecoveryEnabled": True}
    place.client("dynamodb").update_continuous_backups(TableName=table, PointInTimeRecoverySpecification=wanted)


def function(place: Place, prefix: str, *, fails: bool = False) -> Resource:
    """A Lambda function that notes its calls below `prefix` of the bucket."""
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
    """An event source mapping from the stack's `Table` to its `Function`, from the stream's oldest record on."""
    source = {"EventSourceArn": {"Fn::GetAtt": ["Table", "StreamArn"]}, "FunctionName": {"Ref": "Function"}}
    return {
        "Type": "AWS::Lambda::EventSourceMapping",
        "Properties": {**source, "StartingPosition": "TRIM_HORIZON", **properties},
    }


def kinesis_stream() -> Resource:
    """A Kinesis stream of one shard, encrypted with AWS's own key."""
    encryption = {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}
    return {"Type": "AWS::Kinesis::Stream", "Properties": {"ShardCount": 1, "StreamEncryption": encryption}}


def firehose(place: Place, prefix: str, stream: str = "", **settings: Any) -> Resource:
    """A Firehose stream to the bucket, from a Kinesis stream or from whoever puts records."""
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
    """The objects below a prefix, the oldest first."""
    pages = place.client("s3").get_paginator("list_objects_v2").paginate(Bucket=place.base[bucket], Prefix=prefix)
    return sorted((o for page in pages for o in page.get("Contents", [])), key=lambda o: o["LastModified"])


def body(place: Place, key: str) -> bytes:
    """What an object of the bucket holds."""
    content: bytes = place.client("s3").get_object(Bucket=place.base["Bucket"], Key=key)["Body"].read()
    return content


def writer(place: Place, table: str, prefix: str = "item") -> Callable[[], None]:
    """Puts another item into a table at each call."""
    numbers = iter(range(10**9))

    def write() -> None:
        place.client("dynamodb").put_item(TableName=table, Item={"id": {"S": f"{prefix}-{next(numbers)}"}})

    return write
