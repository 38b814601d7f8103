"""IAM is enforced where it is asked for, also for the roles that services act in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from infra.local.process import LocalAws

ACCOUNT = "000000000000"


@pytest.fixture(scope="module")
def enforced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with LocalAws(tmp_path_factory.mktemp("access") / "server.log", auth=True) as aws:
        yield aws


@pytest.fixture(scope="module")
def root(enforced: LocalAws) -> Callable[[str], Any]:
    session: Any = boto3.Session("test", "test", region_name="us-east-1")
    return lambda service: session.client(service, endpoint_url=enforced.endpoint_url)


def role(root: Callable[[str], Any], name: str, principal: dict[str, str], *allowed: tuple[str, str]) -> str:
    statements = [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in allowed]
    trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    made = root("iam").create_role(RoleName=name, AssumeRolePolicyDocument=_document([trust]))
    if statements:
        root("iam").put_role_policy(RoleName=name, PolicyName="allow", PolicyDocument=_document(statements))
    return str(made["Role"]["Arn"])


def _document(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def taking(root: Callable[[str], Any], enforced: LocalAws, arn: str) -> Callable[[str], Any]:
    taken = root("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    session: Any = boto3.Session(
        taken["AccessKeyId"], taken["SecretAccessKey"], taken["SessionToken"], region_name="us-east-1"
    )
    return lambda service: session.client(service, endpoint_url=enforced.endpoint_url)


def test_what_a_role_did_is_noted(root: Callable[[str], Any], enforced: LocalAws) -> None:
    arn = role(root, "noted", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, ("s3:CreateBucket", "arn:aws:s3:::noted"))
    client = taking(root, enforced, arn)
    client("s3").create_bucket(Bucket="noted")
    with pytest.raises(ClientError, match="AccessDenied"):
        client("s3").create_bucket(Bucket="other")
    noted = [one for one in enforced.call("GET", "/_dynalake/actions") if one["role"] == "noted"]
    assert [(one["resource"], one["decision"]) for one in noted] == [
        ("arn:aws:s3:::noted", "Allow"),
        ("arn:aws:s3:::other", "Deny"),
    ]
    enforced.call("DELETE", "/_dynalake/actions")
    assert enforced.call("GET", "/_dynalake/actions") == []


@pytest.mark.parametrize(("may", "delivered"), [("s3:PutObject", 1), ("s3:GetObject", 0)])
def test_firehose_writes_in_its_own_role(
    root: Callable[[str], Any], enforced: LocalAws, eventually: Any, may: str, delivered: int
) -> None:
    """https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html#using-iam-s3"""
    name = f"firehose-{delivered}"
    arn = role(root, name, {"Service": "firehose.amazonaws.com"}, (may, f"arn:aws:s3:::{name}/*"))
    root("s3").create_bucket(Bucket=name)
    root("firehose").create_delivery_stream(
        DeliveryStreamName=name,
        ExtendedS3DestinationConfiguration={
            "BucketARN": f"arn:aws:s3:::{name}",
            "RoleARN": arn,
            "BufferingHints": {"IntervalInSeconds": 0, "SizeInMBs": 1},
        },
    )
    root("firehose").put_record(DeliveryStreamName=name, Record={"Data": b"x"})
    eventually(lambda: [one for one in enforced.call("GET", "/_dynalake/actions") if one["role"] == name])
    if delivered:
        eventually(lambda: root("s3").list_objects_v2(Bucket=name).get("KeyCount") == 1)
    else:
        assert root("s3").list_objects_v2(Bucket=name).get("KeyCount") == 0


def test_a_role_that_trusts_another_service_is_not_taken(
    root: Callable[[str], Any], enforced: LocalAws, eventually: Any
) -> None:
    arn = role(root, "trusting", {"Service": "lambda.amazonaws.com"}, ("s3:PutObject", "arn:aws:s3:::trusting/*"))
    root("s3").create_bucket(Bucket="trusting")
    root("firehose").create_delivery_stream(
        DeliveryStreamName="trusting",
        ExtendedS3DestinationConfiguration={
            "BucketARN": "arn:aws:s3:::trusting",
            "RoleARN": arn,
            "BufferingHints": {"IntervalInSeconds": 0, "SizeInMBs": 1},
        },
    )
    root("firehose").put_record(DeliveryStreamName="trusting", Record={"Data": b"x"})

    def refused() -> list[Any]:
        return [one for one in enforced.call("GET", "/_dynalake/actions") if one["action"] == "sts:AssumeRole"]

    assert {one["decision"] for one in eventually(refused)} == {"ImplicitDeny"}


def test_a_role_is_handed_to_cloudformation_only_by_who_may_pass_it(
    root: Callable[[str], Any], enforced: LocalAws
) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html"""
    arn = role(root, "deploying", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, ("cloudformation:*", "*"))
    client = taking(root, enforced, arn)
    template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    with pytest.raises(ClientError, match="iam:PassRole"):
        client("cloudformation").create_change_set(
            StackName="passed", ChangeSetName="x", ChangeSetType="CREATE", TemplateBody=template, RoleARN=arn
        )
