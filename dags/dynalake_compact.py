"""
### Turns gzipped JSON into Parquet

1. **tables** and **plan** find what is due: closed days, and the snapshot, whose raw objects are not what their Parquet
   was made from. They also register the partitions of the coming days.
2. **convert**, one mapped task per table and day: reads every line exactly, decides the column types from all values,
   removes what came twice, on this day or on an earlier one, sorts, and writes Parquet beside what is there. Lines in =
   rows out + duplicates + repeats + canaries + quarantined, counted again from the files, or the task fails.
3. **widen** converts days again where a column's type became wider than their files can be read with, or where they may
   repeat changes of an earlier day that this run converts.
4. **publish**, one mapped task per table: the schema, the partitions and the views, so that readers see the old version
   or the new one, never both and never neither.

**compact_lake**, one mapped task per table, works on the Iceberg tables: each day that is over becomes one sorted
folder, which `{t}_parquet` shows; types widen; the state is folded; what nothing names any more is deleted.

Name *days* to convert them whether they are due or not; an open day can be named too, and the views go on reading it
from JSON. `airflow backfill create --dag-id dynalake_compact --from-date … --to-date …` converts history again: each of
its runs is about the day that was closed last at its logical date.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, TaskGroup, chain

from dynalake.operators import compact, limits
from dynalake.operators.convert import convert_each
from dynalake.operators.lake import compact_lake
from dynalake.operators.parameters.compact import compact_parameters

with DAG(
    dag_id="dynalake_compact",
    dag_display_name="dynalake · compact",
    description="Converts closed days of gzipped JSON to Parquet and publishes them",
    doc_md=__doc__,
    schedule="0 2 * * *",
    catchup=False,
    max_active_runs=1,
    params=compact_parameters(),
    render_template_as_native_obj=True,
    tags=["dynalake"],
    dagrun_timeout=limits.COMPACT_RUN,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1), "execution_timeout": limits.TASK},
):
    tables = compact.tables()
    compact_lake.expand(table=tables)
    converted = convert_each(compact.plan(tables))
    with TaskGroup("widen", tooltip="Only when a type became wider, or an earlier day changed"):
        widened = convert_each(compact.plan_widened(tables, converted))
    published = compact.publish.expand(work=compact.gather(tables, converted, widened))
    chain(published, compact.report(converted, widened))
