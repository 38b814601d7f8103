"""The views as Glue keeps them for Athena and Trino: each run compares them with the tables, and writes them.

They follow from the two tables alone, so every run that finds them different writes the same. The version of an entry
is read before the tables are, and an update names it: so no run writes an older text over one from after somebody
else's fold. How Athena keeps a view: https://docs.aws.amazon.com/athena/latest/ug/views.html; and Trino's
`ViewReaderUtil`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dynalake.aws.answers import code_of, tolerate
from dynalake.errors import CatalogError, ConflictError, NameTakenError
from dynalake.lake.catalog.clock import now_ms
from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.table import DYNAMODB_TABLE, FOLDED_TO, Table, number, schema_of
from dynalake.lake.columns.column import Column
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.current.state_schema import grow_state
from dynalake.lake.current.views import (
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
from dynalake.lake.types.union import Number
from dynalake.names import TableNames

PIN = "dynalake-views"
"""The tag that both tables have while types widen, on the snapshots that the views read until that is done."""

HELD_UNTIL = "dynalake.held-until"
"""Of a view: until when (milliseconds) it keeps to the snapshots that it reads, while a struct gets a field."""

HOLD = 600_000
"""Milliseconds. The commit that it is for follows at once; if its run dies, the next one ends the hold."""

OWNER = "hadoop"
"""The owner that awswrangler and Athena write; Trino reads no view without one, since it runs as that user."""

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


def write_views(table: Table, clock: Callable[[], int] = now_ms) -> tuple[str, ...]:
    """Make the three views what the tables say. Return the names of those that were written.

    A view that another run holds stays, until the tables have other columns or the time is over (`hold_views`). Raises
    `NameTakenError` where a name belongs to something else, and `ConflictError` where others came first too often, or
    the tables' types differ: then a change of types has been begun, and has to be finished first.
    """
    written, _, _ = _show(table, clock)
    return written


def show_tables(table: Table) -> tuple[Head, Head]:
    """Do what `write_views` does, and return the changes and the state that the views were made from."""
    _, changes, state = _show(table, now_ms)
    return changes, state


def _show(table: Table, clock: Callable[[], int]) -> tuple[tuple[str, ...], Head, Head]:
    heads: list[tuple[Head, Head]] = []

    def decide(entries: Mapping[str, Entry | None]) -> ViewSource:
        changes = table.changes()
        state = grow_state(table, changes, table.items())  # a view reads a column of both tables, or of neither
        heads.append((changes, state))
        return view_source(table.names, changes, state, bound_of(entries["current_view"]))

    written = _write_all(table, decide, lambda entry, wanted: _is_held(entry, wanted, clock()))
    return written, *heads[-1]


def hold_views(table: Table, clock: Callable[[], int] = now_ms) -> bool:
    """Let the views read both tables' present snapshots for `HOLD`, or until written. Return False without views.

    This comes before a struct gets a field: the views' own types would be wrong from that commit on. Where the tables
    are pinned already, the views need no hold.
    """
    if read_entry(table, table.names.current_view) is None:
        return False
    now = clock()

    def decide(entries: Mapping[str, Entry | None]) -> ViewSource:
        changes, state = table.changes(), table.items()  # the state is loaded later: it may be ahead
        if PIN in changes.tags and PIN in state.tags:
            return view_source(table.names, changes, state, bound_of(entries["current_view"]))
        assert changes.snapshot_id is not None
        assert state.snapshot_id is not None
        pinned = changes.snapshot_id, state.snapshot_id
        return _source(table.names, changes, state, pinned, number(state, FOLDED_TO), TRINO)

    def stays(entry: Entry, wanted: Mapping[str, Any]) -> bool:
        return _is_held(entry, wanted, now + HOLD // 2)

    _write_all(table, decide, stays, {HELD_UNTIL: str(now + HOLD)})
    return True


def _write_all(
    table: Table,
    decide: Callable[[Mapping[str, Entry | None]], ViewSource],
    stays: Callable[[Entry, Mapping[str, Any]], bool],
    parameters: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Write the views that differ from what `decide` says for the current entries, except those that `stays` keeps."""
    written: dict[str, None] = {}
    for _ in range(ATTEMPTS):
        entries = {name: read_entry(table, getattr(table.names, name)) for name, _, _ in _VIEWS}
        source = decide(entries)
        refused = False
        for name, sql, columns in _VIEWS:
            view, entry = getattr(table.names, name), entries[name]
            bound = source.folded_to if name == "current_view" else None
            wanted = view_input(table.names, view, sql(source), columns(source), bound, parameters)
            if entry is not None:
                check_owner(table.names, view, entry)
                if stays(entry, wanted):
                    continue
            outcome = _write(table, entry, wanted)
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


