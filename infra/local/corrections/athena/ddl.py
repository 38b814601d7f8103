"""The statements that read or change the catalog and answer with lines of text.

https://docs.aws.amazon.com/athena/latest/ug/ddl-reference.html
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from ministack.services import athena as service
from ministack.services import glue

from infra.local.corrections.athena import catalog, engine, metastore, storage, types
from infra.local.corrections.athena.catalog import Table, View
from infra.local.corrections.athena.errors import QueryError, not_supported

_NAME = r"""(?:[\w$-]+|`[^`]+`|"[^"]+")(?:\s*\.\s*(?:[\w$-]+|`[^`]+`|"[^"]+")){0,2}"""
_PART = re.compile(r"""[\w$-]+|`[^`]+`|"[^"]+\"""")
_PARTITION = re.compile(
    r"""PARTITION\s*\((?P<spec>(?:[^()']|'[^']*')*)\)\s*(?:LOCATION\s*'(?P<location>[^']*)')?\s*,?\s*""", re.I
)
_VALUE = re.compile(r"""([`"]?[\w-]+[`"]?)\s*=\s*('(?:[^']|'')*'|"[^"]*"|[\w.-]+)""")


@dataclass(frozen=True)
class Text:
    """What such a statement answers: lines, each with its columns."""

    kind: str
    substatement: str
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    lines: list[list[str]] = field(default_factory=list)


def run(text: str, database: str) -> Text | None:
    """Run the statement; None if it is no such statement."""
    for pattern, action in _STATEMENTS:
        match = pattern.match(text)
        if match:
            return action(match, database)
    made = service._parse_ddl(text)
    if isinstance(made, service._CreateTable):
        return _create_table(made, database)
    return None


def _columns(*names: str) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])


def _named(text: str, database: str) -> tuple[str, str]:
    parts = [part.strip('`"').lower() for part in _PART.findall(text)]
    return (parts[-2] if len(parts) > 1 else database.lower()), parts[-1]


def _table(text: str, database: str) -> Table:
    found = catalog.get(*_named(text, database))
    if isinstance(found, View):
        raise QueryError("NOT_SUPPORTED", f"'{found.full_name}' is a view")
    return found


def _create_table(made: Any, database: str) -> Text:
    name = (made.database or database).lower()
    if made.iceberg:
        raise not_supported("Iceberg tables")
    if catalog.find(name, made.table) is not None and made.if_not_exists:
        return Text("DDL", "CREATE_TABLE")
    table_input = service._create_table_input(made)
    table_input["Name"] = table_input["Name"].lower()
    metastore.call("CreateTable", {"DatabaseName": name, "TableInput": table_input})
    return Text("DDL", "CREATE_TABLE")


def _drop(match: re.Match[str], database: str) -> Text:
    name, table = _named(match["name"], database)
    what = match["what"].upper()
    found = catalog.find(name, table)
    if found is None:
        if match["exists"]:
            return Text("DDL", f"DROP_{what}")
        raise QueryError("TABLE_NOT_FOUND", f"{what.title()} '{name}.{table}' does not exist")
    if catalog.is_view(found) != (what == "VIEW"):
        raise QueryError("NOT_SUPPORTED", f"'{name}.{table}' is not a {what.lower()}")
    metastore.call("DeleteTable", {"DatabaseName": name, "Name": str(found["Name"])})
    return Text("DDL", f"DROP_{what}")


def _create_view(match: re.Match[str], database: str) -> Text:
    name, view = _named(match["name"], database)
    found = catalog.find(name, view)
    if found is not None and not (catalog.is_view(found) and match["replace"]):
        raise QueryError("TABLE_ALREADY_EXISTS", f"'{name}.{view}' already exists")
    sql = match["query"].strip()
    schema = engine.Query(sql, database).schema()
    for column in schema.names:
        if re.fullmatch(r"_col\d+", column):
            raise QueryError("MISSING_COLUMN_NAME", f"Column name not specified at position {column[4:]}")
    made = catalog.view_input(view, sql, database, schema)
    operation = "UpdateTable" if found is not None else "CreateTable"
    metastore.call(operation, {"DatabaseName": name, "TableInput": made})
    return Text("DDL", "CREATE_VIEW")


def _show_create_view(match: re.Match[str], database: str) -> Text:
    found = catalog.get(*_named(match["name"], database))
    if not isinstance(found, View):
        raise QueryError("NOT_SUPPORTED", f"'{found.full_name}' is a table, not a view")
    text = f"CREATE VIEW {found.full_name} AS\n{found.sql}"
    return Text("UTILITY", "SHOW_CREATE_VIEW", _columns("Create View"), [[line] for line in text.split("\n")])


