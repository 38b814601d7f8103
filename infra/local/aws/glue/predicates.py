"""Evaluate conditions over partition keys, as in Glue's `Expression` or a query's WHERE."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sqlglot import exp


class Unsupported(ValueError):
    """A condition that cannot be decided from partition values."""


_COMPARISONS: dict[type[exp.Expression], Any] = {
    exp.EQ: lambda left, right: left == right,
    exp.NEQ: lambda left, right: left != right,
    exp.LT: lambda left, right: left < right,
    exp.LTE: lambda left, right: left <= right,
    exp.GT: lambda left, right: left > right,
    exp.GTE: lambda left, right: left >= right,
}


def holds(condition: exp.Expression, values: Mapping[str, Any]) -> bool | None:
    """Return whether the condition is true for the key values (names in lower case); None is SQL's unknown."""
    if isinstance(condition, exp.Paren):
        return holds(condition.this, values)
    if isinstance(condition, exp.And):
        return _and(holds(condition.left, values), holds(condition.right, values))
    if isinstance(condition, exp.Or):
        return _not(_and(_not(holds(condition.left, values)), _not(holds(condition.right, values))))
    if isinstance(condition, exp.Not):
        return _not(holds(condition.this, values))
    if isinstance(condition, exp.Between):
        value = _value(condition.this, values)
        low = _compare(exp.GTE, value, _value(condition.args["low"], values))
        return _and(low, _compare(exp.LTE, value, _value(condition.args["high"], values)))
    if isinstance(condition, exp.In):
        return _in(condition, values)
    if isinstance(condition, exp.Like):
        return _like(_value(condition.this, values), _value(condition.expression, values))
    if isinstance(condition, exp.Is) and isinstance(condition.expression, exp.Null):
        return _value(condition.this, values) is None
    if type(condition) in _COMPARISONS:
        left, right = _value(condition.this, values), _value(condition.expression, values)
        return _compare(type(condition), left, right)
    raise Unsupported(condition.sql())


def _compare(kind: type[exp.Expression], left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    left, right = _alike(left, right)
    return bool(_COMPARISONS[kind](left, right))


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Return both values with the same type; a string compared with a typed value is converted to its type."""
    if isinstance(left, str) and not isinstance(right, str):
        return _read_as(left, right), right
    if isinstance(right, str) and not isinstance(left, str):
        return left, _read_as(right, left)
    return left, right


def _read_as(text: str, other: Any) -> Any:
    try:
        if isinstance(other, datetime.datetime):
            return datetime.datetime.fromisoformat(text)
        if isinstance(other, datetime.date):
            return datetime.date.fromisoformat(text)
        return Decimal(text)
    except (ValueError, ArithmeticError):
        raise Unsupported(f"{text!r} compared with {other!r}") from None


def _in(condition: exp.In, values: Mapping[str, Any]) -> bool | None:
    if condition.args.get("query") or not condition.expressions:
        raise Unsupported(condition.sql())
    value = _value(condition.this, values)
    answers = [_compare(exp.EQ, value, _value(item, values)) for item in condition.expressions]
    return True if True in answers else None if None in answers else False


def _like(value: Any, pattern: Any) -> bool | None:
    if value is None or pattern is None:
        return None
    expression = "".join({"%": ".*", "_": "."}.get(c) or re.escape(c) for c in str(pattern))
    return re.fullmatch(expression, str(value), re.DOTALL) is not None


def _value(node: exp.Expression, values: Mapping[str, Any]) -> Any:
    if isinstance(node, exp.Paren):
        return _value(node.this, values)
    if isinstance(node, exp.Column) and node.name.lower() in values:
        return values[node.name.lower()]
    if isinstance(node, exp.Literal):
        return node.this if node.is_string else Decimal(node.this)
    if isinstance(node, exp.Neg):
        value = _value(node.this, values)
        if isinstance(value, Decimal):
            # Unary minus would round to the precision of the context.
            return value.copy_negate()
        if isinstance(value, int):
            return -value
    if isinstance(node, exp.Null):
        return None
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal):
        return _literal(node)
    raise Unsupported(node.sql())


def _literal(cast: exp.Cast) -> Any:
    text = cast.this.this
    try:
        if cast.to.is_type(exp.DataType.Type.DATE):
            return datetime.date.fromisoformat(text)
        if cast.to.is_type(exp.DataType.Type.TIMESTAMP):
            return datetime.datetime.fromisoformat(text)
    except ValueError:
        pass
    if cast.to.is_type(*exp.DataType.TEXT_TYPES):
        return text
    if cast.to.is_type(*exp.DataType.INTEGER_TYPES):
        return Decimal(text)
    raise Unsupported(cast.sql())


def _and(left: bool | None, right: bool | None) -> bool | None:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value
