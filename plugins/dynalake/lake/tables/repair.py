"""Repair: each night both tables are checked, and brought back where their Glue entries were lost or damaged."""

from __future__ import annotations

from dynalake.errors import CatalogError
from dynalake.lake.catalog.metadata_note import noted_metadata
from dynalake.lake.catalog.table import Table
from dynalake.lake.current.view_entries import write_views
from dynalake.lake.tables.identity import check_table
from dynalake.lake.tables.make import check_names, derive_state, merge_again
from dynalake.lake.tables.restore import Restored, bring_back, restored_since
from dynalake.lake.working.findings import Finding


def repair_entries(table: Table) -> tuple[Finding, ...]:
    """Bring back what Glue has lost of a table that was set up. Return what was found and done.

    A table is registered or updated from metadata in the bucket, never created again: a new one would number its
    columns again. A state that was brought back gets its later merges again, and the views follow it. Raises
    `CatalogError` where no metadata is left, or a table was never made.
    """
    tables = {name: bring_back(table, name) for name in (table.names.changes_table, table.names.state_table)}
    findings = [f.finding for f in tables.values() if f.finding is not None]
    findings += [_missing(table, name) for name, f in tables.items() if f.head is None]
    if all(f.head is not None for f in tables.values()):
        _merge(table, tables)
    return tuple(findings)


def restore_catalog(table: Table) -> tuple[Finding, ...]:
    """Bring back both tables and the views of a table that need not be set up. Return what was found and done.

    Raises `CatalogError` where the bucket has nothing of it, or no metadata that is certain and whole.
    """
    check_restorable(table)
    findings = repair_entries(table)
    write_views(table)
    return findings


def check_restorable(table: Table) -> None:
    """Raise `CatalogError` where the bucket has nothing of a table, and what `make_tables` raises of names and zone."""
    check_names(table)
    check_table(table, "")
    names = table.names
    if noted_metadata(table, names.changes_table) is None:
        raise CatalogError(
            f"There is no object {names.uri(names.metadata_note(names.changes_table))}",
            allowed="a table that a lake in this bucket, or in that of which it is a copy, has set up",
            action="check the table's name, bucket and prefix: they are those of the original",
            table=names.table,
        )


def _merge(table: Table, tables: dict[str, Restored]) -> None:
    """Merge again what a restored state lacks, also where a kill kept an earlier run from it."""
    restored = any(f.finding is not None and f.finding.kind in ("restored-entry", "put-back") for f in tables.values())
    if not restored and restored_since(table) is None:
        return
    merge_again(table)
    derive_state(table)
    write_views(table)


def _missing(table: Table, name: str) -> Finding:
    return Finding(
        "missing-table",
        name,
        f"There is no Glue table {name}, and nothing in the bucket to make it from",
        "run dynalake_setup for the DynamoDB table: it makes the tables, and the state from the changes",
    )
