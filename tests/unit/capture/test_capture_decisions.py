"""Decisions of capture without AWS: failures, canaries, hand-offs, problems of the stream."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients
from dynalake.capture.proof.canaries import canaries_in
from dynalake.capture.proof.hand_off import HandOff
from dynalake.capture.source.source import stream_problem
from dynalake.capture.stacks.change_sets import (
    Deployed,
    StackSpec,
    change_set_name,
    create_change_set,
    stack_parameters,
)
from dynalake.capture.stacks.stack_failures import first_failure
from dynalake.capture.stacks.stacks import StackState
from dynalake.errors import ConflictError, StackError
from dynalake.names import Lake

NOW = datetime(2019, 5, 25, 12, tzinfo=UTC)
NAMES = Lake("dev", "1", "eu-west-1").table("RECEIPTS")
SPEC = StackSpec("stack", "template", {"A": "1"}, ("A", "B", "C"), {})


def event(resource: str, status: str, reason: str = "", *, stack: bool = False) -> dict[str, Any]:
    return {
        "StackId": "stack-id",
        "PhysicalResourceId": "stack-id" if stack else resource,
        "LogicalResourceId": resource,
        "ResourceType": "AWS::X",
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
    }


def test_the_first_failure_of_the_last_operation_is_the_cause() -> None:
    newest_first = [
        event("stack", "ROLLBACK_COMPLETE", stack=True),
        event("A", "DELETE_COMPLETE"),
        event("stack", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed: [B, C]", stack=True),
        event("C", "CREATE_FAILED", "Resource creation cancelled"),
        event("D", "CREATE_FAILED", "another, later"),
        event("B", "CREATE_FAILED", "Stream already exists"),
        event("A", "CREATE_COMPLETE"),
        event("stack", "CREATE_IN_PROGRESS", "User Initiated", stack=True),
        event("Z", "CREATE_FAILED", "of an operation before"),
    ]
    failure = first_failure(newest_first)
    assert failure is not None
    assert failure["ResourceStatusReason"] == "Stream already exists"
    assert first_failure([event("stack", "UPDATE_COMPLETE", stack=True)]) is None


@pytest.mark.parametrize(
    ("status", "exists", "settled", "deployed"),
    [
        ("", False, True, False),
        ("REVIEW_IN_PROGRESS", False, True, False),
        ("CREATE_IN_PROGRESS", True, False, False),
        ("CREATE_COMPLETE", True, True, True),
        ("ROLLBACK_IN_PROGRESS", True, False, False),
        ("ROLLBACK_COMPLETE", False, True, False),
        ("UPDATE_COMPLETE", True, True, True),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", True, False, False),
        ("UPDATE_ROLLBACK_COMPLETE", True, True, False),
        ("UPDATE_ROLLBACK_FAILED", True, True, False),
    ],
)
def test_the_states_of_a_stack(status: str, exists: bool, settled: bool, deployed: bool) -> None:
    state = StackState("stack", status)
    assert (state.exists, state.settled, state.deployed) == (exists, settled, deployed)


def test_a_parameter_that_is_not_given_keeps_its_value() -> None:
    assert stack_parameters(SPEC, None) == [{"ParameterKey": "A", "ParameterValue": "1"}]
    # The stack knows X, which the template no longer has, and not C, which is new.
    assert stack_parameters(SPEC, Deployed("1", {"A": "0", "B": "2", "X": "3"})) == [
        {"ParameterKey": "A", "ParameterValue": "1"},
        {"ParameterKey": "B", "UsePreviousValue": True},
    ]


def test_a_change_set_is_named_after_its_action_and_stack() -> None:
    names = {
        change_set_name(SPEC, None, "apply"),
        change_set_name(SPEC, None, "plan"),
        change_set_name(SPEC, Deployed("1", {}), "apply"),
        change_set_name(SPEC, Deployed("2", {}), "apply"),
    }
    assert len(names) == 4
    assert change_set_name(SPEC, None, "plan") in names


class Refusing:
    """A CloudFormation that refuses every change set."""

    def __init__(self, message: str) -> None:
        self.message = message

    def create_change_set(self, **_: Any) -> None:
        raise ClientError({"Error": {"Code": "ValidationError", "Message": self.message}}, "CreateChangeSet")


@pytest.mark.parametrize(
    ("message", "error", "expected"),
    [
        ("Parameters: [Shards] must be a number", StackError, r"refuses stack stack: Parameters: \[Shards\]"),
        ("Stack is in UPDATE_IN_PROGRESS state and can not be updated", ConflictError, "being changed"),
    ],
)
def test_a_refusal_by_cloudformation_is_explained(message: str, error: type[Exception], expected: str) -> None:
    clients = Clients(lambda _: Refusing(message))
    with pytest.raises(error, match=expected):
        create_change_set(clients, SPEC, None, purpose="apply")


CANARY = json.dumps({"__operation": "CANARY", "__canary_id": "run-1/0"})
INSERT = json.dumps({"__operation": "INSERT", "id": "run-1/0", "__canary_id": "run-1/0"})


@pytest.mark.parametrize("compress", [gzip.compress, bytes])
@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([INSERT, CANARY], ["run-1/0"]),
        ([CANARY, CANARY.replace("/0", "/7")], ["run-1/0", "run-1/7"]),
        ([INSERT, INSERT], []),
        ([], []),
        ([CANARY.replace("run-1", "run-10")], []),
    ],
)
def test_a_canary_is_distinguished_from_an_item_with_its_id(compress: Any, lines: list[str], found: list[str]) -> None:
    body = io.BytesIO(compress("".join(f"{line}\n" for line in lines).encode()))
    assert canaries_in(body, "run-1") == found


ODD = {
    "an endless line": b"run-1/0 " * 400_000,
    "not JSON": b"{run-1/0\n",
    "another shape": b'["run-1/0"]\n"run-1/0"\n',
    "deep": b"[" * 200_000 + b'"run-1/0"\n',
}


@pytest.mark.parametrize("odd", ODD)
def test_objects_of_others_in_the_raw_zone_do_not_end_the_search(odd: str) -> None:
    """A line of any length is read in pieces, and an unreadable object has no canary."""
    packed = gzip.compress(ODD[odd])
    for body in (ODD[odd], packed, packed[:-9], packed[:20], packed[:-8] + bytes(8)):
        assert canaries_in(io.BytesIO(body), "run-1") == []
    assert canaries_in(io.BytesIO(gzip.compress(ODD[odd] + f"\n{CANARY}\n".encode())), "run-1") == ["run-1/0"]


def test_a_hand_off_reads_back() -> None:
    hand_off = HandOff("T", "uuid", NOW.replace(microsecond=123000))
    assert HandOff.from_json(hand_off.to_json()) == hand_off


@pytest.mark.parametrize(
    ("stream", "problem"),
    [
        (None, "is off"),
        ({"StreamEnabled": False}, "is off"),
        ({"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}, "view type KEYS_ONLY"),
        ({"StreamEnabled": True, "StreamViewType": "OLD_IMAGE"}, "view type OLD_IMAGE"),
        ({"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}, None),
        ({"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}, None),
    ],
)
def test_which_streams_can_be_captured(stream: dict[str, Any] | None, problem: str | None) -> None:
    description = cast("dict[str, Any]", {} if stream is None else {"StreamSpecification": stream})
    text = stream_problem("T", description)
    assert (problem is None and text is None) or (problem is not None and problem in str(text))
