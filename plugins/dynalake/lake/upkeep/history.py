"""History: whole days of the changes that are older than the user wants are dropped.

A day goes only if the state has all its rows, and if each of its raw objects is converted. It never goes while the
views read it. `HISTORY_FROM` says in the same commit from which day on rows are kept, so that no conversion brings an
older one back. From then on the state cannot be derived from the changes again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from dynalake.days import SNAPSHOT_DAY, shift_day
from dynalake.errors import SettingsError
from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.iceberg import Change, DataFile, Head, News
from dynalake.lake.catalog.table import FOLDED_TO, HISTORY_FROM, Table, number
from dynalake.lake.current.view_entries import views_bound
from dynalake.lake.files.raw_days import folders_by_day, list_raw_days, read_raw_days
from dynalake.options.settings import LEAST_HISTORY_DAYS
from dynalake.record.change import EVENT_TIME

DAYS_AT_ONCE = 100
"""Days that one commit drops: pyiceberg compares each manifest with all of them."""


@dataclass(frozen=True)
class Dropped:
    """The days that were dropped, and the number of their rows; `history_from`: the first day that is kept, or ''."""

    days: tuple[str, ...] = ()
    files: int = 0
    rows: int = 0
    history_from: str = ""


def check_history_days(days: int) -> int:
    """Return `history_days` if it is allowed: 0 for all of history, or at least `LEAST_HISTORY_DAYS`."""
    if days == 0 or days >= LEAST_HISTORY_DAYS:
        return days
    raise SettingsError(f"history_days is {days!r}", allowed=f"0, for all of history, or at least {LEAST_HISTORY_DAYS}")


def plan_history(
    files: Iterable[DataFile], kept_from: str, history_from: str, bound: int
) -> tuple[str, tuple[DataFile, ...]]:
    """Return the first day to keep, and the files that go; the day as it is now where nothing does.

    `kept_from`: the first day that must be kept in any case. `bound`: up to which time (milliseconds) the state has all
    rows and the views read none. A file of unknown times may have any: its day stays, and all after it.
    """
    by_day: dict[str, list[DataFile]] = {}
    for file in files:
        if SNAPSHOT_DAY < file.partition < kept_from:
            by_day.setdefault(file.partition, []).append(file)
    first, gone = kept_from, list[DataFile]()
    for number_of_days, day in enumerate(sorted(by_day)):
        if number_of_days == DAYS_AT_ONCE or not all(_is_folded(f, bound) for f in by_day[day]):
            first = day
            break
        gone += by_day[day]
    return (first, tuple(gone)) if first > history_from else (history_from, ())


def drop_history(
    table: Table, now: datetime, history_days: int, *, pause: Callable[[float], None] = time.sleep
) -> Dropped:
    """Drop the days that are older than `history_days`, as far as they may go. 0 drops none.

    Raises `SettingsError` for fewer than `LEAST_HISTORY_DAYS`, `ConflictError` where others came first ten times.
    """
    check_history_days(history_days)
    dropped = Dropped(history_from=table.changes().properties.get(HISTORY_FROM) or "")
    while history_days:
        batch = _drop(table, now, history_days, pause)
        if batch is None:
            break
        dropped = Dropped(
            (*dropped.days, *batch.days), dropped.files + batch.files, dropped.rows + batch.rows, batch.history_from
        )
    return dropped


def find_history(table: Table, now: datetime, history_days: int) -> Dropped:
    """Return what `drop_history` would drop in its first commit, and drop nothing."""
    bound = _bound(table)
    if not check_history_days(history_days) or not bound:
        return Dropped()
    return _plan(table, table.changes(), _kept_from(table, now, history_days, bound), bound)[0]


def _bound(table: Table) -> int:
    """Return up to which time the state has all rows and the views read none; 0 where nothing was folded."""
    return min(number(table.items(), FOLDED_TO), views_bound(table) or 0)


def _kept_from(table: Table, now: datetime, history_days: int, bound: int) -> str:
    day_of = table.names.lake.day_of
    read_from = day_of(datetime.fromtimestamp(bound // 1000, UTC))
    return min(shift_day(day_of(now), -history_days), shift_day(read_from, -1))


def _plan(table: Table, head: Head, kept_from: str, bound: int) -> tuple[Dropped, tuple[DataFile, ...]]:
    history_from = head.properties.get(HISTORY_FROM) or ""
    files = head.files()
    converted = _first_unconverted(table, files, history_from, kept_from)
    first, gone = plan_history(files, converted, history_from, bound)
    days = tuple(sorted({f.partition for f in gone}))
    return Dropped(days, len(gone), sum(f.rows for f in gone), first), gone


def _drop(table: Table, now: datetime, history_days: int, pause: Callable[[float], None]) -> Dropped | None:
    bound = _bound(table)
    if not bound:
        return None
    kept_from = _kept_from(table, now, history_days, bound)
    done: list[Dropped] = []

    def build(head: Head, news: News) -> Change | None:
        done.clear()
        dropped, gone = _plan(table, head, kept_from, bound)
        if not gone:
            return None
        done.append(dropped)
        note = {"dynalake": "history", "dynalake.days": str(len(dropped.days))}
        return Change(remove=gone, properties={HISTORY_FROM: dropped.history_from}, note=note)

    commit_on(table.catalog, table.names, table.changes(), build, pause=pause)
    return done[0] if done else None


def _first_unconverted(table: Table, files: Iterable[DataFile], history_from: str, kept_from: str) -> str:
    """Return the first day with a raw object that no live folder names; `kept_from` where no earlier day has one."""
    folders = folders_by_day(files)
    days = [day for day in list_raw_days(table) if day > SNAPSHOT_DAY and history_from <= day < kept_from]
    for raw in read_raw_days(table, days, folders):
        if raw.unnamed:
            return raw.day
    return kept_from


def _is_folded(file: DataFile, bound: int) -> bool:
    times = file.bounds(EVENT_TIME)
    return not file.rows or (times is not None and times[1] <= bound)
