"""What follows from point-in-time recovery, which an export needs: the method, or an error."""

from __future__ import annotations

from dynalake.errors import SourceError
from dynalake.names import TableNames


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