def _is_held(entry: Entry, wanted: Mapping[str, Any], now: int) -> bool:
    """Return whether another run still lets a view read older snapshots at `now`, with the columns it should have."""
    until = int(entry.get("Parameters", {}).get(HELD_UNTIL, 0))
    columns = [(c["Name"], c["Type"]) for c in entry.get("StorageDescriptor", {}).get("Columns", ())]
    return until > now and columns == [(c["Name"], c["Type"]) for c in wanted["StorageDescriptor"]["Columns"]]


def views_bound(table: Table) -> int | None:
    """Return after which time (milliseconds) `{t}_current` reads the changes; None where there is no such view."""
    return bound_of(read_entry(table, table.names.current_view))


def bound_of(entry: Entry | None) -> int | None:
    """Return the bound in a view's text, which its parameter repeats."""
    text = (entry or {}).get("Parameters", {}).get(FOLDED_TO)
    return None if text is None else int(text)


def view_source(
    names: TableNames, changes: Head, state: Head, shown: int | None, dialect: Dialect = TRINO
) -> ViewSource:
    """Return what the views have to be made from, by these tables.

    While both tables are pinned, the views stay at the bound that they have (`shown`): folds go on in the meantime, and
    a pinned state does not have them.
    """
    pins = changes.tags.get(PIN), state.tags.get(PIN)
    if pins[0] is None or pins[1] is None:
        return _source(names, changes, state, None, number(state, FOLDED_TO), dialect)
    return _source(names, changes, state, (pins[0], pins[1]), shown or 0, dialect)


def _source(
    names: TableNames, changes: Head, state: Head, pinned: tuple[int, int] | None, folded_to: int, dialect: Dialect
) -> ViewSource:
    schema = schema_of(changes)
    return ViewSource(
        changes=_place(names, names.changes_table, dialect),
        state=_place(names, names.state_table, dialect),
        columns=tuple(_columns(changes, state, pinned)),
        identity=schema.identity,
        key=tuple(c.name for c in schema.key_columns if _follows_from_key(c, schema)),
        folded_to=folded_to,
        open_day=open_day(folded_to, names.lake),
        pinned=pinned,
        dialect=dialect,
    )


def _follows_from_key(column: Column, schema: TableSchema) -> bool:
    """Return whether equal keys have equal values in a key's column. A number that is text may be `100` or `1E+2`."""
    numbers = {a.name for a in schema.key.attributes if a.type == "N"}
    return column.attribute not in numbers or (isinstance(column.type, Number) and column.type.kind != "text")


def current_texts(table: Table, place: Callable[[Dialect, str], str] | None = None) -> dict[str, str]:
    """Return the SQL of `{t}_current` for engines without Presto views, by the dialect's name. It stays right.

    `place` returns a table's name in a dialect, by its Glue name: for DuckDB an `iceberg_scan('…')`.
    """
    return write_texts(table.names, table.changes(), table.items(), views_bound(table), place)


def write_texts(
    names: TableNames,
    changes: Head,
    state: Head,
    shown: int | None,
    place: Callable[[Dialect, str], str] | None = None,
) -> dict[str, str]:
    """Return the same for loaded tables; `shown` is the view's bound, needed while they are pinned.

    Raises `ConflictError` where the tables' types differ: then a change of types has been begun.
    """
    texts = {}
    for dialect in (TRINO, SPARK, DUCKDB, PLAIN):
        source = view_source(names, changes, state, shown, dialect)
        if place is not None:
            source = replace(
                source,
                changes=place(dialect, names.changes_table),
                state=place(dialect, names.state_table),
            )
        texts[dialect.name] = current_sql(source)
    return texts


