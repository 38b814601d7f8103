"""SQL that reads one raw attribute (the `string` that Athena's JSON SerDe gives) as its column's type.

The SerDe gives plain text for a JSON string, the digits for a number, compact JSON for an array or object, null for
null. What does not fit the type becomes null, and no number is rounded where its column is a number:

- Trino rounds on a cast to `decimal` and to `double`, so the result counts only if it has the same digits.
- `json_parse` sends numbers through a double (Trino's `JsonTypeUtil`). Within arrays and objects they are therefore
  put into quotes first: a cast from a JSON string reads every digit, and refuses `1.5` for a `bigint`, where a cast
  from a number rounds (Trino's `JsonUtil.currentTokenAs…`).

What stays inexact until compaction widens the type: a number *within* a list or map that has more digits than its
type holds is rounded to it; a string that looks like a number, or like JSON, cannot be told from one in a column of
that type.
"""

from __future__ import annotations

from dynalake.lake.layout import trino_type
from dynalake.lake.types import DOUBLE_DIGITS, Boolean, List, Map, Mixed, Null, Number, Struct, Type

# A string, a number, or what lies between them.
_TOKENS = r'"(?:[^"\\]|\\.)*"|-?[0-9][-+.0-9eE]*|[^"0-9-]+'

# Where JSON text is wanted of some values, a number in quotes must be told from a string: a control character, which no
# JSON text holds unescaped, stands before its digits.
_MARK = r"\u0001"


def raw_expression(column: str, of: Type) -> str:
    """The typed value of the raw column `column` (an SQL expression of type varchar)."""
    match of:
        case Boolean():
            return f"CASE {column} WHEN 'true' THEN true WHEN 'false' THEN false END"
        case Number():
            return _number(column, of)
        case Mixed():
            return f"IF(TRY(json_parse({column})) IS NOT NULL, {column}, json_format(CAST({column} AS JSON)))"
        case Struct() | Map() | List():
            return f"TRY({_container(column, of)})"
        case _:
            return column


def quote(name: str) -> str:
    """A quoted identifier."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def literal(text: str) -> str:
    """A text literal."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def _number(x: str, of: Number) -> str:
    match of.kind:
        case "text":
            return x
        case "bigint":
            return f"TRY_CAST({x} AS bigint)"
        case "double":
            return f"IF(length({_digits(x)}) <= {DOUBLE_DIGITS}, TRY_CAST({x} AS double))"
        case _:
            cast = f"TRY_CAST({x} AS {trino_type(of)})"
            return f"IF({_digits(f'CAST({cast} AS varchar)')} = {_digits(x)}, {cast})"


def _digits(x: str) -> str:
    """The significant digits: a cast changed the number exactly if it changed these."""
    return f"trim(BOTH '0' FROM regexp_replace({x}, '[eE].*$|[-+.]', ''))"


def _container(x: str, of: Type) -> str:
    marked = _holds(of, Mixed)
    if marked or _holds(of, Number):
        mark = _MARK if marked else ""
        quoted = f"IF(regexp_like(t, '^-?[0-9]'), '\"{mark}' || t || '\"', t)"
        x = f"array_join(transform(regexp_extract_all({x}, '{_TOKENS}'), t -> {quoted}), '')"
    if not marked and _by_name(of):
        return f"CAST(json_parse({x}) AS {trino_type(of)})"
    return _let("j", f"json_parse({x})", _typed("j", of, 0, marked))


def _let(name: str, value: str, body: str) -> str:
    """`body` with `name` bound to `value`, so that a long value is written and computed once."""
    return f"element_at(transform(ARRAY[{value}], {name} -> {body}), 1)"


def _typed(json: str, of: Type, depth: int, marked: bool) -> str:
    """The SQL that makes an expression of type JSON one of type `of`, by the keys that the items have."""
    if _by_name(of) and not (marked and _holds(of, Number)):
        return f"CAST({json} AS {trino_type(of)})"
    match of:
        case Number():
            digits = f"regexp_extract(CAST({json} AS varchar), '^\\x01(.*)$', 1)"
            return digits if of.kind == "text" else f"CAST({digits} AS {trino_type(of)})"
        case Mixed():
            text = f"regexp_replace(json_format({json}), '\"\\\\u0001([^\"]*)\"', '$1')"
            return f"nullif({text}, 'null')"
        case List(element):
            e = f"e{depth}"
            return f"transform(CAST({json} AS array(JSON)), {e} -> {_typed(e, element, depth + 1, marked)})"
        case Map(value):
            v = f"v{depth}"
            inner = _typed(v, value, depth + 1, marked)
            return f"transform_values(CAST({json} AS map(varchar, JSON)), (k{depth}, {v}) -> {inner})"
        case Struct(fields):
            m = f"m{depth}"
            values = (_typed(f"element_at({m}, {literal(f.key)})", f.type, depth + 1, marked) for f in fields)
            row = f"IF({m} IS NOT NULL, CAST(ROW({', '.join(values)}) AS {trino_type(of)}))"
            return _let(m, f"CAST({json} AS map(varchar, JSON))", row)
        case _:
            return f"CAST({json} AS {trino_type(of)})"


def _by_name(of: Type) -> bool:
    """Whether a cast from JSON finds all by itself: it matches a row's fields with the keys in lower case."""
    match of:
        case Mixed():
            return False
        case Struct(fields):
            return all(f.key.lower() == f.name and _by_name(f.type) for f in fields)
        case List(inner) | Map(inner):
            return _by_name(inner)
        case _:
            return True


def _holds(of: Type, kind: type) -> bool:
    match of:
        case Struct(fields):
            return any(_holds(f.type, kind) for f in fields)
        case List(inner) | Map(inner):
            return _holds(inner, kind)
        case _:
            return isinstance(of, kind) and not isinstance(of, Null)
