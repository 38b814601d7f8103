"""The two Iceberg tables of one DynamoDB table: their properties, and the object that functions take for them.

These properties hold all that has to be kept about a table, and change in the same commit as its files. The numbers
only rise.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from dynalake.aws.clients import Clients
from dynalake.aws.s3 import Store
from dynalake.errors import CatalogError
from dynalake.lake.columns.schema import TableSchema
from dynalake.names import TableNames

if TYPE_CHECKING:
    from dynalake.lake.catalog.iceberg import Head, IcebergCatalog

SCHEMA = "dynalake.schema"
"""`TableSchema.to_json()`; of both tables."""

DYNAMODB_TABLE = "dynalake.table"
"""The DynamoDB table's name; of both tables."""

SOURCE = "dynalake.source"
"""The DynamoDB table's ARN."""

TABLE_ID = "dynalake.table-id"
"""The DynamoDB table's id, which shows that it was deleted and made again (`tables/identity.py`); of both tables."""

TIME_ZONE = "dynalake.time-zone"
"""The zone whose days `dt` are."""

BOUND = "dynalake.bound"
"""Of the changes: what happened at or before this time (milliseconds) reaches the state before it is committed here."""

HISTORY_FROM = "dynalake.history-from"
"""Of the changes: the first day that is kept; '' where all are."""

SHOWN_RUN = "dynalake.shown-run"
"""Of the changes: the number of the backfill whose items are `dt=00000000`."""

FOLDED_TO = "dynalake.folded-to"
"""Of the state: all changes up to this time (milliseconds) are in it."""

SNAPSHOT_RUN = "dynalake.snapshot-run"
"""Of the state: the number of the backfill whose items are in it."""

COLLECTED_AT = "dynalake.collected-at"
"""When files were last collected (milliseconds); of both tables."""

PLANNED_ON = (BOUND, HISTORY_FROM, SHOWN_RUN)
"""Properties of the changes that must not have changed between a conversion's plan and its commit."""

GRACE = timedelta(days=7)
"""How long a file that nothing names is kept: longer than any task may take, so that a file being written stays."""


@dataclass(frozen=True)
class Table:
    """One DynamoDB table in the lake: its names, and the clients to work on it."""

    clients: Clients
    names: TableNames

    def __reduce__(self) -> tuple[type[Table], tuple[Clients, TableNames]]:
        return Table, (self.clients, self.names)  # another process loads the catalog itself

    @cached_property
    def catalog(self) -> IcebergCatalog:
        # pyiceberg takes a second to import, and most functions that take a table do without.
        from dynalake.lake.catalog.iceberg import IcebergCatalog

        return IcebergCatalog(self.clients, self.names.lake)

    @cached_property
    def store(self) -> Store:
        """Objects of the lake's bucket."""
        return Store(self.clients, self.names.lake.bucket)

    def changes(self) -> Head:
        """Return `{t}`, every change once, as it is now. Raise `CatalogError` where it is missing."""
        return self.catalog.load(self.names.changes_table)

    def items(self) -> Head:
        """Return `{t}_state`, one row per item, as it is now. Raise `CatalogError` where it is missing."""
        return self.catalog.load(self.names.state_table)


def schema_of(head: Head) -> TableSchema:
    """Return the table's schema from its own property. Raise `CatalogError` where it was removed."""
    text = head.properties.get(SCHEMA)
    if text is None:
        raise CatalogError(
            f"The table {head.name} has lost its property {SCHEMA}",
            allowed="the properties that dynalake has set",
            action="set it again from an earlier metadata file of the table (its metadata log names them)",
            table=head.name,
        )
    return TableSchema.from_json(text)


def number(head: Head, name: str) -> int:
    """Return a property that is a number; 0 where it was never set."""
    return int(head.properties.get(name) or 0)
