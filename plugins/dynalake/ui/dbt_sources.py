"""The lake's tables as dbt's sources: the text of a `sources.yml`, from the tables' entries in Glue. Pure.

https://docs.getdbt.com/reference/source-properties
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from dynalake.errors import cut
from dynalake.lake.catalog.table import SCHEMA
from dynalake.lake.columns.column import DAY, DELETED, KEY
from dynalake.lake.columns.schema import OTHER, TableSchema
from dynalake.names import Lake, TableNames
from dynalake.record.change import EVENT_TIME, EXPIRED, OPERATION, SEQUENCE_NUMBER, TYPES
from dynalake.watch.judge import Targets

WIDTH = 120
TYPE_CHARACTERS = 300
"""Characters of a type that are shown: a struct may have some thousand."""

# dbt asks for the newest of these. Only the last days can have it, and more would read the whole history.
_LOADED_AT = f"from_unixtime({EVENT_TIME} / 1e3)"
_LAST_DAYS = f"{DAY} >= format_datetime(current_timestamp - interval '2' day, 'yyyyMMdd')"

_METADATA = {
    DAY: "The day on which the change landed, as YYYYMMDD; 00000000 is the snapshot.",
    OPERATION: "INSERT, MODIFY, REMOVE or SNAPSHOT.",
    SEQUENCE_NUMBER: "Orders the changes of an item, as text.",
    EVENT_TIME: "The time of the change, in milliseconds since the epoch.",
    EXPIRED: "Whether DynamoDB's time to live has removed the item.",
    TYPES: "The types that JSON cannot show, by the path of the value.",
    OTHER: "Attribute names and exact JSON texts of the values that have no column, or do not fit it yet.",
    KEY: "The whole key as one text, which identifies the item however its numbers are written.",
    DELETED: "Whether the item is gone.",
    "__run": "The number of the backfill that a SNAPSHOT row is from.",
    "__valid_from": "Since when the item was like this, in milliseconds since the epoch.",
    "__valid_to": "Until when, without that moment; null: until now.",
    "__is_current": "Whether it is the item's last image.",
}


@dataclass(frozen=True)
class SourceTable:
    """A DynamoDB table: its entries in Glue by name (absent ones are left out), its watch's targets, its owner."""

    names: TableNames
    entries: Mapping[str, Mapping[str, Any]]
    targets: Targets
    owner: str = ""

    @property
    def schema(self) -> TableSchema | None:
        """The table's schema; None before its setup has ended."""
        text = self.entries.get(self.names.changes_table, {}).get("Parameters", {}).get(SCHEMA)
        return None if text is None else TableSchema.from_json(text)


def source_names(names: TableNames) -> tuple[str, ...]:
    """Return the tables and views of a DynamoDB table that are sources."""
    return (names.changes_table, names.current_view, names.history_view, names.removed_view, names.state_table)


def sources_yaml(lake: Lake, tables: Iterable[SourceTable]) -> str:
    """Return the sources in a fixed order, as YAML: the same lake gives the same text."""
    known = sorted(tables, key=lambda table: table.names.table)
    source = {
        "name": lake.database,
        "description": f"DynamoDB tables in the lake {lake.environment}, by dynalake.",
        "loader": "dynalake",
        # A Trino may have the lake in another catalog than the one that dbt writes to.
        "database": "{{ var('dynalake_catalog', target.database) }}",
        "schema": lake.database,
        "tables": [entry for table in known if table.schema is not None for entry in _tables(table, table.schema)],
    }
    text = yaml.safe_dump(
        {"version": 2, "sources": [source]}, sort_keys=False, allow_unicode=True, width=WIDTH, default_flow_style=False
    )
    waiting = [table.names.table for table in known if table.schema is None]
    note = f"# Not here yet, because their setup has not ended: {', '.join(waiting)}\n" if waiting else ""
    return f"# Written by dynalake for dbt 1.11 or newer.\n{note}{text}"


def _tables(table: SourceTable, schema: TableSchema) -> Iterator[dict[str, Any]]:
    names, name = table.names, table.names.table
    about = {
        names.changes_table: f"Every change of the DynamoDB table {name} once.",
        names.current_view: f"The items of the DynamoDB table {name} that exist now, one row each.",
        names.history_view: f"Every image of each item of the DynamoDB table {name}, with its time.",
        names.removed_view: f"Items of the DynamoDB table {name} that are gone, as of the last fold.",
        names.state_table: f"One row per item of the DynamoDB table {name}, as of the last fold.",
    }
    # The columns that tell items apart. Views have no `__key`: there, the key's own columns have to do it.
    keys = {
        names.current_view: _key_parts(schema),
        names.state_table: [_quoted(column) for column in schema.identity],
    }
    for source in source_names(names):
        entry = table.entries.get(source)
        if entry is None:
            continue
        meta = {"dynamodb_table": name, **({"owner": _plain(table.owner)} if table.owner else {})}
        freshness = _freshness(table.targets) if source == names.changes_table else {}
        tests = list(_tests(f"{names.lake.database}_{source}", keys.get(source, ())))
        yield {
            "name": source,
            "description": about[source],
            "config": {"meta": meta, **freshness},
            **({"data_tests": tests} if tests else {}),
            "columns": [_column(column, schema) for column in entry["StorageDescriptor"]["Columns"]],
        }


def _freshness(targets: Targets) -> dict[str, Any]:
    """Return the watch's limits: late is a warning, changes that DynamoDB drops soon are an error."""
    late = targets.freshness_minutes + targets.conversion_minutes
    return {
        "loaded_at_field": _LOADED_AT,
        "freshness": {
            "warn_after": {"count": late, "period": "minute"},
            "error_after": {"count": targets.expiring_hours, "period": "hour"},
            "filter": _LAST_DAYS,
        },
    }


def _tests(table: str, parts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield what holds by design: each item has its whole key, and one row."""
    if not parts:
        return
    whole = parts[0] if len(parts) == 1 else f"row({', '.join(parts)})"
    yield {"unique": {"name": f"{table}_key_is_unique", "arguments": {"column_name": whole}}}
    for number, part in enumerate(parts, 1):
        yield {"not_null": {"name": f"{table}_key_{number}_is_there", "arguments": {"column_name": part}}}


def _key_parts(schema: TableSchema) -> list[str]:
    """Return the key's attributes as SQL; none while one of them has no column.

    A number that does not fit its column yet is in `__other`.
    """
    parts = []
    for attribute in schema.key.attributes:
        column = schema.column(attribute.name)
        if column is None:
            return []
        name = _plain(attribute.name.replace("'", "''"))
        number = f"coalesce(cast({_quoted(column.name)} as varchar), element_at({OTHER}, '{name}'))"
        parts.append(number if attribute.type == "N" else _quoted(column.name))
    return parts


def _column(column: Mapping[str, Any], schema: TableSchema) -> dict[str, Any]:
    name = column["Name"]
    attribute = next((c.attribute for c in schema.columns if c.name == name), None)
    about = _METADATA.get(name, "") if attribute is None else f"The attribute {_plain(attribute)}."
    return {
        "name": name,
        "description": about,
        "data_type": _plain(cut(column["Type"], TYPE_CHARACTERS)),
        "quote": True,
    }


def _quoted(column: str) -> str:
    return f'"{column}"'


def _plain(text: str) -> str:
    """Return a text that dbt shows as it is: in its YAML it expands what Jinja understands."""
    return re.sub(r"\{(?=[{%#])", "{{ '{' }}", text)
