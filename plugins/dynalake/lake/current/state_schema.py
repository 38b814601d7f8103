"""The columns of `{t}_state`: those of the changes, without the day, and two of its own; and how they follow `{t}`'s.

Each table numbers its own fields, so rows go from one to the other by the names of columns and fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute

from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.iceberg import Change, Head, News
from dynalake.lake.catalog.table import SCHEMA, Table, schema_of
from dynalake.lake.columns.column import DELETED, KEY, Column
from dynalake.lake.columns.column_types import BIGINT
from dynalake.lake.columns.iceberg_schema import iceberg_schema
from dynalake.lake.columns.retype import Retyper
from dynalake.lake.columns.schema import METADATA_TYPES, OTHER, TableSchema
from dynalake.lake.types.layout import extends
from dynalake.lake.types.union import TEXT, Boolean, Map, Type
from dynalake.record.change import OPERATION

_pa: Any = pa  # its stubs take types only as literals; here they are data
pc: Any = pyarrow.compute

RUN = "__run"
"""A column of `{t}_state`: the number of the backfill that a `SNAPSHOT` row is from; null in all others."""


def state_columns(schema: TableSchema) -> dict[str, Type]:
    """Return the columns that `{t}_state` has in front of the attributes'."""
    keys: dict[str, Type] = {KEY: TEXT} if KEY in schema.identity else {}
    return {DELETED: Boolean(), **METADATA_TYPES, RUN: BIGINT, OTHER: Map(TEXT), **keys}


def join_schemas(state: TableSchema, changes: TableSchema) -> TableSchema:
    """Return the state's schema with the columns, and fields of structs, that only the changes have.

    It is `state` itself where nothing is missing. A column whose type was changed in the changes and not here yet keeps
    its own: values that do not fit go to `__other` until that is done.
    """
    columns = dict(state.known)
    names = {c.name for c in state.columns}
    for newer in changes.columns:
        column = columns.get(newer.attribute)
        if newer.name not in names if column is None else _only_grows(column, newer):
            columns[newer.attribute] = newer
    joined = tuple(columns.values())
    if joined == state.columns:
        return state
    key = tuple(columns[name] for name in changes.key.names if name in columns)
    return replace(state, columns=(*key, *(c for c in joined if c not in key)), pins=changes.pins)


def _only_grows(column: Column, newer: Column) -> bool:
    """Return whether it is the same column, with further fields at most."""
    return column.name == newer.name and extends(column.type, newer.type)


def grow_state(table: Table, changes: Head, state: Head) -> Head:
    """Return the state with all columns that these changes have: `state`, as it was read, where it has them."""
    changes_schema = schema_of(changes)

    def build(head: Head, news: News) -> Change | None:
        before = schema_of(head)
        after = join_schemas(before, changes_schema)
        if after == before:
            return None
        own = state_columns(after)
        schema = iceberg_schema(after, head.schema, head.last_column_id, before=before, own=own)
        return Change(schema=schema, properties={SCHEMA: after.to_json()}, note={"dynalake": "grow"})

    if build(state, News((), deletes=False)) is None:
        return state
    return commit_on(table.catalog, table.names, state, build) or table.items()


def retyper(old: TableSchema, new: TableSchema, target: pa.Schema) -> Callable[[pa.Table], pa.Table]:
    """Return a function from rows under `old` to rows under `new`; `target` has its columns in order."""
    if old.columns != new.columns:
        return Retyper(old, new, target)
    return lambda rows: rows.select(target.names)


def mark_items(rows: pa.Table, run: int | None = None) -> pa.Table:
    """Return changes with the state's own columns. `run`: that of `SNAPSHOT` rows.

    A `REMOVE` is a row like any other, with the old image, or the key where the stream has none.
    """
    operation = rows[OPERATION]
    number, none = _pa.scalar(run, pa.int64()), _pa.scalar(None, pa.int64())
    rows = rows.append_column(DELETED, pc.equal(operation, "REMOVE"))
    return rows.append_column(RUN, pc.if_else(pc.equal(operation, "SNAPSHOT"), number, none))
