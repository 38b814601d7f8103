"""CloudFormation in the role of a stack: creating, changing and deleting each resource needs the role's permissions.

`deploy_actions` lists the actions; a type that is not there cannot be deployed in a role.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-iam-servicerole.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ministack import app as gateway
from ministack.core.responses import get_account_id, get_region
from ministack.services.cloudformation import stacks

from infra.local.aws.iam import access
from infra.local.aws.iam.deploy_actions import KINDS, Kind, actions_of
from infra.local.aws.patch import Original, patch

SERVICE = "cloudformation.amazonaws.com"

Properties = Mapping[str, Any]

_BEFORE_IT_IS_THERE = ("s3:CreateBucket", "s3:TagResource")
"""Actions that are checked while a bucket has no owner yet."""


@patch(stacks, "_provision_resource")
def create(original: Original, kind: str, logical_id: str, properties: Properties, stack: str) -> Any:
    """Check that the stack's role may create the resource."""
    _require(stack, kind, "create", properties, f"{stack}-{logical_id}-X")
    return original(kind, logical_id, properties, stack)


@patch(stacks, "_update_resource")
def update(
    original: Original,
    kind: str,
    physical_id: str,
    old: Properties,
    new: Properties,
    stack: str,
    *rest: Any,
    **options: Any,
) -> Any:
    """Check that the stack's role may update the resource, if it changes."""
    if old != new:
        _require(stack, kind, "update", new, physical_id, old)
    return original(kind, physical_id, old, new, stack, *rest, **options)


@patch(stacks, "_delete_resource")
def delete(
    original: Original, kind: str, physical_id: str, properties: Properties, stack: str = "", *rest: Any, **options: Any
) -> Any:
    """Check that the stack's role may delete the resource."""
    _require(stack, kind, "delete", properties, physical_id)
    return original(kind, physical_id, properties, stack, *rest, **options)


def _require(
    stack: str, kind: str, operation: str, properties: Properties, unnamed: str, old: Properties | None = None
) -> None:
    role = access.role_of_stack(stack)
    if not gateway.AUTH or not role:
        return
    if kind not in KINDS:
        raise ValueError(f"{role} may not {operation} {kind}: add its actions to deploy_actions (AccessDenied)")
    requests = list(_requests(KINDS[kind], operation, properties, unnamed, old or {}))
    if not access.allows(role, SERVICE, requests):
        # It becomes the resource's ResourceStatusReason.
        raise ValueError(f"{role} may not {operation} {kind} {requests[0][1]} (AccessDenied)")


def _requests(
    kind: Kind, operation: str, properties: Properties, unnamed: str, old: Properties
) -> Sequence[access.Request]:
    name: Any = properties
    for part in kind.name.split("."):
        name = (name or {}).get(part)
    name = name[0] if isinstance(name, list) else name
    name = name or unnamed.rpartition(":")[2]
    context = {key: str(properties.get(given, "")) for key, given in kind.context.items()}
    requests: list[access.Request] = []
    for action, elsewhere in actions_of(kind, operation, old, properties):
        resource, more = _elsewhere(elsewhere.format(name=name), properties)
        made = {} if action in _BEFORE_IT_IS_THERE else {"aws:resourceaccount": get_account_id()}
        requests.append((action, resource, {**made, **context, **more}))
    return requests


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
            code = properties["Code"]
            return f"arn:aws:s3:::{code['S3Bucket']}/{code['S3Key']}", {}
        case "results" | "results-bucket":
            result = properties["WorkGroupConfiguration"]["ResultConfiguration"]["OutputLocation"]
            bucket, _, prefix = str(result).removeprefix("s3://").partition("/")
            return f"arn:aws:s3:::{bucket}/{prefix}x" if place == "results" else f"arn:aws:s3:::{bucket}", {}
        case "key":
            key = properties.get("KmsKeyArn") or properties["DeliveryStreamEncryptionConfigurationInput"]["KeyARN"]
            return str(key), {"kms:grantisforawsresource": "true"}
    return _arn(place), {}


def _arn(short: str) -> str:
    """Return the ARN of `service:resource` in this region and account; `service::resource` has no region."""
    if short.startswith("arn:"):
        return short
    service, _, resource = short.partition(":")
    region = "" if resource.startswith(":") else get_region()
    return f"arn:aws:{service}:{region}:{get_account_id()}:{resource.removeprefix(':')}"