def _create_database(match: re.Match[str], database: str) -> Text:
    name = match["name"].strip('`"').lower()
    if name in glue._databases and match["exists"]:
        return Text("DDL", "CREATE_DATABASE")
    location = re.search(r"LOCATION\s*'([^']*)'", match["rest"], re.I)
    request: dict[str, Any] = {"Name": name}
    if location:
        request["LocationUri"] = location.group(1)
    metastore.call("CreateDatabase", {"DatabaseInput": request})
    return Text("DDL", "CREATE_DATABASE")


def _drop_database(match: re.Match[str], database: str) -> Text:
    name = match["name"].strip('`"').lower()
    if name not in glue._databases and match["exists"]:
        return Text("DDL", "DROP_DATABASE")
    if any(key.startswith(f"{name}/") for key in glue._tables) and not match["cascade"]:
        raise QueryError("SCHEMA_NOT_EMPTY", f"Cannot drop non-empty schema '{name}'")
    metastore.call("DeleteDatabase", {"Name": name})
    return Text("DDL", "DROP_DATABASE")


def _add_partition(match: re.Match[str], database: str) -> Text:
    table = _table(match["name"], database)
    known = {partition.values for partition in catalog.partitions(table)}
    specs = _specs(table, match["specs"])
    if not match["exists"]:
        for values in (values for values, _ in specs if values in known):
            raise QueryError("HIVE_METASTORE_ERROR", f"AlreadyExistsException: Partition already exists: {values}")
    new = {values: location for values, location in specs if values not in known}
    metastore.add_partitions(table, list(new), {values: uri for values, uri in new.items() if uri})
    return Text("DDL", "ALTER_TABLE_ADD_PARTITION")


def _drop_partition(match: re.Match[str], database: str) -> Text:
    table = _table(match["name"], database)
    known = {partition.values for partition in catalog.partitions(table)}
    for values, _ in _specs(table, match["specs"]):
        if values not in known:
            if match["exists"]:
                continue
            raise QueryError("HIVE_METASTORE_ERROR", f"Partition not found: {list(values)}")
        key = {"DatabaseName": table.database, "TableName": table.name, "PartitionValues": list(values)}
        metastore.call("DeletePartition", key)
    return Text("DDL", "ALTER_TABLE_DROP_PARTITION")


def _specs(table: Table, text: str) -> list[tuple[tuple[str, ...], str | None]]:
    specs = []
    for match in _PARTITION.finditer(text):
        pairs = {name.strip('`"').lower(): value.strip("'\"") for name, value in _VALUE.findall(match["spec"])}
        if set(pairs) != set(table.keys.names):
            raise QueryError("SYNTAX_ERROR", f"Partition spec {match['spec']!r} is not of {table.keys.names}")
        specs.append((tuple(pairs[name] for name in table.keys.names), match["location"]))
    return specs


def _repair(match: re.Match[str], database: str) -> Text:
    """Register the `key=value` folders below the table's location."""
    table = _table(match["name"], database)
    known = {partition.values for partition in catalog.partitions(table)}
    _, prefix = storage.folder(table.location)
    found: dict[tuple[str, ...], None] = {}
    for item in storage.everything(table.location):
        parts = item.key[len(prefix) :].split("/")[: len(table.keys)]
        pairs = [part.partition("=") for part in parts]
        if [name.lower() for name, _, _ in pairs] == table.keys.names:
            found.setdefault(tuple(value for _, _, value in pairs))
    new = [values for values in found if values not in known]
    metastore.add_partitions(table, new)
    folders = [
        ":".join([table.name, "/".join(f"{k}={v}" for k, v in zip(table.keys.names, values, strict=True))])
        for values in new
    ]
    lines = [[f"Partitions not in metastore:\t{' '.join(folders)}"]] if new else []
    lines += [[f"Repair: Added partition to metastore {folder}"] for folder in folders]
    return Text("DDL", "MSCK_REPAIR", _columns("result"), lines)


def _show_partitions(match: re.Match[str], database: str) -> Text:
    table = _table(match["name"], database)
    if not len(table.keys):
        raise QueryError("FAILED", f"Table {table.full_name} is not a partitioned table")
    lines = [
        ["/".join(f"{key}={value}" for key, value in zip(table.keys.names, partition.values, strict=True))]
        for partition in catalog.partitions(table)
    ]
    return Text("UTILITY", "SHOW_PARTITIONS", _columns("partition"), lines)


def _show_tables(match: re.Match[str], database: str) -> Text:
    name = (match["database"] or database).strip('`"').lower()
    if name not in glue._databases:
        raise QueryError("SCHEMA_NOT_FOUND", f"Schema '{name}' does not exist")
    records = [(key.partition("/")[2], found) for key, found in glue._tables.items() if key.startswith(f"{name}/")]
    if match["what"].upper() == "VIEWS":
        records = [(key, found) for key, found in records if catalog.is_view(found)]
    names = sorted(key for key, _ in records if _like(key, match["pattern"]))
    return Text("UTILITY", f"SHOW_{match['what'].upper()}", _columns("tab_name"), [[n] for n in names])


