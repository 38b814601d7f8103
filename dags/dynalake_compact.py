"""
### Each night's work on the tables

**compact**, one mapped task per table, works from Parquet to Parquet, step by step:

1. What Glue has lost is brought back; days that are older than `history_days` are dropped.
2. Each day that is over becomes one sorted folder, and `{t}_parquet` shows it. Columns get the types that values beside
   them need. Views and Hive tables follow.
3. The newest changes are folded into `{t}_state`, where that is due.
4. Raw objects, backfills, snapshots and files that nothing needs any more are deleted.
5. Once a week all that there is of the table is compared, and what differs is found.

With the engine **spark**, or **auto** and much to write, the lake's Glue job does a table's work while the task waits.

A step that fails stops no other, and no other table; the task says what failed, and the next night tries again.

Name *days* to compact them even while they are open. `airflow backfill create --dag-id dynalake_compact --from-date …
--to-date …` does so for past days: each of its runs is about the day before its logical date. A day that is one sorted
folder already stays as it is.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from dynalake.operators import compact
from dynalake.operators.parameters.compact import compact_parameters, compact_schedule
from dynalake.operators.task import limits

with DAG(
    dag_id="dynalake_compact",
    dag_display_name="dynalake · compact",
    description="Compacts days, widens types, folds the state, and deletes what nothing needs",
    doc_md=__doc__,
    schedule=compact_schedule(),
    catchup=False,
    max_active_runs=1,
    params=compact_parameters(),
    tags=["dynalake"],
    dagrun_timeout=limits.COMPACT_RUN,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1), "execution_timeout": limits.TASK},
):
    compact.compact_each(compact.tables())
