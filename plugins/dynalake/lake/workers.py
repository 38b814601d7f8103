"""Who does the parts of a table's work: this process, one after the other, or many at the same time (`spark/`).

Whoever hands out the parts plans before and commits afterwards, by the same code. Work and parts go to other processes
by pickle, so they are functions of modules and plain values; the clients in them are made again there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Workers(Protocol):
    """`at_once`: how many parts are worth handing out together. `part_bytes`: what is larger is better cut."""

    @property
    def at_once(self) -> int: ...

    @property
    def part_bytes(self) -> int: ...

    def each(self, work: Callable[[T], R], parts: Iterable[T]) -> Iterator[R]:
        """Return what `work` gives for each part, in their order; raises what it raises."""
        ...


class _Here:
    """This process: a part is taken when the result of the one before has been taken."""

    at_once = 1
    part_bytes = 1 << 62

    def each(self, work: Callable[[T], R], parts: Iterable[T]) -> Iterator[R]:
        return map(work, parts)


HERE: Workers = _Here()


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What a part has come to: a value, or the error that it has raised."""

    value: R | None = None
    error: Exception | None = None

    def get(self) -> R:
        """Return the value. Raises the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # R itself may be optional


def attempt(work: Callable[[T], R], part: T) -> Outcome[R]:
    """Do a part. An error, whatever it is, is returned: it is this part's, and the others go on."""
    try:
        return Outcome(work(part))
    except Exception as error:
        return Outcome(error=error)


def attempt_each(workers: Workers, work: Callable[[T], R], parts: Iterable[T]) -> Iterator[Outcome[R]]:
    """Do parts of which none stops the others."""
    done: Callable[[T], Outcome[R]] = partial(attempt, work)
    return workers.each(done, parts)
