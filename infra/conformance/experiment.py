"""An experiment: one question that documentation or the emulator leaves open, and what depends on its answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from infra.conformance.place import Place, Stopped

EXPERIMENTS: list[Experiment] = []
"""All experiments, in the order of the modules that define them."""

FAILED = "failed"
"""The answer of an experiment that got none."""


@dataclass(frozen=True)
class Seen:
    """An answer in a word or two, for the comparison, and further details in a sentence."""

    answer: str
    detail: str = ""


@dataclass(frozen=True)
class Experiment:
    """`documented`: what AWS's documentation says, on `page`. `local`: local AWS's answer. `matters`: what depends."""

    name: str
    asks: str
    documented: str
    page: str
    local: str
    matters: str
    run: Callable[[Place], Seen]
    last: bool
    """Whether it examines what the others did, so it runs after them."""


@dataclass(frozen=True)
class Outcome:
    """The result of an experiment; if it got no answer, `answer` is `FAILED` and `detail` says why."""

    experiment: Experiment
    answer: str
    detail: str
    seconds: float

    @property
    def as_local(self) -> bool:
        """Whether local AWS gives the same answer."""
        return self.answer == self.experiment.local


def experiment(
    *, asks: str, documented: str, page: str, local: str, matters: str, last: bool = False
) -> Callable[[Callable[[Place], Seen]], Callable[[Place], Seen]]:
    """Register a function as an experiment of the same name."""

    def register(run: Callable[[Place], Seen]) -> Callable[[Place], Seen]:
        name = run.__name__.replace("_", "-")
        EXPERIMENTS.append(Experiment(name, asks, documented, page, local, matters, run, last))
        return run

    return register


def carry_out(experiment: Experiment, place: Place) -> Outcome:
    """Run the experiment. An exception becomes its outcome and does not stop the others."""
    started = time.monotonic()
    try:
        seen = experiment.run(place)
    except Stopped:
        seen = Seen(FAILED, "it was stopped")
    except Exception as error:
        seen = Seen(FAILED, f"{type(error).__name__}: {error}")
    return Outcome(experiment, seen.answer, seen.detail, time.monotonic() - started)
