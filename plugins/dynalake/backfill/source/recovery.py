"""Point-in-time recovery: an export needs it, and the method follows from it.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Point-in-time-recovery.html
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dynalake.errors import NotReadyError, SourceError
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames

WAIT_SECONDS = 120.0
POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Recovery:
    """The moments that can be restored, in seconds since the epoch; 0 where DynamoDB does not say."""

    earliest: int
    latest: int


def find_recovery(table: Table) -> Recovery | None:
    """Return the table's point-in-time recovery; None where it is off."""
    answer = table.clients.dynamodb.describe_continuous_backups(TableName=table.names.table)[
        "ContinuousBackupsDescription"
    ]
    status: Any = answer.get("PointInTimeRecoveryDescription", {})
    if status.get("PointInTimeRecoveryStatus") != "ENABLED":
        return None
    return Recovery(
        _seconds(status.get("EarliestRestorableDateTime")), _seconds(status.get("LatestRestorableDateTime"))
    )


def _seconds(moment: datetime | None) -> int:
    return 0 if moment is None else int(moment.timestamp())


def choose_method(asked: str, *, on: bool, incremental: bool) -> str | None:
    """Return `export` or `scan`, where recovery is `on` or not; None where an export needs it, and it is off (pure)."""
    if asked == "scan":
        return "scan"
    if on:
        return "export"
    return "scan" if asked == "auto" and not incremental else None


def recovery_off(names: TableNames, *, incremental: bool) -> SourceError:
    """Return the error for an export of a table without recovery."""
    command = f"aws dynamodb update-continuous-backups --table-name {names.table}"
    on = f"{command} --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true"
    return SourceError(
        f"Point-in-time recovery of table {names.table!r} is off, so DynamoDB cannot export it",
        allowed="a table with point-in-time recovery",
        action=(
            f"to get the lost changes, start over: run dynalake_teardown with delete_data, then dynalake_setup. "
            f"Recovery keeps only changes written while it is on. For the next time: {on}"
            if incremental
            else f"trigger dynalake_backfill again with enable_pitr=true, with method 'scan' or 'auto', or run: {on}"
        ),
        table=names.table,
    )


def turn_on_recovery(table: Table, sleep: Callable[[float], None] = time.sleep) -> Recovery:
    """Turn recovery on and wait until it is. It costs per GB and month."""
    names = table.names
    table.clients.dynamodb.update_continuous_backups(
        TableName=names.table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    waited = 0.0
    while (recovery := find_recovery(table)) is None:
        if waited >= WAIT_SECONDS:
            raise NotReadyError(f"Point-in-time recovery of table {names.table!r} is still not on", table=names.table)
        sleep(POLL_SECONDS)
        waited += POLL_SECONDS
    return recovery
