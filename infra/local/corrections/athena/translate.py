"""Rewrites Trino expressions into what DuckDB computes the same way."""

from __future__ import annotations

import re
from collections.abc import Callable

import pyarrow as pa
from sqlglot import exp

from infra.local.corrections.athena import types
from infra.local.corrections.athena.errors import QueryError, not_supported
from infra.local.corrections.athena.functions import TRY_SUFFIX, Functions

_JODA = {
    "yyyy": "%Y", "YYYY": "%Y", "yy": "%y", "MMMM": "%B", "MMM": "%b", "MM": "%m", "M": "%-m", "dd": "%d",
    "d": "%-d", "HH": "%H", "H": "%-H", "hh": "%I", "mm": "%M", "ss": "%S", "SSS": "%g", "a": "%p",
    "EEEE": "%A", "EEE": "%a", "E": "%a", "DDD": "%j", "ZZ": "%z", "Z": "%z", "z": "%Z",
}  # fmt: skip
_JODA_TOKEN = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*")
_UNSUPPORTED = (exp.JSONTable, exp.JSONValue, exp.JSONExists, exp.MatchRecognize, exp.Pivot, exp.Typeof)


class Translator:
    """Rewrites the nodes of one query, each after its children."""

    def __init__(self, functions: Functions) -> None:
        self.functions = functions
        self._rewrites: dict[type[exp.Expression], Callable[..., exp.Expression]] = {
            exp.Cast: self._cast,
            exp.TryCast: self._cast,
            exp.Try: self._try,
            exp.ParseJSON: lambda node: _json(_call("$json_parse", _text(node.this))),
            exp.JSONExtract: lambda node: _json(_call("$json_extract", _text(node.this), _path(node))),
            exp.JSONExtractScalar: lambda node: _call("$json_extract_scalar", _text(node.this), _path(node)),
            exp.JSONFormat: lambda node: _text(node.this),
            exp.Struct: lambda node: _call("row", *[_unnamed(value) for value in node.expressions]),
            exp.ArraySize: lambda node: _call("cardinality", node.this.copy()),
            exp.ArraySlice: _slice,
            exp.ArgMax: lambda node: _arg("arg_max", node),
            exp.ArgMin: lambda node: _arg("arg_min", node),
            exp.RegexpExtract: _regexp_extract,
            exp.RegexpReplace: _regexp_replace,
            exp.DateDiff: _date_diff,
            exp.DateAdd: _date_add,
            exp.TimestampTrunc: _truncated,
            exp.DateTrunc: _truncated,
            exp.Anonymous: self._anonymous,
            exp.Reduce: _reduce,
        }

    def rewrite(self, node: exp.Expression) -> exp.Expression:
        """The node's replacement, or the node itself."""
        if isinstance(node, _UNSUPPORTED):
            raise not_supported(f"{type(node).__name__} ({node.sql('trino')[:80]})")
        rewrite = self._rewrites.get(type(node))
        return rewrite(node) if rewrite else node

    def _cast(self, node: exp.Cast) -> exp.Expression:
        safe = isinstance(node, exp.TryCast)
        kind = _type(node.to)
        operand = node.this
        if kind.equals(types.JSON):
            return _case(operand, {"JSON": _as(operand, "JSON")}, _call("to_json", operand.copy()))
        if _is_json(operand):
            return self._json_cast(operand, kind, safe)
        if pa.types.is_string(kind):
            return _limited(self._varchar(operand), node.to)
        plain = _as(operand, types.duckdb(kind), safe)
        if pa.types.is_nested(kind):
            return _case(operand, {"JSON": self._json_cast(operand, kind, safe)}, plain)
        if isinstance(operand, exp.Literal) and not operand.is_string:
            return plain
        if pa.types.is_temporal(kind) or pa.types.is_binary(kind):
            return plain
        if isinstance(operand, exp.Literal):
            return self._apply(self.functions.varchar_cast(kind), operand.copy(), safe)
        branches = {
            "VARCHAR": self._apply(self.functions.varchar_cast(kind), _text(operand), safe),
            "JSON": self._json_cast(operand, kind, safe),
        }
        return _case(operand, branches, plain)

    def _json_cast(self, operand: exp.Expression, kind: pa.DataType, safe: bool) -> exp.Expression:
        function = self.functions.json_cast(kind)
        parsed = operand.this if isinstance(operand, exp.Cast) else operand
        # Trino plans CAST(json_parse(column) AS a nested type) as one step that reads the column's own text.
        if not safe and pa.types.is_nested(kind) and _is_call(parsed, "$json_parse") and parsed.find(exp.Column):
            return self._apply(function, parsed.expressions[0].copy(), safe)
        return self._apply(function, _text(operand), safe)

    def _apply(self, function: str, argument: exp.Expression, safe: bool) -> exp.Expression:
        return _call(function + (TRY_SUFFIX if safe else ""), argument)

    def _varchar(self, operand: exp.Expression) -> exp.Expression:
        if isinstance(operand, exp.Literal) and operand.is_string:
            return operand.copy()
        moment = _as(_text(operand), "TIMESTAMP", safe=True)
        double = _call("$double_varchar", _as(_text(operand), "DOUBLE", safe=True))
        branches = {
            "JSON": self._apply(self.functions.json_cast(pa.string()), _text(operand), False),
            "DOUBLE": double,
            "FLOAT": double.copy(),
            "TIMESTAMP": _call("strftime", moment, _literal("%Y-%m-%d %H:%M:%S.%g")),
        }
        return _case(operand, branches, _text(operand))

    def _try(self, node: exp.Try) -> exp.Expression:
        """TRY of one cast of plain columns is that cast's own NULL-for-error form, which stays vectorized."""
        call = node.this
        simple = isinstance(call, exp.Anonymous) and call.name in self.functions.tried
        if simple and all(_cannot_fail(argument) for argument in call.expressions):
            return _call(f"{call.name}{TRY_SUFFIX}", *[argument.copy() for argument in call.expressions])
        return node

    def _anonymous(self, node: exp.Anonymous) -> exp.Expression:
        name = node.name.lower()
        if name in ("format_datetime", "date_format"):
            moment, pattern = node.expressions
            converted = _joda(pattern) if name == "format_datetime" else pattern.copy()
            return _call("strftime", moment.copy(), converted)
        if name == "parse_datetime":
            text, pattern = node.expressions
            return _as(_call("strptime", text.copy(), _joda(pattern)), "TIMESTAMPTZ")
        return node


