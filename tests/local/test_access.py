"""IAM is enforced on request, also for the roles of services."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from infra.local.run.process import LocalAws
from tests.local.roles import ACCOUNT, role, taking
from tests.support.waiting import eventually


def test_the_actions_of_a_role_are_recorded(root: Callable[[str], Any], enforced: LocalAws) -> None:
    arn = role(root, "noted", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, ("s3:CreateBucket", "arn:aws:s3:::noted"))
    client = taking(root, enforced, arn)
    client("s3").create_bucket(Bucket="noted")
    with pytest.raises(ClientError, match="AccessDenied"):
        client("s3").create_bucket(Bucket="other")
    noted = [action for action in enforced.call("GET", "/_dynalake/actions") if action["role"] == "noted"]
    assert [(action["resource"], action["decision"]) for action in noted] == [
        ("arn:aws:s3:::noted", "Allow"),
        ("arn:aws:s3:::other", "Deny"),
    ]
    enforced.call("DELETE", "/_dynalake/actions")
    assert enforced.call("GET", "/_dynalake/actions") == []


@pytest.mark.parametrize(("may", "delivered"), [("s3:PutObject", 1), ("s3:GetObject", 0)])
def test_firehose_writes_in_its_own_role(
    root: Callable[[str], Any], enforced: LocalAws, may: str, delivered: int
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
    eventually(lambda: [action for action in enforced.call("GET", "/_dynalake/actions") if action["role"] == name])
    if delivered:
        eventually(lambda: root("s3").list_objects_v2(Bucket=name).get("KeyCount") == 1)
    else:
        assert root("s3").list_objects_v2(Bucket=name).get("KeyCount") == 0


def test_a_role_that_trusts_another_service_cannot_be_assumed(root: Callable[[str], Any], enforced: LocalAws) -> None:
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
        return [action for action in enforced.call("GET", "/_dynalake/actions") if action["action"] == "sts:AssumeRole"]

    assert {action["decision"] for action in eventually(refused)} == {"ImplicitDeny"}


def test_only_a_caller_who_may_pass_a_role_hands_it_to_cloudformation(
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


@pytest.mark.parametrize("key_actions", [(), ("kms:GenerateDataKey",), ("kms:GenerateDataKey", "kms:Decrypt")])
def test_access_to_encrypted_data_needs_the_key_of_the_customer(
    root: Callable[[str], Any], enforced: LocalAws, key_actions: tuple[str, ...]
) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html

    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html#sns-what-permissions-for-sse
    """
    name = f"keyed-{len(key_actions)}"
    key = root("kms").create_key()["KeyMetadata"]["Arn"]
    root("s3").create_bucket(Bucket=name)
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    root("s3").put_bucket_encryption(
        Bucket=name, ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": default}]}
    )
    root("kinesis").create_stream(StreamName=name, ShardCount=1)
    root("kinesis").start_stream_encryption(StreamName=name, EncryptionType="KMS", KeyId=key)
    stream = root("kinesis").describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]
    allowed = [("s3:PutObject", f"arn:aws:s3:::{name}/*"), ("s3:GetObject", f"arn:aws:s3:::{name}/*")]
    topic = root("sns").create_topic(Name=name, Attributes={"KmsMasterKeyId": key})["TopicArn"]
    allowed += [("kinesis:PutRecords", stream), ("sns:Publish", topic), *((action, key) for action in key_actions)]
    client = taking(root, enforced, role(root, name, {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, *allowed))
    root("s3").put_object(Bucket=name, Key="there", Body=b"x")
    calls: dict[Callable[[], Any], str] = {
        lambda: client("sns").publish(TopicArn=topic, Message="x"): "kms:Decrypt",
        lambda: client("s3").put_object(Bucket=name, Key="x", Body=b"x"): "kms:GenerateDataKey",
        lambda: client("kinesis").put_records(
            StreamName=name, Records=[{"Data": b"x", "PartitionKey": "1"}]
        ): "kms:GenerateDataKey",
        lambda: client("s3").get_object(Bucket=name, Key="there"): "kms:Decrypt",
    }
    for call, needed in calls.items():
        if needed in key_actions:
            call()
        else:
            with pytest.raises(ClientError, match=r"AccessDenied|AuthorizationError"):
                call()
            noted = [entry for entry in enforced.call("GET", "/_dynalake/actions") if entry["role"] == name]
            assert (needed, key, "Deny") in {(entry["action"], entry["resource"], entry["decision"]) for entry in noted}


def change_set(cloudformation: Any, Resources: dict[str, Any], **request: Any) -> Any:
    """Create a change set as soon as CloudFormation accepts its role."""

    def ask() -> Any:
        with suppress(cloudformation.exceptions.ClientError):
            template = json.dumps({"Resources": Resources})
            return cloudformation.create_change_set(
                ChangeSetName=f"c{len(Resources)}", TemplateBody=template, **request
            )

    return eventually(ask)


@pytest.mark.parametrize(("service", "becomes_known"), [("cloudformation", True), ("lambda", False)])
def test_cloudformation_accepts_a_new_role_only_after_a_while(
    root: Callable[[str], Any], service: str, becomes_known: bool
) -> None:
    """IAM is eventually consistent, and the role must trust CloudFormation.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html
    """
    name = f"new-for-{service}"
    arn = role(root, name, {"Service": f"{service}.amazonaws.com"})
    resources = {"One": {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": "x"}}}
    request = {"StackName": name, "ChangeSetType": "CREATE", "RoleARN": arn, "ChangeSetName": "first"}
    cloudformation = root("cloudformation")
    with pytest.raises(ClientError, match=f"Role {arn} is invalid or cannot be assumed") as error:
        cloudformation.create_change_set(TemplateBody=json.dumps({"Resources": resources}), **request)
    assert error.value.response["Error"]["Code"] == "ValidationError"
    if becomes_known:
        assert change_set(cloudformation, resources, **{k: v for k, v in request.items() if k != "ChangeSetName"})


@pytest.mark.parametrize("allowed", ["ssm:PutParameter", "ssm:*"])
def test_cloudformation_acts_in_the_role_of_the_stack(
    root: Callable[[str], Any], enforced: LocalAws, allowed: str
) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html"""
    name = f"handed-{len(allowed)}"
    trust = {"Service": "cloudformation.amazonaws.com"}
    parameters = f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/{name}/*"
    arn = role(root, name, trust, (allowed, parameters))
    parameter = {"Type": "String", "Value": "x"}
    resources = {"One": {"Type": "AWS::SSM::Parameter", "Properties": {**parameter, "Name": f"/{name}/one"}}}
    cloudformation = root("cloudformation")

    def deployed(template: dict[str, Any], kind: str) -> str:
        change = change_set(cloudformation, StackName=name, ChangeSetType=kind, RoleARN=arn, Resources=template)
        cloudformation.execute_change_set(ChangeSetName=change["Id"], StackName=name)
        with suppress(WaiterError):
            waiter = cloudformation.get_waiter(f"stack_{kind.lower()}_complete")
            waiter.wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
        return str(cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])

    if allowed == "ssm:PutParameter":
        # Setting tags and reading the parameter back need further actions.
        assert deployed(resources, "CREATE") == "ROLLBACK_COMPLETE"
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        assert any("AccessDenied" in event.get("ResourceStatusReason", "") for event in events)
        return
    assert deployed(resources, "CREATE") == "CREATE_COMPLETE"
    second = {"Two": {"Type": "AWS::SSM::Parameter", "Properties": {**parameter, "Name": "/elsewhere/two"}}}
    assert deployed({**resources, **second}, "UPDATE") == "UPDATE_ROLLBACK_COMPLETE"
    used = [action for action in enforced.call("GET", "/_dynalake/actions") if action["role"] == name]
    denied = {action["resource"] for action in used if action["decision"] != "Allow"}
    assert denied == {f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/elsewhere/two"}


def test_a_glue_database_is_a_database(root: Callable[[str], Any], enforced: LocalAws) -> None:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsglue.html"""
    root("glue").create_database(DatabaseInput={"Name": "granted"})
    trusted = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    resource = f"arn:aws:glue:us-east-1:{ACCOUNT}:database/granted"
    client = taking(root, enforced, role(root, "cataloger", trusted, ("glue:GetDatabase", resource)))
    assert client("glue").get_database(Name="granted")["Database"]["Name"] == "granted"
    with pytest.raises(ClientError, match="AccessDenied"):
        client("glue").get_database(Name="other")
