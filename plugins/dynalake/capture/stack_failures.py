"""Why a stack's last operation failed: the first resource that failed by itself, and AWS's own reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dynalake.clients import Clients
from dynalake.errors import StackError

# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
_STARTS = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "REVIEW_IN_PROGRESS")


def explain_failure(clients: Clients, stack: str, status: str, reason: str) -> StackError:
    """The error for a stack whose last operation failed."""
    pages = clients.cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack)
    event = first_failure(event for page in pages for event in page["StackEvents"])
    if event is None:
        return StackError(f"Stack {stack} is {status}: {reason or 'CloudFormation gives no reason'}", stack=stack)
    return StackError(
        f"Stack {stack} is {status}, because {event['LogicalResourceId']} ({event['ResourceType']}) failed: "
        f"{event.get('ResourceStatusReason', 'AWS gives no reason')}",
        action="remove the cause and trigger the DAG again; what was deployed before is as it was",
        stack=stack,
        resource=event["LogicalResourceId"],
    )


def first_failure(newest_first: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The event that made the last operation fail; None where there is none.

    Resources that CloudFormation cancelled because another failed are no cause. Events before the last operation's
    start are another operation's.
    """
    found: Mapping[str, Any] | None = None
    for event in newest_first:
        status = event.get("ResourceStatus", "")
        is_stack = event.get("PhysicalResourceId") == event.get("StackId")
        if is_stack and status in _STARTS:
            break
        cancelled = "cancelled" in event.get("ResourceStatusReason", "").lower()
        if status.endswith("_FAILED") and not is_stack and not cancelled:
            found = event
    return found
