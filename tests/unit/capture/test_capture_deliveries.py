"""The deliveries of a table under any concurrent runs, killed anywhere: changes go only to proven deliveries, and none
is removed that may still have changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dynalake.capture.stacks.deliveries import NONE, Deliveries, deployed, prepared, started, without_former
from dynalake.capture.stacks.stacks import StackState
from dynalake.errors import ConflictError
from dynalake.options.settings import TableSettings

WANTED = st.sampled_from(("kinesis", "direct"))


def settings(delivery: str) -> TableSettings:
    return TableSettings("RECEIPTS", delivery=delivery)


class Captured(RuleBasedStateMachine):
    """A stack, and runs that do their steps in any order: each reads the stack, decides, and deploys on that version.

    CloudFormation refuses a decision on another version. A proof is for streams that are created once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stack: Deliveries | None = None
        self.made: dict[str, int] = {}
        """Creation times of the streams of each existing delivery."""
        self.clock = 0
        self.proven: dict[str, int] = {}
        """The creation times of the streams that a run has proven last."""
        self.used: set[str] = set()
        """Deliveries that may hold changes."""
        self.found_empty = ""
        """The version of the stack on which a run has found the abandoned delivery empty."""

    def deploy(self, deliveries: Deliveries) -> None:
        before = self.stack
        self.clock += 1
        self.stack = replace(deliveries, version=str(self.clock))
        for delivery in self.stack.all:
            self.made.setdefault(delivery, self.clock)
        for delivery in set(before.all if before else ()) - set(self.stack.all):
            assert delivery not in self.used, "a delivery that may hold changes was removed"
            del self.made[delivery]
        if self.stack.reading:
            assert self.proven.get(self.stack.used) == self.made[self.stack.used], "changes go to an unproven delivery"
            self.used.add(self.stack.used)

    @rule(delivery=WANTED)
    def prepare(self, delivery: str) -> None:
        self.deploy(prepared(self.stack, settings(delivery)))

    @rule(delivery=WANTED)
    def prove(self, delivery: str) -> None:
        if delivery in self.made:
            self.proven[delivery] = self.made[delivery]

    @rule(delivery=WANTED)
    def start(self, delivery: str) -> None:
        try:
            deliveries = started(self.stack, settings(delivery))
        except ConflictError:
            assert delivery not in self.made
            return
        if self.proven.get(delivery) == self.made[delivery]:
            self.deploy(deliveries)

    @precondition(lambda self: self.stack is not None and self.stack.former is not None)
    @rule()
    def find_former_empty(self) -> None:
        assert self.stack is not None
        assert self.stack.former is not None
        self.used.discard(self.stack.former)
        self.found_empty = self.stack.version

    @precondition(lambda self: self.stack is not None and self.stack.former is not None)
    @rule()
    def remove_former(self) -> None:
        assert self.stack is not None
        if self.stack.version == self.found_empty:
            self.deploy(without_former(self.stack))

    @invariant()
    def the_forwarder_follows_what_is_used(self) -> None:
        if self.stack is not None:
            assert TableSettings.from_json(self.stack.settings_json).delivery == self.stack.used


TestCaptured = Captured.TestCase


def test_the_deliveries_of_a_stack_are_read_from_its_parameters() -> None:
    assert deployed(StackState("s", "REVIEW_IN_PROGRESS")) is None
    has = {"Delivery": "direct", "Beside": NONE, "MappingEnabled": "false", "SettingsJson": "{}"}
    state = StackState("s", "UPDATE_ROLLBACK_COMPLETE", version="v", parameters=has)
    assert deployed(state) == Deliveries("direct", NONE, reading=False, settings_json="{}", version="v")
    assert deployed(state).former is None  # type: ignore[union-attr]


def test_a_repeated_step_changes_nothing() -> None:
    now: Any = prepared(None, settings("kinesis"))
    for step in (prepared, started):
        now = step(now, settings("direct"))
        assert step(now, settings("direct")) == now
    assert (now.used, now.former, now.reading) == ("direct", "kinesis", True)
    assert prepared(now, settings("direct")) == now
