"""
### Sets up the pipeline of a DynamoDB table, and proves that it works

If the run names several tables, a pattern or a tag, **choose_tables** starts a run for each table, with the same
parameters. Otherwise:

1. **check_source**: connection, names, settings, table and stream. A mistake stops the run before anything is made.
2. **plan**: what CloudFormation will change. A dry run ends here.
3. **deploy**: the stacks of the storage, the forwarder and the table, by change sets. A stack that is as it should be
   stays as it is. The table's stream is not read yet.
4. **prove**: the streams are active, and a canary of every shard has arrived in S3. Only then can nothing be lost.
5. **start**: the table's stream is read from its beginning on, or changes go to the new delivery. **reading** waits
   until CloudWatch shows that the stream is polled: some minutes.
6. **register_catalog**: Glue tables, views, and the partitions of the coming days. New data can be queried at once.
7. **record_hand_off**: the moment from which on the stream has every change.
8. **show**: the table is on the page "dynalake", with first readings.
9. **start_backfill**: brings in what was written before, with dynalake_backfill.
10. **leave**: removes the former delivery, if there is one, once it is empty. Until then the run's note says so.

With `catalog_only`: only **restore_catalog**.

Run it again when you like: it repairs what is wrong and changes nothing else.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, TaskGroup, chain

from dynalake.operators import setup, watch
from dynalake.operators.parameters import form
from dynalake.operators.task import limits
from dynalake.options.lake_options import LakeOptions
from dynalake.options.runs import SetupOptions
from dynalake.options.settings import TableSettings
from dynalake.options.where import NewTables, Where

with DAG(
    dag_id="dynalake_setup",
    dag_display_name="dynalake · setup",
    description="Deploys and proves the pipeline of a DynamoDB table",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    params=form(NewTables, SetupOptions, Where, TableSettings, LakeOptions),
    tags=["dynalake"],
    dagrun_timeout=limits.SETUP_RUN,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=20), "execution_timeout": limits.TASK},
):
    runs = setup.choose_tables()
    set_up_each = setup.TriggerTable.partial(
        task_id="set_up_each",
        trigger_dag_id="dynalake_setup",
        map_index_template="{{ task.conf.table }}",
        skip_when_already_exists=True,
    ).expand_kwargs(runs)
    source = setup.check_source()
    planned = setup.plan(source)
    with TaskGroup("deploy", tooltip="The CloudFormation stacks"):
        storage = setup.storage()
        forwarder = setup.forwarder(storage)
        delivery = setup.delivery(source, storage, forwarder)
    with TaskGroup("prove", tooltip="From Lambda to S3, every shard"):
        streams = setup.streams()
        sent = setup.send_canaries(streams)
        proven = setup.canaries_arrive(sent)
    table = setup.start(source, storage, forwarder, sent)
    reading = setup.reading(table)
    with TaskGroup("leave", tooltip="Removes a former delivery once it is empty"):
        former = setup.find_former()
        chain(setup.former_is_empty(former), setup.remove_former(source, storage, forwarder, former))
    setup.restore_catalog(storage)
    registered = setup.register_catalog(source)
    hand_off = setup.record_hand_off(table)
    start_backfill = TriggerDagRunOperator(
        task_id="start_backfill",
        trigger_dag_id="dynalake_backfill",
        # One run per hand-off: a setup that is cleared after a teardown has a new one, and needs a new snapshot.
        trigger_run_id="{{ run_id }}__backfill__{{ ti.xcom_pull('record_hand_off') }}",
        conf={
            "table": "{{ params.table }}",
            "method": "{{ params.backfill }}",
            "environment": "{{ params.environment }}",
        },
        skip_when_already_exists=True,
    )
    chain(runs, [set_up_each, source])
    chain(planned, storage)
    chain(delivery, streams)
    chain(proven, table, reading, [registered, former])
    needs_backfill = setup.needs_backfill(source, hand_off)
    chain(registered, hand_off, [watch.show(), needs_backfill])
    chain(needs_backfill, start_backfill)
