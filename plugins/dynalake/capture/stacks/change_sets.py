"""CloudFormation change sets: made, read, executed and deleted."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dynalake.aws.answers import code_of, message_of, tolerate
from dynalake.aws.clients import Clients
from dynalake.errors import ConflictError, NotReadyError, StackError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import ParameterTypeDef

CREATION_SECONDS = 300.0
# A new role is unknown for up to two minutes, because IAM is eventually consistent.
ROLE_SECONDS = 120.0
FIRST_PAUSE = 0.2

_ROLE_UNKNOWN = "is invalid or cannot be assumed"
# AWS's texts for a change set that would change nothing. AWS counts it as failed.
_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")


@dataclass(frozen=True)
class StackSpec:
    """A stack as it should be."""

    name: str
    template: str
    parameters: Mapping[str, str]
    """Values that are set. Other declared parameters keep their value in the stack, or have the template's default."""
    declared: tuple[str, ...]
    """Every parameter of the template."""
    tags: Mapping[str, str]
    role_arn: str = ""
    """Role that CloudFormation deploys with. Empty: the one it used last for the stack, or the caller's."""
    version: str | None = None
    """Version of the stack that this was decided on, '' where there was none; it is not deployed on another one. None
    stands for any version.
    """


@dataclass(frozen=True)
class Deployed:
    """A stack that exists."""

    version: str
    """A text that every operation on the stack changes."""
    parameters: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """The change of one resource."""

    action: str
    """`Add`, `Modify`, `Remove`, `Import` or `Dynamic`."""
    logical_id: str
    type: str
    replacement: str = ""
    """`True`, `False` or `Conditional` for `Modify`; else empty."""

    def __str__(self) -> str:
        replaced = {"True": " (replaced)", "Conditional": " (may be replaced)"}.get(self.replacement, "")
        return f"{self.action} {self.logical_id} [{self.type}]{replaced}"


def pauses(longest: float) -> Iterator[float]:
    """Yield the seconds to wait between two calls: short at first, then kind to AWS's limits (pure)."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 1.5, longest)


def create_change_set(clients: Clients, spec: StackSpec, deployed: Deployed | None, *, purpose: str) -> str | None:
    """Return the ARN of a change set that makes the stack as it should be; None where nothing would change.

    `deployed` is the existing stack, None where there is none. `purpose` keeps a plan's change set apart from a
    deployment's. Raises `StackError` where CloudFormation refuses the template or its parameters.
    """
    name = change_set_name(spec, deployed, purpose)
    try:
        arn = _request(clients, spec, deployed, name)
    except Exception as error:
        code = code_of(error)
        if code == "AlreadyExistsException":
            arn = _adopt(clients, spec, deployed, name)
        elif code == "ValidationError" and "IN_PROGRESS" in str(error):
            raise ConflictError(f"Stack {spec.name} is being changed: {error}", stack=spec.name) from error
        elif code == "ValidationError":
            raise StackError(
                f"CloudFormation refuses stack {spec.name}: {message_of(error)}",
                action="choose a role that exists and that cloudformation.amazonaws.com may assume"
                if _ROLE_UNKNOWN in str(error)
                else "correct the parameter that it names, and trigger the DAG again",
                stack=spec.name,
            ) from error
        else:
            raise
    return _wait_for_change_set(clients, spec.name, arn)


def change_set_name(spec: StackSpec, deployed: Deployed | None, purpose: str) -> str:
    """Return one name for the same content on the same state, so that a killed run's set is found, not a stale one."""
    version = deployed.version if deployed else ""
    content = json.dumps([version, spec.template, sorted(spec.parameters.items()), sorted(spec.tags.items())])
    # Permissions match the beginning of its ARN, the stack's name. A name has at most 128 characters.
    return f"{spec.name[:90]}-{purpose}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def stack_parameters(spec: StackSpec, deployed: Deployed | None) -> list[ParameterTypeDef]:
    """Return the spec's parameters, and the stack's own for those that the spec leaves open."""
    parameters: list[ParameterTypeDef] = [
        {"ParameterKey": name, "ParameterValue": value} for name, value in sorted(spec.parameters.items())
    ]
    kept = sorted(set(spec.declared) & set(deployed.parameters if deployed else ()) - set(spec.parameters))
    parameters += [{"ParameterKey": name, "UsePreviousValue": True} for name in kept]
    return parameters


