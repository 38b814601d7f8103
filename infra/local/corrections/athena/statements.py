"""Tells statements apart, and runs the ones that ask for rows or write data."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from infra.local.corrections.athena import catalog, ddl, engine, metastore, scopes, storage, writes
from infra.local.corrections.athena.catalog import Table
from infra.local.corrections.athena.errors import QueryError, not_supported

_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
_UNLOAD = re.compile(
    r"UNLOAD\s*\((?P<query>.*)\)\s*TO\s*'(?P<to>[^']*)'\s*WITH\s*\((?P<with>.*)\)\s*\Z", re.I | re.DOTALL
)
_CREATE_AS = re.compile(r"CREATE\s+TABLE\b.*\bAS\s*\(*\s*(SELECT|WITH|VALUES|TABLE)\b", re.I | re.DOTALL)
_PROPERTY = re.compile(r"(\w+)\s*=\s*('(?:[^']|'')*'|ARRAY\s*\[[^\]]*\]|\w+)", re.I)


@dataclass(frozen=True)
class Context:
    """What a statement is run with."""

    query_id: str
    database: str
    output: str


@dataclass(frozen=True)
class Outcome:
    """What a statement ended with; `lines` are a utility statement's text, of one column each."""

    kind: str
    substatement: str
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    rows: pa.Table | None = None
    lines: list[list[str]] = field(default_factory=list)
    bytes_scanned: int = 0
    update_count: int = 0
    manifest: str = ""


def run(sql: str, context: Context) -> Outcome:
    """Run one statement."""
    text = clean(sql)
    for pattern, action in _ACTIONS:
        if pattern.match(text):
            return action(text, context)
    utility = ddl.run(text, context.database)
    if utility is not None:
        return Outcome(utility.kind, utility.substatement, utility.schema, lines=utility.lines)
    raise not_supported(f"the statement {' '.join(text.split()[:3])!r}")


def clean(sql: str) -> str:
    """The statement without the comments before it, and the semicolon after it."""
    text = sql.strip()
    while comment := _COMMENT.match(text):
        text = text[comment.end() :].strip()
    return text.rstrip(";").strip()


def kind(sql: str) -> str:
    """The API's StatementType."""
    first = clean(sql).lstrip("(").split(None, 1)[0].upper() if clean(sql) else ""
    if first in ("SELECT", "WITH", "VALUES", "INSERT", "UNLOAD", "DELETE", "UPDATE", "MERGE", "TABLE"):
        return "DML"
    return "DDL" if first in ("CREATE", "DROP", "ALTER", "MSCK") else "UTILITY"


def is_create_as(sql: str) -> bool:
    """Whether the statement is a CREATE TABLE AS."""
    return _CREATE_AS.match(clean(sql)) is not None


def writes_files(sql: str) -> bool:
    """Whether the statement answers with a manifest of files instead of rows."""
    return re.match(r"(INSERT|UNLOAD)\b", clean(sql), re.I) is not None


def bind(sql: str, parameters: list[str]) -> str:
    """The statement with each `?` replaced by the SQL text of its execution parameter."""
    out, last, remaining = [], 0, list(parameters)
    for token in sqlglot.tokenize(sql, read="trino"):
        if token.token_type == sqlglot.TokenType.PLACEHOLDER:
            if not remaining:
                raise QueryError("INVALID_PARAMETER_USAGE", f"Only {len(parameters)} parameters were given")
            out += [sql[last : token.start], remaining.pop(0)]
            last = token.end + 1
    if remaining:
        raise QueryError("INVALID_PARAMETER_USAGE", f"{len(remaining)} parameters too many were given")
    return "".join([*out, sql[last:]])


def _select(text: str, context: Context) -> Outcome:
    result = engine.run(text, context.database)
    return Outcome("DML", "SELECT", result.schema, result.rows, bytes_scanned=result.bytes_scanned)


def _explain(text: str, context: Context) -> Outcome:
    raise not_supported("EXPLAIN")


def _create_as(text: str, context: Context) -> Outcome:
    tree = _parse(text)
    if not isinstance(tree, exp.Create) or not isinstance(tree.expression, exp.Query):
        raise QueryError("SYNTAX_ERROR", f"Not a CREATE TABLE AS: {text[:200]}")
    database, name = metastore.target(tree.this, context.database)
    if catalog.find(database, name) is not None:
        if tree.args.get("exists"):
            return Outcome("DDL", "CREATE_TABLE_AS_SELECT")
        raise QueryError("TABLE_ALREADY_EXISTS", f"Table '{database}.{name}' already exists")
    query = _after_as(text)
    properties = _properties(text[: len(text) - len(query)])
    with_data = not re.search(r"WITH\s+NO\s+DATA\s*\Z", query, re.I)
    result = engine.run(re.sub(r"WITH\s+(NO\s+)?DATA\s*\Z", "", query, flags=re.I), context.database)
    writer = _format(properties)
    default = f"{context.output.rstrip('/')}/tables/{context.query_id}/"
    location = properties.get("external_location", default)
    if storage.everything(location):
        raise QueryError(
            "HIVE_PATH_ALREADY_EXISTS",
            f"Target directory for table '{database}.{name}' already exists: {location}. "
            "You may need to manually clean the data at this location before retrying.",
        )
    keys = _list(properties.get("partitioned_by", ""))
    for unnamed in (f.name for f in result.schema if re.fullmatch(r"_col\d+", f.name)):
        raise QueryError("MISSING_COLUMN_NAME", f"Column name not specified at position {unnamed[4:]}")
    made = writes.table_input(name, result.schema, keys, location.rstrip("/"), writer, {})
    metastore.call("CreateTable", {"DatabaseName": database, "TableInput": made})
    table = catalog.get(database, name)
    assert isinstance(table, Table)
    files = _add(table, result, keys, context) if with_data else []
    return Outcome(
        "DDL",
        "CREATE_TABLE_AS_SELECT",
        bytes_scanned=result.bytes_scanned,
        update_count=result.rows.num_rows,
        manifest=_manifest(context, files),
    )


