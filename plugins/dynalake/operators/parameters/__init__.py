"""The trigger forms: each DAG parameter described once, for the form, the REST `conf` and the docs.

which, engine   what all forms ask: the lake, its tables; what runs on Spark
setup, backfill, convert, compact, redrive, watch, teardown          one DAG each
"""
