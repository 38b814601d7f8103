"""An example of a DAG that works on the days that dynalake has closed. Copy it into your own DAGs folder."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, task

# The lake's environment and the DynamoDB table, exactly as DynamoDB writes it.
RECEIPTS = Asset("dynalake://dev/RECEIPTS")

with DAG(dag_id="example_consumer", schedule=[RECEIPTS], max_active_runs=1):

    @task
    def closed_days(triggering_asset_events: Any) -> list[str]:
        """Return the days that were closed since the last run. Events of other kinds bring none."""
        extras = [event.extra for event in triggering_asset_events[RECEIPTS]]
        return sorted({day for extra in extras if extra["kind"] == "day" for day in extra["days"].split(",")})

    @task
    def report(day: str) -> str:
        """Replace the day's part of a report: the same day may come again."""
        statement = f"SELECT count(*) FROM receipts WHERE dt = '{day}'"
        print(statement)
        return statement

    report.expand(day=closed_days())
