"""Snapshots that are old enough expire, and with them the schemas that nothing needs any more.

Files are not deleted here: a file that no kept snapshot names is garbage, which `lake/upkeep/collect.py` deletes later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from dynalake.days import milliseconds
from dynalake.lake.catalog.iceberg import Head

SNAPSHOT_DAYS = 7
"""How long a snapshot can be read (`FOR VERSION AS OF`) and a rollback can go back, unless the user says otherwise."""


@dataclass(frozen=True)
class Expired:
    """The ids of snapshots and schemas that may go."""

    snapshots: tuple[int, ...] = ()
    schemas: tuple[int, ...] = ()


def plan_expiry(head: Head, now: datetime, snapshot_days: int = SNAPSHOT_DAYS) -> Expired:
    """Return the snapshots older than that many days, and the schemas that only they, or none, were written with.

    Snapshots with a branch or a tag stay: the current snapshot, and the pins of a change of types. A schema with a
    higher id than the current one stays as well, so that no id is ever given twice.
    """
    metadata = head.iceberg.metadata
    before = milliseconds(now - timedelta(days=snapshot_days))
    named = {ref.snapshot_id for ref in metadata.refs.values()}
    old = [s for s in metadata.snapshots if s.timestamp_ms < before and s.snapshot_id not in named]
    gone = {s.snapshot_id for s in old}
    used = {s.schema_id for s in metadata.snapshots if s.snapshot_id not in gone}
    return Expired(
        tuple(s.snapshot_id for s in old),
        tuple(
            schema.schema_id
            for schema in metadata.schemas
            if schema.schema_id not in used and schema.schema_id < metadata.current_schema_id
        ),
    )
