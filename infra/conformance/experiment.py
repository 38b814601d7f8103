"""An experiment: one question to AWS that documentation or emulator leave open, and what hangs on its answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from infra.conformance.place import Place, Stopped

EXPERIMENTS: list[Experiment] = []
"""Every one, in the order of the modules that make them."""

FAILED = "failed"
"""The outcome of an experiment that did not come to an answer."""


@dataclass(frozen=True)
class Seen:
    """An answer in a word or two, which is compared, and what else was seen, in a sentence."""

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
    """Whether it looks at what the others have done."""


@dataclass(frozen=True)
class Outcome:
    """What came of an experiment; `answer` is `FAILED` where it came to none, and `detail` says why."""

    experiment: Experiment
    answer: str
    detail: str
    seconds: float

    @property
    def as_local(self) -> bool:
        """Whether local AWS answers the same."""
        return self.answer == self.experiment.local


def experiment(
    *, asks: str, documented: str, page: str, local: str, matters: str, last: bool = False
) -> Callable[[Callable[[Place], Seen]], Callable[[Place], Seen]]:
    """Make an experiment of a function, whose name is the experiment's."""

    def register(run: Callable[[Place], Seen]) -> Callable[[Place], Seen]:
        name = run.__name__.replace("_", "-")
        EXPERIMENTS.append(Experiment(name, asks, documented, page, local, matters, run, last))
        return run

    return register


def carry_out(experiment: Experiment, place: Place) -> Outcome:
    """Run it. Whatever it raises is its outcome: it stops no other."""
    started = time.monotonic()
    try:
        seen = experiment.run(place)
    except Stopped:
        seen = Seen(FAILED, "it was stopped")
    except Exception as error:
        seen = Seen(FAILED, f"{type(error).__name__}: {error}")
    return Outcome(experiment, seen.answer, seen.detail, time.monotonic() - started)
