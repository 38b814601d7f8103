"""The reason why a stack's last operation failed: the first resource that failed by itself, and AWS's text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dynalake.aws.clients import Clients
from dynalake.errors import StackError

# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
_STARTS = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "REVIEW_IN_PROGRESS")


def explain_failure(clients: Clients, stack: str, status: str, reason: str) -> StackError:
    """Return the error for a stack whose last operation failed: the resource, AWS's reason, and what to run."""
    pages = clients.cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack)
    events = (event for page in pages for event in page["StackEvents"])
    # Where a rollback is stuck, the resource that blocks it is the cause, not the one that made it roll back.
    event = first_failure(events, of_rollback=status == "UPDATE_ROLLBACK_FAILED")
    if event is None:
        return StackError(
            f"Stack {stack} is {status}: {reason or 'CloudFormation gives no reason'}",
            action=_what_to_do(stack, status),
            stack=stack,
        )
    resource = event["LogicalResourceId"]
    return StackError(
        f"Stack {stack} is {status}, because {resource} ({event['ResourceType']}) failed: "
        f"{event.get('ResourceStatusReason', 'AWS gives no reason')}",
        action=_what_to_do(stack, status, resource),
        stack=stack,
        resource=resource,
    )


def _what_to_do(stack: str, status: str, resource: str = "") -> str:
    if status == "UPDATE_ROLLBACK_FAILED":
        skipped = resource or "and its name"
        return (
            "remove the cause, then run: aws cloudformation continue-update-rollback --stack-name "
            f"{stack} (with --resources-to-skip {skipped} where it cannot be restored), then trigger the DAG again"
        )
    if status == "DELETE_FAILED":
        return (
            "remove the cause, then finish deleting it: aws cloudformation delete-stack --stack-name "
            f"{stack}, then trigger the DAG again"
        )
    return "remove the cause and trigger the DAG again; the earlier deployment is unchanged" if resource else ""


def first_failure(newest_first: Iterable[Mapping[str, Any]], *, of_rollback: bool = False) -> Mapping[str, Any] | None:
    """Return the event that made the last operation, or its last rollback, fail; None where there is none.

    Resources that CloudFormation cancelled because another failed are not the cause. Events before the last operation's
    start are another operation's.
    """
    starts = (*_STARTS, "UPDATE_ROLLBACK_IN_PROGRESS") if of_rollback else _STARTS
    failure: Mapping[str, Any] | None = None
    for event in newest_first:
        status = event.get("ResourceStatus", "")
        is_stack = event.get("PhysicalResourceId") == event.get("StackId")
        if is_stack and status in starts:
            break
        cancelled = "cancelled" in event.get("ResourceStatusReason", "").lower()
        if status.endswith("_FAILED") and not is_stack and not cancelled:
            failure = event
    return failure
