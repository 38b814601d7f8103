"""The fold: changes up to a bound are merged into the state, so that `{t}_current` has less to read beside it.

    bound       of the changes: raised first. What is committed afterwards with a time up to it is late, and reaches the
                state before it is committed
    folded-to   of the state: raised last, when all up to the bound is in it
    the views   read changes after folded-to; written after it was raised, so never ahead of it

Between any two of these steps, wherever a run is killed, and however many runs fold at once, what is shown is right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from dynalake.lake.clock import now_ms
from dynalake.lake.commit import commit_on
from dynalake.lake.iceberg import Change, DataFile, Head, News
from dynalake.lake.key_ranges import Sizes
from dynalake.lake.ranges import Range, cut_ranges
from dynalake.lake.read import read_rows
from dynalake.lake.state import SIZES, Merge, Merged
from dynalake.lake.table import BOUND, FOLDED_TO, Table, number, schema_of
from dynalake.lake.view_entries import write_views
from dynalake.lake.views import open_day
from dynalake.lake.workers import HERE, Workers
from dynalake.names import Lake
from dynalake.record.change import EVENT_TIME
from dynalake.settings import TableSettings

pc: Any = pyarrow.compute  # its stubs take no chunked arrays where it does
_GB = 1 << 30

MERGES = 16
"""Ranges of keys that are merged at the same time, at most: each merge commits, and more would wait for one another."""

LAG = timedelta(hours=1)
"""By how much a fold usually stays behind: what comes later than its bound costs a merge of its own."""


@dataclass(frozen=True)
class FoldOptions:
    """When a fold is due: when what it would fold is more than `fold_at` of the state's bytes, or more than `fold_gb`;

    and, whatever it is, once `fold_every` has passed since the last one's bound.
    """

    fold_at: float = 0.1
    fold_gb: float = 10.0
    fold_every: timedelta | None = None

    @classmethod
    def of_settings(cls, settings: TableSettings) -> FoldOptions:
        """What the table's settings say of it."""
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
    """A fold that is due: up to which time (milliseconds), of about how many bytes of changes, and why."""

    bound: int
    bytes: int
    reason: str


@dataclass(frozen=True)
class Folded:
    """What a fold did: the time up to which the state holds all changes, and what was merged."""

    folded_to: int
    merged: Merged = field(default_factory=Merged)


def plan_fold(
    changes: Head, state: Head, lake: Lake, now: int, options: FoldOptions | None = None, *, requested: bool = False
) -> FoldPlan | None:
    """Return the fold that is due at `now` (milliseconds), or None.

    `now` should be behind the present, by `LAG` and behind the shard that lags most, unless the fold is `requested`. It
    never goes beyond the newest change that is committed. One that was begun and not finished is always due.
    """
    options = options or FoldOptions()
    bound, folded_to = number(changes, BOUND), number(state, FOLDED_TO)
    files = open_files(changes, folded_to, lake)
    newest = max((times[1] for f in files if (times := f.bounds(EVENT_TIME)) is not None), default=now)
    up_to = max(bound, min(now, newest))
    size = sum(count_bytes(f, folded_to, up_to) for f in files)
    if bound > folded_to:
        return FoldPlan(up_to, size, "a fold was begun and has not been finished")
    if up_to <= folded_to or not size:
        return None
    state_size = sum(f.size for f in state.files())
    reason = "requested" if requested else options.reason(size, state_size, up_to - folded_to)
    return FoldPlan(up_to, size, reason) if reason else None


def open_files(changes: Head, folded_to: int, lake: Lake) -> tuple[DataFile, ...]:
    """The files that may hold changes after `folded_to` (milliseconds)."""
    files = changes.files(since=open_day(folded_to, lake))
    return tuple(f for f in files if f.rows and ((times := f.bounds(EVENT_TIME)) is None or times[1] > folded_to))


