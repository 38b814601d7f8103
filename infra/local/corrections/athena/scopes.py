"""Which name in a query means what: common table expressions, views, tables."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from infra.local.corrections.athena import catalog
from infra.local.corrections.athena.catalog import CATALOG, Table, View
from infra.local.corrections.athena.errors import QueryError

VIEW = "view"
TABLE = "table"
_DEEPEST = 50


@dataclass(frozen=True)
class Name:
    """A table or view named in full."""

    database: str
    table: str


def parse_query(sql: str) -> exp.Query:
    """The syntax tree of a query in Trino's SQL."""
    try:
        tree = sqlglot.parse_one(decimal_literals(sql), read="trino")
    except SqlglotError as error:
        raise QueryError("SYNTAX_ERROR", str(error).split("\n")[0]) from None
    if isinstance(tree, exp.Query):
        return tree
    if isinstance(tree, exp.Values):
        return exp.select("*").from_(tree)
    raise QueryError("SYNTAX_ERROR", f"Not a query: {sql[:200]}")


def decimal_literals(sql: str) -> str:
    """`DECIMAL '1.50'` as `1.50`: a literal has its own digits, where the parser takes it for a cast."""
    out, last = [], 0
    tokens = sqlglot.tokenize(sql, read="trino")
    for word, text in pairwise(tokens):
        if word.token_type == TokenType.DECIMAL and text.token_type == TokenType.STRING:
            scale = len(text.text.partition(".")[2])
            digits = sum(character.isdigit() for character in text.text)
            out += [sql[last : word.start], f"CAST('{text.text}' AS DECIMAL({max(digits, 1)}, {scale}))"]
            last = text.end + 1
    return "".join([*out, sql[last:]])


def resolve(table: exp.Table, database: str) -> Name:
    """The full name of a table reference, with the query's database where it has none."""
    if table.catalog and table.catalog.lower() != CATALOG:
        raise QueryError("CATALOG_NOT_FOUND", f"Catalog '{table.catalog}' does not exist")
    return Name((table.db or database).lower(), table.name.lower())


def expand(query: exp.Query, database: str, depth: int = 0) -> exp.Query:
    """The query with every view replaced by its own query, and tables carrying their `Table` in `meta`."""
    if depth > _DEEPEST:
        raise QueryError("VIEW_IS_RECURSIVE", f"Views are nested more than {_DEEPEST} deep")
    for reference in list(query.find_all(exp.Table)):
        if not isinstance(reference.this, exp.Identifier) or _is_common_table(reference):
            continue
        name = resolve(reference, database)
        found = _look_up(name)
        alias = reference.args.get("alias") or exp.TableAlias(this=exp.to_identifier(reference.name, quoted=True))
        _drop_database(reference)
        if isinstance(found, View):
            inner = expand(parse_query(found.sql), found.schema, depth + 1)
            replacement: exp.Expression = exp.Subquery(this=inner, alias=alias.copy())
            replacement.meta[VIEW] = found
        else:
            replacement = exp.Table(this=exp.to_identifier(reference.name, quoted=True), alias=alias.copy())
            replacement.meta[TABLE] = found
        for argument in ("sample", "joins", "pivots"):
            if reference.args.get(argument):
                replacement.set(argument, reference.args[argument])
        reference.replace(replacement)
    return query


def _look_up(name: Name) -> Table | View:
    if name.table.endswith(catalog.PARTITIONS_SUFFIX):
        found = catalog.get(name.database, name.table.removesuffix(catalog.PARTITIONS_SUFFIX))
        if isinstance(found, Table):
            return catalog.partitions_table(found)
    return catalog.get(name.database, name.table)


def _is_common_table(reference: exp.Table) -> bool:
    """Whether a WITH of an enclosing query defines the name."""
    if reference.db:
        return False
    name = reference.name.lower()
    node: exp.Expression | None = reference
    while node is not None:
        clause = node.args.get("with_")
        if clause is not None and any(cte.alias.lower() == name for cte in clause.expressions):
            return not _inside(reference, clause, name) or bool(clause.args.get("recursive"))
        node = node.parent
    return False


def _inside(reference: exp.Expression, clause: exp.With, name: str) -> bool:
    """Whether the reference stands in the definition of that very name, where it means the outer one."""
    node: exp.Expression | None = reference
    while node is not None and node is not clause:
        if isinstance(node, exp.CTE) and node.parent is clause:
            return bool(node.alias.lower() == name)
        node = node.parent
    return False


def _drop_database(reference: exp.Table) -> None:
    """Turn `database.table.column` into `table.column`: the engine knows the table without its database."""
    if not reference.db:
        return
    select = reference.find_ancestor(exp.Select)
    if select is None:
        return
    for column in select.find_all(exp.Column):
        is_same = column.table.lower() == reference.name.lower() and column.db.lower() == reference.db.lower()
        if column.db and is_same:
            column.set("db", None)
            column.set("catalog", None)
