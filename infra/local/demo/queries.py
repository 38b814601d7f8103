"""The demo's SQL: what a data engineer would ask the new lake, through Athena with awswrangler."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dynalake.clients import Clients
from infra.local.demo.check import compare
from infra.local.demo.progress import DemoFailed, Screen

ENVIRONMENT = "dev"
LAND_SECONDS = 240


class Lake:
    """The lake of the demo, as somebody who only has SQL sees it."""

    def __init__(self, client: Callable[[str], Any], endpoint_url: str, table: str) -> None:
        import awswrangler as wr
        import boto3

        from dynalake.capture.lake import load_lake

        self.table = table
        self.clients = Clients(client)
        self.names = load_lake(self.clients, ENVIRONMENT).table(table)
        self._read = wr.athena.read_sql_query
        self._session = boto3.Session("test", "test", region_name="us-east-1")
        for service in ("athena", "s3", "glue", "sts", "kms"):
            setattr(wr.config, f"{service}_endpoint_url", endpoint_url)

    def sql(self, query: str) -> Any:
        """The answer as a pandas DataFrame."""
        return self._read(
            query,
            database=self.names.lake.database,
            workgroup=self.names.lake.workgroup,
            ctas_approach=False,
            boto3_session=self._session,
        )

    def wait_for_changes(self, written: int, first_day: str, screen: Screen) -> int:
        """Waits until every change has landed; each is counted once, however often it came."""
        query = f"""
            SELECT count(DISTINCT __sequence_number) AS changes
            FROM "{self.names.json_table}" WHERE dt >= '{first_day}' AND __operation <> 'CANARY'
        """
        deadline = time.monotonic() + LAND_SECONDS
        while True:
            landed = int(self.sql(query)["changes"][0])
            if landed >= written:
                return landed
            if time.monotonic() > deadline:
                raise DemoFailed(f"Only {landed:,} of {written:,} changes landed within {LAND_SECONDS} s")
            screen.status(f"{landed:,} of {written:,} changes landed in S3")
            time.sleep(0.5)


def show_results(lake: Lake, screen: Screen, first_day: str, written: int) -> bool:
    """Prints the answers and the comparison; whether everything is as it must be."""
    names = lake.names
    per_day = lake.sql(
        f'SELECT dt, __operation AS operation, count(*) AS changes FROM "{names.changes_view}" '
        "GROUP BY 1, 2 ORDER BY 1, 2"
    )
    _show(f"changes per day and operation, from {names.changes_view}", per_day)

    current = lake.sql(f'SELECT count(*) AS items FROM "{names.latest_view}"')
    _show(f"items there are now, from {names.latest_view}", current)

    today = lake.sql(
        f"SELECT __operation AS operation, count(*) AS changes, min(__event_time) AS first, max(__event_time) AS last "
        f"FROM \"{names.parquet_table}\" WHERE dt >= '{first_day}' GROUP BY 1 ORDER BY 1"
    )
    _show(f"today's changes straight from Parquet, {names.parquet_table}", today)

    from_view = int(per_day[per_day["dt"] >= first_day]["changes"].sum())
    from_parquet = int(today["changes"].sum())
    comparison = compare(lake.clients, names, lake.sql)
    print(comparison.text(), flush=True)
    sums = {
        f"changes written {written:,} = changes in {names.changes_view} {from_view:,}": written == from_view,
        f"changes written {written:,} = changes in {names.parquet_table} {from_parquet:,}": written == from_parquet,
        f"{names.latest_view} equals the DynamoDB table {lake.table}, value by value": comparison.same,
    }
    screen.line("")
    for text, holds in sums.items():
        screen.line(f"{'✓' if holds else '✗'} {text}")
    return all(sums.values())


def _show(title: str, frame: Any) -> None:
    indented = frame.to_string(index=False).replace("\n", "\n    ")
    print(f"\n  {title}\n    {indented}", flush=True)
