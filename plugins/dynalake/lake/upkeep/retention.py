"""Raw objects that are older than the user wants are deleted once live rows hold their changes; off by default.

Age alone never suffices: a live folder's manifest must name the same bytes, or the day's history must have been
dropped. So an object that landed late, or was rejected whole, stays until it is converted. The tables do not need raw
objects again, except for a day that somebody names in a run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from dynalake.aws.s3 import Deleted, Json, StoredObject
from dynalake.days import SNAPSHOT_DAY, milliseconds, shift_day
from dynalake.errors import ConflictError, SettingsError
from dynalake.lake.catalog.metadata_note import leads_to, read_note
from dynalake.lake.catalog.table import HISTORY_FROM, SHOWN_RUN, SNAPSHOT_RUN, Table, number
from dynalake.lake.current.snapshot import read_run_numbers
from dynalake.lake.files.raw_days import RawDay, list_raw_days, live_folders, read_raw_day, read_raw_days
from dynalake.options.settings import LEAST_RAW_DAYS

DAYS_AT_ONCE = 400
"""Most days whose objects one run deletes: the rest is the next run's."""


@dataclass(frozen=True)
class Retained:
    """Raw objects that may be gone: those of the days up to `through`, and those of the snapshot."""

    through: str = ""
    snapshot: bool = False

    def allows(self, day: str) -> bool:
        """Return whether raw objects of a day may be gone."""
        return self.snapshot if day == SNAPSHOT_DAY else bool(self.through) and day <= self.through


@dataclass(frozen=True)
class RawDeleted:
    """The deletions of a run: `days` with something to delete, `objects` of `bytes`.

    `kept`: objects of these days that are old enough, but have bytes of which no live row was made. `changed`: keys of
    objects that were written again in the meantime.
    """

    table: str
    days: tuple[str, ...] = ()
    objects: int = 0
    bytes: int = 0
    kept: int = 0
    changed: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RawDeleted:
        lists = {name: tuple(values[name]) for name in ("days", "changed")}
        return cls(**{**values, **lists})


def check_raw_retention(days: int) -> int:
    """Return `raw_retention_days` if it is allowed: 0 for all raw objects, or at least `LEAST_RAW_DAYS`."""
    if days == 0 or days >= LEAST_RAW_DAYS:
        return days
    raise SettingsError(f"raw_retention_days is {days!r}", allowed=f"0, to keep them, or at least {LEAST_RAW_DAYS}")


def plan_raw(day: RawDay, before: int, history_from: str) -> tuple[tuple[StoredObject, ...], int]:
    """Return the objects of a day that may go, and how many stay although written `before` (milliseconds)."""
    dropped = SNAPSHOT_DAY < day.day < history_from
    old = [o for o in (day.objects.values() if dropped else day.converted) if o.modified < before]
    kept = 0 if dropped else sum(o.modified < before for o in day.unnamed)
    return tuple(old), kept


def find_raw(
    table: Table, now: datetime, raw_retention_days: int
) -> Iterator[tuple[str, tuple[StoredObject, ...], int]]:
    """Yield each day with raw objects older than `raw_retention_days`, and what `plan_raw` returns for it.

    Raises as `delete_raw` does.
    """
    if not check_raw_retention(raw_retention_days):
        return
    names = table.names
    now = table.store.clock(now)
    note = read_note(table, names.changes_table)
    head = table.changes()
    if note is None or not leads_to(note, head):
        return  # commits may be lost, and their raw objects are needed again
    before = milliseconds(now - timedelta(days=raw_retention_days))
    last = shift_day(names.lake.day_of(now), -raw_retention_days - 1)
    days = [day for day in list_raw_days(table) if day <= last]
    history_from = head.properties.get(HISTORY_FROM) or ""
    for raw_day in read_raw_days(table, days, live_folders(head)):
        yield raw_day.day, *plan_raw(raw_day, before, history_from)


def delete_raw(table: Table, now: datetime, raw_retention_days: int) -> RawDeleted:
    """Delete the raw objects that are older than `raw_retention_days`, as far as they may go. 0 deletes none.

    Raises `SettingsError` for fewer than `LEAST_RAW_DAYS`, `CatalogError` where the table is missing or damaged.
    """
    done = RawDeleted(table.names.table)
    for day, due, kept in find_raw(table, now, raw_retention_days):
        if due:
            _note(table, day)
            deleted = table.store.delete_listed(due)
            done = _add(done, day, deleted)
        done = RawDeleted(**{**vars(done), "kept": done.kept + kept})
        if len(done.days) == DAYS_AT_ONCE:
            break
    return done


def _add(done: RawDeleted, day: str, deleted: Deleted) -> RawDeleted:
    return RawDeleted(
        done.table,
        (*done.days, day),
        done.objects + deleted.objects,
        done.bytes + deleted.bytes,
        done.kept,
        (*done.changed, *deleted.changed),
    )


def read_retained(table: Table) -> Retained:
    """Return which raw objects may have been deleted."""
    return _retained(table.store.read_json(table.names.raw_retention_note))


def _retained(note: Json | None) -> Retained:
    return Retained() if note is None else Retained(**note.value)


def _note(table: Table, day: str) -> None:
    """Note, before any deletion, up to which day objects may be gone: the scrub reports others. It only rises."""
    key = table.names.raw_retention_note
    while True:
        note = table.store.read_json(key)
        known = _retained(note)
        if known.allows(day):
            return
        now = Retained(known.through, True) if day == SNAPSHOT_DAY else Retained(day, known.snapshot)
        with suppress(ConflictError):
            table.store.replace_json(key, asdict(now), note)
            return


# -- backfills that are no longer the snapshot ------------------------------------------------------------------------


def plan_replaced(
    written: Mapping[str, int], numbers: Mapping[str, int], shown: int, live: Collection[str], before: int
) -> tuple[str, ...]:
    """Return the backfills that are not needed: not shown, and nothing written since `before`.

    `written`: when something of each was written last (milliseconds). `live`: those of which live rows were made. One
    that is later than the shown one, or has no number, may still be on its way, but has failed after that long.
    """
    if not shown or shown not in numbers.values():
        return ()
    kept = {*live, *(run for run, number_of_run in numbers.items() if number_of_run == shown)}
    return tuple(sorted(run for run, at in written.items() if run not in kept and at < before))


def find_replaced(table: Table, written: Mapping[str, int], before: int) -> tuple[str, ...]:
    """Return those of these backfills that are no longer needed (`plan_replaced`).

    There are none while there is no snapshot, or another one is being swapped in.
    """
    changes = table.changes()
    shown = number(changes, SHOWN_RUN)
    if number(table.items(), SNAPSHOT_RUN) != shown:
        return ()
    folders = live_folders(changes).get(SNAPSHOT_DAY, ())
    day = read_raw_day(table, SNAPSHOT_DAY, folders)
    if day.without_manifest:
        return ()  # it is unknown from which live rows were made
    prefix = table.names.raw_day(SNAPSHOT_DAY)
    live = {key.removeprefix(prefix).partition("/")[0] for key in day.named}
    return plan_replaced(written, dict(read_run_numbers(table)), shown, live, before)
