"""dynalake: DynamoDB tables, continuously and completely, in an S3 data lake.

Each line uses those below it; `docs/architecture.md` draws them.

    airflow_plugin  what Airflow finds: the page and the runs' notes
    ui              the page
    operators       forms and tasks
    spark           the same work as a job
    night, watch    one table's night; how fresh, how late and how right the lake is
    certify         every item of a table compared with the lake
    capture, backfill                    the stream's way into the raw zone; the data that was there before
    sizing          the shards that a table needs, and what it costs
    convert         raw JSON becomes rows
    lake            the Iceberg tables, their files, commits and views
    options         the user's decisions, for a lake and for a table
    aws, sources    the way to AWS, and its refusals; what is deployed there
    names, firehose_zones, days          names and paths, time zones, days
    record          the change record
    errors          every error, in one tree
    version         the version of dynalake
"""
