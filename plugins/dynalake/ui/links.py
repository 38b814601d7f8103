"""Addresses of what the page leads to: Airflow's own pages, and AWS's console. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from dynalake.names import Lake, TableNames
from dynalake.options.lakes import dag_of

# https://docs.aws.amazon.com/govcloud-us/latest/UserGuide/govcloud-console.html , https://www.amazonaws.cn/
_CONSOLES = {"us-gov": "console.amazonaws-us-gov.com", "cn": "console.amazonaws.cn"}


@dataclass(frozen=True)
class Link:
    """A text and its address."""

    text: str
    href: str


@dataclass(frozen=True)
class Action:
    """A run that a user may start: the DAG, its parameters as JSON, and what it does.

    Airflow's address of a DAG takes no parameters (tried with 3.1.0 and 3.3.2), so the page asks, and then starts the
    run as the user, by Airflow's REST API.
    """

    text: str
    dag: str
    conf: str
    about: str
    paused: bool = False


def console(region: str) -> str:
    """Return the address of AWS's console in a region."""
    for partition, host in _CONSOLES.items():
        if region.startswith(f"{partition}-"):
            return f"https://{host}"
    return f"https://{quote(region)}.console.aws.amazon.com"


def lake_links(lake: Lake) -> tuple[Link, ...]:
    """Return the places of a lake in AWS's console."""
    return (
        Link("CloudWatch dashboard", _home(lake, "cloudwatch", f"dashboards/dashboard/{quote(lake.dashboard)}")),
        Link("S3 bucket", _s3(lake, f"{lake.prefix}/")),
        Link("Glue database", _home(lake, "glue", f"/v2/data-catalog/databases/view/{quote(lake.database)}")),
        Link("Athena", _home(lake, "athena", "/query-editor")),
    )


def table_links(names: TableNames) -> tuple[Link, ...]:
    """Return the places of a table in AWS's console."""
    lake = names.lake
    return (
        Link("DynamoDB table", _home(lake, "dynamodbv2", f"table?name={quote(names.table)}")),
        Link("Raw objects in S3", _s3(lake, names.raw_prefix)),
        Link("Parquet in S3", _s3(lake, names.parquet_prefix)),
        Link("Rejected data in S3", _s3(lake, lake.errors_prefix)),
        Link("Athena", _home(lake, "athena", "/query-editor")),
        Link("CloudWatch dashboard", _home(lake, "cloudwatch", f"dashboards/dashboard/{quote(lake.dashboard)}")),
        Link("Forwarder", _home(lake, "lambda", f"/functions/{quote(lake.forwarder)}?tab=monitoring")),
    )


def _s3(lake: Lake, prefix: str) -> str:
    place = f"{quote(lake.bucket)}?region={quote(lake.region)}&prefix={quote(prefix)}"
    return f"{console(lake.region)}/s3/buckets/{place}"


def _home(lake: Lake, service: str, place: str) -> str:
    return f"{console(lake.region)}/{service}/home?region={quote(lake.region)}#{place}"


def dag_page(dag: str) -> str:
    """Return a DAG's address below Airflow's root."""
    return f"dags/{quote(dag, safe='')}"


def run_page(dag: str, run: str) -> str:
    """Return a run's address below Airflow's root."""
    return f"{dag_page(dag)}/runs/{quote(run, safe='')}"


def log_page(dag: str, run: str, task: str, map_index: int) -> str:
    """Return the address of a task's log below Airflow's root."""
    place = f"{run_page(dag, run)}/tasks/{quote(task, safe='')}"
    return place if map_index < 0 else f"{place}/mapped/{map_index}"


def table_actions(names: TableNames, may_start: Mapping[str, bool]) -> tuple[Action, ...]:
    """Return what a user may start for a table. `may_start`: DAG → whether it is paused."""
    table, lake = names.table, {"environment": names.lake.environment}

    def action(text: str, name: str, about: str, **conf: Any) -> Action:
        dag = dag_of(name, names.lake.environment)
        return Action(text, dag, json.dumps({**conf, **lake}), about, may_start.get(dag, False))

    actions = (
        action("Check now", "watch", "Reads how the table stands, in half a minute.", tables=[table]),
        action("Convert now", "convert", "Brings what has landed in S3 into SQL.", tables=[table]),
        action(
            "Compact now",
            "compact",
            "Sorts closed days into large files, widens columns, and folds what is due.",
            tables=[table],
        ),
        action(
            "Fold now",
            "compact",
            "The same, and merges all changes into the state, even if that is not due.",
            tables=[table],
            fold=True,
        ),
        action(
            "Redrive, dry run",
            "redrive",
            "Lists what was rejected on its way and why; replays nothing.",
            table=table,
            dry_run=True,
        ),
        action("Certify now", "certify", "Compares every item with DynamoDB, which costs.", tables=[table]),
        action("New snapshot", "backfill", "Reads the whole DynamoDB table again, which costs.", table=table),
    )
    return tuple(each for each in actions if each.dag in may_start)
