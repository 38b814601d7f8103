"""CloudFormation stacks: planned and deployed by change sets, waited for, and their failures explained.

A deployment is `begin_stack`, then `stack_state` until it is settled, then `end_stack`; `apply_stack` does all three.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks-changesets.html
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dynalake.aws.answers import code_of
from dynalake.aws.clients import Clients
from dynalake.capture.stacks.change_sets import (
    FIRST_PAUSE,
    Change,
    Deployed,
    StackSpec,
    create_change_set,
    delete_change_set,
    execute_change_set,
    has_change_sets,
    list_changes,
    pauses,
)
from dynalake.capture.stacks.stack_failures import explain_failure
from dynalake.errors import ConflictError, NotReadyError

__all__ = [
    "Change",
    "StackOutputs",
    "StackPlan",
    "StackSpec",
    "StackState",
    "apply_stack",
    "begin_stack",
    "end_stack",
    "plan_stack",
    "stack_outputs",
    "stack_state",
    "wait_until_settled",
]

StackOutputs = Mapping[str, str]
"""A stack's outputs, by name."""

WAIT_SECONDS = 1800.0

logger = logging.getLogger(__name__)

# A stack whose creation failed can only be deleted; nothing in it was ever used.
_NEVER_CREATED = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED")

# Only a person can decide about these.
_STUCK = ("UPDATE_ROLLBACK_FAILED", "DELETE_FAILED")


@dataclass(frozen=True)
class StackState:
    """A stack as CloudFormation describes it; `status` is empty where there is none."""

    name: str
    status: str = ""
    reason: str = ""
    version: str = ""
    """A text that every operation on the stack changes."""
    outputs: StackOutputs = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        """Whether there is a stack to update. One under review has only a change set."""
        return self.status not in ("", "REVIEW_IN_PROGRESS", "DELETE_COMPLETE", *_NEVER_CREATED)

    @property
    def settled(self) -> bool:
        """Whether no operation is going on."""
        return self.status == "REVIEW_IN_PROGRESS" or not self.status.endswith("_IN_PROGRESS")

    @property
    def deployed(self) -> bool:
        """Whether its last operation succeeded."""
        return self.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")


@dataclass(frozen=True)
class StackPlan:
    """The changes of a deployment; no changes is a normal result."""

    name: str
    creates: bool
    """Whether the stack itself is new."""
    changes: tuple[Change, ...] = ()


def stack_state(clients: Clients, name: str) -> StackState:
    """Return the stack's state now, by one call, for callers that wait in their own way."""
    try:
        stack = clients.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except Exception as error:
        if code_of(error) == "ValidationError" and "does not exist" in str(error):
            return StackState(name)
        raise
    return StackState(
        name,
        status=stack["StackStatus"],
        reason=stack.get("StackStatusReason", ""),
        version=f"{stack['StackId']} {stack.get('LastUpdatedTime', '')}",
        outputs={o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])},
        parameters={p["ParameterKey"]: p.get("ParameterValue", "") for p in stack.get("Parameters", [])},
        tags={tag["Key"]: tag["Value"] for tag in stack.get("Tags", [])},
    )


def stack_outputs(clients: Clients, name: str) -> StackOutputs | None:
    """Return the outputs of an existing stack; None where there is none."""
    state = stack_state(clients, name)
    return state.outputs if state.exists else None


def plan_stack(clients: Clients, spec: StackSpec, *, seconds: float = WAIT_SECONDS) -> StackPlan:
    """Return what `apply_stack` would change. Deploy nothing, and leave nothing behind."""
    state = wait_until_settled(clients, spec.name, seconds)
    _check_usable(clients, state)
    if state.status in _NEVER_CREATED:
        # No change set can be made for it; a deployment would delete it and create it again.
        return StackPlan(spec.name, creates=True)
    change_set = create_change_set(clients, spec, _deployed(state), purpose="plan")
    if change_set is None:
        return StackPlan(spec.name, creates=False)
    changes = list_changes(clients, change_set)
    delete_change_set(clients, spec.name, change_set)
    if stack_state(clients, spec.name).status == "REVIEW_IN_PROGRESS" and not has_change_sets(clients, spec.name):
        clients.cloudformation.delete_stack(StackName=spec.name)
    return StackPlan(spec.name, creates=not state.exists, changes=changes)


