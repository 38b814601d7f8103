"""Stores a change that can never pass, with its reason, so that it neither blocks its shard nor is lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dynalake.days import SNAPSHOT_DAY, day_of
from dynalake.errors import RecordError, SettingsError
from dynalake.names import STAGE_FORWARDER, Lake, TableNames
from dynalake.record.stream import event_time


@dataclass(frozen=True)
class Rejected:
    """A stream record that cannot be forwarded, its place in the batch, and the reason."""

    position: int
    record: Any
    reason: str


def rejected_object(names: TableNames, rejected: Rejected) -> tuple[str, bytes]:
    """Return the S3 key and body of a rejected record.

    The same record always gives the same key, so a repeated batch writes it again in place. The day in the key is the
    change's own in the lake's time zone, `00000000` where it has no readable time. The body is `{"table", "reason",
    "record"}`, with the record as Lambda received it.
    """
    payload = json.dumps(rejected.record, sort_keys=True)
    digest = hashlib.sha256(payload.encode()).hexdigest()[:16]
    change = rejected.record.get("dynamodb") if isinstance(rejected.record, Mapping) else None
    number = change.get("SequenceNumber") if isinstance(change, Mapping) else None
    name = number if isinstance(number, str) and number.isascii() and number.isdigit() else "unknown"
    key = f"{names.rejected(STAGE_FORWARDER)}dt={_day(names.lake, change)}/{name}-{digest}.json"
    head = json.dumps({"table": names.table, "reason": rejected.reason})
    return key, f'{head[:-1]}, "record": {payload}}}\n'.encode()


def _day(lake: Lake, change: Any) -> str:
    try:
        milliseconds = event_time(change.get("ApproximateCreationDateTime"))
    except (RecordError, AttributeError):
        return SNAPSHOT_DAY
    return lake_day(lake, datetime.fromtimestamp(milliseconds / 1000, UTC))


def lake_day(lake: Lake, moment: datetime) -> str:
    """Return the day in the lake's time zone; in UTC where the runtime does not know that zone."""
    try:
        return lake.day_of(moment)
    except SettingsError:
        # An unknown time zone must not keep a change from being stored.
        return day_of(moment)
