"""The views as Glue keeps them for Athena and Trino: each run compares them with what they should be, and writes them.

They follow from the two tables alone, so whoever finds them different writes the same. The version of an entry is read
before the tables are, and an update names it: so nobody writes what was true before somebody else's fold over what came
after it. How Athena keeps a view: https://docs.aws.amazon.com/athena/latest/ug/views.html; and Trino's
`ViewReaderUtil`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from dynalake.errors import CatalogError, ConflictError, NameTakenError
from dynalake.lake.grow import schema_of
from dynalake.lake.iceberg import Head
from dynalake.lake.state_schema import grow_state
from dynalake.lake.table import DYNAMODB_TABLE, FOLDED_TO, Table, number
from dynalake.lake.views import (
    DUCKDB,
    PLAIN,
    SPARK,
    TRINO,
    Dialect,
    ViewColumns,
    ViewSource,
    attribute_columns,
    current_columns,
    current_sql,
    glue_type,
    history_columns,
    history_sql,
    open_day,
    removed_columns,
    removed_sql,
    trino_type,
)
from dynalake.names import TableNames

PIN = "dynalake-views"
"""The tag that both tables have while types widen: of the snapshots that the views read until that is done."""

OWNER = "hadoop"
"""As awswrangler and Athena write it; Trino reads no view without an owner, since it runs as that user."""

CATALOG = "awsdatacatalog"

SQL_LIMIT = 262_144
"""Bytes of a query's text in Athena (https://docs.aws.amazon.com/athena/latest/ug/service-limits.html)."""

TEXT_LIMIT = 409_600
"""Characters of `ViewOriginalText` (https://docs.aws.amazon.com/glue/latest/webapi/API_TableInput.html)."""

ATTEMPTS = 10

Entry = Mapping[str, Any]
"""A table or view as Glue's `GetTable` gives it."""

_VIEWS: tuple[tuple[str, Callable[[ViewSource], str], Callable[[ViewSource], ViewColumns]], ...] = (
    ("current_view", current_sql, current_columns),
    ("removed_view", removed_sql, removed_columns),
    ("history_view", history_sql, history_columns),
)


def write_views(table: Table) -> tuple[str, ...]:
    """Make the three views what the tables say. Returns the names of those that were written.

    Raises `NameTakenError` where a name belongs to something else, and `ConflictError` where others came first too
    often, or the tables' types differ: then a change of types has been begun, and is to be finished first.
    """
    grow_state(table, table.changes())  # a view reads a column from both tables, or from neither
    written: dict[str, None] = {}
    for _ in range(ATTEMPTS):
        entries = {name: read_entry(table, getattr(table.names, name)) for name, _, _ in _VIEWS}
        source = read_source(table, bound_of(entries["current_view"]))
        refused = False
        for name, sql, columns in _VIEWS:
            view = getattr(table.names, name)
            bound = source.folded_to if name == "current_view" else None
            wanted = view_input(table.names, view, sql(source), columns(source), bound)
            if entries[name] is not None:
                check_owner(table.names, view, entries[name] or {})
            outcome = _write(table, entries[name], wanted)
            refused = refused or outcome is None
            if outcome:
                written[view] = None
        if not refused:
            return tuple(written)
    raise ConflictError(
        f"The views of {table.names.table} were changed by others {ATTEMPTS} times in a row",
        action="try again when they are done",
        table=table.names.table,
    )


def views_bound(table: Table) -> int | None:
    """After which time (milliseconds) `{t}_current` reads the changes; None where there is no such view."""
    return bound_of(read_entry(table, table.names.current_view))


def bound_of(entry: Entry | None) -> int | None:
    """The bound in a view's text, which its parameter repeats."""
    text = (entry or {}).get("Parameters", {}).get(FOLDED_TO)
    return None if text is None else int(text)


def read_source(table: Table, shown: int | None = None, dialect: Dialect = TRINO) -> ViewSource:
    """What the views are to be made from, by the tables as they are now.

    While both tables are pinned, the views stay at the bound that they have (`shown`): folds go on in the meantime, and
    a pinned state knows nothing of them.
    """
    changes, state = table.changes(), table.items()
    schema = schema_of(changes)
    pins = changes.tags.get(PIN), state.tags.get(PIN)
    pinned = None if pins[0] is None or pins[1] is None else (pins[0], pins[1])
    folded_to = number(state, FOLDED_TO) if pinned is None else shown or 0
    return ViewSource(
        changes=_place(table.names, table.names.changes_table, dialect),
        state=_place(table.names, table.names.state_table, dialect),
        columns=tuple(_columns(changes, state, pinned)),
        identity=schema.identity,
        key=tuple(c.name for c in schema.key_columns),
        folded_to=folded_to,
        open_day=open_day(folded_to, table.names.lake),
        pinned=pinned,
        dialect=dialect,
    )


def current_texts(table: Table, place: Callable[[Dialect, str], str] | None = None) -> dict[str, str]:
    """The SQL of `{t}_current` for engines without Presto views, by the dialect's name. It stays right as time goes by.

    `place` gives a table as it is to be named in a dialect, by its Glue name: for DuckDB an `iceberg_scan('…')`.
    """
    texts = {}
    for dialect in (TRINO, SPARK, DUCKDB, PLAIN):
        source = read_source(table, views_bound(table), dialect)
        if place is not None:
            names = table.names
            changes, state = place(dialect, names.changes_table), place(dialect, names.state_table)
            source = ViewSource(**{**vars(source), "changes": changes, "state": state})
        texts[dialect.name] = current_sql(source)
    return texts


