"""Every engine reads foreign tables and gives the same values: an Iceberg table, a Hive table, a view."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table
from pyiceberg.typedef import Record
from trino.exceptions import TrinoUserError

from dynalake.aws.clients import Clients
from infra.local.engines.trino import Trino
from tests.trino.readers import ENGINES, ReadTable

DAY, NEXT_DAY, DAY_WITHOUT_ROWS = "20240101", "20240102", "20240103"
ROWS: list[dict[str, Any]] = [
    {
        "n": 1,
        "exact": Decimal("12345678901234567890123456789012345.678"),
        "nested": {"name": "a", "inner": {"list": [1, None, 3], "map": {"k": "v", "": None}}},
        "dt": DAY,
    },
    {"n": 2, "exact": Decimal("-99999999999999999999999999999999999.999"), "nested": None, "dt": DAY},
    {"n": None, "exact": None, "nested": {"name": None, "inner": None}, "dt": NEXT_DAY},
    {
        "n": -(2**63),
        "exact": Decimal("0.001"),
        "nested": {"name": "é", "inner": {"list": [], "map": {}}},
        "dt": NEXT_DAY,
    },
]
INNER = pa.struct([("list", pa.list_(pa.int64())), ("map", pa.map_(pa.string(), pa.string()))])
NESTED = pa.struct([("name", pa.string()), ("inner", INNER)])
COLUMNS: list[tuple[str, pa.DataType]] = [("n", pa.int64()), ("exact", pa.decimal128(38, 3)), ("nested", NESTED)]
SCHEMA = pa.schema([*COLUMNS, ("dt", pa.string())])
GLUE_COLUMNS: list[Any] = [
    {"Name": "n", "Type": "bigint"},
    {"Name": "exact", "Type": "decimal(38,3)"},
    {"Name": "nested", "Type": "struct<name:string,inner:struct<list:array<bigint>,map:map<string,string>>>"},
]
DT: list[Any] = [{"Name": "dt", "Type": "string"}]
PARQUET: dict[str, Any] = {
    "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    "SerdeInfo": {"SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"},
    "Columns": GLUE_COLUMNS,
}


def same(rows: list[dict[str, Any]], day: str | None = None) -> bool:
    """Return whether the rows are those of the day, or all, in any order."""
    expected = [row for row in ROWS if day in (None, row["dt"])]
    return sorted(rows, key=_exact) == sorted(expected, key=_exact)


def _exact(row: dict[str, Any]) -> str:
    return str(row["exact"])


@pytest.fixture(scope="module")
def place(new_database: Callable[[], str]) -> str:
    """A Glue database, and a bucket of the same name."""
    return new_database()


@pytest.fixture(scope="module")
def table(place: str, plain_catalog: GlueCatalog, clients: Clients) -> str:
    """An Iceberg table by pyiceberg, partitioned by `dt`, with one partition whose only file has no rows."""
    written = plain_catalog.create_table(f"{place}.iceberg", SCHEMA, location=f"s3://{place}/iceberg")
    with written.update_spec() as spec:
        spec.add_identity("dt")
    for day in (DAY, NEXT_DAY):
        written.append(pa.Table.from_pylist([row for row in ROWS if row["dt"] == day], SCHEMA))
    append_file_without_rows(written, clients)
    return f"{place}.iceberg"


def append_file_without_rows(table: Table, clients: Clients) -> None:
    """Commit a Parquet file without rows, which pyiceberg's own `append` would not write."""
    body = io.BytesIO()
    pq.write_table(schema_to_pyarrow(table.schema()).empty_table(), body)
    uri = f"{table.location()}/data/dt={DAY_WITHOUT_ROWS}/none.parquet"
    bucket, key = uri.removeprefix("s3://").split("/", 1)
    clients.s3.put_object(Bucket=bucket, Key=key, Body=body.getvalue())
    file = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=uri,
        file_format=FileFormat.PARQUET,
        partition=Record(DAY_WITHOUT_ROWS),
        record_count=0,
        file_size_in_bytes=len(body.getvalue()),
    )
    file.spec_id = table.spec().spec_id
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        append.append_data_file(file)


