"""What a query says about a table's partition keys, so that only the partitions it can match are read.

Conditions only leave partitions out; the query itself still filters. So everything here may miss a condition,
but must never take one that a row of the result could fail.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from infra.local.corrections.athena.catalog import View
from infra.local.corrections.athena.scopes import VIEW

_COMPARED = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Between, exp.In, exp.Like)
_CONNECTED = (exp.And, exp.Or, exp.Not, exp.Paren)
_VALUES = (exp.Literal, exp.Boolean, exp.Neg, exp.Cast, exp.DataType, exp.DataTypeParam, exp.Identifier)


def conditions(reference: exp.Expression, keys: set[str]) -> list[exp.Expression]:
    """The conditions that every row of `reference` in the result meets, over columns named in `keys`."""
    select = _select_from(reference)
    if select is None:
        return []
    alias = reference.alias_or_name.lower()
    alone = not select.args.get("joins")
    found = []
    for condition in _conjuncts(select.args.get("where")):
        columns = list(condition.find_all(exp.Column))
        named = all(
            column.name.lower() in keys and (column.table.lower() == alias or (not column.table and alone))
            for column in columns
        )
        unqualified = all(column.name.lower() in keys and not column.table for column in columns)
        if columns and (named or unqualified) and _is_decidable(condition):
            found.append(condition)
    return [*found, *_from_outside(select, alias, alone, keys)]


def _from_outside(select: exp.Select, alias: str, alone: bool, keys: set[str]) -> Iterator[exp.Expression]:
    """The conditions that the enclosing query puts on what this SELECT passes through from the table."""
    if not _is_transparent(select):
        return
    branch, holder = _holder(select)
    if holder is None:
        return
    names = _outer_names(select, branch, holder, alias, alone, keys)
    references = _references(holder)
    if len(references) != 1 or not names:
        return
    for condition in conditions(references[0], set(names)):
        renamed = condition.copy()
        for column in renamed.find_all(exp.Column):
            column.replace(exp.column(names[column.name.lower()]))
        yield renamed


def _select_from(reference: exp.Expression) -> exp.Select | None:
    parent = reference.parent
    if isinstance(parent, exp.From | exp.Join) and isinstance(parent.parent, exp.Select):
        return parent.parent
    return None


def _conjuncts(where: exp.Expression | None) -> Iterator[exp.Expression]:
    if where is None:
        return
    pending = [where.this]
    while pending:
        condition = pending.pop()
        if isinstance(condition, exp.Paren):
            pending.append(condition.this)
        elif isinstance(condition, exp.And):
            pending += [condition.right, condition.left]
        else:
            yield condition


def _is_decidable(condition: exp.Expression) -> bool:
    """Only comparisons with constants: none of them is true of a NULL, so outer joins change nothing."""
    allowed = (*_COMPARED, *_CONNECTED, *_VALUES, exp.Column)
    return isinstance(condition, (*_COMPARED, *_CONNECTED)) and all(
        isinstance(node, allowed) for node in condition.walk()
    )


def _is_transparent(select: exp.Select) -> bool:
    """Whether leaving out rows of the table leaves out only rows of the SELECT that come from them."""
    blocking = ("group", "having", "limit", "offset", "fetch", "windows", "qualify", "distinct")
    if any(select.args.get(clause) for clause in blocking):
        return False
    joins = select.args.get("joins") or []
    if any(join.side or join.args.get("method") for join in joins):
        return False
    return not any(projection.find(exp.Window, exp.AggFunc) for projection in select.expressions)


def _holder(select: exp.Select) -> tuple[exp.Expression, exp.Expression | None]:
    """The union that the SELECT is a branch of (or itself), and the subquery or CTE around it."""
    branch: exp.Expression = select
    while isinstance(branch.parent, exp.Union | exp.Paren) or _is_bare_subquery(branch.parent):
        parent = branch.parent
        assert parent is not None
        if any(parent.args.get(clause) for clause in ("limit", "offset", "fetch")):
            return branch, None
        branch = parent
    holder = branch.parent
    return branch, holder if isinstance(holder, exp.Subquery | exp.CTE) else None


def _is_bare_subquery(node: exp.Expression | None) -> bool:
    return isinstance(node, exp.Subquery) and isinstance(node.parent, exp.Union)


def _outer_names(
    select: exp.Select,
    branch: exp.Expression,
    holder: exp.Expression,
    alias: str,
    alone: bool,
    keys: set[str],
) -> dict[str, str]:
    """For each name outside that passes a key through unchanged, the key."""
    projections = select.expressions
    if any(isinstance(p, exp.Star) or (isinstance(p, exp.Column) and p.is_star) for p in projections):
        # The positions are unknown, but where nothing renames them the names are the keys' own.
        plain = branch is select and len(projections) == 1 and alone and not holder.alias_column_names
        return {key: key for key in keys} if plain else {}
    view = holder.meta.get(VIEW)
    outer = _column_names(branch, holder, view)
    names = {}
    for name, projection in zip(outer, projections, strict=False):
        column = projection.this if isinstance(projection, exp.Alias) else projection
        if not isinstance(column, exp.Column) or column.name.lower() not in keys:
            continue
        if column.table.lower() == alias or not column.table:
            names[name.lower()] = column.name.lower()
    return names


def _column_names(branch: exp.Expression, holder: exp.Expression, view: View | None) -> list[str]:
    if holder.alias_column_names:
        return list(holder.alias_column_names)
    if view is not None:
        return list(view.columns.names)
    first = branch
    while isinstance(first, exp.Union):
        first = first.left
    first = first.unnest() if isinstance(first, exp.Subquery) else first
    return [projection.alias_or_name for projection in getattr(first, "expressions", [])]


def _references(holder: exp.Expression) -> list[exp.Expression]:
    """Where the subquery's rows are used: the subquery itself, or each mention of the CTE."""
    if isinstance(holder, exp.Subquery):
        return [holder]
    owner = holder.parent.parent if holder.parent is not None else None
    if owner is None:
        return []
    return [
        table
        for table in owner.find_all(exp.Table)
        if table.name.lower() == holder.alias.lower() and not table.db and not table.meta.get("table")
    ]
