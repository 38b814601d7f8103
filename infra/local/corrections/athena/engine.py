"""Runs one query: expands its views, loads the partitions it needs, and asks DuckDB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from infra.local.corrections.athena import arrays, pruning, scan, scopes, types
from infra.local.corrections.athena.catalog import Table, View
from infra.local.corrections.athena.errors import QueryError
from infra.local.corrections.athena.functions import Functions
from infra.local.corrections.athena.translate import Translator

_ANONYMOUS = "$anonymous"
_UDF_ERROR = re.compile(r"QueryError: ([A-Z_]+): (.*)", re.DOTALL)


@dataclass(frozen=True)
class Result:
    """A query's columns in Trino's types, and its rows, in which JSON is plain text."""

    schema: pa.Schema
    rows: pa.Table
    bytes_scanned: int


def run(sql: str, database: str) -> Result:
    """The result of a query."""
    return Query(sql, database).result()


class Query:
    """One query, ready to describe or to run on a connection of its own."""

    def __init__(self, sql: str, database: str) -> None:
        self._connection = duckdb.connect(":memory:", config={"threads": "2"})
        self._translator = Translator(Functions(self._connection))
        self._loaded: dict[Any, str] = {}
        self.bytes_scanned = 0
        tree = scopes.parse_query(sql)
        _name_projections(tree)
        holder = exp.Subquery(this=scopes.expand(tree, database))
        self._load_tables(holder)
        self._visit(holder)
        self._sql = _generate(holder.this)

    def schema(self) -> pa.Schema:
        """The result's columns."""
        described = self._describe(self._sql)
        return pa.schema([(_column_name(name, i), kind) for i, (name, kind) in enumerate(described)])

    def result(self) -> Result:
        """Run the query."""
        described = self._describe(self._sql)
        columns = [f"c{i}" for i in range(len(described))]
        chosen = ", ".join(
            f"CAST({column} AS {types.duckdb(kind)}) AS {column}"
            for column, (_, kind) in zip(columns, described, strict=True)
        )
        try:
            rows = self._connection.sql(f"SELECT {chosen} FROM ({self._sql}) AS r({', '.join(columns)})")
            table = rows.to_arrow_table()
        except duckdb.Error as error:
            raise _failure(error) from None
        schema = self.schema()
        cells = [
            arrays.remade(column, types.stored(kind))
            for column, (_, kind) in zip(table.columns, described, strict=True)
        ]
        return Result(schema, pa.Table.from_arrays(cells, names=schema.names), self.bytes_scanned)

    def _describe(self, sql: str) -> list[tuple[str, pa.DataType]]:
        try:
            relation = self._connection.sql(sql)
            return [
                (name, types.from_duckdb(kind)) for name, kind in zip(relation.columns, relation.types, strict=True)
            ]
        except duckdb.Error as error:
            raise _failure(error) from None

    def _load_tables(self, tree: exp.Expression) -> None:
        everything = any(_is_projected_star(star) for star in tree.find_all(exp.Star))
        named = None if everything else {i.name.lower() for i in tree.find_all(exp.Identifier)}
        for reference in list(tree.find_all(exp.Table)):
            table = reference.meta.get(scopes.TABLE)
            if table is not None:
                self._load(reference, table, named)

    def _load(self, reference: exp.Table, table: Table, named: set[str] | None) -> None:
        conditions = pruning.conditions(reference, set(table.keys.names))
        key = (table.full_name, tuple(sorted(condition.sql() for condition in conditions)))
        if key not in self._loaded:
            scanned = scan.scan(table, named, conditions)
            self._loaded[key] = f"$table_{len(self._loaded)}"
            self._connection.register(self._loaded[key], scanned.rows)
            self.bytes_scanned += scanned.bytes
        reference.set("this", exp.to_identifier(self._loaded[key], quoted=True))

    def _visit(self, node: exp.Expression) -> None:
        """Rewrite the tree from its leaves; a WITH before the query that uses it."""
        children = sorted(node.iter_expressions(), key=lambda child: not isinstance(child, exp.With))
        for child in children:
            self._visit(child)
        if isinstance(node, exp.Select):
            self._unnest(node)
        elif node.meta.get(scopes.VIEW) is not None:
            self._declare(node, node.meta[scopes.VIEW])
        else:
            replacement = self._translator.rewrite(node)
            if replacement is not node:
                node.replace(replacement)

    def _declare(self, subquery: exp.Expression, view: View) -> None:
        """Give a view's query the names and types that the view declares, or find the view stale."""
        sql = _generate(subquery.this)
        described = self._describe(sql)
        names = [_column_name(name, i).lower() for i, (name, _) in enumerate(described)]
        if names != [name.lower() for name in view.columns.names]:
            raise _stale(view, f"its columns are {view.columns.names}, its query has {names}")
        for declared, (_, kind) in zip(view.columns, described, strict=True):
            if not types.coercible(kind, declared.type):
                raise _stale(
                    view,
                    f"column [{declared.name}] of type {types.trino(kind)} projected from query view cannot "
                    f"be coerced to column [{declared.name}] of type {types.trino(declared.type)} stored in "
                    "view definition",
                )
        columns = [exp.column(f"c{i}") for i in range(len(names))]
        select = exp.select(
            *(
                exp.alias_(exp.Cast(this=column, to=_duckdb_type(field.type)), field.name, quoted=True)
                for column, field in zip(columns, view.columns, strict=True)
            )
        ).from_(exp.alias_(subquery.this.subquery(), "v", table=[column.name for column in columns]))
        subquery.set("this", select)

    def _unnest(self, select: exp.Select) -> None:
        """Turn each UNNEST into a lateral query, which spreads rows and maps over columns as Trino does."""
        joins = select.args.get("joins") or []
        source = select.args.get("from_")
        if source is not None and isinstance(source.this, exp.Unnest):
            source.set("this", self._lateral(source.this, select, []))
        for position, join in enumerate(joins):
            if isinstance(join.this, exp.Unnest):
                join.set("this", self._lateral(join.this, select, joins[:position]))

    def _lateral(self, unnest: exp.Unnest, select: exp.Select, before: list[exp.Join]) -> exp.Expression:
        elements, columns, lists = [], [], []
        for position, operand in enumerate(unnest.expressions):
            kind = self._type_of(operand, select, before, unnest)
            element = f"e{position}"
            if pa.types.is_map(kind):
                values = f"map_entries({_generate(operand)})"
                columns += [f"{element}.key", f"{element}.value"]
            elif pa.types.is_list(kind):
                values = _generate(operand)
                spread = kind.value_type
                count = spread.num_fields if pa.types.is_struct(spread) else 0
                columns += [f"struct_extract_at({element}, {i + 1})" for i in range(count)] or [element]
            else:
                raise QueryError("TYPE_MISMATCH", f"Cannot unnest type: {types.trino(kind)}")
            lists.append(values)
            elements.append(f"unnest({values}) AS {element}")
        alias = unnest.args.get("alias") or exp.TableAlias(this=exp.to_identifier("unnested"))
        if unnest.args.get("offset"):
            elements.append(f"generate_subscripts({lists[0]}, 1) AS ordinality")
            columns.append("ordinality")
            if isinstance(unnest.args["offset"], exp.Expression):
                alias.append("columns", unnest.args["offset"].copy())
        inner = f"SELECT {', '.join(columns)} FROM (SELECT {', '.join(elements)})"
        lateral = exp.Lateral(this=exp.Subquery(this=exp.maybe_parse(inner, dialect="duckdb")))
        lateral.set("alias", alias)
        return lateral

    def _type_of(
        self, operand: exp.Expression, select: exp.Select, before: list[exp.Join], unnest: exp.Unnest
    ) -> pa.DataType:
        probe = exp.select(operand.copy())
        source = select.args.get("from_")
        if source is not None and source.this is not unnest:
            probe.set("from_", source.copy())
            probe.set("joins", [join.copy() for join in before])
        for ancestor in _ancestors(select):
            clause = ancestor.args.get("with_")
            if clause is not None and not _is_within(select, clause):
                probe.set("with_", clause.copy())
        return self._describe(_generate(probe))[0][1]


