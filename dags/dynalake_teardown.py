"""
### Removes the pipeline of one DynamoDB table

1. **check**: the table and the typed confirmation; shows what goes and what stays.
2. **drain**: the mapping is disabled, and everything comes to rest, which takes some minutes. Then a canary goes into
   every shard behind what is under way, and is waited for in S3. Without *Wait for delivery* that is left out: for a
   pipeline that can deliver no more.
3. **convert_last**: what arrived last becomes rows, unless the data goes too.
4. **delete_stack**: mapping, streams, delivery, alarms, log group and settings go, by CloudFormation.
5. **data**: only where *Delete the data too* holds exactly the table's name. The Glue tables and views go, then every
   version of the table's objects. Else the data stays, and stays queryable.
6. **report**: what is left, and how to remove that as well.

The DynamoDB table and its stream are not touched, nor is what the lake's other tables need. What the mapping had not
read stays in the stream for 24 hours. `dynalake_setup` can be run again at any time: within the 24 hours nothing is
missing; after them, what changed since must be imported (`dynalake_backfill`, `export_type` incremental).
A run that was stopped goes on where it was: clear the failed task, or trigger the DAG again.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, TaskGroup, chain

from dynalake.operators import teardown
from dynalake.operators.parameters.teardown import teardown_parameters
from dynalake.operators.task import limits

with DAG(
    dag_id="dynalake_teardown",
    dag_display_name="dynalake · teardown",
    description="Removes the pipeline of one DynamoDB table; its data only on a typed confirmation",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=4,
    params=teardown_parameters(),
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
