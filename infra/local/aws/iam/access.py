"""IAM where ministack has none: the roles that services act in, iam:PassRole, and a record of every decision.

It applies only if the server enforces IAM (`AUTH=true`). If not, Lambda code uses the run's key.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from ministack import app as gateway
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.core.responses import get_account_id, get_region
from ministack.services import iam, lambda_svc, sts
from ministack.services.cloudformation import handlers
from ministack.services.cloudformation.helpers import _error, _p

from infra.local.aws.iam import keys
from infra.local.aws.patch import Original, patch
from infra.local.aws.settings import scaled

PATH = "/_dynalake/actions"

# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html
_MAPPING_ACTIONS = {
    "DELETE": "lambda:DeleteEventSourceMapping",
    "GET": "lambda:GetEventSourceMapping",
    "PUT": "lambda:UpdateEventSourceMapping",
}

# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonkinesis.html
_WITHOUT_RESOURCE = (".UpdateShardCount", ".UpdateStreamMode")

Request = tuple[str, str] | tuple[str, str, Mapping[str, str]]
"""A request of a service for access: an action, a resource, and condition keys in lower case."""

# CloudFormation may refuse a new role for up to two minutes. Here that time starts when it gets the role for the first
# time.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
UNHEARD_SECONDS = 30.0

_heard: dict[str, float] = {}

_ANYTHING = {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}

_stack_roles: dict[tuple[str, str], str] = {}
_decisions: dict[tuple[str, str, str, str], int] = {}
_lock = threading.Lock()


@patch(iam_evaluator, "enforce")
def enforce(
    original: Original,
    access_key: str,
    action: str,
    service: str,
    region: str,
    resource_arn: str = "*",
    service_context: Any = None,
) -> Any:
    """Record every decision about a role, and decide about the keys that the request uses."""
    context = {**(service_context or {}), **_mapping_context(resource_arn)}
    refused = original(access_key, action, service, region, resource_arn, context)
    session = sts._sessions.get(access_key)
    if session is None:
        return refused
    role = session["Arn"].split("/")[1]
    _note(role, action, resource_arn, "Allow" if refused is None else "Deny")
    for key_action, key, keyed in keys.implied(action, resource_arn) if refused is None else ():
        if keys.is_managed(key):
            allowed = _decide(role, (key_action, key, keyed), *_rights(role))
            refused = None if allowed else iam_evaluator.EvalResult("ImplicitDeny", session["Arn"])
            continue
        refused = original(access_key, key_action, "kms", region, key, keyed)
        _note(role, key_action, key, "Allow" if refused is None else "Deny")
    return refused


@patch(iam_actions, "extract_iam_action")
def action_of(original: Original, service: str, method: str, path: str, *rest: Any) -> Any:
    """Return the documented actions of requests about event source mappings."""
    if service == "lambda" and "/event-source-mappings/" in path:
        listed = method == "GET" and path.endswith("/event-source-mappings/")
        return "lambda:ListEventSourceMappings" if listed else _MAPPING_ACTIONS.get(method)
    return original(service, method, path, *rest)


@patch(iam_actions, "extract_resource_arn")
def resource_of(
    original: Original,
    service: str,
    method: str,
    path: str,
    headers: Any,
    body: bytes,
    query: Any,
    region: str,
    account: str,
) -> Any:
    """Return the documented resource of requests for which ministack takes another or all."""
    target = headers.get("x-amz-target", "")
    if target.endswith(_WITHOUT_RESOURCE):
        return "*"
    if target.endswith("AlarmActions"):
        # The first alarm represents all: a request names the alarms of one table.
        return f"arn:aws:cloudwatch:{region}:{account}:alarm:{json.loads(body)['AlarmNames'][0]}"
    if service == "ssm" and target.endswith(".GetParametersByPath"):
        return f"arn:aws:ssm:{region}:{account}:parameter{json.loads(body)['Path'].rstrip('/')}"
    if service == "glue" and target.endswith("Database") and "Name" in (content := json.loads(body)):
        return f"arn:aws:glue:{region}:{account}:database/{content['Name']}"
    if target.endswith((".ExportTableToPointInTime", ".DescribeExport")):
        content = json.loads(body)
        return str(content.get("ExportArn") or content.get("TableArn"))
    resource = original(service, method, path, headers, body, query, region, account)
    if service == "cloudformation" and resource == "*":
        # A change set, named by its own ARN without its stack.
        named = parse_qs(body.decode()).get("ChangeSetName", ["*"])[0]
        return named if named.startswith("arn:") else resource
    return resource


@patch(gateway, "pin_request_origin")
def pin_request_origin(original: Original, address: str, secure: bool) -> None:
    """Count every request as TLS, for policies that require it: nothing leaves the machine."""
    original(address, True)


@patch(lambda_runtime, "execution_credentials")
@patch(lambda_svc, "execution_credentials")
def execution_credentials(original: Original, config: dict[str, Any]) -> dict[str, str]:
    """Give Lambda code the run's key if IAM is not enforced, because it then has only its account's number."""
    credentials: dict[str, str] = original(config)
    return credentials if gateway.AUTH else {**credentials, "AWS_SESSION_TOKEN": os.environ["AWS_ACCESS_KEY_ID"]}


@patch(handlers, "_ACTION_HANDLERS", "CreateChangeSet")
@patch(handlers, "_ACTION_HANDLERS", "CreateStack")
@patch(handlers, "_ACTION_HANDLERS", "DeleteChangeSet")
@patch(handlers, "_ACTION_HANDLERS", "DeleteStack")
@patch(handlers, "_ACTION_HANDLERS", "ExecuteChangeSet")
@patch(handlers, "_ACTION_HANDLERS", "UpdateStack")
def check_further_rights(original: Original, params: Any) -> Any:
    """Check iam:PassRole and the other rights that the request needs besides its own action."""
    action, role, stack = _p(params, "Action"), _p(params, "RoleARN"), _stack_name(params)
    needed: list[Request] = []
    if role:
        needed.append(("iam:PassRole", role, {"iam:passedtoservice": "cloudformation.amazonaws.com"}))
    named, begun = _p(params, "ChangeSetName"), f"arn:aws:cloudformation:{get_region()}:{get_account_id()}"
    if _p(params, "Tags.member.1.Key"):
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudformation.html
        tagged = [f"{begun}:stack/{stack}/new", *([f"{begun}:changeSet/{named}/new"] if named else [])]
        made = {"cloudformation:createaction": action}
        needed += [("cloudformation:TagResource", resource, made) for resource in tagged]
    if named and named.startswith("arn:"):
        # No page says whether AWS requires rights on the change set or on its stack.
        needed.append((f"cloudformation:{action}", named))
    for request in needed:
        if not caller_allows([request]):
            caller, what = iam_evaluator.caller_arn(), f"{request[0]} on resource: {request[1]}"
            return _error("AccessDenied", f"User: {caller} is not authorized to perform: {what}", 403)
    if role and gateway.AUTH and action != "DeleteStack" and not _takes(role):
        return _error("ValidationError", f"Role {role} is invalid or cannot be assumed", 400)
    if role:
        _stack_roles[get_account_id(), stack] = role
    return original(params)


def _mapping_context(resource_arn: str) -> dict[str, str]:
    """Return the condition key that limits event source mappings to those of one function."""
    if ":event-source-mapping:" not in resource_arn:
        return {}
    mapping = lambda_svc._esms.get(resource_arn.rpartition(":")[2])
    return {"lambda:FunctionArn": str(mapping["FunctionArn"])} if mapping else {}


def decisions() -> list[dict[str, Any]]:
    """Return every decision so far: role, action, resource, decision and count."""
    with _lock:
        counts = sorted(_decisions.items())
    return [
        {"role": role, "action": action, "resource": resource, "decision": decision, "count": count}
        for (role, action, resource, decision), count in counts
    ]


def forget() -> None:
    """Forget every decision."""
    with _lock:
        _decisions.clear()


def role_of_stack(stack: str) -> str:
    """Return the latest role that CloudFormation got for a stack; empty if none."""
    return _stack_roles.get((get_account_id(), stack), "")


def allows(role_arn: str, service: str, requests: Sequence[Request]) -> bool:
    """Return whether a service may assume the role and make all these requests in it."""
    if not gateway.AUTH:
        return True
    role_name = role_arn.rpartition("/")[2]
    role = iam._roles.get_scoped(get_account_id(), None, role_name)
    if role is None or not _trusts(role, service):
        _note(role_name, "sts:AssumeRole", service, "ImplicitDeny")
        return False
    rights = _rights(role_name)
    needed = [part for request in requests for part in (request, *keys.implied(*request[:2]))]
    # Each request is decided, and so recorded, also after a denied one.
    decided = [_decide(role_name, request, *rights) for request in needed]
    return all(decided)


def caller_allows(requests: Sequence[Request]) -> bool:
    """Return whether the caller of the current request may make all these requests, which a service makes for it."""
    caller = iam_evaluator.caller_arn() if gateway.AUTH else ""
    if ":assumed-role/" not in caller:
        return True
    role_name = caller.split("/")[1]
    policies, limits = _rights(role_name)
    session: dict[str, Any] = next((session for session in sts._sessions.values() if session["Arn"] == caller), {})
    limits = [*limits, *iam_evaluator._session_policy_limits(session, get_account_id())]
    decided = [_decide(role_name, request, policies, limits) for request in requests]
    return all(decided)


def _rights(role_name: str) -> tuple[Any, Any]:
    """Return the policies of a role, and the limits on them."""
    account = get_account_id()
    policies = iam_evaluator._gather_role_policies(role_name, account)
    return policies, iam_evaluator._permissions_boundary(iam._roles, role_name, account)


def _decide(role_name: str, request: Request, policies: Any, limits: Any) -> bool:
    account = get_account_id()
    if keys.is_managed(request[1]):
        policies = [iam_evaluator.parse_policy_document(_ANYTHING)]
    context = iam_evaluator.EvalContext(
        principal_arn=f"arn:aws:sts::{account}:assumed-role/{role_name}/service",
        principal_type="AssumedRole",
        principal_account=account,
        action=request[0],
        resource_arn=request[1],
        region=get_region(),
        secure_transport=True,
        service_context=dict(request[2]) if len(request) == 3 else {},
    )
    decision = iam_evaluator.evaluate(context, policies, *limits).decision
    _note(role_name, request[0], request[1], decision)
    return bool(decision == "Allow")


def _trusts(role: Mapping[str, Any], service: str) -> bool:
    document = role["AssumeRolePolicyDocument"]
    statements = (json.loads(document) if isinstance(document, str) else document)["Statement"]
    for statement in statements:
        named = (statement.get("Principal") or {}).get("Service") or []
        if service in ([named] if isinstance(named, str) else named) and statement["Effect"] == "Allow":
            return True
    return False


def _takes(role_arn: str) -> bool:
    """Return whether CloudFormation knows the role, and may assume it."""
    role = iam._roles.get_scoped(get_account_id(), None, role_arn.rpartition("/")[2])
    if role is None or not _trusts(role, "cloudformation.amazonaws.com"):
        return False
    return time.monotonic() - _heard.setdefault(role_arn, time.monotonic()) >= scaled(UNHEARD_SECONDS)


def _stack_name(params: Any) -> str:
    """Return a stack's name, also if its ARN (`…:stack/NAME/UUID`) is given."""
    named = str(_p(params, "StackName"))
    return named.split("/")[1] if named.startswith("arn:") else named


def _note(role: str, action: str, resource: str, decision: str) -> None:
    with _lock:
        key = (role, action, resource, decision)
        _decisions[key] = _decisions.get(key, 0) + 1
