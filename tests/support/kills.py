"""Kills, and what others do, before any call to AWS of a run in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from botocore.exceptions import ReadTimeoutError

from dynalake.errors import ConflictError, UnknownOutcomeError
from tests.support.memory.receipts import Receipts
from tests.support.sweep import played

Act = Callable[[Receipts], Callable[[str, dict[str, Any]], Any]]
"""What happens before a call to a lake: it gets the call and its request."""


class Killed(BaseException):
    """The process of a run is gone."""


class Lake(Protocol):
    """A lake in memory, whose clients report each call by `on_call` before they answer."""

    @property
    def s3(self) -> Any: ...

    @property
    def glue(self) -> Any: ...


L = TypeVar("L", bound=Lake)


def kill(call: str, request: dict[str, Any]) -> None:
    raise Killed


def is_write(call: str) -> bool:
    """Return whether a call changes something. A kill before a reading is a kill before the next of these calls."""
    return not call.rpartition(".")[2].startswith(("get", "list", "head"))


def is_change(call: str) -> bool:
    """Return whether a call changes what readers see: a new object is seen by nobody before Glue names it."""
    return is_write(call) and not call.endswith("put_object")


def meets_others(call: str) -> bool:
    """Return whether it matters if others act before a call or after it. Nobody else sees or writes a new object."""
    return not call.endswith("put_object")


@contextmanager
def killed_before(lake: Lake, number: int | None) -> Iterator[list[str]]:
    """Kill the block before its call with that number (from 0) that writes, and before any later call. None: never.

    Yield the names of the calls that write, which ends with those that were refused.
    """
    writes: list[str] = []

    def on_call(service: str, call: str, request: dict[str, Any]) -> None:
        if is_write(call):
            writes.append(f"{service}.{call}")
        if number is not None and len(writes) > number:
            raise Killed

    lake.s3.on_call = lake.glue.on_call = on_call
    try:
        yield writes
    except Killed:
        pass
    finally:
        lake.s3.on_call = lake.glue.on_call = lambda *_: None


def killed_anywhere(make: Callable[[], L], run: Callable[[L], Any], *, above: int, every: int = 1) -> Iterator[L]:
    """Yield lakes whose run was killed: before its first call that writes, the next, … in the session's share of them.

    `above`: a run has more calls than that. `every`: plays every n-th of the share, where a run is slow.
    """
    whole = make()
    with killed_before(whole, None) as writes:
        run(whole)
    assert len(writes) > above
    for number in played(range(len(writes)), every=every):
        lake = make()
        with killed_before(lake, number):
            run(lake)
        yield lake


def calls_of(lake: Receipts, run: Callable[[Receipts], Any]) -> list[str]:
    """Return the calls of a run on a copy of a lake."""
    copy = lake.copy()
    with copy.at_call(0, kill) as calls:
        run(copy)
    return calls


def disturbed(
    first: Receipts,
    run: Callable[[Receipts], Any],
    act: Act,
    chosen: Callable[[str], bool],
    *,
    above: int,
    every: int = 1,
) -> Iterator[tuple[Receipts, int, bool]]:
    """Run on copies of a lake, with an event before one of the chosen calls each time, in the session's share of them.

    `above`: more calls than that are chosen. `every`: plays every n-th of the share, where a run is slow.
    Yield each copy, the call's number, and whether the run succeeded; once more after late calls have landed.
    """
    numbers = [number for number, call in enumerate(calls_of(first, run), 1) if chosen(call)]
    assert len(numbers) > above
    for number in played(numbers, every=every):
        lake, succeeded = first.copy(), False
        with suppress(Killed, ConflictError, UnknownOutcomeError, ReadTimeoutError), lake.at_call(number, act(lake)):
            run(lake)
            succeeded = True
        yield lake, number, succeeded
        if lake.glue.late:
            lake.land()
            yield lake, number, succeeded
