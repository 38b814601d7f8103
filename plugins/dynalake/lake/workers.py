"""Who does the parts of a table's work: this process, one after the other, or many at the same time (`spark/`).

Whoever hands out the parts plans before and commits afterwards, by the same code. Work and parts go to other processes
by pickle, so they are functions of modules and plain values; the clients in them are made again there.
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


class Workers(ABC):
    """`at_once`: how many parts are worth handing out together. `part_bytes`: what is larger is better cut."""

    @property
    @abstractmethod
    def at_once(self) -> int: ...

    @property
    @abstractmethod
    def part_bytes(self) -> int: ...

    @abstractmethod
    def attempt_each(self, work: Callable[[T], R], parts: Iterable[T]) -> Iterator[Outcome[R]]:
        """Return what becomes of each part, in their order: none of them stops the others."""

    def each(self, work: Callable[[T], R], parts: Iterable[T]) -> Iterator[R]:
        """Return what `work` gives for each part, in their order; raises what it raises."""
        return (outcome.get() for outcome in self.attempt_each(work, parts))


class _Here(Workers):
    """This process: a part is taken when the result of the one before has been taken."""

    at_once = 1
    part_bytes = 1 << 62

    def attempt_each(self, work: Callable[[T], R], parts: Iterable[T]) -> Iterator[Outcome[R]]:
        return map(partial(attempt, work), parts)


HERE: Workers = _Here()
