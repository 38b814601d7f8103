"""The user's decisions, each described once: its default, limits, title and description.

option          one field, its check, and all that a form and the docs need
lakes           of this Airflow: the lakes that it serves, by an environment variable
where, engine   of all runs: the lake and its tables; what runs on Spark
backfill, runs  of one run of a DAG
settings        of a table
lake_options    of a lake
"""
