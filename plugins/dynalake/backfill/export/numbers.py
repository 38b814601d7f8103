"""The places of a past window's changes among those of the lake: `docs/adr/0005-incremental-import.md`.

An item's stream numbers grow, but do not show the time. So a change of a window gets the greatest number that the lake
has of its item from before the window's end, and behind it a point and the microsecond at which it was written.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

from dynalake.convert.read.raw import BadLine, BrokenObject, parse_line, stream_lines
from dynalake.days import SNAPSHOT_DAY
from dynalake.errors import ConflictError
from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.catalog.table import HISTORY_FROM, Table, schema_of
from dynalake.lake.files.raw_days import list_raw_days, live_folders, read_raw_days
from dynalake.lake.files.read import read_rows
from dynalake.record.change import (
    EVENT_TIME,
    OPERATION,
    OTHER,
    SEQUENCE_DIGITS,
    SEQUENCE_NUMBER,
    SNAPSHOT_SEQUENCE,
    json_key,
)
from dynalake.record.key import ItemKey

# DynamoDB's numbers have 38 digits at most.
_EXACT = Context(prec=80)

Key = tuple[str, ...]
"""An item's key as text, the same for the same item from any source."""

Wanted = dict[Key, dict[int, int]]
"""For each changed item and window end (seconds): up to which time (ms) a change is before it."""
Numbers = dict[Key, dict[int, str]]
"""For each item and window end: the number behind which the window's change belongs."""


@dataclass(frozen=True)
class Known:
    """A change that the lake has: its item, its number, its time in milliseconds, and what it was."""

    key: Key
    number: str
    time: int
    operation: str


def last_before(written: int, window_end: int) -> int:
    """Return up to which time (milliseconds) a change of the lake counts as one from before a window's end (pure).

    `written` is when the window's last change of the item was written, in microseconds; `window_end` is in seconds. No
    change of the item is between the two, so their middle is the safest cut: the stream's times are approximate, and
    of whole seconds.
    """
    return (written + window_end * 1_000_000) // 2 // 1000


def greatest_before(wanted: Wanted, known: Iterable[Known]) -> Numbers:
    """Return the greatest number among the changes that are before each window's end (pure).

    Without any it is the number of a snapshot, which is below every stream's.
    """
    greatest: Numbers = {key: dict.fromkeys(ends, SNAPSHOT_SEQUENCE) for key, ends in wanted.items()}
    for change in known:
        for end, until in wanted.get(change.key, {}).items():
            if change.time <= until:
                # A change of an earlier import counts with the number behind which it was put.
                number = change.number[:SEQUENCE_DIGITS]
                greatest[change.key][end] = max(greatest[change.key][end], number)
    return greatest


def look_up(table: Table, key: ItemKey, wanted: Wanted) -> Numbers:
    """Return `greatest_before` over all changes of the lake. Hold the wanted keys in memory, and a row group."""
    return greatest_before(wanted, known_changes(table, key)) if wanted else {}


def known_changes(table: Table, key: ItemKey, since: str = "") -> Iterator[Known]:
    """Yield every change of the lake: the rows of `{t}`, and the raw objects of which no row was made yet.

    `since` is the first day that is read; without it the state too is read where days were dropped. Snapshots are left
    out. A change may come more than once. Raises `CatalogError` where the tables are missing or damaged.
    """
    # The table is loaded before raw objects are listed: objects converted in the meantime are read as raw objects.
    head = table.changes()
    days = [day for day in list_raw_days(table) if day > SNAPSHOT_DAY and day >= since]
    for raw_day in read_raw_days(table, days, live_folders(head)):
        for raw in raw_day.unnamed:
            yield from _of_lines(table, key, raw.key)
    yield from _of_rows(head, [f for f in head.files(since=since) if f.partition != SNAPSHOT_DAY], key)
    if not since and head.properties.get(HISTORY_FROM):
        state = table.items()
        yield from _of_rows(state, state.files(), key)


def item_key(key: ItemKey, item: Mapping[str, Mapping[str, Any]]) -> Key:
    """Return the key of an item in DynamoDB JSON."""
    return tuple(key_part(a.type, item[a.name][a.type]) for a in key.attributes)


def key_part(kind: str, value: Any) -> str:
    """Return one part of a key as text: numbers in one spelling, binary as base64."""
    if kind == "N":
        return format(Decimal(str(value)).normalize(_EXACT), "f")
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _of_lines(table: Table, key: ItemKey, object_key: str) -> Iterator[Known]:
    attributes = [(json_key(a.name), a.type) for a in key.attributes]
    body = table.store.open(object_key)
    if body is None:
        raise ConflictError(
            f"{table.store.uri(object_key)} was deleted after it was listed",
            action="let the task be retried",
            key=object_key,
        )
    with body:
        try:
            for line in stream_lines(body):
                try:
                    values = parse_line(line)
                    parts = tuple(key_part(kind, values[name]) for name, kind in attributes)
                    yield Known(parts, values[SEQUENCE_NUMBER], values[EVENT_TIME], values[OPERATION])
                except (BadLine, KeyError):
                    continue  # a canary, or a line that conversion puts into quarantine
        except BrokenObject:
            return


def _of_rows(head: Head, files: Iterable[DataFile], key: ItemKey) -> Iterator[Known]:
    """Yield the changes in these files, without snapshots. A number that does not fit its column is in `OTHER`."""
    columns = [schema_of(head).known.get(a.name) for a in key.attributes]
    if None in columns:
        return  # no row has ever had a key
    names = [column.name for column in columns if column is not None]
    for rows in read_rows(head, files, [*names, SEQUENCE_NUMBER, EVENT_TIME, OPERATION, OTHER]):
        values = (rows[name].to_pylist() for name in (*names, OTHER, SEQUENCE_NUMBER, EVENT_TIME, OPERATION))
        for *key_values, other, number, time, operation in zip(*values, strict=True):
            if operation == "SNAPSHOT":
                continue
            waiting = dict(other or ())
            parts = (
                key_part(a.type, waiting[a.name] if value is None else value)
                for a, value in zip(key.attributes, key_values, strict=True)
            )
            yield Known(tuple(parts), number, time, operation)