def _place(names: TableNames, name: str, dialect: Dialect) -> str:
    return f"{dialect.quoted(names.lake.database)}.{dialect.quoted(name)}"


def _columns(changes: Head, state: Head, pinned: tuple[int, int] | None) -> ViewColumns:
    """Return the columns that both tables have, with the types that they have in both."""
    change_schema = changes.schema if pinned is None else changes.schema_at(pinned[0])
    state_schema = state.schema if pinned is None else state.schema_at(pinned[1])
    state_types = {name: trino_type(of) for name, of in attribute_columns(state_schema)}
    attributes = {c.name for c in schema_of(changes).columns}
    chosen = []
    for name, of in attribute_columns(change_schema):
        if name not in state_types or (name not in attributes and pinned is None):
            continue
        if state_types[name] != trino_type(of):
            raise ConflictError(
                f"The column {name} is {trino_type(of)} in {changes.name} and {state_types[name]} in {state.name}",
                action="run dynalake_compact for the table: it finishes the change of types",
                column=name,
            )
        chosen.append((name, of))
    return tuple(chosen)


def read_entry(table: Table, name: str) -> Entry | None:
    """Return a table or view in the lake's Glue database, or None."""
    with tolerate("EntityNotFoundException"):
        return table.clients.glue.get_table(DatabaseName=table.names.lake.database, Name=name)["Table"]
    return None


def check_owner(names: TableNames, name: str, entry: Entry) -> None:
    """Raise `NameTakenError` where a Glue entry belongs to another DynamoDB table, or to nobody."""
    owner = entry.get("Parameters", {}).get(DYNAMODB_TABLE)
    if owner != names.table:
        whose = f"the DynamoDB table {owner}" if owner else "something other than dynalake"
        raise NameTakenError(
            f"{names.table} needs the Glue name {names.lake.database}.{name}, which belongs to {whose}",
            allowed="one DynamoDB table per Glue name",
            action="capture one of the two in another environment",
            table=names.table,
            other=owner or name,
        )


def view_input(
    names: TableNames,
    name: str,
    sql: str,
    columns: ViewColumns,
    bound: int | None = None,
    parameters: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the Glue TableInput of a view; `bound` is that in its text. It has further `parameters` only if given.

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
            **(parameters or {}),
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
    """Return the wanted view with what people wrote: description, owner, retention, comments, parameters."""
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
        "Parameters": {**_foreign(entry), **wanted["Parameters"]},
        "StorageDescriptor": {**wanted["StorageDescriptor"], "Columns": columns},
    }


def _foreign(entry: Entry) -> dict[str, str]:
    """Return the parameters that are not dynalake's."""
    return {k: v for k, v in entry.get("Parameters", {}).items() if not k.startswith("dynalake.")}


def _is_current(entry: Entry, wanted: Mapping[str, Any]) -> bool:
    current = {**entry, "StorageDescriptor": {"Columns": entry.get("StorageDescriptor", {}).get("Columns", [])}}
    target = {**wanted, "StorageDescriptor": {"Columns": wanted["StorageDescriptor"]["Columns"]}}
    return all((current.get(key) or _EMPTY.get(key)) == value for key, value in target.items())


_EMPTY: Mapping[str, Any] = {"PartitionKeys": []}


def _write(table: Table, entry: Entry | None, wanted: Mapping[str, Any]) -> bool | None:
    """Write a view where it differs. Return whether it did; None where another run was first."""
    database = table.names.lake.database
    try:
        if entry is None:
            table.clients.glue.create_table(DatabaseName=database, TableInput=_input(wanted))
            return True
        wanted = keep_written(entry, wanted)
        if _is_current(entry, wanted):
            return False
        table.clients.glue.update_table(
            DatabaseName=database, TableInput=_input(wanted), VersionId=entry["VersionId"], SkipArchive=True
        )
    except Exception as error:
        code = code_of(error)
        if code in ("ConcurrentModificationException", "AlreadyExistsException", "EntityNotFoundException"):
            return None
        raise
    return True


def _input(wanted: Mapping[str, Any]) -> Any:
    return dict(wanted)
