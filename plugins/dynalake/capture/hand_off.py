"""The hand-off: the time from which on the stream has every change, and before which the backfill reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from dynalake.capture.verify import check_mapping
from dynalake.clients import Clients
from dynalake.errors import ConflictError, SettingsError
from dynalake.names import TableNames


@dataclass(frozen=True)
class HandOff:
    """One mapping's hand-off."""

    table: str
    mapping_id: str
    """The UUID of the event source mapping; another mapping reads another stretch, so it has a hand-off of its own."""
    at: datetime
    """In UTC: after the mapping, which reads from TRIM_HORIZON, was seen enabled."""

    def to_json(self) -> str:
        """What the object holds: a person reads it too."""
        moment = self.at.isoformat(timespec="milliseconds")
        return json.dumps({"table": self.table, "mapping_id": self.mapping_id, "at": moment}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> HandOff:
        """The reverse of `to_json`."""
        values = json.loads(text)
        return cls(values["table"], values["mapping_id"], datetime.fromisoformat(values["at"]))


def _now() -> datetime:
    return datetime.now(UTC)


def record_hand_off(
    clients: Clients, names: TableNames, mapping_id: str, now: Callable[[], datetime] = _now
) -> HandOff:
    """The table's hand-off, taken and stored once per mapping: a second call returns the first one's.

    Raises `NotReadyError` while the mapping is not enabled, `ConflictError` where somebody else stores another one at
    the same moment.
    """
    found, tag = _load(clients, names)
    if found is not None and found.mapping_id == mapping_id:
        return found
    check_mapping(clients, names, mapping_id)
    moment = now().astimezone(UTC)
    taken = HandOff(names.table, mapping_id, moment.replace(microsecond=moment.microsecond // 1000 * 1000))
    condition: dict[str, Any] = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
    try:
        clients.s3.put_object(
            Bucket=names.lake.bucket,
            Key=names.hand_off,
            Body=taken.to_json().encode(),
            ContentType="application/json",
            **condition,
        )
    except ClientError as error:
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
        if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
            raise
        raise ConflictError(
            f"Another run stored the hand-off of table {names.table!r} at the same moment", table=names.table
        ) from error
    return taken


def load_hand_off(clients: Clients, names: TableNames) -> HandOff:
    """The table's hand-off; `SettingsError` where there is none yet."""
    found = find_hand_off(clients, names)
    if found is None:
        raise SettingsError(
            f"Table {names.table!r} has no hand-off time",
            allowed="a table whose setup has finished",
            action="run dynalake_setup for it first, or give updated_before yourself",
            table=names.table,
        )
    return found


def find_hand_off(clients: Clients, names: TableNames) -> HandOff | None:
    """The table's hand-off; None where there is none yet."""
    return _load(clients, names)[0]


def _load(clients: Clients, names: TableNames) -> tuple[HandOff | None, str | None]:
    try:
        answer = clients.s3.get_object(Bucket=names.lake.bucket, Key=names.hand_off)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None, None
        raise
    return HandOff.from_json(answer["Body"].read().decode()), answer["ETag"]