def _insert(text: str, context: Context) -> Outcome:
    tree = _parse(text)
    if not isinstance(tree, exp.Insert):
        raise QueryError("SYNTAX_ERROR", f"Not an INSERT: {text[:200]}")
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    columns = [column.name for column in tree.this.expressions] if isinstance(tree.this, exp.Schema) else None
    name = scopes.resolve(target, context.database)
    table = catalog.get(name.database, name.table)
    if not isinstance(table, Table):
        raise QueryError("NOT_SUPPORTED", f"Inserting into views is not supported: {table.full_name}")
    query = tree.expression.sql("trino")
    result = writes.as_table(engine.run(query, context.database), table, columns)
    files = _add(table, result, list(table.keys.names), context)
    return Outcome(
        "DML",
        "INSERT",
        pa.schema([("rows", pa.int64())]),
        bytes_scanned=result.bytes_scanned,
        update_count=result.rows.num_rows,
        manifest=_manifest(context, files),
    )


def _unload(text: str, context: Context) -> Outcome:
    parts = _UNLOAD.match(text)
    if parts is None:
        raise QueryError("SYNTAX_ERROR", f"Not an UNLOAD: {text[:200]}")
    properties = _properties(f"WITH ({parts['with']})")
    result = engine.run(parts["query"], context.database)
    if storage.everything(parts["to"]):
        raise QueryError("HIVE_PATH_ALREADY_EXISTS", f"Target directory already exists: {parts['to']}")
    keys = _list(properties.get("partitioned_by", ""))
    files = _files(result, keys, parts["to"], _format(properties), context)
    return Outcome(
        "DML",
        "UNLOAD",
        pa.schema([("rows", pa.int64())]),
        bytes_scanned=result.bytes_scanned,
        update_count=result.rows.num_rows,
        manifest=_manifest(context, files),
    )


def _add(table: Table, result: engine.Result, keys: list[str], context: Context) -> list[str]:
    """Write the rows below the table's location, and register the partitions that are new."""
    files = _files(result, keys, table.location, writes.format_name(table), context)
    known = {partition.values for partition in catalog.partitions(table)}
    found = [values for values, _ in writes.split(result, keys)] if keys else []
    metastore.add_partitions(table, [values for values in found if values not in known])
    return files


def _files(result: engine.Result, keys: list[str], location: str, kind: str, context: Context) -> list[str]:
    files = []
    for values, rows in writes.split(result, keys):
        if rows.num_rows == 0:
            continue
        folder = "".join(f"{key}={value}/" for key, value in zip(keys, values, strict=True))
        stem = f"{location.rstrip('/')}/{folder}{context.query_id.replace('-', '_')}_{uuid.uuid4()}"
        files.append(writes.write(rows, kind, stem))
    return files


def _manifest(context: Context, files: list[str]) -> str:
    uri = f"{context.output.rstrip('/')}/{context.query_id}-manifest.csv"
    writes.manifest(uri, files)
    return uri


def _parse(text: str) -> exp.Expression:
    try:
        return sqlglot.parse_one(scopes.decimal_literals(text), read="trino")
    except SqlglotError as error:
        raise QueryError("SYNTAX_ERROR", str(error).split("\n")[0]) from None


def _after_as(text: str) -> str:
    """The query of a CREATE ... AS: what stands after the first AS outside of brackets and quotes."""
    depth = 0
    for token in sqlglot.tokenize(text, read="trino"):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.text, 0) if not _is_quoted(token) else 0
        if depth == 0 and token.text.upper() == "AS" and not _is_quoted(token):
            return text[token.end + 1 :].strip()
    raise QueryError("SYNTAX_ERROR", f"No AS in {text[:200]!r}")


def _is_quoted(token: sqlglot.Token) -> bool:
    return token.token_type in (sqlglot.TokenType.STRING, sqlglot.TokenType.IDENTIFIER)


def _properties(text: str) -> dict[str, str]:
    """The WITH (...) properties of a statement's head."""
    found = re.search(r"\bWITH\s*\((.*)\)", text, re.I | re.DOTALL)
    pairs = _PROPERTY.findall(found.group(1)) if found else []
    return {name.lower(): value.strip("'") if value.startswith("'") else value for name, value in pairs}


def _format(properties: dict[str, str]) -> str:
    name = properties.get("format", "PARQUET").upper()
    if properties.get("table_type", "HIVE").upper() != "HIVE":
        raise not_supported(f"tables of type {properties['table_type']}")
    if properties.get("bucketed_by"):
        raise not_supported("bucketed_by")
    if name not in writes.FORMATS:
        raise not_supported(f"the format {name}")
    return name


def _list(text: str) -> list[str]:
    return [name.lower() for name in re.findall(r"'([^']*)'", text)]


_ACTIONS: list[tuple[re.Pattern[str], Callable[[str, Context], Outcome]]] = [
    (re.compile(r"(\(\s*)*(SELECT|WITH|VALUES|TABLE)\b", re.I), _select),
    (_CREATE_AS, _create_as),
    (re.compile(r"INSERT\b", re.I), _insert),
    (re.compile(r"UNLOAD\b", re.I), _unload),
    (re.compile(r"EXPLAIN\b", re.I), _explain),
]
