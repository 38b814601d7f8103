"""The part that Airflow runs: parameters, tasks and their access to AWS. The rest of dynalake is plain Python.

parameters      the forms of the DAGs, from their options
scheduled       the DAGs that each lake has for itself
task            what every task needs: clients, time limits, mapping, faults, notes
waits           tasks that wait: for canaries, an export, a job
setup, backfill, convert_tables, compact, redrive, watch, certify, teardown   the tasks of one DAG each
"""