def count_bytes(file: DataFile, after: int, up_to: int) -> int:
    """How many bytes of a file are of changes in that time, if they come evenly; at least one where some may be."""
    times = file.bounds(EVENT_TIME)
    if times is None:
        return file.size
    first, last = times
    if up_to < first or last <= after:
        return 0
    part: int = min(up_to, last) - max(after, first)
    return max(1, file.size * part // (last - first)) if last > first else file.size


def fold(
    table: Table,
    bound: int,
    *,
    sizes: Sizes = SIZES,
    clock: Callable[[], int] = now_ms,
    pause: Callable[[float], None] = time.sleep,
    work_directory: Path | None = None,
    workers: Workers = HERE,
) -> Folded:
    """Merge all changes up to `bound` (milliseconds, of which the last is included) into the state; then the views.

    Up to the bound of another fold where that is later. `workers` merge ranges of keys, each by commits of its own.

    Raises `ConflictError` where other runs came first too often, or the state was made again in the meantime.
    """
    raise_bound(table, bound, pause=pause)
    changes, state = table.changes(), table.items()
    bound, folded_to = number(changes, BOUND), number(state, FOLDED_TO)
    if folded_to >= bound:
        write_views(table)
        return Folded(folded_to)
    files = open_files(changes, folded_to, table.names.lake)
    size = sum(count_bytes(f, folded_to, bound) for f in files) + sum(f.size for f in state.files())
    count = min(MERGES, -(-size // workers.part_bytes))
    ranges = cut_ranges(changes, files, schema_of(state).identity[0], count)
    merging = _Merging(table, changes, state, files, folded_to, bound, sizes, clock, pause, work_directory)
    merged, states = zip(*workers.each(partial(_merge_range, merging), ranges), strict=True)

    def build(head: Head, news: News) -> Change | None:
        for after in states:
            head.news(after)  # raises where what was merged is not in it, since the table was brought back
        if number(head, FOLDED_TO) >= bound:
            return None
        return Change(properties={FOLDED_TO: str(bound)}, note={"dynalake": "fold"})

    commit_on(table.catalog, table.names, states[0], build, pause=pause)
    write_views(table)
    return Folded(bound, sum(merged, Merged()))


@dataclass(frozen=True)
class _Merging:
    table: Table
    changes: Head
    state: Head
    files: tuple[DataFile, ...]
    after: int
    up_to: int
    sizes: Sizes
    clock: Callable[[], int]
    pause: Callable[[float], None]
    work_directory: Path | None


def _merge_range(fold: _Merging, keys: Range) -> tuple[Merged, Head]:
    """Merge the changes of a range of keys, and give the state as it is afterwards. Any process can do it."""
    merge = Merge(
        fold.table,
        fold.changes,
        fold.state,
        sizes=fold.sizes,
        clock=fold.clock,
        pause=fold.pause,
        work_directory=fold.work_directory,
    )
    merge.add(rows_between(fold.changes, fold.files, fold.after, fold.up_to, keys))
    return merge.done, merge.state


def raise_bound(table: Table, bound: int, *, pause: Callable[[float], None] = time.sleep) -> None:
    """From now on, changes up to `bound` reach the state before they are committed."""

    def build(head: Head, news: News) -> Change | None:
        if number(head, BOUND) >= bound:
            return None
        return Change(properties={BOUND: str(bound)}, note={"dynalake": "bound"})

    planned = table.changes()
    if build(planned, News((), deletes=False)) is not None:
        commit_on(table.catalog, table.names, planned, build, pause=pause)


def rows_between(
    changes: Head, files: Iterable[DataFile], after: int, up_to: int, keys: Range | None = None
) -> Iterator[pa.Table]:
    """The rows of these files with `after < __event_time <= up_to`; from the first on where `after` is 0."""
    keys = keys or Range("")
    low = after + 1 if after > 0 else -(2**63)
    for file in files:
        for rows in read_rows(changes, [file], within={EVENT_TIME: (low, up_to), **keys.within}):
            times = rows[EVENT_TIME]
            yield keys.rows(rows.filter(pc.and_(pc.greater_equal(times, low), pc.less_equal(times, up_to))))