def _type(to: exp.DataType) -> pa.DataType:
    # A decimal without precision has 10 digits in the catalog, but 38 in a query.
    bare = to.is_type(exp.DataType.Type.DECIMAL) and not to.expressions
    return pa.decimal128(38, 0) if bare else types.parse(to.sql("trino"))


def _call(name: str, *arguments: exp.Expression) -> exp.Anonymous:
    quoted = exp.to_identifier(name, quoted=True) if name.startswith("$") else name
    return exp.Anonymous(this=quoted, expressions=list(arguments))


def _literal(text: str) -> exp.Literal:
    return exp.Literal.string(text)


def _raw_type(name: str) -> exp.DataType:
    return exp.DataType.build(name, dialect="duckdb", udt=True)


def _as(operand: exp.Expression, duckdb_type: str, safe: bool = False) -> exp.Expression:
    kind = exp.TryCast if safe else exp.Cast
    return kind(this=operand.copy(), to=_raw_type(duckdb_type))


def _text(operand: exp.Expression) -> exp.Expression:
    """The operand as text: JSON's own text where it is JSON."""
    if isinstance(operand, exp.Cast) and operand.to.is_type(exp.DataType.Type.JSON):
        return operand.this.copy()
    if isinstance(operand, exp.Literal) and operand.is_string:
        return operand.copy()
    return _as(operand, "VARCHAR")


def _json(call: exp.Expression) -> exp.Expression:
    return exp.Cast(this=call, to=_raw_type("JSON"))


def _is_json(operand: exp.Expression) -> bool:
    operand = operand.unnest()
    return isinstance(operand, exp.Cast) and operand.to.is_type(exp.DataType.Type.JSON)


def _is_call(node: exp.Expression, name: str) -> bool:
    return isinstance(node, exp.Anonymous) and node.name == name


def _cannot_fail(argument: exp.Expression) -> bool:
    plain = (exp.Column, exp.Identifier, exp.Literal, exp.Dot)
    text = isinstance(argument, exp.Cast) and argument.to.is_type(exp.DataType.Type.VARCHAR, exp.DataType.Type.TEXT)
    return all(isinstance(node, plain) for node in (argument.this if text else argument).walk())