def apply_stack(clients: Clients, spec: StackSpec, *, seconds: float = WAIT_SECONDS) -> StackOutputs:
    """Create or update the stack, wait for it, and return its outputs. Change nothing that is as it should be.

    Raises `StackError` where CloudFormation cannot deploy it, with the failing resource and AWS's reason;
    `NotReadyError` where it, or another operation on the stack, takes longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            begun = begin_stack(clients, spec, seconds=deadline - time.monotonic())
        except ConflictError:
            # Another run deploys the same stack; after it, there is less to do or nothing.
            if spec.version is not None or time.monotonic() >= deadline:
                raise
            time.sleep(FIRST_PAUSE)
            continue
        if not begun:
            # This holds after a failed update too: CloudFormation went back to what is requested here.
            return stack_state(clients, spec.name).outputs
        wait_until_settled(clients, spec.name, deadline - time.monotonic())
        return end_stack(clients, spec.name)


def begin_stack(clients: Clients, spec: StackSpec, *, seconds: float = WAIT_SECONDS) -> bool:
    """Start creating or updating the stack. Return False where nothing has to change.

    It waits for a running operation, and first deletes what a failed creation left. Raises `ConflictError`
    where another run started to deploy the stack in the meantime, or did so since the spec was decided on.
    """
    deadline = time.monotonic() + seconds
    state = wait_until_settled(clients, spec.name, seconds)
    _check_usable(clients, state)
    if state.status in _NEVER_CREATED:
        logger.warning("Stack %s is %s and is made again. Reason: %s", spec.name, state.status, state.reason)
        clients.cloudformation.delete_stack(StackName=spec.name)
        state = wait_until_settled(clients, spec.name, deadline - time.monotonic())
        if state.status == "DELETE_FAILED":
            raise explain_failure(clients, spec.name, state.status, state.reason)
    _check_version(spec, state)
    change_set = create_change_set(clients, spec, _deployed(state), purpose="apply")
    if change_set is not None and spec.version is not None:
        # From here on CloudFormation checks it: a stack that changes loses its change sets.
        _check_version(spec, stack_state(clients, spec.name))
    if change_set is None:
        logger.info("Stack %s is up to date", spec.name)
        return False
    for change in list_changes(clients, change_set):
        logger.info("Stack %s: %s", spec.name, change)
    execute_change_set(clients, spec.name, change_set)
    return True


def end_stack(clients: Clients, name: str) -> StackOutputs:
    """Return the outputs of a stack whose operation is over. Raise `StackError` with the reason where it failed."""
    state = stack_state(clients, name)
    if not state.settled:
        raise NotReadyError(f"Stack {name} is {state.status}", allowed="a stack that is settled", stack=name)
    if not state.deployed:
        raise explain_failure(clients, name, state.status, state.reason)
    return state.outputs


def _deployed(state: StackState) -> Deployed | None:
    return Deployed(state.version, state.parameters, state.tags) if state.exists else None


def _check_version(spec: StackSpec, state: StackState) -> None:
    current = state.version if state.exists else ""
    if spec.version is not None and spec.version != current:
        raise ConflictError(
            f"Another run has changed stack {spec.name} in the meantime",
            action="wait: the task is tried again on the stack as it is now",
            stack=spec.name,
        )


def _check_usable(clients: Clients, state: StackState) -> None:
    if state.status in _STUCK:
        raise explain_failure(clients, state.name, state.status, state.reason)


def wait_until_settled(
    clients: Clients, name: str, seconds: float, sleep: Callable[[float], None] = time.sleep
) -> StackState:
    """Return the stack once no operation is going on. Raise `NotReadyError` where it takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    for pause in pauses(5.0):
        state = stack_state(clients, name)
        if state.settled:
            return state
        if time.monotonic() >= deadline:
            break
        sleep(pause)
    raise NotReadyError(
        f"Stack {name} is still {state.status} after {seconds:.0f} seconds",
        allowed="a stack with no operation going on",
        action="wait: it is tried again. If it goes on, check the stack's events",
        stack=name,
    )
