"""A lake in the local AWS: tables of Glue, files in S3, and queries to Athena."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import orc
from pyarrow import parquet as pq

from tests.waiting import eventually

OPENX = "org.openx.data.jsonserde.JsonSerDe"
PARQUET = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
ORC = "org.apache.hadoop.hive.ql.io.orc.OrcSerde"
FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")

Columns = Mapping[str, str]


class QueryFailed(Exception):
    """A query that ended in FAILED; the message is its StateChangeReason."""


@dataclass
class Lake:
    """One database and bucket, both called `name`."""

    client: Callable[[str], Any]
    name: str

    def __post_init__(self) -> None:
        self.s3 = self.client("s3")
        self.glue = self.client("glue")
        self.athena = self.client("athena")
        self.s3.create_bucket(Bucket=self.name)
        self.glue.create_database(DatabaseInput={"Name": self.name})

    def uri(self, path: str) -> str:
        """The address of a path in the bucket."""
        return f"s3://{self.name}/{path}"

    @property
    def output(self) -> str:
        """Where results go."""
        return self.uri("results/")

    def table(
        self,
        table: str,
        columns: Columns,
        serde: str = OPENX,
        keys: Columns | None = None,
        properties: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """Create a table at the folder of its name."""
        self.glue.create_table(
            DatabaseName=self.name,
            TableInput={
                "Name": table,
                "TableType": "EXTERNAL_TABLE",
                "Parameters": dict(parameters or {}),
                "StorageDescriptor": {
                    "Columns": [{"Name": n, "Type": t} for n, t in columns.items()],
                    "Location": self.uri(f"{table}/"),
                    "SerdeInfo": {"SerializationLibrary": serde, "Parameters": dict(properties or {})},
                },
                "PartitionKeys": [{"Name": n, "Type": t} for n, t in (keys or {}).items()],
            },
        )

    def partition(self, table: str, *values: str, path: str) -> None:
        """Register a partition at a path of the bucket."""
        self.glue.create_partition(
            DatabaseName=self.name,
            TableName=table,
            PartitionInput={"Values": list(values), "StorageDescriptor": {"Location": self.uri(path)}},
        )

    def view(self, view: str, sql: str, columns: Columns) -> None:
        """Store a view through the Glue API, in the form in which Athena stores its own."""
        definition = {
            "originalSql": sql,
            "catalog": "awsdatacatalog",
            "schema": self.name,
            "columns": [{"name": n, "type": t} for n, t in columns.items()],
        }
        text = base64.b64encode(json.dumps(definition).encode()).decode()
        self.glue.create_table(
            DatabaseName=self.name,
            TableInput={
                "Name": view,
                "TableType": "VIRTUAL_VIEW",
                "Parameters": {"presto_view": "true"},
                "ViewOriginalText": f"/* Presto View: {text} */",
                "ViewExpandedText": "/* Presto View */",
                "StorageDescriptor": {"Columns": [{"Name": n, "Type": "string"} for n in columns]},
            },
        )

    def put(self, path: str, body: bytes) -> None:
        """Put one object."""
        self.s3.put_object(Bucket=self.name, Key=path, Body=body)

    def lines(self, path: str, *lines: str) -> None:
        """Put one object of lines, gzipped where its path says so."""
        body = "".join(f"{line}\n" for line in lines).encode()
        self.put(path, gzip.compress(body) if path.endswith(".gz") else body)

    def parquet(self, path: str, table: pa.Table) -> None:
        """Put one Parquet object."""
        sink = io.BytesIO()
        pq.write_table(table, sink)
        self.put(path, sink.getvalue())

    def orc(self, path: str, table: pa.Table) -> None:
        """Put one ORC object."""
        sink = io.BytesIO()
        orc.write_table(table, sink)
        self.put(path, sink.getvalue())

    def start(self, sql: str, **more: Any) -> str:
        """Submit a query; its id."""
        request = {"ResultConfiguration": {"OutputLocation": self.output}, **more}
        answer = self.athena.start_query_execution(
            QueryString=sql, QueryExecutionContext={"Database": self.name}, **request
        )
        return str(answer["QueryExecutionId"])

    def wait(self, query_id: str) -> dict[str, Any]:
        """The execution once it has ended."""

        def execution() -> dict[str, Any]:
            found: dict[str, Any] = self.athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]
            return found

        return eventually(execution, lambda found: found["Status"]["State"] in FINAL, every=0.02)

    def run(self, sql: str, **more: Any) -> dict[str, Any]:
        """Run a statement; its execution, or QueryFailed."""
        execution = self.wait(self.start(sql, **more))
        if execution["Status"]["State"] != "SUCCEEDED":
            raise QueryFailed(execution["Status"].get("StateChangeReason", ""))
        return execution

    def query(self, sql: str) -> list[list[str | None]]:
        """The rows of a SELECT, or the lines of another statement."""
        execution = self.run(sql)
        rows = self.results(execution["QueryExecutionId"])
        return rows[1:] if execution["StatementType"] == "DML" else rows

    def results(self, query_id: str) -> list[list[str | None]]:
        """Every page of GetQueryResults."""
        rows: list[list[str | None]] = []
        for page in self.athena.get_paginator("get_query_results").paginate(QueryExecutionId=query_id):
            rows += [[cell.get("VarCharValue") for cell in row["Data"]] for row in page["ResultSet"]["Rows"]]
        return rows

    def scalar(self, sql: str) -> str | None:
        """The only cell of a query."""
        ((cell,),) = self.query(sql)
        return cell

    def keys(self, prefix: str) -> Sequence[str]:
        """The keys of the bucket below a prefix."""
        found = self.s3.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", [])
        return [entry["Key"] for entry in found]

    def read(self, uri: str) -> bytes:
        """One object by its address."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        body: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body
