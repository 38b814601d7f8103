"""
### Converts new raw objects to rows of the tables of changes

1. **plan** lists the raw objects of the last days, and of days that a scrub has marked, and selects those without live
   rows. If there are none, no other task runs.
2. **convert**, one mapped task per batch: reads every line exactly, leaves out what the table already has, and writes
   sorted Parquet. Lines = rows + duplicates + repeats + canaries + rejected, or nothing is committed. With the engine
   **spark**, or with **auto** and much to convert, one task for all batches of a table waits for the Glue job.
3. **commit**, one mapped task per table with several batches: late changes reach the state, then all batches become one
   snapshot. The task that converts a table's only batch commits it too, so **commit** is skipped where no table has
   more. If another batch or another run came first, what conflicts with it is planned, converted and committed again.
4. **report** shows the result, and fails if a table could not be converted in full.

Name days in "Convert these days again" to read all their raw objects again, for example after they were corrected by
hand. The DAG runs every ten minutes, or as the lake's **convert_every_minutes** in **DYNALAKE_LAKES** says; two runs at
once would also be correct.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from dynalake.operators import convert_tables
from dynalake.operators.scheduled import of_lake
from dynalake.operators.task import limits
from dynalake.options.engine import Engine
from dynalake.options.lakes import correct_entries
from dynalake.options.runs import ConvertOptions
from dynalake.options.where import Tables

for lake in correct_entries():
    with DAG(
        **of_lake(lake, "convert", Tables, ConvertOptions, Engine),
        description="Converts new raw objects to rows of the tables of changes",
        doc_md=__doc__,
        schedule=timedelta(minutes=lake.convert_every_minutes),
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=limits.CONVERT_RUN,
        default_args={"retries": 2, "retry_delay": timedelta(seconds=20)},
    ):
        batches = convert_tables.plan()
        work = convert_tables.gather(batches)
        converted = convert_tables.convert_each(batches)
        converted >> work
        convert_tables.report(batches, work, converted, convert_tables.commit.expand(work=work))
