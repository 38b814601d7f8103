"""Where the changes of a past window belong among those that the lake has: `docs/adr/0005-incremental-import.md`.

An item's stream numbers grow, and say nothing of time. So a change of a window gets the greatest number that the lake
has of its item from before the window's end, and behind it a point and the microsecond at which it was written.
"""

from __future__ import annotations

import tempfile
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

from dynalake.catalog.partitions import list_partitions
from dynalake.catalog.tables import read_schema
from dynalake.catalog.views import read_watermark
from dynalake.clients import Clients
from dynalake.convert.read.raw import BadLine, BrokenObject, list_objects, parse_line, stream_lines
from dynalake.days import SNAPSHOT_DAY
from dynalake.names import TableNames
from dynalake.record.change import (
    EVENT_TIME,
    OPERATION,
    SEQUENCE_DIGITS,
    SEQUENCE_NUMBER,
    SNAPSHOT_SEQUENCE,
    json_key,
)
from dynalake.record.key import ItemKey

# DynamoDB's numbers have 38 digits at most.
_EXACT = Context(prec=80)

Key = tuple[str, ...]
"""An item's key as text, the same for the same item whatever it was read from."""

Wanted = dict[Key, dict[int, int]]
"""Of each item that changed, for each window end (seconds): up to which time (ms) a change is before it."""
Numbers = dict[Key, dict[int, str]]
"""Of each item, for each window end: the number behind which the window's change belongs."""


@dataclass(frozen=True)
class Known:
    """A change that the lake has: its item, its number, its time in milliseconds, and what it was."""

    key: Key
    number: str
    time: int
    operation: str


def last_before(written: int, window_end: int) -> int:
    """Up to which time (milliseconds) a change of the lake counts as one from before a window's end (pure).

    `written` is when the window's last change of the item was written, in microseconds; `window_end` is in seconds.
    Every change of the item is either not after the one or not before the other, so their middle is as far as can be
    from both: the stream's times are approximate, and of whole seconds.
    """
    return (written + window_end * 1_000_000) // 2 // 1000


def greatest_before(wanted: Wanted, known: Iterable[Known]) -> Numbers:
    """The greatest number among the changes that are before each window's end (pure).

    Where nothing is known it is the number of a snapshot, which is below every stream's.
    """
    found: Numbers = {key: dict.fromkeys(ends, SNAPSHOT_SEQUENCE) for key, ends in wanted.items()}
    for change in known:
        for end, until in wanted.get(change.key, {}).items():
            if change.time <= until:
                # What an earlier import brought in counts with the number that it was put behind.
                number = change.number[:SEQUENCE_DIGITS]
                found[change.key][end] = max(found[change.key][end], number)
    return found


def look_up(clients: Clients, names: TableNames, key: ItemKey, wanted: Wanted) -> Numbers:
    """`greatest_before` over all that the views show of the table. Holds the wanted keys in memory, and a batch."""
    return greatest_before(wanted, known_changes(clients, names, key)) if wanted else {}


def known_changes(clients: Clients, names: TableNames, key: ItemKey, since: str = "") -> Iterator[Known]:
    """Every change that the views show, from Parquet up to the watermark and from JSON behind it; no snapshots.

    `since` is the first day that is read. Only the columns of `Known` are read of Parquet.
    """
    mark = read_watermark(clients, names)
    for day, partition in list_partitions(clients, names, names.typed_table, since).items():
        if day != SNAPSHOT_DAY and mark.covers(day):
            for found in list_objects(clients, names.lake.bucket, _prefix(names, partition.location)):
                yield from _of_file(clients, names, key, found.key)
    for day, partition in list_partitions(clients, names, names.raw_table, since).items():
        if day != SNAPSHOT_DAY and not mark.covers(day):
            for found in list_objects(clients, names.lake.bucket, _prefix(names, partition.location)):
                yield from _of_lines(clients, names, key, found.key)


def item_key(key: ItemKey, item: Mapping[str, Mapping[str, Any]]) -> Key:
    """The key of an item in DynamoDB JSON."""
    return tuple(key_part(a.type, item[a.name][a.type]) for a in key.attributes)


def key_part(kind: str, value: Any) -> str:
    """One part of a key as text: numbers without what does not count, binary as base64."""
    if kind == "N":
        return format(Decimal(str(value)).normalize(_EXACT), "f")
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _prefix(names: TableNames, location: str) -> str:
    return location.removeprefix(names.uri(""))


def _of_lines(clients: Clients, names: TableNames, key: ItemKey, object_key: str) -> Iterator[Known]:
    attributes = [(json_key(a.name), a.type) for a in key.attributes]
    with clients.s3.get_object(Bucket=names.lake.bucket, Key=object_key)["Body"] as body:
        try:
            for line in stream_lines(body):
                try:
                    values = parse_line(line)
                    parts = tuple(key_part(kind, values[name]) for name, kind in attributes)
                    yield Known(parts, values[SEQUENCE_NUMBER], values[EVENT_TIME], values[OPERATION])
                except (BadLine, KeyError):
                    continue  # a canary, or what compaction puts into quarantine
        except BrokenObject:
            return


def _of_file(clients: Clients, names: TableNames, key: ItemKey, object_key: str) -> Iterator[Known]:
    import pyarrow.dataset as ds

    keys = [c.name for c in read_schema(clients, names).key_columns]
    kinds = [a.type for a in key.attributes]
    # Parquet or ORC, by the file's ending; the stubs know fewer formats than Arrow.
    suffix: Any = object_key.rpartition(".")[2]
    with tempfile.NamedTemporaryFile(suffix=f".{suffix}") as copy:
        clients.s3.download_fileobj(names.lake.bucket, object_key, copy)
        copy.flush()
        columns = [*keys, SEQUENCE_NUMBER, EVENT_TIME, OPERATION]
        for batch in ds.dataset(copy.name, format=suffix).to_batches(columns=columns):
            for *values, number, time, operation in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield Known(tuple(map(key_part, kinds, values)), number, time, operation)
