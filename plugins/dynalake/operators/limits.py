"""How long tasks and runs may take. Each has a limit: what hangs, or takes a table's share of days, must not hold the
other tables for good.

A task that is stopped by its limit is retried and goes on where it was: scans, exports and conversions keep checkpoints
or finished files in S3. So a limit costs little where the work was only long, and a run's limit has room for the
retries of one task that hangs, and for what the other tables have still to do then.

Airflow's limit of a task stops Python code. What hangs in a thread is ended with the run: it loses its tasks, and the
worker kills their processes.
"""

from __future__ import annotations

from datetime import timedelta

TASK = timedelta(hours=1)
"""Of a task that asks, plans, or waits for a stack: seconds or minutes, with thousands of days or tables too."""

DATA = timedelta(hours=12)
"""Of a task that reads or writes a table's data: a segment of a scan, a group of an export's files, all objects."""

SCAN = timedelta(days=1)
"""Of one segment of a scan, which may be slow because a run bounds its read capacity. It goes on at its checkpoint."""

EXPORT = timedelta(days=2)
"""Of the wait for DynamoDB's export. DynamoDB does not say how long one may take; that of a very large table, hours."""

PLAN = timedelta(minutes=20)
"""Of the plan of `dynalake_convert`: some listings of each table."""

BATCH = timedelta(minutes=20)
"""Of one batch of 256 MB of raw objects, which takes a minute or two. What is stopped is due again in the next run."""

GATHER = timedelta(minutes=5)
"""Of what `dynalake_convert` does for all tables between and after what it does for each."""

COMMIT = timedelta(hours=1)
"""Of one table's commit: seconds; minutes where late changes go into the state first, or what waited is read again."""

CONVERT_RUN = timedelta(hours=3)
"""The next run must not wait for longer. Mostly a run takes a minute."""

NIGHT = timedelta(hours=5)
"""Of a night's work on one table; with its retries it ends before the next night. What is left, that one does."""

SPARK = timedelta(hours=4)
"""Of the wait for one run of the Glue job; a retry waits for the same run."""

SPARK_BATCH = timedelta(minutes=40)
"""Of the same wait in `dynalake_convert`, whose next run is about the other tables too."""

LOOK = timedelta(minutes=8)
"""Of the watch's look at one table, which takes seconds; with its retry it ends before the run does."""

OVERVIEW = timedelta(minutes=3)
"""Of what the watch does for all tables before and after it looks at each."""

WATCH_RUN = timedelta(minutes=30)
"""Three runs are missed then. `report` has run by then even where a look hangs, so the page and the alarms know it."""

COMPACT_RUN = timedelta(days=1)
"""The next night's run must not wait for longer: what this one has converted, that one finds."""

SETUP_RUN = timedelta(hours=12)
"""Stacks take minutes, each sensor waits an hour at most, and each task has its retries."""

BACKFILL_RUN = timedelta(days=7)
"""An export's wait and its reading, or a scan at a low read capacity, with retries."""

REDRIVE_RUN = timedelta(days=2)
"""Chunks are of 64 MB, and hours of them are rare."""

TEARDOWN_RUN = timedelta(days=3)
"""Four hours until all that is under way has come, then all versions of all objects, which goes on where it was."""
