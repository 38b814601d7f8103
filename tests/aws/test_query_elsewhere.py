"""Readers of the lake without an Iceberg catalog, by the files alone."""

from __future__ import annotations

import gzip
import io
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynalake.aws.clients import Clients
from dynalake.lake.catalog.table import Table, schema_of
from dynalake.lake.hive.hive import list_partitions
from dynalake.record.change import encode_change
from dynalake.record.key import ItemKey, KeyAttribute
from infra.local.demo.check import compare_items, lake_item
from infra.local.engines.duckdb import connect, duckdb_rows
from infra.local.run.process import LocalAws
from tests.support.aws.lake import convert, make_lake, night, register, right_now

VALUES: list[dict[str, Any]] = [
    {"Text": {"S": 'quote " and \\ and </tag> \n 5'}, "int": {"N": "9007199254740993"}, "flag": {"BOOL": True}},
    {"Text": {"S": ""}, "exact": {"N": "1234567890123456789012345678.9012345678"}, "double": {"N": "1.5"}},
    {"mixed": {"S": "n/a"}, "digits": {"N": "1E-30"}, "none": {"NULL": True}},
    {"mixed": {"N": "10.5"}, "digits": {"N": "12345678901234567890"}, "int": {"N": "-1"}, "flag": {"BOOL": False}},
    {"Plain": {"M": {"Name": {"S": "x"}, "price": {"N": "12345678901234567.25"}, "tags": {"SS": ["a", "b"]}}}},
    {"Plain": {"M": {"Name": {"S": "y"}, "price": {"N": "7"}, "later": {"BOOL": True}}}},
    {"numbers": {"NS": ["1.5", "-3"]}, "deep": {"L": [{"L": [{"M": {"a": {"N": "1"}}}]}]}},
    {"cases": {"M": {"Id": {"N": "1.25"}, "id": {"S": "two"}, "a.b": {"BOOL": True}}}},
    {"odd": {"L": [{"N": "1.10"}, {"S": "1.10"}, {"M": {"x": {"N": "12345678901234567890.5"}}}]}},
    {"any": {"M": {"b": {"N": "1.5"}}}, "bin": {"B": b"\x00\xff"}, "dt": {"N": "1"}},
    {"any": {"L": [{"S": "</x>"}, {"N": "2"}]}, "bins": {"BS": [b"\x01"]}, "__operation": {"S": "mine"}},
]
ITEMS = [{"id": {"S": f"item {n}"}, "n": {"N": f"{n}"}, **values} for n, values in enumerate(VALUES)]


@pytest.fixture(scope="module")
def table(clients: Clients) -> Table:
    """Two closed days with different columns and struct fields, each compacted on its own."""
    names = make_lake(clients).table("Elsewhere")
    two_days = register(clients, names, ItemKey(KeyAttribute("id", "S"), KeyAttribute("n", "N")))
    for days_ago, items in ((3, ITEMS[::2]), (2, ITEMS[1::2])):
        at = right_now() - timedelta(days=days_ago)
        lines = [
            encode_change(
                item, operation="INSERT", sequence_number=item["n"]["N"], event_time=round(at.timestamp() * 1000)
            )
            for item in items
        ]
        key = f"{names.raw_day(names.lake.day_of(at))}1.gz"
        clients.s3.put_object(Bucket=names.lake.bucket, Key=key, Body=gzip.compress("\n".join(lines).encode()))
        convert(two_days)
        assert night(two_days) == ()
    return two_days


def test_the_files_of_a_day_hold_what_was_written(table: Table, local_aws: LocalAws) -> None:
    """By their names alone, as readers of Hive tables do."""
    names, schema = table.names, schema_of(table.changes())
    files = [f"{day.location}*.parquet" for day in list_partitions(table, names.parquet_table).values()]
    rows = duckdb_rows(connect(local_aws.env()), f"SELECT * FROM read_parquet({files}, union_by_name=true)")
    items = [lake_item(schema, row) for row in rows]
    comparison = compare_items(names, names.parquet_table, schema, ITEMS, items)
    assert comparison.same, comparison.text()


def test_every_file_has_the_types_of_the_catalog(table: Table) -> None:
    """Redshift Spectrum refuses a file with a column of another type; a struct may have fewer fields in a file.

    https://repost.aws/knowledge-center/redshift-spectrum-data-errors
    """
    names, s3 = table.names, table.clients.s3
    entry = table.clients.glue.get_table(DatabaseName=names.lake.database, Name=names.parquet_table)["Table"]
    declared = {c["Name"]: c["Type"] for c in [*entry["StorageDescriptor"]["Columns"], *entry["PartitionKeys"]]}
    partitions = list_partitions(table, names.parquet_table)
    assert len(partitions) == 2
    for day in partitions.values():
        prefix = day.location.removeprefix(names.uri(""))
        for file in s3.list_objects_v2(Bucket=names.lake.bucket, Prefix=prefix)["Contents"]:
            body = s3.get_object(Bucket=names.lake.bucket, Key=file["Key"])["Body"].read()
            for field in pq.read_schema(io.BytesIO(body)):
                of = declared[field.name]
                assert covers(of, field.type), f"{field.name}: {of} is {field.type}"


def covers(declared: str, of: Any) -> bool:
    """Return whether Glue's type fits a Parquet column."""
    if pa.types.is_struct(of):
        inner = dict(_members(declared, "struct"))
        return all(covers(inner[of.field(i).name], of.field(i).type) for i in range(of.num_fields))
    if pa.types.is_map(of):
        return declared.startswith("map<string,") and covers(declared[len("map<string,") : -1], of.item_type)
    if pa.types.is_list(of):
        return declared.startswith("array<") and covers(declared[len("array<") : -1], of.value_type)
    if pa.types.is_decimal(of):
        return declared == f"decimal({of.precision},{of.scale})"
    return declared == {"int64": "bigint", "double": "double", "bool": "boolean", "string": "string"}[str(of)]


def _members(declared: str, kind: str) -> list[tuple[str, str]]:
    """Return the names and types of `struct<a:bigint,b:array<string>>`."""
    assert declared.startswith(f"{kind}<"), declared
    members, depth = [""], 0
    for letter in declared[len(kind) + 1 : -1]:
        depth += {"<": 1, "(": 1, ">": -1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            members.append("")
        else:
            members[-1] += letter
    return [(name, of) for name, _, of in (member.partition(":") for member in members)]
