"""Steps that do not stop each other: a failure is kept, and reported at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dynalake.errors import TransientError

T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """A step, or a day, that has failed. `transient`: the same may work later."""

    what: str
    error: str
    transient: bool


class Steps:
    """Runs steps, and keeps the faults of those that failed."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def run(self, what: str, step: Callable[[], T], otherwise: T) -> T:
        """Return the result of a step; `otherwise` where it failed."""
        try:
            return step()
        except Exception as error:  # every error is this step's, and is reported
            self.faults.append(Fault(what, f"{type(error).__name__}: {error}", isinstance(error, TransientError)))
            return otherwise
