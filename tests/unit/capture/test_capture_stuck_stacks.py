"""Stacks that are stuck: the error names the resource, AWS's reason and the command. Local AWS never gets there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients
from dynalake.capture.stacks.change_sets import StackSpec
from dynalake.capture.stacks.stacks import apply_stack, begin_stack, end_stack, plan_stack
from dynalake.errors import ConflictError, StackError

SPEC = StackSpec("lake-table", "template", {"A": "1"}, ("A",), {})
CONTINUE = "aws cloudformation continue-update-rollback --stack-name lake-table"
DELETE = "aws cloudformation delete-stack --stack-name lake-table"

Event = Mapping[str, str]


def event(resource: str, status: str, reason: str = "") -> Event:
    return {
        "StackId": "stack-id",
        "PhysicalResourceId": "stack-id" if resource == "lake-table" else resource,
        "LogicalResourceId": resource,
        "ResourceType": "AWS::CloudFormation::Stack" if resource == "lake-table" else f"AWS::Test::{resource}",
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
    }


# Newest first, as CloudFormation lists them.
UPDATE: tuple[Event, ...] = (
    event("lake-table", "UPDATE_ROLLBACK_IN_PROGRESS", "The following resource(s) failed to update: [Stream]"),
    event("Mapping", "UPDATE_FAILED", "Resource update cancelled"),
    event("Stream", "UPDATE_FAILED", "Too many shards"),
    event("lake-table", "UPDATE_IN_PROGRESS", "User Initiated"),
    event("Bucket", "CREATE_FAILED", "of an operation before"),
)
STUCK: tuple[Event, ...] = (
    event("lake-table", "UPDATE_ROLLBACK_FAILED", "The following resource(s) failed to update: [Settings]"),
    event("Mapping", "UPDATE_FAILED", "Resource update cancelled"),
    event("Settings", "UPDATE_FAILED", "Parameter not found"),
    *UPDATE,
)
# Somebody continued the rollback, which is now stuck on another resource.
STUCK_AGAIN: tuple[Event, ...] = (
    event("lake-table", "UPDATE_ROLLBACK_FAILED", "The following resource(s) failed to update: [Role]"),
    event("Role", "UPDATE_FAILED", "Access denied"),
    event("lake-table", "UPDATE_ROLLBACK_IN_PROGRESS", "User Initiated"),
    *STUCK,
)
UNDELETED: tuple[Event, ...] = (
    event("lake-table", "DELETE_FAILED", "The following resource(s) failed to delete: [Database]"),
    event("Database", "DELETE_FAILED", "Database is not empty"),
    event("lake-table", "DELETE_IN_PROGRESS", "User Initiated"),
    *UPDATE,
)


@dataclass
class CloudFormation:
    """One stack and the requests for it. A deletion and an execution end in the given statuses."""

    status: str
    events: Sequence[Event] = ()
    after_deletion: str = ""
    calls: list[str] = field(default_factory=list)

    def describe_stacks(self, StackName: str) -> Any:
        if not self.status:
            message = f"Stack with id {StackName} does not exist"
            raise ClientError({"Error": {"Code": "ValidationError", "Message": message}}, "DescribeStacks")
        stack = {"StackId": "stack-id", "StackStatus": self.status, "StackStatusReason": "the stack's own reason"}
        return {"Stacks": [{**stack, "Outputs": [{"OutputKey": "Name", "OutputValue": "made"}]}]}

    def delete_stack(self, StackName: str) -> None:
        self.calls.append(f"delete {StackName}")
        self.status = self.after_deletion

    def create_change_set(self, ChangeSetType: str, **_: Any) -> Any:
        self.calls.append(ChangeSetType)
        return {"Id": "change-set"}

    def describe_change_set(self, **_: Any) -> Any:
        return {"Status": "CREATE_COMPLETE"}

    def execute_change_set(self, **_: Any) -> None:
        self.calls.append("execute")
        self.status = "CREATE_COMPLETE"

    def get_paginator(self, operation: str) -> CloudFormation:
        self.paginated = operation
        return self

    def paginate(self, **_: Any) -> Iterator[Any]:
        # One event a page: the cause is on another page than the newest event.
        if self.paginated == "describe_stack_events":
            yield from ({"StackEvents": [event]} for event in self.events)


def clients_of(cloudformation: CloudFormation) -> Clients:
    return Clients(lambda _: cloudformation)


ASKED: list[Callable[[Clients], Any]] = [
    lambda clients: plan_stack(clients, SPEC),
    lambda clients: begin_stack(clients, SPEC),
    lambda clients: apply_stack(clients, SPEC),
    lambda clients: end_stack(clients, SPEC.name),
]


@pytest.mark.parametrize("ask", ASKED, ids=["plan", "begin", "apply", "end"])
@pytest.mark.parametrize(
    ("status", "events", "resource", "reason", "command"),
    [
        ("UPDATE_ROLLBACK_FAILED", STUCK, "Settings", "Parameter not found", CONTINUE),
        ("UPDATE_ROLLBACK_FAILED", STUCK_AGAIN, "Role", "Access denied", CONTINUE),
        ("DELETE_FAILED", UNDELETED, "Database", "Database is not empty", DELETE),
    ],
)
def test_a_stuck_stack_is_explained_and_left_alone(
    ask: Callable[[Clients], Any], status: str, events: Sequence[Event], resource: str, reason: str, command: str
) -> None:
    cloudformation = CloudFormation(status, events)
    with pytest.raises(StackError) as caught:
        ask(clients_of(cloudformation))
    message = str(caught.value)
    assert f"Stack lake-table is {status}, because {resource} (AWS::Test::{resource}) failed: {reason}." in message
    assert command in message
    assert ("--resources-to-skip " + resource in message) is (command == CONTINUE)
    # It neither says that nothing has changed, nor names something that is not the cause.
    assert "as it was" not in message
    assert "Stream" not in message
    assert caught.value.ids == {"stack": "lake-table", "resource": resource}
    assert cloudformation.calls == []


@pytest.mark.parametrize(("status", "command"), [("UPDATE_ROLLBACK_FAILED", CONTINUE), ("DELETE_FAILED", DELETE)])
def test_a_stuck_stack_without_telling_events_shows_its_own_reason(status: str, command: str) -> None:
    with pytest.raises(StackError, match="the stack's own reason") as caught:
        begin_stack(clients_of(CloudFormation(status)), SPEC)
    assert command in str(caught.value)


def test_a_completed_rollback_names_its_cause() -> None:
    rolled_back = (event("lake-table", "UPDATE_ROLLBACK_COMPLETE"), *UPDATE)
    with pytest.raises(
        StackError, match=r"because Stream .*Too many shards.*trigger the DAG again.*is unchanged"
    ) as caught:
        end_stack(clients_of(CloudFormation("UPDATE_ROLLBACK_COMPLETE", rolled_back)), SPEC.name)
    assert "continue-update-rollback" not in str(caught.value)


@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"])
def test_a_stack_that_was_never_created_is_deleted_and_created_again(status: str) -> None:
    cloudformation = CloudFormation(status)
    assert apply_stack(clients_of(cloudformation), SPEC) == {"Name": "made"}
    assert cloudformation.calls == ["delete lake-table", "CREATE", "execute"]
    # A plan says so and does nothing.
    cloudformation = CloudFormation(status)
    assert plan_stack(clients_of(cloudformation), SPEC).creates
    assert cloudformation.calls == []


def test_an_error_explains_a_stack_that_cannot_be_deleted_first() -> None:
    cloudformation = CloudFormation("ROLLBACK_COMPLETE", UNDELETED, after_deletion="DELETE_FAILED")
    with pytest.raises(StackError, match=r"because Database .*Database is not empty") as caught:
        apply_stack(clients_of(cloudformation), SPEC)
    assert DELETE in str(caught.value)
    assert cloudformation.calls == ["delete lake-table"]


class Overtaken(CloudFormation):
    """Another run deploys the stack while a change set is made for it."""

    def describe_stacks(self, StackName: str) -> Any:
        answer = super().describe_stacks(StackName)
        answer["Stacks"][0]["LastUpdatedTime"] = "later" if self.calls else "now"
        return answer


def test_a_decision_on_another_version_is_not_deployed() -> None:
    for version in ("", "another stack "):
        cloudformation = CloudFormation("UPDATE_COMPLETE")
        with pytest.raises(ConflictError, match="Another run has changed stack lake-table"):
            apply_stack(clients_of(cloudformation), replace(SPEC, version=version))
        assert cloudformation.calls == []
    cloudformation = Overtaken("UPDATE_COMPLETE")
    with pytest.raises(ConflictError, match="Another run has changed stack lake-table"):
        apply_stack(clients_of(cloudformation), replace(SPEC, version="stack-id now"))
    assert cloudformation.calls == ["UPDATE"], "planned, and not executed"
    cloudformation = CloudFormation("UPDATE_COMPLETE")
    apply_stack(clients_of(cloudformation), replace(SPEC, version="stack-id "))
    assert cloudformation.calls == ["UPDATE", "execute"]
