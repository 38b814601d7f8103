"""
### Removes the pipeline of one DynamoDB table

1. **check**: checks the table and the typed confirmation, and shows what goes and what stays. In a dry run, it also
   counts the objects and their bytes, and the run ends here.
2. **drain**: disables the mapping and waits until nothing moves, which takes some minutes. Then it sends a canary into
   every shard, behind everything under way, and waits for it in S3. Turn "Wait for delivery" off to skip both waits for
   a pipeline that can no longer deliver.
3. **convert_last**: converts what arrived last to rows, unless the data is deleted too.
4. **delete_stack**: CloudFormation deletes the mapping, streams, delivery, alarms, log group and settings.
5. **data**: only if "Delete the data too" contains exactly the table's name. Deletes the Glue tables and views, then
   every version of the table's objects. Otherwise the data stays and can be queried.
6. **report**: shows what is left, and how to remove that as well.

The DynamoDB table and its stream are not touched, nor is anything that the lake's other tables need. Changes that the
mapping has not read stay in the stream for 24 hours. dynalake_setup can be run again at any time: within the 24 hours
nothing is missing; after them, import what has changed since (dynalake_backfill with **export_type** "incremental").
A stopped run continues where it was: clear the failed task, or trigger the DAG again.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, TaskGroup, chain

from dynalake.operators import teardown
from dynalake.operators.parameters import form
from dynalake.operators.task import limits
from dynalake.options.runs import TeardownOptions
from dynalake.options.where import OneTable, Where

with DAG(
    dag_id="dynalake_teardown",
    dag_display_name="dynalake · teardown",
    description="Removes the pipeline of one DynamoDB table; deletes its data only on a typed confirmation",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=4,
    params=form(OneTable, TeardownOptions, Where),
    tags=["dynalake"],
    dagrun_timeout=limits.TEARDOWN_RUN,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=20), "execution_timeout": limits.TASK},
):
    with TaskGroup("drain", tooltip="Nothing new comes in, and everything under way arrives"):
        canaries = teardown.send_last_canaries()
        arrived = teardown.delivered(canaries)
        stopped = teardown.stop_mapping()
        chain(teardown.at_rest(stopped), canaries)
    with TaskGroup("data", tooltip="Only with the typed confirmation"):
        catalog = teardown.delete_catalog()
        objects = teardown.delete_objects()
        chain(catalog, objects)
    chain(teardown.check(), stopped)
    chain(arrived, teardown.convert_last(), teardown.delete_stack(), teardown.wants_data_deleted(), catalog)
    chain(objects, teardown.report())