def _like(name: str, pattern: str | None) -> bool:
    patterns = (pattern or "'*'").strip("'").replace("%", "*").split("|")
    return any(fnmatch.fnmatch(name, one.replace(".*", "*").strip()) for one in patterns)


def _show_databases(match: re.Match[str], database: str) -> Text:
    names = sorted(name for name in glue._databases if _like(name, match["pattern"]))
    return Text("UTILITY", "SHOW_DATABASES", _columns("database_name"), [[name] for name in names])


def _show_columns(match: re.Match[str], database: str) -> Text:
    found = catalog.get(*_named(match["name"], match["database"] or database))
    names = [*found.columns.names, *(found.keys.names if isinstance(found, Table) else [])]
    return Text("UTILITY", "SHOW_COLUMNS", _columns("field"), [[f"{name:<20}"] for name in names])


def _describe(match: re.Match[str], database: str) -> Text:
    found = catalog.get(*_named(match["name"], database))
    shown = types.trino if isinstance(found, View) else types.hive
    rows = [[f"{c.name:<20}", f"{shown(c.type):<20}", f"{'':<20}"] for c in found.columns]
    if isinstance(found, Table) and len(found.keys):
        keys = [[f"{c.name:<20}", f"{shown(c.type):<20}", f"{'':<20}"] for c in found.keys]
        heading = [["", "", ""], ["# Partition Information", "", ""], ["# col_name", "data_type", "comment"]]
        rows += [*keys, *heading, ["", "", ""], *keys]
    return Text("UTILITY", "DESCRIBE", _columns("col_name", "data_type", "comment"), rows)


def _show_create_table(match: re.Match[str], database: str) -> Text:
    table = _table(match["name"], database)
    columns = ", \n".join(f"  `{c.name}` {types.hive(c.type)}" for c in table.columns)
    keys = ", \n".join(f"  `{c.name}` {types.hive(c.type)}" for c in table.keys)
    text = f"CREATE EXTERNAL TABLE `{table.full_name}`(\n{columns})\n"
    text += f"PARTITIONED BY ( \n{keys})\n" if keys else ""
    text += f"ROW FORMAT SERDE \n  '{table.serde}' \nLOCATION\n  '{table.location}'"
    return Text("UTILITY", "SHOW_CREATE_TABLE", _columns("createtab_stmt"), [[ln] for ln in text.split("\n")])


def _statement(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace(" ", r"\s+").replace("<name>", f"(?P<name>{_NAME})") + r"\s*\Z", re.I | re.S)


_EXISTS = r"(?P<exists>\s+IF(?:\s+NOT)?\s+EXISTS)?"
_STATEMENTS: list[tuple[re.Pattern[str], Callable[[re.Match[str], str], Text]]] = [
    (_statement(rf"DROP (?P<what>TABLE|VIEW){_EXISTS} <name>"), _drop),
    (_statement(r"CREATE(?P<replace> OR REPLACE)? VIEW <name> AS (?P<query>.*)"), _create_view),
    (_statement(r"SHOW CREATE VIEW <name>"), _show_create_view),
    (_statement(r"SHOW CREATE TABLE <name>"), _show_create_table),
    (_statement(rf"CREATE (?:DATABASE|SCHEMA){_EXISTS} <name>(?P<rest>.*)"), _create_database),
    (
        _statement(rf"DROP (?:DATABASE|SCHEMA){_EXISTS} <name>(?P<cascade> CASCADE)?(?: RESTRICT)?"),
        _drop_database,
    ),
    (_statement(rf"ALTER TABLE <name> ADD{_EXISTS} (?P<specs>PARTITION.*)"), _add_partition),
    (_statement(rf"ALTER TABLE <name> DROP{_EXISTS} (?P<specs>PARTITION.*)"), _drop_partition),
    (_statement(r"MSCK REPAIR TABLE <name>"), _repair),
    (_statement(r"SHOW PARTITIONS <name>"), _show_partitions),
    (
        _statement(
            r"SHOW (?P<what>TABLES|VIEWS)(?: (?:IN|FROM) (?P<database>[\w`\"-]+))?"
            r"(?: (?:LIKE )?(?P<pattern>'[^']*'))?"
        ),
        _show_tables,
    ),
    (_statement(r"SHOW (?:DATABASES|SCHEMAS)(?: LIKE)?(?: (?P<pattern>'[^']*'))?"), _show_databases),
    (_statement(r"SHOW COLUMNS (?:IN|FROM) <name>(?: (?:IN|FROM) (?P<database>[\w-]+))?"), _show_columns),
    (_statement(r"(?:DESCRIBE|DESC)(?: EXTENDED| FORMATTED)? <name>"), _describe),
]
