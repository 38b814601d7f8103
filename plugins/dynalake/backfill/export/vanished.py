"""Items that an incremental export does not mention because they came and went in its window.

An export has the differences between a window's start and its end. It leaves out an item that existed at neither. So if
its insertion had reached the lake and its removal was lost, the lake would show it for good:
`docs/adr/0005-incremental-import.md`.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

from dynalake.backfill.export.numbers import Key, Known, item_key, known_changes
from dynalake.backfill.plan.windows import Window
from dynalake.backfill.source.source import find_items
from dynalake.lake.catalog.table import Table
from dynalake.record.change import SEQUENCE_DIGITS, encode_change, sequence_after
from dynalake.record.key import ItemKey

# Items are compared a share at a time, so that only a small part of the changes is in memory.
_SHARES = 128
_REMOVE = "REMOVE"


@dataclass(frozen=True)
class Vanished:
    """An item that was gone by `window_end` (seconds), and the number behind which its removal belongs."""

    key: Key
    number: str
    window_end: int


def plan_vanished(
    last: Mapping[Key, Known], mentioned: Mapping[Key, int], windows: Sequence[Window]
) -> tuple[Vanished, ...]:
    """Return the items that a window made and removed (pure), in the order of their keys.

    `last` is each item's last change in the lake, `mentioned` the end of the last window whose export has the item. If
    an item's last change is in a window and left the item in place, and neither the export of that window nor a later
    one mentions it, it existed neither at the window's start nor at its end.
    """
    vanished = []
    for key, change in sorted(last.items()):
        for start, end in windows:
            inside = start * 1000 <= change.time < end * 1000
            if inside and change.operation != _REMOVE and mentioned.get(key, 0) < end:
                vanished.append(Vanished(key, change.number[:SEQUENCE_DIGITS], end))
    return tuple(vanished)


def find_vanished(
    table: Table,
    key: ItemKey,
    windows: Sequence[Window],
    exported: Iterable[tuple[int, Mapping[str, Any]]],
) -> Iterator[Vanished]:
    """Yield `plan_vanished` over the lake's changes since the first window began, without items in the table now.

    `exported` gives, for each line of the exports, its window's end and the item's key. An item in the table was made
    again, or was never gone: AWS does not say whether an item that was changed and changed back is exported. The keys
    of items changed since then are held on local disk, a share of them in memory.
    """
    since = table.names.lake.day_of(datetime.fromtimestamp(windows[0][0], UTC))
    with ExitStack() as stack:
        shares = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(_SHARES)]
        inside = False
        for change in known_changes(table, key, since):
            if change.time >= windows[0][0] * 1000:
                _put(shares, change.key, [change.number, change.time, change.operation])
                inside = inside or change.time < windows[-1][1] * 1000
        if not inside:
            return
        for end, attributes in exported:
            _put(shares, item_key(key, attributes), end)
        for share in shares:
            vanished = plan_vanished(*_read(share), windows)
            items = find_items(table, [key_attributes(key, item.key) for item in vanished])
            existing = {item_key(key, item) for item in items}
            yield from (item for item in vanished if item.key not in existing)


def encode_vanished(key: ItemKey, vanished: Vanished) -> bytes:
    """Return the removal as a change record. Its time is unknown: at most a microsecond before the window's end."""
    latest = vanished.window_end * 1_000_000 - 1
    return encode_change(
        key_attributes(key, vanished.key),
        operation=_REMOVE,
        sequence_number=sequence_after(vanished.number, latest),
        event_time=latest // 1000,
    ).encode()


def key_attributes(key: ItemKey, parts: Key) -> dict[str, dict[str, Any]]:
    """Return the key as DynamoDB accepts it: the reverse of `item_key`."""
    pairs = zip(key.attributes, parts, strict=True)
    return {a.name: {a.type: b64decode(part) if a.type == "B" else part} for a, part in pairs}


def _put(shares: Sequence[IO[str]], key: Key, value: list[Any] | int) -> None:
    text = json.dumps([key, value])
    shares[zlib.crc32("\0".join(key).encode(errors="surrogatepass")) % len(shares)].write(f"{text}\n")


def _read(share: IO[str]) -> tuple[dict[Key, Known], dict[Key, int]]:
    last: dict[Key, Known] = {}
    mentioned: dict[Key, int] = {}
    share.seek(0)
    for line in share:
        parts, value = json.loads(line)
        key = tuple(parts)
        if isinstance(value, int):
            mentioned[key] = max(value, mentioned.get(key, 0))
        elif key not in last or last[key].number < value[0]:
            last[key] = Known(key, *value)
    return last, mentioned
