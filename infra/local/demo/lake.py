"""One table's lake as a user sees it with SQL: DuckDB on the Iceberg tables.

DuckDB cannot read Presto views, so it gets their SQL, built from both tables as they were at one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.table import Table, schema_of
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.current.view_entries import view_source, views_bound
from dynalake.lake.current.views import DUCKDB, ViewSource, current_sql, history_sql
from infra.local.demo.check import Comparison, compare
from infra.local.engines.duckdb import connect, duckdb_rows


@dataclass(frozen=True)
class Moment:
    """`{t}`, `{t}_state` and the two views at one moment, each as the text that follows FROM in DuckDB."""

    schema: TableSchema
    source: ViewSource

    @property
    def changes(self) -> str:
        return self.source.changes

    @property
    def state(self) -> str:
        return self.source.state

    @property
    def current(self) -> str:
        return f"({current_sql(self.source)})"

    @property
    def history(self) -> str:
        return f"({history_sql(self.source)})"


class LakeReader:
    """Reads a table with DuckDB. `aws`: the variables that point an AWS SDK at local AWS."""

    def __init__(self, table: Table, aws: Mapping[str, str]) -> None:
        self.table = table
        self._connection = connect(aws)

    def now(self) -> Moment:
        """Return both tables as they are at the same moment."""
        bound = views_bound(self.table)
        changes, state = self.table.changes(), self.table.items()
        while (again := self.table.changes()).metadata_location != changes.metadata_location:
            changes, state = again, self.table.items()
        source = view_source(self.table.names, changes, state, bound, DUCKDB)
        first, second = source.pinned or (None, None)
        places = _scan(changes, first), _scan(state, second)
        return Moment(schema_of(changes), replace(source, changes=places[0], state=places[1], pinned=None))

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a query, as dicts by column name."""
        return duckdb_rows(self._connection, query)

    def read(self, which: Callable[[Moment], str], columns: str = "*") -> list[dict[str, Any]]:
        """Return the rows of a table or a view: `read(lambda now: now.current)`."""
        return self.rows(f"SELECT {columns} FROM {which(self.now())}")

    def compare(self) -> Comparison:
        """Compare `{t}_current` with the DynamoDB table, value by value."""
        return compare(self.table, self.read(lambda now: now.current))


def _scan(head: Head, snapshot: int | None) -> str:
    """`snapshot`: an older snapshot; None for the current one. https://duckdb.org/docs/stable/core_extensions/iceberg/overview"""
    older = "" if snapshot is None else f", snapshot_from_id={snapshot}"
    return f"iceberg_scan('{head.metadata_location}'{older})"
