"""
### Replays changes that failed on their way to the lake

Nothing is dropped: a change that cannot be stored is rejected and kept with its reason. A **batch** is one object in S3
with such changes. There are batches that the event source mapping gave up after its retries
(**aws/lambda/{mapping}/…**), and single changes that the forwarder could not encode
(**{prefix}-errors/forwarder/{TABLE}/…**).

1. **list_failed** shows them by stage and reason: the number of batches and changes, the oldest and the newest. In
   a dry run it also prints their keys, and the run ends here.
2. **replay**, one mapped task per chunk of batches: sends the stored changes through the forwarder, the way they would
   have gone. What the forwarder has stored moves to **{prefix}-errors/done/{TABLE}/**; the rest stays where it is.
3. **report** adds up the results. The run fails if something still cannot pass, such as a record without an image, and
   names it.

A killed task replays some changes twice. Conversion leaves out what the table already has.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from dynalake.operators import redrive
from dynalake.operators.parameters import form
from dynalake.operators.task import limits
from dynalake.options.runs import RedriveOptions
from dynalake.options.where import OneTable, Where

with DAG(
    dag_id="dynalake_redrive",
    dag_display_name="dynalake · redrive",
    description="Replays changes that failed on their way to the lake",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=4,
    params=form(OneTable, RedriveOptions, Where),
    tags=["dynalake"],
    dagrun_timeout=limits.REDRIVE_RUN,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1), "execution_timeout": limits.TASK},
):
    redrive.report(redrive.replay.expand(chunk=redrive.list_failed()))
