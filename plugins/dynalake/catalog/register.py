"""A table enters the catalog, and its schema grows there: the tables first, then what follows from them."""

from __future__ import annotations

from collections.abc import Callable

from dynalake.catalog.lease import changing
from dynalake.catalog.tables import (
    SOURCE,
    Found,
    TableInput,
    change_table,
    check_owner,
    json_table,
    parquet_table,
    parse_schema,
    read_schema,
    read_table,
)
from dynalake.catalog.views import ViewState, read_hold, write_views
from dynalake.clients import Clients
from dynalake.errors import CatalogError
from dynalake.lake.schema import TableSchema
from dynalake.names import TableNames
from dynalake.record.key import ItemKey


def register_table(clients: Clients, names: TableNames, key: ItemKey, *, source_arn: str) -> None:
    """Make the tables and views of a DynamoDB table, as far as they are not there yet.

    Again: nothing is written. Raises `NameTakenError` where one of the four Glue names belongs to another table (before
    anything is made), `CatalogError` where the database is missing or the table was registered with another key.
    """
    for glue_name in (names.typed_table, names.raw_table, names.changes_view, names.latest_view):
        found = read_table(clients, names.lake.database, glue_name)
        if found is not None:
            check_owner(names, glue_name, found)

    def make(found: Found | None) -> TableInput:
        if found is None:
            return parquet_table(names, TableSchema.of_key(key), source_arn)
        schema = parse_schema(names, found)
        if schema.key != key:
            raise CatalogError(
                f"{names.table} is registered with the key {schema.key.to_dict()}, and now has {key.to_dict()}",
                action="run dynalake_teardown for the table that was, then dynalake_setup",
                table=names.table,
            )
        return parquet_table(names, schema, source_arn)

    change_table(clients, names.lake.database, names.typed_table, make)
    with changing(clients, names):
        follow_schema(clients, names)


def grow_schema(clients: Clients, names: TableNames, grow: Callable[[TableSchema], TableSchema]) -> TableSchema:
    """Change the columns of `{t}_parquet` and the schema behind them in one call. Returns the schema as it is then.

    `grow` decides on fresh state, again and again where others change the table meanwhile; it must only ever add.
    """
    grown: list[TableSchema] = []

    def decide(found: Found | None) -> TableInput | None:
        if found is None:
            read_schema(clients, names)  # says what is missing
            return None
        schema = parse_schema(names, found)
        grown[:] = [grow(schema)]
        if grown[0] == schema:
            return None
        return parquet_table(names, grown[0], found.parameters.get(SOURCE, ""))

    change_table(clients, names.lake.database, names.typed_table, decide)
    return grown[0]


def follow_json(clients: Clients, names: TableNames) -> bool:
    """Give `{t}_json` the columns of `{t}_parquet`."""

    def decide(found: Found | None) -> TableInput:
        if found is not None:
            check_owner(names, names.raw_table, found)
        parquet = read_table(clients, names.lake.database, names.typed_table)
        if parquet is None:
            raise CatalogError(f"{names.typed_table} was deleted meanwhile", table=names.table)
        return json_table(names, parse_schema(names, parquet), parquet.parameters.get(SOURCE, ""))

    return change_table(clients, names.lake.database, names.raw_table, decide)


def follow_schema(clients: Clients, names: TableNames) -> bool:
    """Give `{t}_json` and the views the columns of `{t}_parquet`; the watermark stays. True if something changed.

    Views that are held while column types change are left to whoever holds them. The caller holds the table's lease.
    """
    changed = follow_json(clients, names)
    if read_hold(clients, names) is not None:
        return changed
    return write_views(clients, names, lambda mark, _: ViewState(read_schema(clients, names), mark)) or changed
