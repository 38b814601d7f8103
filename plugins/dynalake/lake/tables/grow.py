"""New columns of the table of changes: committed before any file holds them.

A commit, never a plan, gives the ids by which files are read: of two runs that meet a new attribute at the same time,
the second one finds the first one's column, with its id and its type.

A struct that gets a field is another type to a view that shows it: from then on Trino refuses the view, for any column,
until it is written again. So the views read the earlier snapshots in the meantime. They have the new columns before any
file does, so they never show an item without them.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from dynalake.errors import ConflictError
from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.iceberg import Change, Head, News
from dynalake.lake.catalog.table import SCHEMA, Table
from dynalake.lake.catalog.table import schema_of as schema_of
from dynalake.lake.columns.iceberg_schema import iceberg_schema
from dynalake.lake.columns.pins import Pins
from dynalake.lake.columns.schema import Observed, TableSchema
from dynalake.lake.current.view_entries import hold_views, views_bound, write_views
from dynalake.lake.types.budget import BUDGET, Budget


def grow_schema(
    table: Table, planned: Head, observed: Observed, budget: Budget = BUDGET, *, allow: bool = False
) -> Head:
    """Give the table of changes columns, and fields in structs, for what was observed, as far as the budget goes.

    `allow`: also where its columns are closed, which they stay.

    Return the table with these columns: `planned`, as it was read, where it has them. An attribute keeps the column
    that it has, whichever run was first; the caller checks whether that fits. Raises
    `UnknownOutcomeError` where Glue's answer was lost: nothing but these columns may land later.
    """

    def build(head: Head, news: News) -> Change | None:
        before = schema_of(head)
        after = grown(before, observed, budget, allow=allow)
        if after == before:
            return None
        if any(c != after.known[c.attribute] for c in before.columns):
            hold_views(table)
        added = [c.name for c in after.columns if c.attribute not in before.known]
        return Change(
            properties={SCHEMA: after.to_json()},
            schema=iceberg_schema(after, head.schema, head.last_column_id, before=before),
            note={"dynalake": "grow", "dynalake.new-columns": str(len(added))},
        )

    before = schema_of(planned)
    if grown(before, observed, budget, allow=allow) == before:
        return planned
    head = commit_on(table.catalog, table.names, planned, build) or table.changes()
    if views_bound(table) is not None:
        with suppress(ConflictError):  # types are changing: the run that finishes this writes the views
            write_views(table)
    return head


def grown(before: TableSchema, observed: Observed, budget: Budget = BUDGET, *, allow: bool = False) -> TableSchema:
    """Return a schema with columns and fields for what was observed. `allow`: also a closed one, which stays closed."""
    return replace((before.opened if allow else before).admit(observed, budget), pins=before.pins)


def pin_columns(table: Table, pins: Pins) -> bool:
    """Give an existing table these pins. Return whether they are new; the next night changes its columns.

    Raises `SettingsError` where they contradict the key, or a pinned name is another attribute's column.
    """

    def build(head: Head, news: News) -> Change | None:
        before = schema_of(head)
        if before.pins == pins:
            return None
        return Change(properties={SCHEMA: before.with_pins(pins).to_json()}, note={"dynalake": "pins"})

    return commit_on(table.catalog, table.names, table.changes(), build) is not None