def _place(names: TableNames, name: str, dialect: Dialect) -> str:
    return f"{dialect.quoted(names.lake.database)}.{dialect.quoted(name)}"


def _columns(changes: Head, state: Head, pinned: tuple[int, int] | None) -> ViewColumns:
    """The columns that both tables have, with the types that they have in both."""
    mine = changes.schema if pinned is None else changes.schema_at(pinned[0])
    theirs = state.schema if pinned is None else state.schema_at(pinned[1])
    there = {name: trino_type(of) for name, of in attribute_columns(theirs)}
    ours = {c.name for c in schema_of(changes).columns}
    chosen = []
    for name, of in attribute_columns(mine):
        if name in there and there[name] != trino_type(of):
            raise ConflictError(
                f"The column {name} is {trino_type(of)} in {changes.name} and {there[name]} in {state.name}",
                action="run dynalake_compact for the table: it finishes the change of types that was begun",
                column=name,
            )
        if name in there and (pinned or name in ours):
            chosen.append((name, of))
    return tuple(chosen)


def read_entry(table: Table, name: str) -> Entry | None:
    """A table or view in the lake's Glue database, or None."""
    try:
        return table.clients.glue.get_table(DatabaseName=table.names.lake.database, Name=name)["Table"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "EntityNotFoundException":
            return None
        raise


def check_owner(names: TableNames, name: str, entry: Entry) -> None:
    """Raise `NameTakenError` where a Glue entry belongs to another DynamoDB table, or to nobody."""
    owner = entry.get("Parameters", {}).get(DYNAMODB_TABLE)
    if owner != names.table:
        whose = f"the DynamoDB table {owner}" if owner else "something that is not dynalake's"
        raise NameTakenError(
            f"{names.table} needs the Glue name {names.lake.database}.{name}, which belongs to {whose}",
            allowed="one DynamoDB table per Glue name",
            action="capture one of the two in another environment",
            table=names.table,
            other=owner or name,
        )


def view_input(names: TableNames, name: str, sql: str, columns: ViewColumns, bound: int | None) -> dict[str, Any]:
    """The Glue TableInput of a view; `bound` is that in its text.

    Raises `CatalogError` where it is larger than Athena or Glue takes.
    """
    definition = {
        "originalSql": sql,
        "catalog": CATALOG,
        "schema": names.lake.database,
        "columns": [{"name": column, "type": trino_type(of)} for column, of in columns],
    }
    encoded = base64.b64encode(json.dumps(definition, separators=(",", ":")).encode()).decode()
    text = f"/* Presto View: {encoded} */"
    for what, size, limit in (("SQL", len(sql.encode()), SQL_LIMIT), ("text", len(text), TEXT_LIMIT)):
        if size > limit:
            raise CatalogError(
                f"The {what} of the view {name} has {size:,} bytes",
                allowed=f"{limit:,}",
                action="take some attributes out of the columns (they stay readable in __other)",
                table=names.table,
            )
    return {
        "Name": name,
        "TableType": "VIRTUAL_VIEW",
        "Parameters": {
            "presto_view": "true",
            "comment": "Presto View",
            DYNAMODB_TABLE: names.table,
            **({} if bound is None else {FOLDED_TO: str(bound)}),
        },
        "PartitionKeys": [],
        "StorageDescriptor": {
            "Columns": [{"Name": column, "Type": glue_type(of)} for column, of in columns],
            "Location": "",
            "SerdeInfo": {},
        },
        "ViewOriginalText": text,
        "ViewExpandedText": "/* Presto View */",
        "Owner": OWNER,
    }


def keep_written(entry: Entry, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The wanted view with what people wrote in its entry: description, owner, retention, comments, parameters."""
    kept = {key: entry[key] for key in ("Description", "Owner", "Retention") if entry.get(key)}
    comments = {
        c["Name"]: c["Comment"] for c in entry.get("StorageDescriptor", {}).get("Columns", ()) if c.get("Comment")
    }
    columns = [
        {**c, "Comment": comments[c["Name"]]} if c["Name"] in comments else c
        for c in wanted["StorageDescriptor"]["Columns"]
    ]
    return {
        **wanted,
        **kept,
        "Parameters": {**entry.get("Parameters", {}), **wanted["Parameters"]},
        "StorageDescriptor": {**wanted["StorageDescriptor"], "Columns": columns},
    }


def _is_as_wanted(entry: Entry, wanted: Mapping[str, Any]) -> bool:
    there = {**entry, "StorageDescriptor": {"Columns": entry.get("StorageDescriptor", {}).get("Columns", [])}}
    asked = {**wanted, "StorageDescriptor": {"Columns": wanted["StorageDescriptor"]["Columns"]}}
    return all((there.get(key) or _EMPTY.get(key)) == value for key, value in asked.items())


_EMPTY: Mapping[str, Any] = {"PartitionKeys": []}


def _write(table: Table, entry: Entry | None, wanted: Mapping[str, Any]) -> bool | None:
    """Write a view where it differs: whether it did. None where somebody else was first."""
    database = table.names.lake.database
    try:
        if entry is None:
            table.clients.glue.create_table(DatabaseName=database, TableInput=_input(wanted))
            return True
        wanted = keep_written(entry, wanted)
        if _is_as_wanted(entry, wanted):
            return False
        table.clients.glue.update_table(
            DatabaseName=database, TableInput=_input(wanted), VersionId=entry["VersionId"], SkipArchive=True
        )
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("ConcurrentModificationException", "AlreadyExistsException", "EntityNotFoundException"):
            return None
        raise
    return True


def _input(wanted: Mapping[str, Any]) -> Any:
    return dict(wanted)
