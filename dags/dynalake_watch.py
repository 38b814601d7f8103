"""
### Shows how fresh, how late and how correct the lake is

1. **look**, one mapped task per table: checks the stream's mapping, the age of what waits in the stream and in
   Firehose, throttling, what was rejected, the newest change in S3 and in the tables, what waits for conversion,
   compaction and the fold, the snapshot, and anything out of order. It compares some of the items that changed last
   with DynamoDB, and changes nothing.
2. **report** gathers all tables for the page "dynalake" in this UI. If the problems of a table have changed since the
   last run, it publishes one message to the lake's SNS topic: what is wrong, and what to do.

A task fails if someone must act now: a table is **late**, its mapping is **stopped**, its stream is **expiring**
(DynamoDB keeps changes for 24 hours), it has **lost** changes, or it **differs** from its source. Anything that can
wait is **attention**, and fails nothing.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, chain

from dynalake.operators import watch
from dynalake.operators.scheduled import of_lake
from dynalake.operators.task import limits
from dynalake.options.lakes import correct_entries
from dynalake.options.runs import WatchOptions
from dynalake.options.where import Tables

for lake in correct_entries():
    with DAG(
        **of_lake(lake, "watch", Tables, WatchOptions),
        description="Shows how fresh, how late and how correct the lake is",
        doc_md=__doc__,
        schedule="*/10 * * * *",
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=limits.WATCH_RUN,
        default_args={"retries": 1, "retry_delay": timedelta(seconds=20), "execution_timeout": limits.OVERVIEW},
    ):
        tables = watch.tables()
        chain(watch.look.expand(name=tables), watch.report(tables))
