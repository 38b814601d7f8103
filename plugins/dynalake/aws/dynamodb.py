"""The DynamoDB table that is captured and read: its description, and its point-in-time recovery.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Point-in-time-recovery.html
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from dynalake.aws.answers import code_of
from dynalake.aws.clients import Clients
from dynalake.errors import NotReadyError, SourceError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TableDescriptionTypeDef

WAIT_SECONDS = 300.0
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Recovery:
    """The moments that can be restored, in seconds since the epoch; 0 where DynamoDB does not say."""

    earliest: int
    latest: int


def describe_table(clients: Clients, table: str) -> TableDescriptionTypeDef:
    """Return `DescribeTable`'s `Table` member. Raise `SourceError` with similar tables where there is none."""
    with explain_missing(clients, table):
        return clients.dynamodb.describe_table(TableName=table)["Table"]


@contextmanager
def explain_missing(clients: Clients, table: str) -> Iterator[None]:
    """Raise `SourceError` with similar tables where DynamoDB answers that there is no such table."""
    try:
        yield
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        raise SourceError(
            f"There is no DynamoDB table {table!r} in region {clients.dynamodb.meta.region_name}",
            allowed=_allowed_tables(clients, table),
            action="check the name (upper and lower case count), the region and the account of the AWS connection",
            table=table,
        ) from error


def find_recovery(clients: Clients, table: str) -> Recovery | None:
    """Return the table's point-in-time recovery; None where it is off."""
    answer = clients.dynamodb.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    status: Any = answer.get("PointInTimeRecoveryDescription", {})
    if status.get("PointInTimeRecoveryStatus") != "ENABLED":
        return None
    return Recovery(
        _seconds(status.get("EarliestRestorableDateTime")), _seconds(status.get("LatestRestorableDateTime"))
    )


def turn_on_recovery(clients: Clients, table: str, sleep: Callable[[float], None] = time.sleep) -> Recovery:
    """Turn recovery on and wait until it is. It costs per GB and month."""
    clients.dynamodb.update_continuous_backups(
        TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    waited = 0.0
    while (recovery := find_recovery(clients, table)) is None:
        if waited >= WAIT_SECONDS:
            raise NotReadyError(f"Point-in-time recovery of table {table!r} is still not on", table=table)
        sleep(POLL_SECONDS)
        waited += POLL_SECONDS
    return recovery


def _seconds(moment: datetime | None) -> int:
    return 0 if moment is None else int(moment.timestamp())


def _allowed_tables(clients: Clients, table: str) -> str:
    try:
        known = clients.dynamodb.list_tables(Limit=100)["TableNames"]
    except ClientError:
        # The list is only a help to the user, and not every role may read it.
        return "an existing table"
    matches = difflib.get_close_matches(table.lower(), {name.lower() for name in known}, n=5)
    similar = [name for match in matches for name in known if name.lower() == match]
    shown = similar or sorted(known)[:10]
    return f"an existing table, such as {', '.join(shown)}" if shown else "an existing table; the region has none"
