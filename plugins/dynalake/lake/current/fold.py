"""The fold: changes up to a bound are merged into the state, so that `{t}_current` reads fewer changes.

    bound       of the changes: raised first. What is committed afterwards with a time up to it is late, and reaches the
                state before it is committed
    folded-to   of the state: raised last, when all up to the bound is in it
    the views   read changes after folded-to; written after it was raised, so never ahead of it

Between any two of these steps, after a kill anywhere, and with any number of runs at once, readers see the right items.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Unpack

from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.commit_events import MADE_BY, MERGED
from dynalake.lake.catalog.iceberg import Change, DataFile, Head, News
from dynalake.lake.catalog.table import BOUND, FOLDED_TO, Table, number
from dynalake.lake.current.state import How, Merge, Merged
from dynalake.lake.current.view_entries import write_views
from dynalake.lake.current.views import open_day
from dynalake.names import Lake
from dynalake.options.settings import TableSettings
from dynalake.record.change import EVENT_TIME

_GB = 1 << 30

LAG = timedelta(hours=1)
"""Time by which a fold usually stays behind: changes that come later than its bound cost a merge of their own."""


@dataclass(frozen=True)
class FoldOptions:
    """The rules for when a fold is due.

    It is due if its changes are more than `fold_at` of the state's bytes, or more than `fold_gb`; and always once
    `fold_every` has passed since the last one's bound.
    """

    fold_at: float = 0.1
    fold_gb: float = 10.0
    fold_every: timedelta | None = None

    @classmethod
    def of_settings(cls, settings: TableSettings) -> FoldOptions:
        """Return the options that the table's settings give."""
        every = timedelta(hours=settings.fold_every_hours) if settings.fold_every_hours else None
        return cls(settings.fold_at_percent / 100, settings.fold_gb, every)

    def reason(self, size: int, state: int, waited: int) -> str:
        """Return why a fold is due, or ''. `size`: bytes of changes, which reach `waited` milliseconds beyond the last
        one's bound; `state`: bytes of the state.
        """
        if size > self.fold_gb * _GB:
            return f"more than {self.fold_gb:g} GB of changes"
        if size > self.fold_at * state:
            return f"changes of more than {self.fold_at:.0%} of the state's bytes"
        if self.fold_every is not None and size and waited >= self.fold_every / timedelta(milliseconds=1):
            return f"{self.fold_every} since the last one"
        return ""


@dataclass(frozen=True)
class FoldPlan:
    """A due fold: up to which time (milliseconds), of about how many bytes of changes, and why."""

    bound: int
    bytes: int
    reason: str


@dataclass(frozen=True)
class Folded:
    """The result of a fold: the time up to which the state holds all changes, and what was merged."""

    folded_to: int
    merged: Merged = field(default_factory=Merged)


def plan_fold(
    changes: Head, state: Head, lake: Lake, now: int, options: FoldOptions | None = None, *, requested: bool = False
) -> FoldPlan | None:
    """Return the fold that is due at `now` (milliseconds), or None.

    `now` should be behind the present, by `LAG` and behind the shard that lags most, unless the fold is `requested`. A
    fold never goes beyond the newest committed change. An unfinished fold is always due.
    """
    options = options or FoldOptions()
    bound, folded_to = number(changes, BOUND), number(state, FOLDED_TO)
    files = open_files(changes, folded_to, lake)
    newest = max((times[1] for f in files if (times := f.bounds(EVENT_TIME)) is not None), default=now)
    up_to = max(bound, min(now, newest))
    size = sum(count_bytes(f, folded_to, up_to) for f in files)
    if bound > folded_to:
        return FoldPlan(up_to, size, "an earlier fold has not finished")
    if up_to <= folded_to or not size:
        return None
    state_size = sum(f.size for f in state.files())
    reason = "requested" if requested else options.reason(size, state_size, up_to - folded_to)
    return FoldPlan(up_to, size, reason) if reason else None


def open_files(changes: Head, folded_to: int, lake: Lake) -> tuple[DataFile, ...]:
    """Return the files that may hold changes after `folded_to` (milliseconds)."""
    files = changes.files(since=open_day(folded_to, lake))
    return tuple(f for f in files if f.rows and ((times := f.bounds(EVENT_TIME)) is None or times[1] > folded_to))


def count_bytes(file: DataFile, after: int, up_to: int) -> int:
    """Return the bytes of a file's changes in that time, if they come evenly; at least one where there may be some."""
    times = file.bounds(EVENT_TIME)
    if times is None:
        return file.size
    first, last = times
    if up_to < first or last <= after:
        return 0
    part: int = min(up_to, last) - max(after, first)
    return max(1, file.size * part // (last - first)) if last > first else file.size


def fold(table: Table, bound: int, **how: Unpack[How]) -> Folded:
    """Merge all changes up to `bound` (milliseconds, inclusive) into the state; then the views.

    It goes up to the bound of another fold where that is later.

    Raises `ConflictError` where other runs came first too often, or the state was made again in the meantime.
    """
    pause = how.get("pause", time.sleep)
    changes = raise_bound(table, bound, pause=pause)
    state = table.items()
    bound, folded_to = number(changes, BOUND), number(state, FOLDED_TO)
    if folded_to >= bound:
        write_views(table)
        return Folded(folded_to)
    merge = Merge(table, changes, state, **how)
    merged = merge.add(open_files(changes, folded_to, table.names.lake), after=folded_to, up_to=bound)

    def build(head: Head, news: News) -> Change | None:
        if number(head, FOLDED_TO) >= bound:
            return None
        note = {MADE_BY: "fold", MERGED: json.dumps(asdict(merged))}
        return Change(properties={FOLDED_TO: str(bound)}, note=note)

    commit_on(table.catalog, table.names, merge.state, build, pause=pause)
    write_views(table)
    return Folded(bound, merged)


def raise_bound(table: Table, bound: int, *, pause: Callable[[float], None] = time.sleep) -> Head:
    """Let changes up to `bound` reach the state before they are committed, from now on. Return the table from then."""

    def build(head: Head, news: News) -> Change | None:
        if number(head, BOUND) >= bound:
            return None
        return Change(properties={BOUND: str(bound)}, note={"dynalake": "bound"})

    planned = table.changes()
    if build(planned, News((), deletes=False)) is None:
        return planned
    return commit_on(table.catalog, table.names, planned, build, pause=pause) or table.changes()