@pytest.fixture(scope="module")
def hive(place: str, clients: Clients) -> str:
    """A Hive table of Parquet; each partition has the columns, as Trino's Glue client requires."""
    table: Any = {
        "Name": "hive",
        "TableType": "EXTERNAL_TABLE",
        "PartitionKeys": DT,
        "StorageDescriptor": {**PARQUET, "Location": f"s3://{place}/hive"},
    }
    clients.glue.create_table(DatabaseName=place, TableInput=table)
    for day in (DAY, NEXT_DAY):
        rows = [{name: row[name] for name, _ in COLUMNS} for row in ROWS if row["dt"] == day]
        body = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, pa.schema(COLUMNS)), body)
        # A path that does not follow from the partition's name.
        clients.s3.put_object(Bucket=place, Key=f"elsewhere/{day}/v=1/a.parquet", Body=body.getvalue())
        storage = {**PARQUET, "Location": f"s3://{place}/elsewhere/{day}/v=1"}
        partition: Any = {"Values": [day], "StorageDescriptor": storage}
        clients.glue.create_partition(DatabaseName=place, TableName="hive", PartitionInput=partition)
    return f"{place}.hive"


def create_view(clients: Clients, database: str, name: str, sql: str, **more: Any) -> None:
    """Create a view of `n` and `dt` as Athena stores it."""
    columns = [{"name": "n", "type": "bigint"}, {"name": "dt", "type": "varchar"}]
    definition = {"originalSql": sql, "catalog": "awsdatacatalog", "schema": database, "columns": columns}
    text = base64.b64encode(json.dumps(definition).encode()).decode()
    view: Any = {
        "Name": name,
        "TableType": "VIRTUAL_VIEW",
        "Parameters": {"presto_view": "true", "comment": "Presto View"},
        "PartitionKeys": [],
        "StorageDescriptor": {"Columns": [GLUE_COLUMNS[0], *DT], "Location": "", "SerdeInfo": {}},
        "ViewOriginalText": f"/* Presto View: {text} */",
        "ViewExpandedText": "/* Presto View */",
        **more,
    }
    clients.glue.create_table(DatabaseName=database, TableInput=view)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_iceberg_table_is_read_by_every_engine(engine: str, table: str, read_table: ReadTable) -> None:
    assert same(read_table(engine, table))
    for day in (DAY, NEXT_DAY):
        assert same(read_table(engine, table, f"dt = '{day}'"), day)
    assert read_table(engine, table, f"dt = '{DAY_WITHOUT_ROWS}'") == []
    assert same(read_table(engine, table, f"dt >= '{NEXT_DAY}'"), NEXT_DAY)


def test_trino_reads_only_the_files_of_the_day(table: str, trino: Trino) -> None:
    assert trino.ask(f"SELECT * FROM {table} WHERE dt = '{DAY}'").input_rows == 2
    assert trino.ask(f"SELECT * FROM {table}").input_rows == 4


def test_trino_reads_a_hive_table(hive: str, trino: Trino) -> None:
    assert same(trino(f"SELECT * FROM {hive}"))
    assert same(trino(f"SELECT * FROM {hive} WHERE dt = '{DAY}'"), DAY)
    assert trino(f"SELECT * FROM {hive} WHERE dt = '20230101'") == []


def test_trino_reads_a_view_that_has_an_owner(
    place: str, table: str, hive: str, clients: Clients, trino: Trino
) -> None:
    sql = f"SELECT n, dt FROM {table} WHERE n > 0 UNION ALL SELECT n, dt FROM {hive} WHERE n IS NULL"
    create_view(clients, place, "owned", sql, Owner="hadoop")
    rows = trino(f"SELECT * FROM {place}.owned WHERE dt >= '{DAY}' ORDER BY n")
    assert rows == [{"n": 1, "dt": DAY}, {"n": 2, "dt": DAY}, {"n": None, "dt": NEXT_DAY}]
    create_view(clients, place, "owned_by_nobody", sql)
    with pytest.raises(TrinoUserError, match="Run-as identity must be set"):
        trino(f"SELECT * FROM {place}.owned_by_nobody")