def _case(operand: exp.Expression, branches: dict[str, exp.Expression], otherwise: exp.Expression) -> exp.Expression:
    """A choice by the operand's type, which DuckDB makes while it plans."""
    conditions = [
        exp.If(this=exp.EQ(this=_call("typeof", operand.copy()), expression=_literal(name)), true=branch)
        for name, branch in branches.items()
    ]
    return exp.Case(ifs=conditions, default=otherwise)


def _limited(operand: exp.Expression, to: exp.DataType) -> exp.Expression:
    if not to.expressions:
        return operand
    return _call("left", operand, to.expressions[0].this.copy())


def _path(node: exp.Expression) -> exp.Expression:
    path = node.expression
    if isinstance(path, exp.JSONPath):
        return _literal(path.sql("trino").strip("'"))
    if isinstance(path, exp.Literal):
        return path.copy()
    raise not_supported(f"a JSON path that is no literal ({path.sql('trino')[:80]})")


def _unnamed(value: exp.Expression) -> exp.Expression:
    return (value.expression if isinstance(value, exp.PropertyEQ) else value).copy()


def _arg(name: str, node: exp.Expression) -> exp.Expression:
    arguments = [node.this.copy(), node.expression.copy()]
    if node.args.get("count"):
        return _call(name, *arguments, node.args["count"].copy())
    # Trino's max_by gives the row with the greatest key even where its value is NULL.
    return _call(f"{name}_null", *arguments)


def _slice(node: exp.ArraySlice) -> exp.Expression:
    start, length = node.args["start"], node.args["end"]
    last = exp.Sub(this=exp.Add(this=start.copy(), expression=length.copy()), expression=exp.Literal.number(1))
    return _call("list_slice", node.this.copy(), start.copy(), last)


def _regexp_extract(node: exp.RegexpExtract) -> exp.Expression:
    group = node.args.get("group") or exp.Literal.number(0)
    return _call("regexp_extract_first", node.this.copy(), node.expression.copy(), group.copy())


def _regexp_replace(node: exp.RegexpReplace) -> exp.Expression:
    replacement = node.args.get("replacement") or _literal("")
    if isinstance(replacement, exp.Literal):
        replacement = _literal(re.sub(r"\$(\d)", r"\\\1", replacement.this))
    return _call("regexp_replace", node.this.copy(), node.expression.copy(), replacement.copy(), _literal("g"))


def _date_diff(node: exp.DateDiff) -> exp.Expression:
    unit = _literal(node.text("unit").lower() or "day")
    # Trino counts whole units that have passed, DuckDB's date_diff the boundaries crossed.
    return _call("date_sub", unit, node.expression.copy(), node.this.copy())


def _date_add(node: exp.DateAdd) -> exp.Expression:
    unit = node.text("unit").lower() or "day"
    one = exp.Interval(this=_literal("1"), unit=exp.var(unit))
    return _call("add_to", node.this.copy(), exp.Mul(this=_as(node.expression, "BIGINT"), expression=one))


def _truncated(node: exp.TimestampTrunc | exp.DateTrunc) -> exp.Expression:
    return _call("truncate_to", node.this.copy(), _literal(node.text("unit").lower()))


def _joda(pattern: exp.Expression) -> exp.Expression:
    if not isinstance(pattern, exp.Literal):
        raise not_supported(f"a date pattern that is no literal ({pattern.sql('trino')[:80]})")

    def convert(match: re.Match[str]) -> str:
        if match.group(1) is not None:
            return match.group(1).replace("''", "'") or "'"
        try:
            return _JODA[match.group()]
        except KeyError:
            raise QueryError("INVALID_FUNCTION_ARGUMENT", f"Unsupported date pattern {pattern.this!r}") from None

    return _literal(_JODA_TOKEN.sub(convert, pattern.this))


def _reduce(node: exp.Reduce) -> exp.Expression:
    finish = node.args.get("finish")
    simple = isinstance(finish, exp.Lambda) and finish.this.sql() == finish.expressions[0].sql()
    if finish is not None and not simple:
        raise not_supported("reduce() with an output function other than s -> s")
    node.set("finish", None)
    return node
