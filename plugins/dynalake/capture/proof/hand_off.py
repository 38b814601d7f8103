"""The hand-off: the time from which the stream has every change. The backfill covers the time before it.

It also keeps what the next pipeline of the table needs: which stream was read, and until when.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from dynalake.capture.proof.verify import cannot_read, check_mapping
from dynalake.errors import SettingsError
from dynalake.lake.catalog.table import Table

STREAM_HOURS = 24
"""Hours that a stream keeps: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html"""


@dataclass(frozen=True)
class HandOff:
    """One mapping's hand-off. All times are in UTC."""

    table: str
    mapping_id: str
    """UUID of the event source mapping. Another mapping reads other changes, so it has a hand-off of its own."""
    at: datetime
    """Time after which the mapping, which reads from TRIM_HORIZON, was seen enabled."""
    stream_arn: str = ""
    """Stream that the mapping reads."""
    read_until: datetime | None = None
    """Time at which a teardown stopped the mapping."""
    lost_since: datetime | None = None
    """Start of a gap until `at`, whose changes are not all in the stream: the table's former pipeline had ended too
    long before, or had read another stream.
    """

    def to_json(self) -> dict[str, Any]:
        """Return the object's content, which a person may read too."""
        return {n: _text(v) if isinstance(v, datetime) else v for n, v in asdict(self).items() if v is not None}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> HandOff:
        """Return the hand-off from what `to_json` returned."""
        named = ("at", "read_until", "lost_since")
        times: dict[str, Any] = {n: datetime.fromisoformat(values[n]) for n in named if n in values}
        return cls(**(values | times))


def plan_lost_since(before: HandOff | None, stream_arn: str, at: datetime, read_at: datetime | None) -> datetime | None:
    """Return since when changes between two pipelines of a table are lost; None where all are read (pure).

    The second pipeline, whose hand-off is `at`, begins where the stream does. So it reads what the first has left if
    that read the same stream until less than 24 hours ago. `read_at` is when the first was last seen to read, if
    anybody checked.
    """
    if before is None:
        return None
    read_until = max(moment for moment in (before.at, before.read_until, read_at) if moment is not None)
    another = before.stream_arn not in ("", stream_arn)
    return read_until if another or at - read_until >= timedelta(hours=STREAM_HOURS) else None


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _now() -> datetime:
    return datetime.now(UTC)


def record_hand_off(
    table: Table,
    mapping_id: str,
    now: Callable[[], datetime] = _now,
    *,
    read_at: datetime | None = None,
) -> HandOff:
    """Take and store the table's hand-off once per mapping. A second call returns the first one's.

    `read_at`: when a former mapping of the table was last seen to read. Raises `NotReadyError` while the mapping is not
    enabled, `ConflictError` where somebody else stores another one at the same moment.
    """
    stored = table.store.read_json(table.names.hand_off)
    before = None if stored is None else HandOff.from_json(stored.value)
    if before is not None and before.mapping_id == mapping_id:
        return before
    check_mapping(table, mapping_id)
    stream_arn = table.clients.lambda_.get_event_source_mapping(UUID=mapping_id)["EventSourceArn"]
    moment = now().astimezone(UTC)
    at = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    lost_since = plan_lost_since(before, stream_arn, at, read_at)
    hand_off = HandOff(table.names.table, mapping_id, at, stream_arn, lost_since=lost_since)
    table.store.replace_json(table.names.hand_off, hand_off.to_json(), stored)
    return hand_off


def note_end(table: Table, mapping_id: str) -> None:
    """Note when the table's disabled mapping stopped reading: at its last change.

    It notes nothing for a mapping that could not read: nobody knows when that one stopped.
    """
    stored = table.store.read_json(table.names.hand_off)
    if stored is not None and stored.value["mapping_id"] == mapping_id:
        mapping = table.clients.lambda_.get_event_source_mapping(UUID=mapping_id)
        if not cannot_read(mapping.get("LastProcessingResult", "")):
            ended = replace(HandOff.from_json(stored.value), read_until=mapping["LastModified"].astimezone(UTC))
            table.store.replace_json(table.names.hand_off, ended.to_json(), stored)


def load_hand_off(table: Table) -> HandOff:
    """Return the table's hand-off. Raise `SettingsError` where there is none yet."""
    hand_off = find_hand_off(table)
    if hand_off is None:
        raise SettingsError(
            f"Table {table.names.table!r} has no hand-off time",
            allowed="a table whose setup has finished",
            action="run dynalake_setup for it first, or set updated_before yourself",
            table=table.names.table,
        )
    return hand_off


def find_hand_off(table: Table) -> HandOff | None:
    """Return the table's hand-off; None where there is none yet."""
    stored = table.store.read_json(table.names.hand_off)
    return None if stored is None else HandOff.from_json(stored.value)
