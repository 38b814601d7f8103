"""Which DynamoDB table a lake's tables are about.

A table that is deleted and made again has the same name and ARN, and another id. Its stream counts from another number,
so the changes of both have no common order, and an old item that nobody removed would stay for good. The id stands in
one place: the property `dynalake.table-id` of the two Iceberg tables, which stays as long as the data.
"""

from __future__ import annotations

from contextlib import suppress

from dynalake.aws.answers import tolerate
from dynalake.errors import CatalogError, SettingsError, SourceError
from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.metadata_note import noted_metadata
from dynalake.lake.catalog.table import TABLE_ID, TIME_ZONE, Table
from dynalake.lake.working.findings import MADE_AGAIN
from dynalake.names import TableNames


def table_id_of(head: Head | None) -> str:
    """Return the id of the DynamoDB table whose items these are; '' where there is no table, or it has no id."""
    return "" if head is None else head.properties.get(TABLE_ID, "")


def is_another(kept: str, found: str) -> bool:
    """Return whether these are the ids of two tables; '' is an id that is not known."""
    return bool(kept and found and kept != found)


def check_table(table: Table, found: str) -> None:
    """Call `check_head` with what Glue has now, or the bucket. A damaged table passes until it is brought back.

    Before the first setup of a lake there is no bucket.
    """
    name = table.names.changes_table
    with tolerate("NoSuchBucket"), suppress(CatalogError, FileNotFoundError):
        head, noted = table.catalog.find(name), noted_metadata(table, name)
        if head is None and noted is not None:
            head = table.catalog.read(name, noted)
        check_head(table.names, head, found)


def check_head(names: TableNames, head: Head | None, found: str) -> None:
    """Call `check_identity` for a table, and raise `SettingsError` where its days are of another zone than the lake's.

    A lake keeps its zone. But a bucket whose lake is set up again tells nothing of it, except here.
    """
    check_identity(names, table_id_of(head), found)
    zone = names.lake.time_zone if head is None else head.properties.get(TIME_ZONE, names.lake.time_zone)
    if zone != names.lake.time_zone:
        raise SettingsError(
            f"The days of {names.changes_table} are of the time zone {zone}, and those of the lake of "
            f"{names.lake.time_zone}",
            allowed="the time zone with which the lake was first set up",
            action=f"run dynalake_setup with time_zone {zone}; if its stacks were made with another one, remove them "
            "first",
            table=names.table,
        )


def check_live_table(table: Table, kept: str | None = None) -> None:
    """Call `check_identity` with what DynamoDB has now. A table that is gone passes: its items are still its own.

    `kept`: the id of the table that the lake has, where it was read before.
    """
    kept = table_id_of(table.changes()) if kept is None else kept
    with tolerate("ResourceNotFoundException"):
        live_id = table.clients.dynamodb.describe_table(TableName=table.names.table)["Table"]["TableId"]
        check_identity(table.names, kept, live_id)


def check_identity(names: TableNames, kept: str, found: str) -> None:
    """Raise `SourceError` where the lake has the items of the table `kept`, and DynamoDB has the table `found`."""
    if is_another(kept, found):
        raise SourceError(
            f"Table {names.table!r} was deleted and made again: the lake has the changes of the table with the id "
            f"{kept}, and DynamoDB has one with the id {found}",
            allowed="the table that the lake has: the changes of two tables have no common order",
            action=MADE_AGAIN,
            table=names.table,
        )
