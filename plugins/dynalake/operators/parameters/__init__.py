"""The trigger forms: each DAG parameter described once, for the form, the REST `conf` and the docs."""