def _ancestors(node: exp.Expression) -> Iterator[exp.Expression]:
    current: exp.Expression | None = node
    while current is not None:
        yield current
        current = current.parent


def _is_within(node: exp.Expression, outer: exp.Expression) -> bool:
    return any(ancestor is outer for ancestor in _ancestors(node))


def _duckdb_type(kind: pa.DataType) -> exp.DataType:
    return exp.DataType.build(types.duckdb(kind), dialect="duckdb", udt=True)


def _is_projected_star(star: exp.Star) -> bool:
    """Whether the star stands for columns, and not for rows as in count(*)."""
    return not isinstance(star.parent, exp.Count)


def _generate(tree: exp.Expression) -> str:
    return str(tree.sql("duckdb", identify=True))


def _name_projections(tree: exp.Query) -> None:
    """Mark the outermost expressions without a name, which Athena calls `_col<position>`."""
    for select in _outermost(tree):
        for projection in list(select.expressions):
            if not isinstance(projection, exp.Alias | exp.Column | exp.Star):
                name = projection.name if isinstance(projection, exp.Dot) else _ANONYMOUS
                projection.replace(exp.alias_(projection.copy(), name, quoted=True))


def _outermost(tree: exp.Expression) -> Iterator[exp.Select]:
    if isinstance(tree, exp.Select):
        yield tree
    elif isinstance(tree, exp.SetOperation):
        yield from _outermost(tree.left)
    elif isinstance(tree, exp.Subquery):
        yield from _outermost(tree.this)


def _column_name(name: str, position: int) -> str:
    return f"_col{position}" if name.startswith(_ANONYMOUS) else name


def _stale(view: View, reason: str) -> QueryError:
    return QueryError("VIEW_IS_STALE", f"View '{view.full_name}' is stale or in invalid state: {reason}")


def _failure(error: duckdb.Error) -> QueryError:
    """The engine's error as Athena would name it."""
    text = str(error)
    ours = _UDF_ERROR.search(text)
    if ours:
        return QueryError(ours.group(1), ours.group(2))
    text = text.split("\n\nLINE ")[0].replace("\n", " ")
    for start, code in _CODES.items():
        if text.startswith(start):
            return QueryError(code, text.removeprefix(start).lstrip(": "))
    return QueryError("GENERIC_INTERNAL_ERROR", text)


_CODES = {
    "Binder Error": "SYNTAX_ERROR",
    "Parser Error": "SYNTAX_ERROR",
    "Catalog Error": "FUNCTION_NOT_FOUND",
    "Conversion Error": "INVALID_CAST_ARGUMENT",
    "Out of Range Error": "NUMERIC_VALUE_OUT_OF_RANGE",
    "Invalid Input Error": "INVALID_FUNCTION_ARGUMENT",
}
