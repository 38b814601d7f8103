"""Column types, by the names that the catalog (Hive), queries (Trino), Arrow and DuckDB have for them."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from infra.local.corrections.athena.arrays import Field
from infra.local.corrections.athena.errors import QueryError

JSON: pa.DataType = pa.json_(pa.string())
TIMESTAMP: pa.DataType = pa.timestamp("us")
TIMESTAMP_WITH_TIME_ZONE: pa.DataType = pa.timestamp("us", tz="UTC")

# name: (Arrow, Hive, Trino, DuckDB); the first row with an Arrow type is the one it is written as.
_SCALARS: list[tuple[tuple[str, ...], pa.DataType, str, str, str]] = [
    (("boolean",), pa.bool_(), "boolean", "boolean", "BOOLEAN"),
    (("tinyint",), pa.int8(), "tinyint", "tinyint", "TINYINT"),
    (("smallint",), pa.int16(), "smallint", "smallint", "SMALLINT"),
    (("int", "integer"), pa.int32(), "int", "integer", "INTEGER"),
    (("bigint", "long"), pa.int64(), "bigint", "bigint", "BIGINT"),
    (("float", "real"), pa.float32(), "float", "real", "FLOAT"),
    (("double", "double precision"), pa.float64(), "double", "double", "DOUBLE"),
    (("string", "varchar", "char"), pa.string(), "string", "varchar", "VARCHAR"),
    (("binary", "varbinary"), pa.binary(), "binary", "varbinary", "BLOB"),
    (("date",), pa.date32(), "date", "date", "DATE"),
    (("json",), JSON, "string", "json", "JSON"),
    (("timestamp",), TIMESTAMP, "timestamp", "timestamp(3)", "TIMESTAMP"),
    (
        ("timestamp with time zone",),
        TIMESTAMP_WITH_TIME_ZONE,
        "timestamp",
        "timestamp(3) with time zone",
        "TIMESTAMP WITH TIME ZONE",
    ),
    (("time",), pa.time64("us"), "string", "time(3)", "TIME"),
    (("unknown", "void"), pa.null(), "string", "unknown", "VARCHAR"),
]
_BY_NAME = {name: row[1] for row in _SCALARS for name in row[0]}
_INTEGER_DIGITS: dict[Any, int] = {pa.int8(): 3, pa.int16(): 5, pa.int32(): 10, pa.int64(): 19}
_PLAIN_FIELD = re.compile(r"[a-z_][a-z0-9_]*\Z")


def parse(text: str) -> pa.DataType:
    """The Arrow type of a Hive (`struct<a:int>`) or Trino (`row(a integer)`) type."""
    parser = _Parser(text)
    parsed = parser.type()
    parser.skip_spaces()
    if parser.rest():
        raise QueryError("INVALID_TYPE", f"Cannot parse type {text!r}: {parser.rest()!r} is left over")
    return parsed


def hive(kind: pa.DataType) -> str:
    """The catalog's name of an Arrow type."""
    if pa.types.is_struct(kind):
        return "struct<" + ",".join(f"{f.name}:{hive(f.type)}" for f in kind) + ">"
    if pa.types.is_map(kind):
        return f"map<{hive(kind.key_type)},{hive(kind.item_type)}>"
    if pa.types.is_list(kind):
        return f"array<{hive(kind.value_type)}>"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return _scalar(kind)[2]


def trino(kind: pa.DataType) -> str:
    """The query engine's name of an Arrow type."""
    if pa.types.is_struct(kind):
        return "row(" + ", ".join(_trino_field(f) for f in kind) + ")"
    if pa.types.is_map(kind):
        return f"map({trino(kind.key_type)}, {trino(kind.item_type)})"
    if pa.types.is_list(kind):
        return f"array({trino(kind.value_type)})"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return _scalar(kind)[3]


