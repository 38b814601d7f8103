"""Change sets wait for a new role, and polls are far enough apart for AWS's limits."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients
from dynalake.capture.stacks import change_sets
from dynalake.capture.stacks.change_sets import StackSpec, create_change_set, pauses
from dynalake.errors import StackError

ROLE = "arn:aws:iam::123456789012:role/new"
SPEC = StackSpec("lake-storage", "template", {}, (), {}, ROLE)


class CloudFormation:
    """Refuses the role that many times."""

    def __init__(self, times: int, message: str = f"Role {ROLE} is invalid or cannot be assumed") -> None:
        self.left, self.message = times, message

    def create_change_set(self, RoleARN: str, **_: Any) -> Any:
        assert RoleARN == ROLE
        self.left -= 1
        if self.left >= 0:
            raise ClientError({"Error": {"Code": "ValidationError", "Message": self.message}}, "CreateChangeSet")
        return {"Id": "change-set"}

    def describe_change_set(self, **_: Any) -> Any:
        return {"Status": "CREATE_COMPLETE"}


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("dynalake.capture.stacks.change_sets.time.sleep", slept.append)
    return slept


def test_a_change_set_waits_for_a_new_role(waits: list[float]) -> None:
    cloudformation = CloudFormation(3)
    assert create_change_set(Clients(lambda _: cloudformation), SPEC, None, purpose="apply") == "change-set"
    assert len(waits) == 3


def test_a_role_that_stays_unknown_is_reported(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_sets, "ROLE_SECONDS", 0.0)
    cloudformation = CloudFormation(1)
    with pytest.raises(StackError, match=rf"Role {ROLE} is invalid.*a role that exists and that cloudformation"):
        create_change_set(Clients(lambda _: cloudformation), SPEC, None, purpose="apply")
    assert waits == []


def test_other_refusals_are_raised_at_once(waits: list[float]) -> None:
    cloudformation = CloudFormation(1, "Parameters: [Size] must have values")
    with pytest.raises(StackError, match="correct the parameter"):
        create_change_set(Clients(lambda _: cloudformation), SPEC, None, purpose="apply")
    assert (waits, cloudformation.left) == ([], 0)


@pytest.mark.parametrize("longest", [2.0, 5.0])
def test_polls_become_less_frequent(longest: float) -> None:
    first = list(islice(pauses(longest), 20))
    assert first[0] < 1 < first[-1] == longest
    assert first == sorted(first)
