"""How long tasks and runs may take. Each has a limit: a task that hangs, or takes days for one table, must not block
the other tables for good.

A task that its limit stops is retried and continues where it was: scans, exports and conversions keep checkpoints
or finished files in S3. So a limit costs little if the work was only long. A run's limit has room for the retries of
one task that hangs, and for the remaining work of the other tables.

Airflow's limit of a task stops only Python code. A thread that hangs ends with the run: the run loses its tasks, and
the worker kills their processes.
"""

from __future__ import annotations

from datetime import timedelta

TASK = timedelta(hours=1)
"""Limit of a task that reads, plans, or waits for a stack: minutes at most, even for thousands of days or tables."""

DATA = timedelta(hours=12)
"""Limit of a task that reads or writes a table's data: a segment of a scan, a group of an export, all objects."""

SCAN = timedelta(days=1)
"""Limit of one segment of a scan, which the run's read capacity may slow down. A retry uses its checkpoint."""

EXPORT = timedelta(days=2)
"""Limit of the wait for DynamoDB's export. DynamoDB documents no limit; a very large table takes hours."""

PLAN = timedelta(minutes=20)
"""Limit of the plan of `dynalake_convert`: some listings per table."""

BATCH = timedelta(minutes=40)
"""Limit of one batch of 256 MB of raw objects, which takes a minute or two, and of its commit where it is alone. A
stopped batch is due in the next run."""

GATHER = timedelta(minutes=5)
"""Limit of the steps of `dynalake_convert` for all tables, between and after the steps per table."""

COMMIT = timedelta(hours=1)
"""Limit of one table's commit: seconds, or minutes with late changes for the state or batches that are read again."""

CONVERT_RUN = timedelta(hours=3)
"""Limit of a run, which usually takes a minute. The next run must not wait longer than this."""

NIGHT = timedelta(hours=5)
"""Limit of a night's work on one table. Even with its retries it ends before the next night, which does the rest."""

SPARK = timedelta(hours=4)
"""Limit of the wait for one run of the Glue job; a retry waits for the same run."""

SPARK_BATCH = timedelta(minutes=40)
"""Limit of the same wait in `dynalake_convert`, whose next run must also convert the other tables."""

LOOK = timedelta(minutes=8)
"""Limit of the watch's look at one table, which takes seconds; with its retry it ends before the run does."""

OVERVIEW = timedelta(minutes=3)
"""Limit of the watch's steps for all tables, before and after the steps per table."""

WATCH_RUN = timedelta(minutes=30)
"""Limit of a run, which then misses three runs. By then, `report` has run even if a `look` hangs."""

COMPACT_RUN = timedelta(days=1)
"""Limit of a run: the next night's run must not wait longer. It builds on what this run has done."""

SETUP_RUN = timedelta(hours=12)
"""Limit of a run: stacks take minutes, each sensor waits at most an hour, and each task has its retries."""

BACKFILL_RUN = timedelta(days=7)
"""Limit of a run: the wait for an export and its conversion, or a scan at a low read capacity, with retries."""

SETTLE = timedelta(hours=12)
"""Limit of the wait for changes that a certificate waits for, which usually takes twice the freshness target."""

CERTIFY_RUN = timedelta(days=6)
"""Limit of a run, which ends before the next week's: the wait for an export, and a comparison of a day with retries."""

REDRIVE_RUN = timedelta(days=2)
"""Limit of a run: chunks have 64 MB, and rarely take hours in total."""

TEARDOWN_RUN = timedelta(days=3)
"""Limit of a run: four hours until all changes arrive, then the deletion of all versions, which a retry continues."""
