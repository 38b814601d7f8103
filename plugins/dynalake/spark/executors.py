"""Parts of work on Spark's executors, each of which has boto3 and this package: Spark sees no rows."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from dynalake.aws.refusals import explain
from dynalake.errors import NotReadyError
from dynalake.lake.working.workers import Outcome, Workers, attempt

if TYPE_CHECKING:
    from pyspark import SparkContext

T = TypeVar("T")
R = TypeVar("R")

PART_BYTES = 8 << 30
"""Bytes of one part of a day or of the state, about: minutes for one core."""

_WAVES = 4  # parts for each core, of what is handed out together


class Executors(Workers):
    """The executors of one Spark application.

    Spark repeats a part whose process dies; one that raises is not repeated: its error is the work's.
    """

    def __init__(self, context: SparkContext, part_bytes: int = PART_BYTES) -> None:
        self._context, self._part_bytes = context, part_bytes

    @property
    def at_once(self) -> int:
        return max(2, _WAVES * self._context.defaultParallelism)

    @property
    def part_bytes(self) -> int:
        return self._part_bytes

    def attempt_each(self, work: Callable[[T], R], parts: Iterable[T]) -> Iterator[Outcome[R]]:
        """Return the outcome of each part, after all are done."""
        all_parts = list(parts)
        if not all_parts:
            return iter(())
        return iter(self._context.parallelize(all_parts, len(all_parts)).map(partial(_attempt, work)).collect())


def _attempt(work: Callable[[T], R], part: T) -> Outcome[R]:
    outcome = attempt(work, part)
    return outcome if outcome.error is None else Outcome(error=_portable(outcome.error))


def _portable(error: Exception) -> Exception:
    """Return the error, explained by dynalake where possible; as text if it cannot go to another process."""
    error = explain(error) or error
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return NotReadyError(f"A part of the job failed: {type(error).__name__}: {error}")
    return error
