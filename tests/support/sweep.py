"""The share of every sweep that a session plays: an eighth by default, and all of it by `make test-all`.

A sweep tries the points of one kind: a kill before each call, each fault at each place, each seed. `DYNALAKE_SWEEP` is

| | plays of each sweep |
|---|---|
| `1/8` | every eighth point. The commit decides which is the first, so that all are played over time |
| `1/8@41` | the same from point 41 on, at any commit |
| `1/1` | all points |
| `@17` | point 17 alone |

pytest's header says which share it is. A point that fails says how it is played alone. No sweep is ever empty.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.support.machine import REPOSITORY

T = TypeVar("T")

VARIABLE = "DYNALAKE_SWEEP"
EIGHTH = "1/8"


@dataclass(frozen=True)
class Share:
    """Every `of`-th point from `first` on; with `of` None, the point `first` alone."""

    of: int | None
    first: int

    def places(self, count: int, every: int = 1) -> range:
        """Return the points that are played of `count`, from 0. A sweep of slow points plays every n-th of its share.

        Raises `AssertionError` if the sweep has no points.
        """
        assert count, "A sweep without points proves nothing"
        step = count if self.of is None else min(self.of * every, count)
        return range(self.first % step, count, step)

    @property
    def whole(self) -> bool:
        """Whether all points are played, except those of slow sweeps."""
        return self.of == 1

    def __str__(self) -> str:
        return f"@{self.first}" if self.of is None else f"1/{self.of}@{self.first}"


def parse_share(text: str, commit: int) -> Share:
    """Return the share that the text of `DYNALAKE_SWEEP` names. Raises `ValueError` for any other text."""
    match = re.fullmatch(r"(?:1/([1-9]\d*))?(?:@(\d+))?", text)
    if not text or not match:
        raise ValueError(f"{VARIABLE} is {text!r}; allowed are '1/8', '1/8@41' and '@17': an eighth, or point 17 alone")
    of, first = match.groups()
    return Share(int(of) if of else None, int(first) if first else commit)


def _commit() -> int:
    """Return the number of the commit that is checked out, 0 outside a repository."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return int(head.stdout[:4] or "0", 16)


SHARE = parse_share(os.environ.get(VARIABLE) or EIGHTH, _commit())

point: int | None = None
"""The point that is played now, or was played last in this test."""


def played(points: Sequence[T], *, every: int = 1) -> Iterator[T]:
    """Yield the session's share of the points, or every n-th of it where a point is slow."""
    global point
    for place in SHARE.places(len(points), every):
        point = place
        yield points[place]
