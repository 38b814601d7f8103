"""How long tasks and runs may take. Each has a limit: a task that hangs, or takes days for one table, must not block
the other tables for good.

A task that is stopped by its limit is retried and goes on where it was: scans, exports and conversions keep checkpoints
or finished files in S3. So a limit costs little where the work was only long, and a run's limit has room for the
retries of one task that hangs, and for the remaining work of the other tables.

Airflow's limit of a task stops Python code. The end of the run ends a thread that hangs: the run loses its tasks, and
the worker kills their processes.
"""

from __future__ import annotations

from datetime import timedelta

TASK = timedelta(hours=1)
"""Limit of a task that asks, plans, or waits for a stack: seconds or minutes, with thousands of days or tables too."""

DATA = timedelta(hours=12)
"""Limit of a task that reads or writes a table's data: a segment of a scan, a group of an export, all objects."""

SCAN = timedelta(days=1)
"""Limit of one segment of a scan, which may be slow by the run's read capacity. A retry uses its checkpoint."""

EXPORT = timedelta(days=2)
"""Limit of the wait for DynamoDB's export. DynamoDB does not say how long one may take; a very large table's, hours."""

PLAN = timedelta(minutes=20)
"""Limit of the plan of `dynalake_convert`: some listings of each table."""

BATCH = timedelta(minutes=20)
"""Limit of one batch of 256 MB of raw objects, which takes a minute or two. A stopped one is due in the next run."""

GATHER = timedelta(minutes=5)
"""Limit of the steps of `dynalake_convert` for all tables, between and after those for each."""

COMMIT = timedelta(hours=1)
"""Limit of one table's commit: seconds; minutes with late changes into the state, or batches that are read again."""

CONVERT_RUN = timedelta(hours=3)
"""Limit of a run, which mostly takes a minute. The next run must not wait for longer."""

NIGHT = timedelta(hours=5)
"""Limit of a night's work on one table; with its retries it ends before the next night, which does the rest."""

SPARK = timedelta(hours=4)
"""Limit of the wait for one run of the Glue job; a retry waits for the same run."""

SPARK_BATCH = timedelta(minutes=40)
"""Limit of the same wait in `dynalake_convert`, whose next run is about the other tables too."""

LOOK = timedelta(minutes=8)
"""Limit of the watch's look at one table, which takes seconds; with its retry it ends before the run does."""

OVERVIEW = timedelta(minutes=3)
"""Limit of the watch's steps for all tables, before and after it looks at each."""

WATCH_RUN = timedelta(minutes=30)
"""Limit of a run: three runs are missed then. `report` has run by then even where a look hangs."""

COMPACT_RUN = timedelta(days=1)
"""Limit of a run: the next night's must not wait for longer. It finds what this one has done."""

SETUP_RUN = timedelta(hours=12)
"""Limit of a run: stacks take minutes, each sensor waits an hour at most, and each task has its retries."""

BACKFILL_RUN = timedelta(days=7)
"""Limit of a run: an export's wait and its reading, or a scan at a low read capacity, with retries."""

REDRIVE_RUN = timedelta(days=2)
"""Limit of a run: chunks are of 64 MB, and hours of them are rare."""

TEARDOWN_RUN = timedelta(days=3)
"""Limit of a run: four hours until all changes have come, then all versions' deletion, which a retry continues."""
