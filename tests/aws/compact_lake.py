"""A lake in local AWS: raw objects put by hand, compaction as Airflow's tasks call it, and SQL."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import awswrangler as wr
import pandas as pd
import pyarrow.parquet as pq
from dynalake.catalog.partitions import register_days
from dynalake.catalog.register import register_table
from dynalake.catalog.tables import read_schema
from tests.unit.compact.lake import KEY, TestLake

from dynalake.clients import Clients
from dynalake.names import Lake
from tests.aws.sql import athena
from tests.unit.lake.recover import recover

DAY, NEXT_DAY = "20240101", "20240102"
LAKE = Lake("compact", "000000000000", "us-east-1")
_numbers = count()


class AthenaLake(TestLake):
    """A lake in local AWS, and its SQL."""

    __test__ = False
    query: Callable[[str], list[dict[str, Any]]]
    """Rows as awswrangler reads Athena's result file, which shows arrays and rows as plain text."""
    unload: Callable[[str], list[dict[str, Any]]]
    """Rows by UNLOAD, with every type."""
    images: list[Any]

    def ask(self, sql: str) -> list[list[str | None]]:
        """Rows as Athena shows them, as text: what takes the fewest calls."""
        athena, lake = self.clients.athena, self.names.lake
        run = athena.start_query_execution(
            QueryString=sql, QueryExecutionContext={"Database": lake.database}, WorkGroup=lake.workgroup
        )["QueryExecutionId"]
        while (state := athena.get_query_execution(QueryExecutionId=run)["QueryExecution"]["Status"])["State"] in (
            "QUEUED",
            "RUNNING",
        ):
            time.sleep(0.01)
        assert state["State"] == "SUCCEEDED", f"{state.get('StateChangeReason')} in {sql}"
        rows = athena.get_query_results(QueryExecutionId=run)["ResultSet"]["Rows"][1:]
        return [[cell.get("VarCharValue") for cell in row["Data"]] for row in rows]

    def items(self, sql: str) -> list[dict[str, Any]]:
        """The items that a query returns, as JSON values by attribute, in the order of their keys."""
        schema = read_schema(self.clients, self.names)
        found = []
        for row in self.unload(sql):
            values = {c.attribute: recover(row[c.name], c.type) for c in schema.columns if c.name in row}
            found.append({k: v for k, v in values.items() if v is not None})
        return sorted(found, key=lambda item: (item["id"], item["n"]))

    def changes(self) -> list[dict[str, Any]]:
        return self.items(f'SELECT * FROM "{self.names.changes_view}"')

    def current(self) -> list[dict[str, Any]]:
        return self.items(f'SELECT * FROM "{self.names.latest_view}"')


def make_lake(clients: Clients) -> AthenaLake:
    if LAKE.bucket not in [b["Name"] for b in clients.s3.list_buckets()["Buckets"]]:
        clients.s3.create_bucket(Bucket=LAKE.bucket)
        clients.glue.create_database(DatabaseInput={"Name": LAKE.database})
        clients.athena.create_work_group(
            Name=LAKE.workgroup,
            Configuration={
                "EnforceWorkGroupConfiguration": False,
                "ResultConfiguration": {"OutputLocation": LAKE.query_results},
            },
        )
    names = LAKE.table(f"Items{next(_numbers)}")
    register_table(clients, names, KEY, source_arn="arn")
    register_days(clients, names, [DAY, NEXT_DAY])
    made = AthenaLake(clients, names)
    where = athena(clients, names.lake)

    def query(sql: str) -> list[dict[str, Any]]:
        frame = wr.athena.read_sql_query(sql, ctas_approach=False, s3_output=names.lake.query_results, **where)
        return [{k: None if pd.isna(v) else v for k, v in row.items()} for row in frame.to_dict("records")]

    def unload(sql: str) -> list[dict[str, Any]]:
        prefix = f"unloaded/{names.table}/{next(_numbers)}/"
        wr.athena.unload(sql, path=names.uri(prefix), file_format="PARQUET", **where)
        # Athena's own manifest lies beside the data.
        bodies = [body for key in made.objects(prefix) if (body := made.body(key))[:4] == b"PAR1"]
        return [row for body in bodies for row in pq.read_table(io.BytesIO(body)).to_pylist()]

    made.query, made.unload = query, unload
    return made


def key(number: int) -> dict[str, Any]:
    return {"id": {"S": f"item {number}"}, "n": {"N": str(number)}}
