"""A lake on moto, with a Glue as strict as AWS's."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.types import BooleanType, LongType, NestedField, StringType

from dynalake.aws.clients import Clients
from dynalake.lake.catalog.iceberg import DataFile, Head, IcebergCatalog
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.folders import new_folder
from dynalake.names import Lake, TableNames
from tests.support.strict_glue import StrictGlue

SCHEMA = Schema(
    NestedField(1, "dt", StringType(), required=False),
    NestedField(2, "id", StringType(), required=False),
    NestedField(3, "__event_time", LongType(), required=False),
    NestedField(4, "n", LongType(), required=False),
    NestedField(5, "gone", BooleanType(), required=False),
)


class SmallLake:
    """A table of changes called `receipts` with five flat columns."""

    def __init__(self) -> None:
        session = boto3.Session("k", "s", region_name="eu-west-1")
        self.glue = StrictGlue(session.client("glue"))
        services: dict[str, Any] = {"s3": session.client("s3"), "glue": self.glue}
        self.clients = Clients(lambda service: services[service])
        self.names: TableNames = Lake("dev", "123456789012", "eu-west-1").table("RECEIPTS")
        services["s3"].create_bucket(
            Bucket=self.names.lake.bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        self.glue.create_database(DatabaseInput={"Name": self.names.lake.database})
        self.table = Table(self.clients, self.names)
        self.catalog = IcebergCatalog(self.clients, self.names.lake)

    def create(self) -> Head:
        location = self.names.uri(self.names.changes_location)
        return self.catalog.create(self.names.changes_table, SCHEMA, location, "dt", {"dynalake.bound": "0"})

    def load(self) -> Head:
        return self.catalog.load(self.names.changes_table)

    def file(self, dt: str, rows: Sequence[dict[str, Any]], schema: Schema | None = None) -> DataFile:
        """Put a file of these rows into the lake, in a folder of its own."""
        head = self.load()
        file_schema = schema or head.schema
        table = pa.Table.from_pylist([{"dt": dt, **row} for row in rows], schema=schema_to_pyarrow(file_schema))
        body = io.BytesIO()
        pq.write_table(table, body)
        key = f"{self.names.change_folder(dt, new_folder())}part-00000.parquet"
        self.clients.s3.put_object(Bucket=self.names.lake.bucket, Key=key, Body=body.getvalue())
        return head.data_file(self.names.uri(key), dt, pq.read_metadata(body), len(body.getvalue()), file_schema)

    def rows(self, head: Head | None = None) -> list[dict[str, Any]]:
        """Return what a reader of the current snapshot sees, ordered by `id`."""
        rows = []
        for file in (head or self.load()).files():
            bucket, _, key = file.path.removeprefix("s3://").partition("/")
            body = self.clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            rows += pq.read_table(io.BytesIO(body)).to_pylist()
        return sorted(rows, key=lambda row: row["id"])

    def keys(self) -> set[str]:
        """Return the keys of all objects in the bucket."""
        pages = self.clients.s3.get_paginator("list_objects_v2").paginate(Bucket=self.names.lake.bucket)
        return {o["Key"] for page in pages for o in page.get("Contents", ())}
