"""Both Iceberg tables of a DynamoDB table and their views: made, found, or brought back.

A lost table is never created again while its metadata is known: a new one would number its columns again, and no file
could be read by them. The state can be derived from the changes as long as these hold all of history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from dynalake.days import SNAPSHOT_DAY
from dynalake.errors import CatalogError, ConflictError
from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.iceberg import Change, Head, News
from dynalake.lake.catalog.metadata_note import note_metadata, noted_metadata
from dynalake.lake.catalog.table import (
    BOUND,
    COLLECTED_AT,
    DYNAMODB_TABLE,
    FOLDED_TO,
    HISTORY_FROM,
    SCHEMA,
    SHOWN_RUN,
    SNAPSHOT_RUN,
    SOURCE,
    TABLE_ID,
    TIME_ZONE,
    Table,
    number,
    schema_of,
)
from dynalake.lake.columns.column import DELETED
from dynalake.lake.columns.iceberg_schema import iceberg_schema
from dynalake.lake.columns.pins import Pins
from dynalake.lake.columns.schema import DAY, TableSchema
from dynalake.lake.current.fold import fold
from dynalake.lake.current.snapshot import remove_earlier
from dynalake.lake.current.state import Merge
from dynalake.lake.current.state_schema import state_columns
from dynalake.lake.current.view_entries import check_owner, read_entry, write_views
from dynalake.lake.tables.identity import check_head
from dynalake.lake.tables.restore import bring_back, forget_restored, lost, restored_since
from dynalake.names import TableNames
from dynalake.record.change import EVENT_TIME, SEQUENCE_NUMBER
from dynalake.record.key import ItemKey


def make_tables(table: Table, key: ItemKey, source_arn: str, pins: Pins | None = None, *, table_id: str = "") -> None:
    """Make `{t}` and `{t}_state` with an empty snapshot, where they are missing, and bring back what was lost.

    `table_id` is DynamoDB's; '' where it is not known. Another call, or one after a kill, gives the same. Raises
    `NameTakenError`, before anything is made, where a Glue name belongs to something else; `SourceError` where the
    tables are those of another DynamoDB table; `SettingsError` where their days are of another time zone;
    `CatalogError` where a table is gone that can neither be brought back nor, for the state, be derived again.
    """
    check_names(table)
    table.catalog.make_database()
    schema = TableSchema.of_new_table(key, pins)
    source = {SOURCE: source_arn, TABLE_ID: table_id}
    changes = bring_back(table, table.names.changes_table).head
    check_head(table.names, changes, table_id)
    if changes is None:
        changes = _create_changes(table, schema, source)
    note_metadata(table, changes)
    state = bring_back(table, table.names.state_table).head
    if state is None:
        _check_derivable(table.names, changes)
        state = _create_state(table, schema_of(changes), source)
    note_metadata(table, state)
    merge_again(table)
    derive_state(table)
    write_views(table)


def check_names(table: Table) -> None:
    """Raise `NameTakenError` where one of the Glue names belongs to another DynamoDB table, or to nobody."""
    names = table.names
    for name in glue_names(names):
        entry = read_entry(table, name)
        if entry is None:
            continue
        tables = (names.changes_table, names.state_table)
        if name in tables and entry.get("Parameters", {}).get(DYNAMODB_TABLE) is None:
            entry = {"Parameters": {DYNAMODB_TABLE: _owner_of_damaged(table, name)}}
        check_owner(names, name, entry)


def glue_names(names: TableNames) -> tuple[str, ...]:
    """Return all names that a table may have in Glue."""
    return (
        names.changes_table,
        names.state_table,
        names.current_view,
        names.removed_view,
        names.history_view,
        names.parquet_table,
        names.json_table,
        names.orc_table,
    )


def _owner_of_damaged(table: Table, name: str) -> str | None:
    """Return the owner of an Iceberg table whose Glue entry lacks it: this table if its metadata was noted here."""
    with suppress(CatalogError):
        head = table.catalog.find(name)
        return None if head is None else head.properties.get(DYNAMODB_TABLE)
    return table.names.table if noted_metadata(table, name) else None


def _create_changes(table: Table, schema: TableSchema, source: Mapping[str, str]) -> Head:
    names = table.names
    if next(iter(table.store.list(f"{names.changes_location}/dt=")), None) is not None:
        # A new table would not name these files, and garbage collection would delete them.
        raise lost(table, names.changes_table, None, "its data files are there, but no metadata of it")
    numbers = dict.fromkeys((BOUND, SHOWN_RUN, COLLECTED_AT), "0")
    return table.catalog.create(
        names.changes_table,
        iceberg_schema(schema, None, 0),
        names.uri(names.changes_location),
        DAY,
        {**_properties(names, schema, source, [*schema.identity, DAY]), **numbers, HISTORY_FROM: ""},
    )


def _create_state(table: Table, schema: TableSchema, source: Mapping[str, str]) -> Head:
    names = table.names
    numbers = dict.fromkeys((FOLDED_TO, SNAPSHOT_RUN, COLLECTED_AT), "0")
    return table.catalog.create(
        names.state_table,
        iceberg_schema(schema, None, 0, own=state_columns(schema)),
        names.uri(names.items_location),
        DELETED,
        {**_properties(names, schema, source, schema.identity), **numbers},
    )


def _properties(
    names: TableNames, schema: TableSchema, source: Mapping[str, str], exact: Iterable[str]
) -> dict[str, str]:
    """Return a new table's properties. `exact`: columns with whole bounds, so that files prune and compare by them."""
    metrics = {f"write.metadata.metrics.column.{name}": "full" for name in (*exact, EVENT_TIME, SEQUENCE_NUMBER)}
    about = {DYNAMODB_TABLE: names.table, **source, TIME_ZONE: names.lake.time_zone}
    return {SCHEMA: schema.to_json(), **about, **metrics}


