"""The part that Airflow runs: parameters, tasks and the way from a task to AWS. All else in dynalake is plain Python.

parameters      the forms of the DAGs
session, limits, mapped, triggers    clients, time limits, mapped and deferred tasks
each_table      the same for each table, where a fault in one does not stop the others
canaries        waits for canaries
run_note        the results of a run, as its note
setup, backfill, convert_tables, compact, redrive, watch, teardown   the tasks of one DAG each
export          waits for an export
spark_run, glue_run                  work for the lake's Glue job, and waiting for it
"""
