"""One commit, planned on an earlier version of a table, that lands on the current one.

A refused commit is not thrown away, or long work would never get ahead of short work: it is checked against the new
head, and lands there if nothing that it was planned on has changed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from pyiceberg.schema import Schema

from dynalake.errors import ConflictError
from dynalake.lake.catalog.iceberg import Change, DataFile, Head, IcebergCatalog, News, Refused
from dynalake.lake.catalog.metadata_note import note_metadata
from dynalake.lake.catalog.table import GRACE, Table
from dynalake.names import TableNames

ATTEMPTS = 10
"""How often one commit is tried. Each refusal means that another commit has landed in the same second."""

_LONGEST_PAUSE = 5.0  # seconds

Build = Callable[[Head, News], Change | None]
"""A function that returns what to commit on a head, given others' commits since the plan; None for nothing to do.

It raises `ConflictError` where the plan no longer holds there.
"""


def commit_on(
    catalog: IcebergCatalog,
    names: TableNames,
    planned: Head,
    build: Build,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> Head | None:
    """Commit what `build` makes of the table as it is now. Return the head afterwards; None if there was nothing to do.

    Raises `ConflictError` as `build` does and after `ATTEMPTS`; `UnknownOutcomeError` where an answer was lost.
    """
    for attempt in range(ATTEMPTS):
        head = catalog.load(planned.name)
        change = build(head, head.news(planned))
        if change is None:
            return None
        try:
            landed = catalog.commit(head, change)
        except Refused:
            pause(random.uniform(0, min(_LONGEST_PAUSE, 0.1 * 2**attempt)))
            continue
        note_metadata(Table(catalog.clients, names), landed)
        return landed
    raise ConflictError(
        f"Other runs committed to {planned.name} first, {ATTEMPTS} times in a row",
        action="try again when they are done",
        table=planned.name,
    )


def check_fields(held: Schema, head: Head) -> None:
    """Raise `ConflictError` unless the table still has every field of files with this schema, with the same type.

    An id is never given twice: a widened field has another one, a dropped field none.
    """
    now = head.schema.field_ids
    for number in sorted(held.field_ids):
        written = held.find_type(number)
        current = head.schema.find_type(number) if number in now else None
        if current is None or (written != current if written.is_primitive else type(written) is not type(current)):
            raise ConflictError(
                f"The type of {held.find_column_name(number)} in the table {head.name} has changed in the meantime",
                action="plan again from the table as it is now",
                table=head.name,
            )


def check_age(head: Head, made_at: int, now: int) -> None:
    """Raise `ConflictError` where files of that moment (both in milliseconds) are too old to be committed.

    Files that nothing names are deleted after `GRACE`, so some of those older than half of it may be gone.
    """
    if now - made_at > GRACE / timedelta(milliseconds=2):
        raise ConflictError(
            f"The files for {head.name} were written {(now - made_at) // 3_600_000} hours ago",
            allowed=f"at most {GRACE // timedelta(hours=2)} hours",
            action="plan again: files twice as old are deleted",
            table=head.name,
        )


def check_live(head: Head, replaced: Iterable[DataFile], news: News) -> None:
    """Raise `ConflictError` unless all these files are live and no delete file that may apply to them was added."""
    replaced = tuple(replaced)
    live = {f.path for f in head.files({f.partition for f in replaced})} if replaced else set()
    gone = sorted(f.path for f in replaced if f.path not in live)
    if gone or (replaced and news.deletes):
        what = f"{gone[0]} is no longer part of it" if gone else "delete files have been added"
        raise ConflictError(
            f"The table {head.name} has changed since this was planned: {what}",
            action="plan again from the table as it is now",
            table=head.name,
        )


def overlap(one: DataFile, other: DataFile, column: str) -> bool:
    """Return whether two files may share a value of the column, by their bounds; unknown bounds hold everything."""
    if not one.rows or not other.rows:
        return False
    bounds, other_bounds = one.bounds(column), other.bounds(column)
    return bounds is None or other_bounds is None or (bounds[0] <= other_bounds[1] and other_bounds[0] <= bounds[1])
