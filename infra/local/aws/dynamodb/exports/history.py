"""Point-in-time recovery: the content of a table at any moment since recovery was turned on.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Point-in-time-recovery.html
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from ministack.core.responses import get_account_id, get_region, json_response
from ministack.services import dynamodb

from infra.local.aws.patch import Original, patch

PATH = "/_dynalake/point-in-time-recovery"
RETENTION_SECONDS = 35 * 24 * 60 * 60

Item = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """One write: its time in microseconds, the item's key, and its JSON before and after (None: no item)."""

    micros: int
    key: str
    before: str | None
    after: str | None


@dataclass
class History:
    """A table's changes, oldest first, since its recovery was turned on (microseconds)."""

    table_id: str
    since: int
    changes: list[Change] = field(default_factory=list)


_histories: dict[tuple[str, str, str], History] = {}
_last = 0
_lock = threading.Lock()


@patch(dynamodb, "_emit_stream_event")
def note_change(
    original: Original, name: str, event: str, old: Item | None, new: Item | None, *rest: Any, **options: Any
) -> None:
    """Record every change of a table with recovery, whether or not it has a stream."""
    history = of_table(name)
    if history is not None and old != new:
        before, after = (None if item is None else json.dumps(item) for item in (old, new))
        key = key_text(dynamodb._tables.get(name), new or old or {})
        history.changes.append(Change(now_micros(), key, before, after))
    original(name, event, old, new, *rest, **options)


@patch(dynamodb, "_update_continuous_backups")
def update_continuous_backups(original: Original, request: dict[str, Any]) -> Any:
    """Begin or end a table's history."""
    answer = original(request)
    name = dynamodb._normalize_table_name(request.get("TableName"))
    table = dynamodb._tables.get(name)
    if table is not None:
        if not dynamodb._pitr_settings.get(name):
            _histories.pop(_place(name), None)
        elif of_table(name) is None:
            _histories[_place(name)] = History(table["TableId"], now_micros())
    return answer


@patch(dynamodb, "_describe_continuous_backups")
def describe_continuous_backups(original: Original, request: dict[str, Any]) -> Any:
    """State the moment from which the table can be restored."""
    answer = original(request)
    history = of_table(dynamodb._normalize_table_name(request.get("TableName")))
    if history is None:
        return answer
    backups = json.loads(answer[2])
    recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    recovery["RecoveryPeriodInDays"] = 35
    recovery["EarliestRestorableDateTime"] = earliest(history) // 1_000_000
    return json_response(backups)


def of_table(name: str) -> History | None:
    """Return the history of a table with recovery, in the current request's account and region; else None."""
    history = _histories.get(_place(name))
    table = dynamodb._tables.get(name)
    return history if history and table and history.table_id == table["TableId"] else None


def earliest(history: History) -> int:
    """Return the first moment that can be restored, in microseconds."""
    return max(history.since, now_micros() - RETENTION_SECONDS * 1_000_000)


def state_at(name: str, history: History, micros: int | None) -> dict[str, str]:
    """Return the items by key at that moment (None: now); later writes are undone."""
    table = dynamodb._tables.get(name)
    items = {
        key_text(table, item): json.dumps(item) for by_sort in table["items"].values() for item in by_sort.values()
    }
    for change in reversed(history.changes if micros is not None else []):
        if micros is not None and change.micros < micros:
            break
        if change.before is None:
            items.pop(change.key, None)
        else:
            items[change.key] = change.before
    return items


def final_states(history: History, start: int, end: int) -> list[Change]:
    """Return one change for each item written in `[start, end)`, from its image before to its image at the end.

    An item that was both created and deleted in that time is left out.
    """
    merged: dict[str, Change] = {}
    for change in history.changes:
        if start <= change.micros < end:
            first = merged.get(change.key, change)
            merged[change.key] = Change(change.micros, change.key, first.before, change.after)
    return [change for change in merged.values() if change.before is not None or change.after is not None]


def age(name: str, seconds: float) -> None:
    """Move a table's history into the past by this many seconds."""
    with dynamodb._lock:
        for (_, _, table), history in _histories.items():
            if table == name:
                moved = int(seconds * 1_000_000)
                history.since -= moved
                history.changes = [Change(c.micros - moved, c.key, c.before, c.after) for c in history.changes]


def key_text(table: dict[str, Any], item: Item) -> str:
    """Return the item's key as JSON text."""
    names = [part["AttributeName"] for part in table["KeySchema"]]
    return json.dumps({name: item[name] for name in names})


def now_micros() -> int:
    """Return the time in microseconds; it differs in each call."""
    global _last
    with _lock:
        _last = max(_last + 1, time.time_ns() // 1000)
        return _last


def _place(name: str) -> tuple[str, str, str]:
    return get_account_id(), get_region(), name
