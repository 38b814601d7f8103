"""Trino's functions in a DuckDB connection: exact ones in Python, the others as macros."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from infra.local.corrections.athena import jsoncasts, jsonvalues, numerals, types
from infra.local.corrections.athena.errors import QueryError

TRY_SUFFIX = "__try"

_MACROS = """
json_array_length(j) AS "$json_array_length"(CAST(j AS VARCHAR))
json_array_get(j, i) AS CAST("$json_array_get"(CAST(j AS VARCHAR), CAST(i AS BIGINT)) AS JSON)
json_size(j, p) AS "$json_size"(CAST(j AS VARCHAR), p)
add_to(x DATE, i INTERVAL) AS CAST(x + i AS DATE), (x TIMESTAMP, i INTERVAL) AS x + i, \
    (x TIMESTAMPTZ, i INTERVAL) AS x + i
truncate_to(x DATE, u) AS CAST(date_trunc(u, x) AS DATE), (x TIMESTAMP, u) AS date_trunc(u, x), \
    (x TIMESTAMPTZ, u) AS date_trunc(u, x)
at_timezone(t, z) AS timezone(z, t)
with_timezone(t, z) AS timezone(z, t)
regexp_extract_first(x, p, g) AS CASE WHEN regexp_matches(x, p) THEN regexp_extract(x, p, g) END
map_agg(k, v) AS map_from_entries(list(row(k, v)) FILTER (WHERE k IS NOT NULL))
to_iso8601(t) AS strftime(t, '%Y-%m-%dT%H:%M:%S.%gZ')
from_iso8601_date(x) AS CAST(x AS DATE)
day_of_week(x) AS isodow(x)
day_of_year(x) AS dayofyear(x)
dow(x) AS isodow(x)
week_of_year(x) AS weekofyear(x)
date(x) AS CAST(x AS DATE)
truncate(x) AS trunc(x)
array_max(x) AS list_max(x)
array_min(x) AS list_min(x)
array_position(x, e) AS coalesce(list_position(x, e), 0)
array_remove(x, e) AS list_filter(x, lambda i: i <> e)
array_union(a, b) AS list_distinct(list_concat(a, b))
array_except(a, b) AS list_filter(list_distinct(a), lambda i: NOT list_contains(b, i))
arrays_overlap(a, b) AS list_has_any(a, b)
sequence(a, b) AS generate_series(a, b)
from_hex(x) AS unhex(x)
to_utf8(x) AS encode(x)
from_utf8(x) AS decode(x)
codepoint(x) AS unicode(x)
is_nan(x) AS isnan(x)
is_finite(x) AS isfinite(x)
is_infinite(x) AS isinf(x)
infinity() AS CAST('Infinity' AS DOUBLE)
nan() AS CAST('NaN' AS DOUBLE)
bitwise_and(a, b) AS a & b
bitwise_or(a, b) AS a | b
bitwise_xor(a, b) AS xor(a, b)
"""


class Functions:
    """Registers what one connection needs, each cast once."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._casts: dict[tuple[str, str], str] = {}
        self.tried: set[str] = set()
        connection.execute("SET TimeZone = 'UTC'; SET integer_division = true")
        self._scalar("$json_parse", ["VARCHAR"], pa.string(), jsonvalues.parse)
        self._scalar("$json_extract", ["VARCHAR", "VARCHAR"], pa.string(), jsonvalues.extract)
        self._scalar("$json_extract_scalar", ["VARCHAR", "VARCHAR"], pa.string(), jsonvalues.extract_scalar)
        self._scalar("$json_size", ["VARCHAR", "VARCHAR"], pa.int64(), jsonvalues.size)
        self._scalar("$json_array_length", ["VARCHAR"], pa.int64(), jsonvalues.array_length)
        self._scalar("$json_array_get", ["VARCHAR", "BIGINT"], pa.string(), jsonvalues.array_get)
        self._scalar("$double_varchar", ["DOUBLE"], pa.string(), numerals.double_varchar)
        for macro in _MACROS.strip().splitlines():
            connection.execute(f"CREATE OR REPLACE TEMP MACRO {macro}")

    def json_cast(self, kind: pa.DataType) -> str:
        """The function that casts JSON text to the type."""
        return self._cast("json", kind, jsoncasts.json_cast)

    def varchar_cast(self, kind: pa.DataType) -> str:
        """The function that casts plain text to the type."""
        return self._cast("varchar", kind, jsoncasts.varchar_cast)

    def _cast(self, source: str, kind: pa.DataType, make: Callable[[pa.DataType], Callable[[str], Any]]) -> str:
        key = (source, str(kind))
        if key not in self._casts:
            name = f"${source}_cast_{len(self._casts)}"
            self._scalar(name, ["VARCHAR"], kind, make(kind))
            self._casts[key] = name
        return self._casts[key]

    def _scalar(self, name: str, parameters: list[str], returned: pa.DataType, call: Callable[..., Any]) -> None:
        self._register(name, parameters, returned, call)
        self._register(f"{name}{TRY_SUFFIX}", parameters, returned, _tried(call))
        self.tried.add(name)

    def _register(self, name: str, parameters: list[str], returned: pa.DataType, call: Callable[..., Any]) -> None:
        storage = types.stored(returned)

        def unary(first: Any) -> Any:
            return pa.array([None if a is None else call(a) for a in first.to_pylist()], storage)

        def binary(first: Any, second: Any) -> Any:
            rows = zip(first.to_pylist(), second.to_pylist(), strict=True)
            return pa.array([None if a is None or b is None else call(a, b) for a, b in rows], storage)

        # DuckDB counts the parameters of the Python function, so that one for any number will not do.
        self._connection.create_function(
            name,
            unary if len(parameters) == 1 else binary,
            parameters,
            types.duckdb(returned),
            type="arrow",
            null_handling="special",
        )


def _tried(call: Callable[..., Any]) -> Callable[..., Any]:
    def attempt(*values: Any) -> Any:
        try:
            return call(*values)
        except QueryError:
            return None

    return attempt
