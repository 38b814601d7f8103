"""The DAGs' steps by which raw objects become rows that readers see, in this process."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from dynalake.aws.clients import Clients
from dynalake.backfill.commit.commit import commit_backfill
from dynalake.backfill.plan.run import load_plan, run_name
from dynalake.convert.batch import convert_or_wait
from dynalake.convert.finish import Finished, finish_table
from dynalake.convert.plan import ConvertLimits, plan_table
from dynalake.convert.snapshot import plan_snapshot, show_snapshot
from dynalake.lake.catalog.table import Table
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.current.snapshot import Swapped, number_run
from dynalake.lake.hive.json_table import project_json
from dynalake.lake.hive.parquet_table import project_parquet
from dynalake.lake.tables.make import make_tables
from dynalake.lake.tables.optimizers import switch_off_optimizers
from dynalake.lake.working.steps import Fault
from dynalake.names import Lake, TableNames
from dynalake.night.night import Requests, work
from dynalake.options.settings import TableSettings
from dynalake.record.key import ItemKey

Now = Callable[[], datetime]
right_now: Now = partial(datetime.now, UTC)


def make_lake(clients: Clients, environment: str = "") -> Lake:
    """Make a bucket and a Glue database: all that a lake needs if raw objects are put by hand."""
    account = clients.sts.get_caller_identity()["Account"]
    lake = Lake(environment or f"t{uuid.uuid4().hex[:12]}", account, clients.sts.meta.region_name)
    clients.s3.create_bucket(Bucket=lake.bucket)
    clients.glue.create_database(DatabaseInput={"Name": lake.database})
    return lake


def deploy_job(clients: Clients, lake: Lake, **options: str) -> None:
    """Deploy the template's Glue job with more default arguments, such as `part_bytes="1"`."""
    first = '        "--enable-auto-scaling": "true"\n'
    arguments = "".join(f'        "--{name.replace("_", "-")}": "{value}"\n' for name, value in options.items())
    name = f"{lake.environment}-spark"
    clients.cloudformation.create_stack(
        StackName=name,
        TemplateBody=Path("infra/cloudformation/spark.yaml")
        .read_text(encoding="utf-8")
        .replace(first, first + arguments),
        Parameters=[
            {"ParameterKey": "Environment", "ParameterValue": lake.environment},
            {"ParameterKey": "Prefix", "ParameterValue": lake.prefix},
        ],
        Capabilities=["CAPABILITY_IAM"],
    )
    clients.cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})


def register(clients: Clients, names: TableNames, key: ItemKey, source_arn: str = "arn") -> Table:
    """Register the tables and views of `dynalake_setup` for a table with the usual settings."""
    table = Table(clients, names)
    make_tables(table, key, source_arn)
    switch_off_optimizers(table)
    project_parquet(table, CompactOptions(), right_now)
    project_json(table, right_now)
    return table


def convert(table: Table, now: Now = right_now, days: Collection[str] = ()) -> Finished | None:
    """Run `dynalake_convert`; return None if nothing was due."""
    limits = ConvertLimits()
    planned = plan_table(table, limits, now(), days)
    results = {batch.number: convert_or_wait(table, batch) for batch in planned.batches}
    return finish_table(table, planned.batches[0].plan, results, limits, now) if results else None


def show(table: Table, run: str) -> Swapped:
    """Run `dynalake_backfill` from its commit on: check the ledger, and make the run's items the snapshot.

    `run` is the Airflow run id.
    """
    commit_backfill(table, run=run)
    backfill = load_plan(table, run_name(run))
    batches = plan_snapshot(table, backfill.prefix(table.names), right_now()).batches
    for batch in batches:
        convert_or_wait(table, batch)
    number = number_run(table, backfill.run)
    swapped = show_snapshot(table, number, batches[0].plan if batches else "", [batch.number for batch in batches])
    project_json(table, right_now)
    return swapped


def night(table: Table, now: Now = right_now, days: Sequence[str] = (), *, fold: bool = False) -> tuple[Fault, ...]:
    """Run `dynalake_compact`; return its failures. `days` are compacted even if they are open."""
    return work(table, TableSettings(table.names.table), now, lambda line: None, Requests(tuple(days), fold=fold))