def duckdb(kind: pa.DataType) -> str:
    """DuckDB's name of an Arrow type."""
    if pa.types.is_struct(kind):
        return "STRUCT(" + ", ".join(f"{quote(f.name)} {duckdb(f.type)}" for f in kind) + ")"
    if pa.types.is_map(kind):
        return f"MAP({duckdb(kind.key_type)}, {duckdb(kind.item_type)})"
    if pa.types.is_list(kind):
        return f"{duckdb(kind.value_type)}[]"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    return _scalar(kind)[4]


def from_duckdb(kind: Any) -> pa.DataType:
    """The Arrow type that a DuckDB column type stands for in Trino."""
    name = str(kind.id).lower()
    if str(kind) == "JSON":
        return JSON
    if name in ("struct", "tuple"):
        fields = [(field, from_duckdb(child)) for field, child in kind.children]
        return pa.struct([pa.field(f or f"field{i}", child) for i, (f, child) in enumerate(fields)])
    if name == "map":
        (_, key), (_, value) = kind.children
        return pa.map_(from_duckdb(key), from_duckdb(value))
    if name in ("list", "array"):
        return pa.list_(from_duckdb(kind.children[0][1]))
    if name == "decimal":
        precision, scale = (number for _, number in kind.children)
        return pa.decimal128(int(precision), int(scale))
    # DuckDB widens what Trino keeps as bigint, such as sum() of integers.
    if name in ("hugeint", "uhugeint", "ubigint", "uinteger", "usmallint", "utinyint"):
        return pa.int64()
    if name in ("timestamp_s", "timestamp_ms", "timestamp_ns"):
        return TIMESTAMP
    if name in ("null", "sqlnull", '"null"'):
        return pa.null()
    try:
        return _BY_NAME[_DUCKDB_NAMES.get(name, name)]
    except KeyError:
        raise QueryError("NOT_SUPPORTED", f"A result column has the DuckDB type {kind}") from None


_DUCKDB_NAMES = {
    "blob": "varbinary",
    "float": "real",
    "enum": "varchar",
    "uuid": "varchar",
    "timestamp_tz": "timestamp with time zone",
    "time_tz": "time",
    "interval": "varchar",
}


