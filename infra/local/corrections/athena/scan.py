"""Reads a table's registered partitions at their own locations, and remembers what it parsed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlglot import exp

from infra.local.corrections.athena import arrays, catalog, columnar, openx, storage, text
from infra.local.corrections.athena.catalog import PARTITIONS_SUFFIX, Table
from infra.local.corrections.athena.errors import QueryError, not_supported
from infra.local.corrections.glue import predicates

PATH_COLUMN = "$path"
_CACHE_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True)
class Scanned:
    """A table's rows and what reading them took."""

    rows: pa.Table
    bytes: int


def scan(table: Table, columns: Iterable[str] | None, conditions: Sequence[exp.Expression]) -> Scanned:
    """The rows of every partition for which no condition is false; `columns` None is all of them."""
    wanted = None if columns is None else set(columns)
    data = pa.schema([f for f in table.columns if wanted is None or f.name in wanted])
    keys = [(i, f) for i, f in enumerate(table.keys) if wanted is None or f.name in wanted]
    with_path = wanted is not None and PATH_COLUMN in wanted
    schema = pa.schema([*data, *(field for _, field in keys), *([(PATH_COLUMN, pa.string())] if with_path else [])])
    parts: list[pa.Table] = []
    size = 0
    for partition in _selected(table, conditions):
        values = [(catalog.key_value(partition.values[i], field.type), field.type) for i, field in keys]
        if table.name.endswith(PARTITIONS_SUFFIX):
            parts.append(_row_of_keys(values, schema))
            continue
        for found in storage.listed(partition.location):
            if found.size == 0:
                continue
            size += found.size
            rows = _rows(table, found, data)
            cells: list[Any] = list(rows.columns) if len(data) else []
            cells += [arrays.constant(value, kind, rows.num_rows) for value, kind in values]
            cells += [arrays.constant(found.uri, pa.string(), rows.num_rows)] if with_path else []
            parts.append(pa.Table.from_arrays(cells, schema=schema) if cells else _rows_only(rows.num_rows))
    if not parts:
        parts.append(schema.empty_table() if len(schema) else _rows_only(0))
    return Scanned(pa.concat_tables(parts), size)


def _selected(table: Table, conditions: Sequence[exp.Expression]) -> list[catalog.Partition]:
    if not len(table.keys):
        return [catalog.Partition((), table.location)] if table.location else []
    return [
        partition
        for partition in catalog.partitions(table)
        if all(_may_hold(table, partition, condition) for condition in conditions)
    ]


def _may_hold(table: Table, partition: catalog.Partition, condition: exp.Expression) -> bool:
    values = {
        field.name: catalog.key_value(text, field.type)
        for field, text in zip(table.keys, partition.values, strict=True)
    }
    try:
        return predicates.holds(condition, values) is True
    except (predicates.Unsupported, TypeError):
        return True


def _row_of_keys(values: list[tuple[Any, pa.DataType]], schema: pa.Schema) -> pa.Table:
    cells = [arrays.constant(value, kind, 1) for value, kind in values]
    return pa.Table.from_arrays(cells, schema=schema) if cells else _rows_only(1)


def _rows_only(rows: int) -> pa.Table:
    """Rows without a column of the table, for count(*): an Arrow table of no columns has no rows."""
    return pa.table({"$row": arrays.nulls(rows, pa.bool_())})


class _Cache:
    """Parsed objects, least recently used first, bounded by their Arrow bytes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: OrderedDict[tuple[Any, ...], pa.Table] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[Any, ...], parse: Callable[[], pa.Table]) -> pa.Table:
        with self._lock:
            if key in self._tables:
                self._tables.move_to_end(key)
                return self._tables[key]
        table = parse()
        with self._lock:
            if key not in self._tables and table.nbytes <= _CACHE_BYTES:
                self._tables[key] = table
                self._bytes += table.nbytes
                while self._bytes > _CACHE_BYTES:
                    _, dropped = self._tables.popitem(last=False)
                    self._bytes -= dropped.nbytes
        return table


_cache = _Cache()


def _rows(table: Table, found: storage.S3Object, wanted: pa.Schema) -> pa.Table:
    """The object's rows with the wanted columns; JSON and text are parsed whole once, then projected."""
    properties = tuple(sorted({**table.parameters, **table.properties}.items()))
    identity = (found.bucket, found.key, found.etag, found.size, table.serde, properties)
    if _is_columnar(table):
        key = (*identity, str(wanted), str(table.columns))
        return _cache.get(key, lambda: _read_columnar(table, found, wanted))
    whole = _cache.get((*identity, str(table.columns)), lambda: _read_lines(table, found))
    return whole.select(wanted.names) if len(wanted) else _rows_only(whole.num_rows)


def _is_columnar(table: Table) -> bool:
    described = f"{table.serde} {table.input_format}".lower()
    return "parquet" in described or "orc" in described


def _read_columnar(table: Table, found: storage.S3Object, wanted: pa.Schema) -> pa.Table:
    orc = "orc" in f"{table.serde} {table.input_format}".lower()
    setting = table.properties.get("orc.column.index.access" if orc else "parquet.column.index.access")
    by_index = setting.lower() == "true" if setting else orc
    return columnar.read(found, table.columns, wanted, orc_format=orc, by_index=by_index)


def _read_lines(table: Table, found: storage.S3Object) -> pa.Table:
    content = storage.read_text(found)
    lines = content.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    try:
        if table.serde == "org.openx.data.jsonserde.JsonSerDe":
            return openx.read(lines, table.columns, openx.Options.parse(table.properties))
        if table.serde == "org.apache.hive.hcatalog.data.JsonSerDe":
            options = openx.Options(True, table.properties.get("ignore.malformed.json") == "true", False, {})
            return openx.read(lines, table.columns, options)
        if table.serde.endswith(("LazySimpleSerDe", "OpenCSVSerde")):
            return text.read(content, lines, table)
    except QueryError as error:
        raise QueryError(error.code, f"{error.message} (in {found.uri})") from None
    raise not_supported(f"the SerDe {table.serde!r} of {table.full_name}")