def list_changes(clients: Clients, change_set: str) -> tuple[Change, ...]:
    """Return the changes of a change set, in CloudFormation's order."""
    try:
        pages = list(clients.cloudformation.get_paginator("describe_change_set").paginate(ChangeSetName=change_set))
    except Exception as error:
        raise _gone_or(error, change_set) from error
    entries = [entry.get("ResourceChange", {}) for page in pages for entry in page.get("Changes", [])]
    return tuple(
        Change(
            action=entry.get("Action", ""),
            logical_id=entry.get("LogicalResourceId", ""),
            type=entry.get("ResourceType", ""),
            replacement=entry.get("Replacement", ""),
        )
        for entry in entries
    )


def execute_change_set(clients: Clients, stack: str, change_set: str) -> None:
    """Start the deployment. Raise `ConflictError` where another run was faster."""
    try:
        clients.cloudformation.execute_change_set(ChangeSetName=change_set, StackName=stack)
    except Exception as error:
        if code_of(error) in ("InvalidChangeSetStatus", "ChangeSetNotFound") or ("IN_PROGRESS" in str(error)):
            raise ConflictError(f"Another run changes stack {stack}: {error}", stack=stack) from error
        raise


def delete_change_set(clients: Clients, stack: str, change_set: str) -> None:
    """Delete a change set. Do nothing if it is being executed or is gone."""
    with tolerate("InvalidChangeSetStatus", "ChangeSetNotFound", "ValidationError"):
        clients.cloudformation.delete_change_set(ChangeSetName=change_set, StackName=stack)


def has_change_sets(clients: Clients, stack: str) -> bool:
    """Return whether the stack has a change set."""
    return bool(clients.cloudformation.list_change_sets(StackName=stack)["Summaries"])


def _request(clients: Clients, spec: StackSpec, deployed: Deployed | None, name: str) -> str:
    role: Any = {"RoleARN": spec.role_arn} if spec.role_arn else {}
    # Tags that others gave the stack (for costs, say) stay.
    tags = {**(deployed.tags if deployed else {}), **spec.tags}
    deadline = time.monotonic() + ROLE_SECONDS
    for pause in pauses(5.0):
        try:
            answer = clients.cloudformation.create_change_set(
                StackName=spec.name,
                ChangeSetName=name,
                ChangeSetType="CREATE" if deployed is None else "UPDATE",
                TemplateBody=spec.template,
                Parameters=stack_parameters(spec, deployed),
                # The templates make roles with fixed names.
                Capabilities=["CAPABILITY_NAMED_IAM"],
                Tags=[{"Key": key, "Value": value} for key, value in sorted(tags.items())],
                **role,
            )
            break
        except Exception as error:
            if _ROLE_UNKNOWN not in str(error) or time.monotonic() >= deadline:
                raise
        time.sleep(pause)
    return answer["Id"]


def _adopt(clients: Clients, spec: StackSpec, deployed: Deployed | None, name: str) -> str:
    # A killed run left it, or another run is making it now. The same name means the same change.
    try:
        described = clients.cloudformation.describe_change_set(StackName=spec.name, ChangeSetName=name)
        if described["Status"].startswith("CREATE_") and described["ExecutionStatus"] in ("AVAILABLE", "UNAVAILABLE"):
            return described["ChangeSetId"]
        delete_change_set(clients, spec.name, name)
        return _request(clients, spec, deployed, name)
    except Exception as error:
        raise _gone_or(error, name) from error


def _gone_or(error: Exception, change_set: str) -> Exception:
    if code_of(error) in ("ChangeSetNotFound", "AlreadyExistsException"):
        return ConflictError(f"Another run plans the same stack with change set {change_set}", change_set=change_set)
    return error


def _wait_for_change_set(clients: Clients, stack: str, arn: str) -> str | None:
    deadline = time.monotonic() + CREATION_SECONDS
    for pause in pauses(2.0):
        try:
            described = clients.cloudformation.describe_change_set(ChangeSetName=arn)
        except Exception as error:
            raise _gone_or(error, arn) from error
        status, reason = described["Status"], described.get("StatusReason", "")
        if status == "CREATE_COMPLETE":
            return arn
        if status == "FAILED":
            delete_change_set(clients, stack, arn)
            if any(text in reason for text in _NO_CHANGES):
                return None
            raise StackError(f"CloudFormation cannot plan stack {stack}: {reason}", stack=stack)
        if time.monotonic() >= deadline:
            break
        time.sleep(pause)
    raise NotReadyError(f"The change set of stack {stack} is still {status}", stack=stack)