def stored(kind: pa.DataType) -> pa.DataType:
    """The type with JSON as the text that it is kept as."""
    if kind.equals(JSON):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, stored(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(stored(kind.key_type), stored(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(stored(kind.value_type))
    return kind


def coercible(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether Trino turns the first type into the second without a cast."""
    if kind.equals(wanted) or pa.types.is_null(kind):
        return True
    if pa.types.is_struct(kind) and pa.types.is_struct(wanted):
        # Trino would rename fields by position; DuckDB casts by name, so that another name must not pass.
        pairs = zip(kind, wanted, strict=False)
        return kind.num_fields == wanted.num_fields and all(
            a.name.lower() == b.name.lower() and coercible(a.type, b.type) for a, b in pairs
        )
    if pa.types.is_map(kind) and pa.types.is_map(wanted):
        return coercible(kind.key_type, wanted.key_type) and coercible(kind.item_type, wanted.item_type)
    if pa.types.is_list(kind) and pa.types.is_list(wanted):
        return coercible(kind.value_type, wanted.value_type)
    if pa.types.is_integer(kind):
        if pa.types.is_decimal(wanted):
            return bool(wanted.precision - wanted.scale >= _INTEGER_DIGITS[kind])
        wider = pa.types.is_integer(wanted) and wanted.bit_width >= kind.bit_width
        return wider or pa.types.is_floating(wanted)
    if pa.types.is_decimal(kind):
        if pa.types.is_decimal(wanted):
            whole = wanted.precision - wanted.scale >= kind.precision - kind.scale
            return whole and bool(wanted.scale >= kind.scale)
        return bool(pa.types.is_floating(wanted))
    if pa.types.is_float32(kind):
        return bool(pa.types.is_float64(wanted))
    if pa.types.is_date(kind):
        return bool(pa.types.is_timestamp(wanted))
    return bool(pa.types.is_timestamp(kind) and wanted.equals(TIMESTAMP_WITH_TIME_ZONE))


def quote(name: str) -> str:
    """An SQL identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def _trino_field(field: Field) -> str:
    name = field.name if _PLAIN_FIELD.match(field.name) else quote(field.name)
    return f"{name} {trino(field.type)}"


def _scalar(kind: pa.DataType) -> tuple[tuple[str, ...], pa.DataType, str, str, str]:
    for row in _SCALARS:
        if row[1].equals(kind):
            return row
    raise QueryError("NOT_SUPPORTED", f"The Arrow type {kind} has no SQL name")


class _Parser:
    """A recursive descent over one type's text; struct field names may hold any character but `:`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def rest(self) -> str:
        return self.text[self.at :]

    def skip_spaces(self) -> None:
        while self.rest()[:1].isspace():
            self.at += 1

    def accept(self, token: str) -> bool:
        self.skip_spaces()
        if self.rest().startswith(token):
            self.at += len(token)
            return True
        return False

    def expect(self, *tokens: str) -> None:
        if not any(self.accept(token) for token in tokens):
            raise self.failure(" or ".join(tokens))

    def failure(self, expected: str) -> QueryError:
        return QueryError("INVALID_TYPE", f"Cannot parse type {self.text!r}: expected {expected} at position {self.at}")

    def type(self) -> pa.DataType:
        self.skip_spaces()
        word = re.match(r"[A-Za-z_]+", self.rest())
        if word is None:
            raise self.failure("a type name")
        name = word.group().lower()
        self.at += word.end()
        if name in ("array", "map", "struct", "row"):
            self.expect("<", "(")
            kind = self.nested(name)
            self.expect(">", ")")
            return kind
        numbers = self.numbers()
        if name in ("decimal", "numeric"):
            precision, scale = (*numbers, 10, 0)[:2] if not numbers else (*numbers, 0)[:2]
            return pa.decimal128(precision, scale)
        for suffix in (" with time zone", " without time zone", " precision"):
            self.skip_spaces()
            if self.rest().lower().startswith(suffix.strip()):
                self.at += len(suffix.strip())
                name += suffix
        name = name.removesuffix(" without time zone")
        if name not in _BY_NAME:
            raise QueryError("INVALID_TYPE", f"Unknown type {name!r} in {self.text!r}")
        return _BY_NAME[name]

    def nested(self, name: str) -> pa.DataType:
        if name == "array":
            return pa.list_(self.type())
        if name == "map":
            key = self.type()
            self.expect(",")
            return pa.map_(key, self.type())
        fields: list[Field] = []
        while not fields or self.accept(","):
            fields.append(self.hive_field() if name == "struct" else self.row_field(len(fields)))
        return pa.struct(fields)

    def hive_field(self) -> Field:
        self.skip_spaces()
        end = self.text.find(":", self.at)
        if end < 0:
            raise self.failure("a field name and ':'")
        name = self.text[self.at : end].strip().strip("`")
        self.at = end + 1
        # The catalog's struct field names are matched without regard to case.
        return pa.field(name.lower(), self.type())

    def row_field(self, position: int) -> Field:
        self.skip_spaces()
        if self.rest()[:1] == '"':
            quoted = re.match(r'"((?:[^"]|"")*)"', self.rest())
            if quoted is None:
                raise self.failure("a closing quote")
            self.at += quoted.end()
            return pa.field(quoted.group(1).replace('""', '"'), self.type())
        named = re.match(r"([A-Za-z_][A-Za-z0-9_@:]*)\s+(?!precision|with)[A-Za-z]", self.rest())
        if named is None:
            return pa.field(f"field{position}", self.type())
        self.at += named.end(1)
        return pa.field(named.group(1).lower(), self.type())

    def numbers(self) -> list[int]:
        if not self.accept("("):
            return []
        end = self.text.index(")", self.at)
        numbers = [int(number) for number in self.text[self.at : end].split(",")]
        self.at = end + 1
        return numbers
