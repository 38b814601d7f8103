"""Workers for the parts of a table's work: this process, one by one, or many at the same time (`spark/`).

The process that hands out the parts plans before and commits afterwards, by the same code. Work and parts go to other
processes by pickle, so they are functions of modules and plain values; the clients in them are made again there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """The outcome of a part: a value, or the error that it has raised."""

    value: R | None = None
    error: Exception | None = None

    def get(self) -> R:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # R itself may be optional


def attempt(work: Callable[[T], R], part: T) -> Outcome[R]:
    """Do a part. Return any error: it is this part's, and the others go on."""
    try:
        return Outcome(work(part))
    except Exception as error:
        return Outcome(error=error)


class Workers(ABC):
    """Workers. `at_once`: how many parts are worth handing out together. `part_bytes`: larger parts should be cut."""

    @property
    @abstractmethod
    def at_once(self) -> int: ...

    @property
    @abstractmethod
    def part_bytes(self) -> int: ...

    @abstractmethod
    def attempt_each(self, work: Callable[[T], R], parts: Iterable[T]) -> Iterator[Outcome[R]]:
        """Yield the outcome of each part, in their order: none of them stops the others."""

    def each(self, work: Callable[[T], R], parts: Iterable[T]) -> Iterator[R]:
        """Yield the result of `work` for each part, in their order; raise what it raises."""
        return (outcome.get() for outcome in self.attempt_each(work, parts))


class _Here(Workers):
    """This process: it takes a part when the result of the one before has been taken."""

    at_once = 1
    part_bytes = 1 << 62

    def attempt_each(self, work: Callable[[T], R], parts: Iterable[T]) -> Iterator[Outcome[R]]:
        return map(partial(attempt, work), parts)


HERE: Workers = _Here()
