"""CloudFormation needs all documented permissions, in a stack's role and for its caller."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from infra.local.run.process import LocalAws
from tests.local.roles import ACCOUNT, document, role, statements, taking
from tests.support.waiting import eventually

REGION = "us-east-1"
SERVICE = {"Service": "cloudformation.amazonaws.com"}
TRUSTED = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
CATALOG = f"arn:aws:glue:{REGION}:{ACCOUNT}"
TAGS = [{"Key": "team", "Value": "data"}]

Deploy = Callable[..., str]


@pytest.fixture
def deploy(root: Callable[[str], Any], name: str) -> Deploy:
    """Deploys or deletes a stack of one resource in a role, and returns its status."""
    cloudformation = root("cloudformation")

    def settle(operation: str) -> str:
        with suppress(WaiterError):
            waiter = cloudformation.get_waiter(f"stack_{operation}_complete")
            waiter.wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
        try:
            return str(cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
        except ClientError:
            return "DELETE_COMPLETE"

    def run(role: str, resource: Mapping[str, Any] | None = None, *, update: bool = False, **options: Any) -> str:
        if resource is None:
            cloudformation.delete_stack(StackName=name)
            return settle("delete")
        template = json.dumps({"Resources": {"It": resource}})
        call = cloudformation.update_stack if update else cloudformation.create_stack

        def ask() -> Any:
            # A new role is not known yet.
            try:
                return call(StackName=name, TemplateBody=template, RoleARN=role, **options)
            except ClientError as error:
                if "cannot be assumed" not in str(error):
                    raise
                return None

        eventually(ask)
        return settle("update" if update else "create")

    return run


def may(root: Callable[[str], Any], role_name: str, *allowed: Any) -> None:
    """Let a role do exactly these actions."""
    document_ = document(statements(*allowed))
    root("iam").put_role_policy(RoleName=role_name, PolicyName="allow", PolicyDocument=document_)


def test_a_stack_with_tags_needs_the_right_to_tag_it(root: Callable[[str], Any], enforced: LocalAws, name: str) -> None:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudformation.html"""
    stack = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:*/{name}*/*"
    calls = ("cloudformation:CreateChangeSet", "cloudformation:DescribeChangeSet")
    cloudformation = taking(root, enforced, role(root, name, TRUSTED, *((call, stack) for call in calls)))(
        "cloudformation"
    )
    request: dict[str, Any] = {
        "StackName": name,
        "ChangeSetType": "CREATE",
        "TemplateBody": json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}),
    }
    cloudformation.create_change_set(ChangeSetName=f"{name}-plain", **request)
    with pytest.raises(ClientError, match="not authorized to perform: cloudformation:TagResource"):
        cloudformation.create_change_set(ChangeSetName=f"{name}-tagged", Tags=TAGS, **request)
    may(root, name, *((call, stack) for call in (*calls, "cloudformation:TagResource")))
    cloudformation.create_change_set(ChangeSetName=f"{name}-tagged", Tags=TAGS, **request)


def test_a_bucket_with_tags_needs_the_right_to_tag_it(root: Callable[[str], Any], deploy: Deploy, name: str) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucketConfiguration.html (Tags)"""
    bucket, actions = f"arn:aws:s3:::{name}", ("s3:CreateBucket", "s3:PutBucketTagging")
    arn = role(root, name, SERVICE, *((action, bucket) for action in actions))
    resource = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": name}}
    assert deploy(arn, resource, Tags=TAGS) == "ROLLBACK_COMPLETE"
    assert deploy(arn) == "DELETE_COMPLETE"
    may(root, name, *((action, bucket) for action in (*actions, "s3:TagResource")))
    assert deploy(arn, resource, Tags=TAGS) == "CREATE_COMPLETE"


def test_deleting_a_database_needs_the_right_to_delete_its_content(
    root: Callable[[str], Any], deploy: Deploy, name: str
) -> None:
    """https://docs.aws.amazon.com/glue/latest/dg/glue-specifying-resource-arns.html (permissions on all children)"""
    own = (f"{CATALOG}:catalog", f"{CATALOG}:database/{name}")
    children = (f"{CATALOG}:table/{name}/*", f"{CATALOG}:userDefinedFunction/{name}/*")
    governed = (
        ("lakeformation:ListResources", "*"),
        ("lakeformation:DescribeResource", "*"),
        ("lakeformation:DescribeLakeFormationIdentityCenterConfiguration", "*"),
    )
    calls = ("glue:CreateDatabase", "glue:GetDatabase", "glue:DeleteDatabase")
    allowed = [*((call, resource) for call in calls for resource in own), *governed]
    arn = role(root, name, SERVICE, *allowed)
    properties = {"CatalogId": ACCOUNT, "DatabaseInput": {"Name": name}}
    assert deploy(arn, {"Type": "AWS::Glue::Database", "Properties": properties}) == "CREATE_COMPLETE"
    assert deploy(arn) == "DELETE_FAILED"
    may(root, name, *allowed, *(("glue:DeleteDatabase", child) for child in children))
    assert deploy(arn) == "DELETE_COMPLETE"


def test_the_actions_on_the_shards_of_a_stream_need_all_resources(
    root: Callable[[str], Any], enforced: LocalAws, deploy: Deploy, name: str
) -> None:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonkinesis.html"""
    stream = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}"
    arn = role(root, name, SERVICE, ("kinesis:*", stream))
    resource = {"Type": "AWS::Kinesis::Stream", "Properties": {"Name": name, "ShardCount": 1}}
    assert deploy(arn, resource) == "CREATE_COMPLETE"
    grown = {**resource, "Properties": {"Name": name, "ShardCount": 2}}
    assert deploy(arn, grown, update=True) == "UPDATE_ROLLBACK_COMPLETE"
    may(root, name, ("kinesis:*", stream), ("kinesis:UpdateShardCount", "*"))
    assert deploy(arn, grown, update=True) == "UPDATE_COMPLETE"
    caller = role(root, f"{name}-caller", TRUSTED, ("kinesis:UpdateShardCount", stream))
    with pytest.raises(ClientError, match="AccessDenied"):
        taking(root, enforced, caller)("kinesis").update_shard_count(
            StreamName=name, TargetShardCount=1, ScalingType="UNIFORM_SCALING"
        )


def test_adding_a_boundary_to_a_role_needs_the_right_to_set_it(
    root: Callable[[str], Any], deploy: Deploy, name: str
) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html (delegating)"""
    boundary = root("iam").create_policy(PolicyName=name, PolicyDocument=document(statements(("s3:*", "*"))))
    bounded = {"StringEquals": {"iam:PermissionsBoundary": boundary["Policy"]["Arn"]}}
    role_arn = f"arn:aws:iam::{ACCOUNT}:role/{name}-made"
    plain = [(action, role_arn) for action in ("iam:CreateRole", "iam:GetRole", "iam:TagRole")]
    arn = role(root, name, SERVICE, *plain)
    trust = {"Version": "2012-10-17", "Statement": []}
    properties: dict[str, Any] = {"RoleName": f"{name}-made", "AssumeRolePolicyDocument": trust}
    assert deploy(arn, {"Type": "AWS::IAM::Role", "Properties": properties}, Capabilities=["CAPABILITY_NAMED_IAM"])
    later = {"Type": "AWS::IAM::Role", "Properties": {**properties, "PermissionsBoundary": boundary["Policy"]["Arn"]}}
    options: dict[str, Any] = {"update": True, "Capabilities": ["CAPABILITY_NAMED_IAM"]}
    assert deploy(arn, later, **options) == "UPDATE_ROLLBACK_COMPLETE"
    may(root, name, *plain, ("iam:PutRolePermissionsBoundary", role_arn, bounded))
    assert deploy(arn, later, **options) == "UPDATE_COMPLETE"


def test_an_undescribed_type_is_not_deployed_in_a_role(root: Callable[[str], Any], deploy: Deploy, name: str) -> None:
    """A service role limits a stack's resources, whatever their types.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html
    """
    arn = role(root, name, SERVICE, ("*", "*"))
    policy = {"PolicyName": name, "Roles": [name], "PolicyDocument": {"Version": "2012-10-17", "Statement": []}}
    resource = {"Type": "AWS::IAM::Policy", "Properties": policy}
    assert deploy(arn, resource, Capabilities=["CAPABILITY_IAM"]) == "ROLLBACK_COMPLETE"


@pytest.mark.parametrize("bounds", ["kinesis:*", "*"])
def test_a_boundary_limits_the_use_of_an_aws_managed_key(
    root: Callable[[str], Any], enforced: LocalAws, name: str, bounds: str
) -> None:
    """The key's policy lets the whole account use it, but a boundary still limits what a resource policy allows.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html (resource-based policies)
    https://docs.aws.amazon.com/streams/latest/dev/permissions-user-key-KMS.html (needs no policy of its own)
    """
    boundary = root("iam").create_policy(PolicyName=name, PolicyDocument=document(statements((bounds, "*"))))
    root("kinesis").create_stream(StreamName=name, ShardCount=1)
    root("kinesis").start_stream_encryption(StreamName=name, EncryptionType="KMS", KeyId="alias/aws/kinesis")
    stream = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}"
    for kind, limit in (("plain", ""), ("bounded", boundary["Policy"]["Arn"])):
        arn = role(root, f"{name}-{kind}", TRUSTED, ("kinesis:PutRecords", stream), boundary=limit)
        kinesis = taking(root, enforced, arn)("kinesis")
        records = [{"Data": b"x", "PartitionKey": "1"}]
        if limit and bounds != "*":
            with pytest.raises(ClientError, match="AccessDenied"):
                kinesis.put_records(StreamName=name, Records=records)
        else:
            kinesis.put_records(StreamName=name, Records=records)
