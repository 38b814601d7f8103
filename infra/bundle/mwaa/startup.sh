#!/bin/bash
# The environment of dynalake on Amazon MWAA, which runs this before each component starts.
# Replace the account, the region and the role.

# The lakes of this Airflow, each with its connection.
export DYNALAKE_LAKES='{"prod": {"connection": "dynalake_prod"}}'

# The connection `dynalake_prod`: the execution role of MWAA takes the role of the DAGs.
export AIRFLOW_CONN_DYNALAKE_PROD='{"conn_type": "aws", "extra": {"region_name": "eu-central-1", "role_arn": "arn:aws:iam::123456789012:role/REPLACE-WITH-DagRoleArn"}}'

# How many batches of a lake are converted at once, each with up to 1.2 GB of memory (mw1.large: 8 GB a worker).
export DYNALAKE_MAX_ACTIVE_BATCHES=4
