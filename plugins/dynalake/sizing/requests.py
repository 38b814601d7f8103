"""The requests of `dynalake_convert` to S3 and Glue, and their dollars a month. Pure.

The counts are those of one run for one table: its plan is made in one process, and its only batch is converted and
committed in another. A test counts the calls of a real run, and fails where they are others
(`tests/unit/night/test_loads_of_steps.py`).
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

from dynalake.sizing.prices import price
from dynalake.sizing.usage import Usage

MINUTES = 730 * 60
"""Minutes of a month, as AWS counts."""


@dataclass(frozen=True)
class Requests:
    """Numbers of requests. Deletions cost nothing and are left out."""

    puts: float = 0.0
    lists: float = 0.0
    gets: float = 0.0
    glue: float = 0.0

    def __add__(self, other: Requests) -> Requests:
        return Requests(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: float) -> Requests:
        return Requests(*(times * count for count in astuple(self)))

    @property
    def dollars(self) -> float:
        return (
            (self.puts + self.lists) * price("s3_put") + self.gets * price("s3_get") + self.glue * price("glue_request")
        )

    @property
    def count(self) -> float:
        return self.puts + self.lists + self.gets + self.glue


QUIET = Requests(lists=2, gets=1, glue=1)
"""A run in which nothing of a table is due, and its version in Glue is the one that the run before has read."""

NEWS = Requests(puts=10, lists=3, gets=13, glue=9)
"""A run with one batch, after another one: without the raw objects and the manifests with which it is compared."""

OBJECT = Requests(gets=1)
"""A raw object of the batch."""

MANIFESTS, MERGE = 8, Requests(puts=1, gets=1)
"""So many Iceberg manifests come to those of an open day, one with each run, before a commit merges them, and what that
takes. Each run reads those that are there: from two up to nine.
"""


def run_with_news(objects: float = 1.0) -> Requests:
    """Return the requests of a run with one batch of so many raw objects, on the average of an open day."""
    return NEWS + OBJECT * (objects + (2 + 1 + MANIFESTS) / 2) + MERGE * (1 / MANIFESTS)


def runs_a_month(convert_every_minutes: int) -> float:
    return MINUTES / convert_every_minutes


def month_of(usage: Usage, objects: float, convert_every_minutes: int) -> Requests:
    """Return a month's requests for a table. `objects`: its raw objects in a month (`cost.objects_of`)."""
    windows = len({minute // convert_every_minutes for minute in usage.minutes})
    busy = min(windows * MINUTES / 1440 / usage.days, runs_a_month(convert_every_minutes))
    quiet = runs_a_month(convert_every_minutes) - busy
    return run_with_news(0) * busy + OBJECT * objects + QUIET * quiet
