"""
### Brings in the items that a DynamoDB table already has

The stream contains only changes. This DAG reads the table itself, by DynamoDB's export to S3 or by a parallel scan, and
writes every item as a **SNAPSHOT** change record to **{prefix}/json/{TABLE}/dt=00000000/{run}/**. Items that were
written at or after the hand-off time are left out if they have an **updatedAt**: the stream has them. If that is not a
time, the item is kept and counted, unless "Items whose attribute is not a time" says otherwise.

1. **plan** decides once what is read, and stores it next to the run's files. In a dry run, the run ends here.
2. **scan** reads one segment per mapped task; or **export** requests an export from DynamoDB and waits for it without a
   worker, and **convert** reads its files and checks their checksums. A killed task continues at its checkpoint.
3. **commit** checks that the counts add up (read = kept + filtered) and then makes the run the snapshot, in one call.
   Until then, and if the run fails, SQL shows the last good snapshot. The ledger is in the run's note.
   **remove_export** then deletes the export's own files.
4. **convert_snapshot** converts the run's objects to rows, batch by batch. **show_snapshot** makes them the snapshot of
   the Iceberg tables **{t}** and **{t}_state**, on Spark if "Engine" says so: readers see the old one or the new one.
   **show** updates the table on the page "dynalake".

dynalake_setup starts it once per table. Trigger it by hand to take a new snapshot.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, chain

from dynalake.operators import backfill, watch
from dynalake.operators.parameters import form
from dynalake.operators.task import limits
from dynalake.operators.task.assets import COMMITS
from dynalake.operators.waits.export import ExportTable
from dynalake.options.backfill import BackfillOptions
from dynalake.options.engine import Engine
from dynalake.options.where import OneTable, Where

with DAG(
    dag_id="dynalake_backfill",
    dag_display_name="dynalake · backfill",
    description="Reads a DynamoDB table into the lake's snapshot",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=4,
    params=form(OneTable, BackfillOptions, Engine, Where),
    tags=["dynalake"],
    dagrun_timeout=limits.BACKFILL_RUN,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30), "execution_timeout": limits.TASK},
):
    planned = backfill.plan()
    export = ExportTable(task_id="export")
    chain(planned, export)
    scanned = backfill.scan.expand(segment=planned)
    converted = backfill.convert.expand(segment=export.output)
    remove_export = backfill.remove_export()
    batches = backfill.plan_snapshot()
    shown = backfill.ShowSnapshot(
        task_id="show_snapshot",
        batches=batches,
        trigger_rule="none_failed_min_one_success",
        execution_timeout=limits.DATA,
        outlets=[COMMITS],
    )
    chain([scanned, converted], backfill.commit(), [remove_export, batches])
    chain(backfill.convert_snapshot.expand(batch=batches), shown, watch.show())
    chain(converted, remove_export)  # skipped with it
