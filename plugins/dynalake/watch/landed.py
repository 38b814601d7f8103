"""The objects that landed last in the raw zone: how old they are, and which items they changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dynalake.aws.s3 import StoredObject
from dynalake.lake.catalog.table import Table
from dynalake.record.change import EVENT_TIME
from dynalake.record.key import ItemKey
from dynalake.watch.reconcile import Candidate, candidate, read_records

OBJECTS = 4
LINES = 2_000
"""Most objects that are read of those that landed since the last look, and most lines of each."""


@dataclass(frozen=True)
class Sample:
    """A sample of lines: the last change of each key, and the time of the newest change."""

    candidates: Mapping[str, Candidate]
    newest_change: int | None
    landed: int | None
    """Time at which the object with the newest change landed."""


def landed_since(objects: Iterable[StoredObject], moment: int | None) -> list[StoredObject]:
    """Return the objects that landed after `moment` (milliseconds; None: all), the oldest first."""
    later = (o for o in objects if moment is None or o.modified > moment)
    return sorted(later, key=lambda o: (o.modified, o.key))


def plan_sample(objects: Sequence[StoredObject], count: int) -> list[StoredObject]:
    """Return `count` of these objects, the oldest first: half of them the newest, the others spread over the rest."""
    if len(objects) <= count:
        return list(objects)
    spread = count // 2
    rest, newest = objects[: spread - count], objects[spread - count :]
    return [*(rest[i * len(rest) // spread] for i in range(spread)), *newest]


def read_sample(table: Table, key: ItemKey, objects: Sequence[StoredObject]) -> Sample | None:
    """Read a bounded part of these objects. Return None where there are none."""
    candidates: dict[str, Candidate] = {}
    newest: tuple[int, int] | None = None
    for raw in plan_sample(objects, OBJECTS):
        for record in read_records(table, raw, LINES):
            moment = record.get(EVENT_TIME)
            if isinstance(moment, int) and (newest is None or moment > newest[0]):
                newest = moment, raw.modified
            change = candidate(key, record, raw.modified)
            if change is not None and change.sequence >= candidates.get(change.key, change).sequence:
                candidates[change.key] = change
    return Sample(candidates, *(newest or (None, None))) if objects else None
