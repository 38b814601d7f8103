"""
### Each night's work on the tables

**compact**, one mapped task per table, works from Parquet to Parquet, step by step:

1. It restores what Glue has lost, and drops days that are older than **history_days**.
2. It makes one sorted folder of each day that is over, and shows it in **{t}_parquet**. Columns get the types that
   values in **__other** need. Views and Hive tables follow.
3. It folds the newest changes into **{t}_state**, if that is due.
4. It deletes raw objects, backfills, snapshots and files that nothing needs any more.
5. Once a week it compares everything that exists of the table, and reports the differences.

With the engine **spark**, or with **auto** and much to write, the lake's Glue job does a table's work while the task
waits.

A dry run shows for each table what is due, and writes nothing.

A step that fails stops neither the other steps nor the other tables. The task says what failed, and the next night
tries again.

Name days in "Compact these days now" to compact them even while they are open. For past days, use
**airflow backfill create --dag-id dynalake_compact --from-date … --to-date …**: each of its runs compacts the day
before its logical date. A day that is already one sorted folder stays as it is.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from dynalake.operators import compact
from dynalake.operators.scheduled import of_lake
from dynalake.operators.task import limits
from dynalake.options.engine import Engine
from dynalake.options.lakes import correct_entries, name_dags
from dynalake.options.runs import NightOptions
from dynalake.options.where import Tables

for lake in correct_entries():
    with DAG(
        **of_lake(lake, "compact", Tables, NightOptions, Engine),
        description="Compacts days, widens types, folds the state, and deletes what nothing needs",
        doc_md=name_dags(__doc__, lake.environment),
        schedule=lake.compact_schedule,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=limits.COMPACT_RUN,
        default_args={"retries": 3, "retry_delay": timedelta(minutes=1), "execution_timeout": limits.TASK},
    ):
        compact.compact_each(compact.tables())