def _check_derivable(names: TableNames, changes: Head) -> None:
    if changes.properties.get(HISTORY_FROM):
        raise CatalogError(
            f"The table {names.state_table} is gone, and {names.changes_table} no longer has the changes "
            f"before {changes.properties[HISTORY_FROM]} to derive it from",
            action=f"restore {names.metadata_note(names.state_table)} and all objects under {names.items_location}/ "
            "(the bucket keeps versions), then run dynalake_setup again",
            table=names.table,
        )


def merge_again(table: Table) -> None:
    """Merge what was committed to the changes since the restored state's last known commit."""
    since = restored_since(table)
    if since is None:
        return
    raise_bound(table)
    changes, state = table.changes(), table.items()
    files = changes.files_since(since)
    Merge(table, changes, state).add(f for f in files if f.partition != SNAPSHOT_DAY)
    run = number(changes, SHOWN_RUN)
    if any(f.partition == SNAPSHOT_DAY for f in files) and number(state, SNAPSHOT_RUN) <= run:
        _derive_snapshot(table, changes, table.items(), run)
    forget_restored(table)


def raise_bound(table: Table) -> None:
    """Raise the bound of restored changes to where the state is folded: below it, a change would pass the state by."""
    folded_to = number(table.items(), FOLDED_TO)

    def build(head: Head, news: News) -> Change | None:
        if number(head, BOUND) >= folded_to:
            return None
        return Change(properties={BOUND: str(folded_to)}, note={"dynalake": "restored"})

    commit_on(table.catalog, table.names, table.changes(), build)


def derive_state(table: Table) -> None:
    """Bring a new state to where the changes are: the snapshot first, then all up to the bound.

    After a kill the state has fewer items of the snapshot than the views need, and setup goes on from there.
    """
    changes, state = table.changes(), table.items()
    run = number(changes, SHOWN_RUN)
    if number(state, SNAPSHOT_RUN) < run:
        _derive_snapshot(table, changes, state, run)
    if number(state, FOLDED_TO) < number(changes, BOUND):
        fold(table, number(changes, BOUND))


def _derive_snapshot(table: Table, changes: Head, state: Head, run: int) -> None:
    before = number(state, SNAPSHOT_RUN)

    def guard(head: Head) -> None:
        if number(head, SNAPSHOT_RUN) not in (before, run):
            raise ConflictError(
                f"The backfill {number(head, SNAPSHOT_RUN)} has begun to replace the snapshot of {table.names.table}",
                action="run again",
                table=table.names.table,
            )

    merge = Merge(table, changes, state, guard)
    merge.add(changes.files({SNAPSHOT_DAY}), run)
    remove_earlier(merge, run)

    def build(head: Head, news: News) -> Change | None:
        guard(head)
        return None if number(head, SNAPSHOT_RUN) == run else Change(properties={SNAPSHOT_RUN: str(run)})

    # It comes last: a state without the whole snapshot must not say that it has one.
    commit_on(table.catalog, table.names, merge.state, build)
