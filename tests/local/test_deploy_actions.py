"""Local CloudFormation needs the actions in a stack's role that the resources' own schemas list."""

from __future__ import annotations

import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from infra.local.aws.iam.deploy_actions import KINDS, actions_of

READS = ("Get", "List")
NO_ACTION = {"s3:DeleteBucketTagging"}
"""Action in a schema, but not in the Service Authorization Reference: s3:PutBucketTagging allows it."""


@pytest.mark.parametrize("kind", KINDS)
def test_an_operation_needs_what_its_handler_lists(kind: str) -> None:
    """https://docs.aws.amazon.com/cloudcontrolapi/latest/userguide/resource-type-schemas.html (handlers)"""
    handlers = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema["handlers"]
    for operation in ("create", "update", "delete"):
        actions = {text.partition("@")[0].partition("?")[0] for text in getattr(KINDS[kind], operation).split()}
        assert actions <= set(handlers.get(operation, {}).get("permissions", ()))


@pytest.mark.parametrize("kind", KINDS)
def test_tags_need_what_the_schema_lists_for_them(kind: str) -> None:
    """A stack's tags go to its resources, and need the schema's `tagging.permissions`.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-resource-tags.html
    """
    tagging = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema.get("tagging") or {}
    listed = set(tagging.get("permissions") or ())
    writes = {action for action in listed if not action.partition(":")[2].startswith(READS)}
    assert {*KINDS[kind].tag.split(), *KINDS[kind].untag.split()} == writes - NO_ACTION


def test_an_update_needs_only_the_permissions_for_its_changes() -> None:
    kind = KINDS["AWS::IAM::Role"]
    tags = [{"Key": "a", "Value": "1"}]
    old = {"RoleName": "x", "Policies": [1], "Tags": [*tags, {"Key": "b", "Value": "1"}]}
    new = {"RoleName": "x", "Policies": [1], "Tags": tags, "PermissionsBoundary": "arn"}
    update = [action for action, _ in actions_of(kind, "update", old, new)]
    assert update == ["iam:PutRolePermissionsBoundary", "iam:TagRole", "iam:UntagRole"]
    assert "iam:TagRole" in [action for action, _ in actions_of(kind, "create", {}, new)]
