"""What CREATE TABLE AS, INSERT INTO and UNLOAD write: data files, tables and partitions.

https://docs.aws.amazon.com/athena/latest/ug/create-table-as.html,
https://docs.aws.amazon.com/athena/latest/ug/unload.html
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa
from pyarrow import orc
from pyarrow import parquet as pq

from infra.local.corrections.athena import arrays, catalog, results, storage, types
from infra.local.corrections.athena.catalog import Table
from infra.local.corrections.athena.engine import Result
from infra.local.corrections.athena.errors import QueryError, not_supported

PARQUET = (
    "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
)
ORC = (
    "org.apache.hadoop.hive.ql.io.orc.OrcInputFormat",
    "org.apache.hadoop.hive.ql.io.orc.OrcOutputFormat",
    "org.apache.hadoop.hive.ql.io.orc.OrcSerde",
)
JSON = (
    "org.apache.hadoop.mapred.TextInputFormat",
    "org.apache.hadoop.hive.ql.io.IgnoreKeyTextOutputFormat",
    "org.openx.data.jsonserde.JsonSerDe",
)
TEXT = (JSON[0], JSON[1], "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe")
FORMATS = {"PARQUET": PARQUET, "ORC": ORC, "JSON": JSON, "TEXTFILE": TEXT}


def format_name(table: Table) -> str:
    """The format in which rows are added to a table."""
    for name, (_, _, serde) in FORMATS.items():
        if table.serde == serde:
            return name
    raise not_supported(f"writing to {table.full_name}, whose SerDe is {table.serde!r}")


def split(result: Result, keys: list[str]) -> Iterator[tuple[tuple[str, ...], pa.Table]]:
    """The rows of each combination of key values, without the key columns."""
    data = [name for name in result.schema.names if name not in keys]
    if not keys:
        yield (), result.rows
        return
    texts = results.rows(result.rows.select(keys), pa.schema([result.schema.field(key) for key in keys]))
    values = [tuple(catalog.NULL_PARTITION if cell is None else cell for cell in row) for row in texts]
    for combination in sorted(set(values)):
        mask = pa.array([value == combination for value in values], pa.bool_())
        yield combination, result.rows.filter(mask).select(data)


def write(rows: pa.Table, kind: str, uri: str, compressed: bool = True) -> str:
    """Write one data file; its address."""
    body, suffix = _encoded(rows, kind, compressed)
    storage.write(uri + suffix, body)
    return uri + suffix


def manifest(uri: str, files: Iterable[str]) -> None:
    """The manifest that tells clients which files a statement wrote."""
    storage.write(uri, "".join(f"{file}\n" for file in files).encode())


def table_input(
    name: str, schema: pa.Schema, keys: list[str], location: str, kind: str, properties: Mapping[str, str]
) -> dict[str, Any]:
    """The Glue TableInput of a table that a statement makes."""
    input_format, output_format, serde = FORMATS[kind]
    columns = [{"Name": f.name.lower(), "Type": types.hive(f.type)} for f in schema if f.name not in keys]
    return {
        "Name": name.lower(),
        "TableType": "EXTERNAL_TABLE",
        "Owner": "hadoop",
        "Parameters": {"EXTERNAL": "TRUE", "has_encrypted_data": "false"},
        "StorageDescriptor": {
            "Columns": columns,
            "Location": location,
            "InputFormat": input_format,
            "OutputFormat": output_format,
            "SerdeInfo": {"SerializationLibrary": serde, "Parameters": dict(properties)},
        },
        "PartitionKeys": [{"Name": key.lower(), "Type": types.hive(schema.field(key).type)} for key in keys],
    }


def as_table(result: Result, table: Table, columns: list[str] | None) -> Result:
    """The rows in the table's columns and types, keys last, as INSERT INTO writes them."""
    wanted = pa.schema([*table.columns, *table.keys])
    targets = [name.lower() for name in columns] if columns else wanted.names
    if len(targets) != len(result.schema):
        raise QueryError(
            "TYPE_MISMATCH",
            f"Insert query has {len(result.schema)} columns, but {table.full_name} takes {len(targets)}",
        )
    cells: list[Any] = []
    for field in wanted:
        if field.name not in targets:
            cells.append(arrays.nulls(result.rows.num_rows, field.type))
            continue
        position = targets.index(field.name)
        if not types.coercible(result.schema.field(position).type, field.type):
            raise QueryError(
                "TYPE_MISMATCH",
                f"Insert query has mismatched column types: {field.name} is {types.trino(field.type)}, "
                f"the query has {types.trino(result.schema.field(position).type)}",
            )
        cells.append(arrays.remade(result.rows.column(position), field.type))
    return Result(wanted, pa.Table.from_arrays(cells, schema=wanted), result.bytes_scanned)


def _encoded(rows: pa.Table, kind: str, compressed: bool) -> tuple[bytes, str]:
    sink = pa.BufferOutputStream()
    if kind == "PARQUET":
        pq.write_table(rows, sink, compression="snappy" if compressed else "none")
        return sink.getvalue().to_pybytes(), ".parquet"
    if kind == "ORC":
        orc.write_table(rows, sink)
        return sink.getvalue().to_pybytes(), ".orc"
    lines = _json_lines(rows) if kind == "JSON" else _delimited(rows)
    return (gzip.compress(lines, mtime=0), ".gz") if compressed else (lines, "")


def _json_lines(rows: pa.Table) -> bytes:
    lines = []
    for row in rows.to_pylist():
        members = ",".join(f"{json.dumps(name)}:{_json(value)}" for name, value in row.items())
        lines.append(f"{{{members}}}\n")
    return "".join(lines).encode()


def _json(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        pairs = bool(value) and isinstance(value[0], tuple)
        if pairs:
            return _json({str(key): item for key, item in value})
        return "[" + ",".join(_json(item) for item in value) + "]"
    if value is None or isinstance(value, bool | int | float | str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(str(value))


def _delimited(rows: pa.Table) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\x01", lineterminator="\n", quoting=csv.QUOTE_NONE, escapechar="\\")
    for row in results.rows(rows, rows.schema):
        writer.writerow(["\\N" if cell is None else cell for cell in row])
    return out.getvalue().encode()
