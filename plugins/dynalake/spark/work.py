"""The work of a job: a conversion, a night's work or a backfill's snapshot, by the routines of the Airflow tasks.

Executors are the workers. The job commits a conversion, and leaves the end to an Airflow task: that finds the committed
batches, tries those that had to wait again, and reports the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from dynalake.capture.lake.registry import load_settings, raw_retention_days
from dynalake.convert.batch import convert_or_wait
from dynalake.convert.finish import commit_plan, read_results
from dynalake.convert.plan import ConvertLimits, read_batch_plan
from dynalake.convert.snapshot import show_snapshot
from dynalake.lake.catalog.table import Table
from dynalake.lake.current.state import merge_late
from dynalake.lake.working.workers import Workers
from dynalake.night.night import Requests, work
from dynalake.spark.request import COMPACT, CONVERT, SNAPSHOT, Request


def do_work(table: Table, request: Request, workers: Workers) -> dict[str, Any]:
    """Return the work done, as JSON values. Raise what the routines raise."""
    works = {CONVERT: convert_plan, COMPACT: do_night, SNAPSHOT: do_snapshot}
    return works[request.work](table, request.values, workers)


def conversion(plan: str, batches: int) -> dict[str, Any]:
    """Return the request of a job that converts all batches of a plan."""
    return {"plan": plan, "batches": batches}


def convert_plan(table: Table, values: Mapping[str, Any], workers: Workers) -> dict[str, Any]:
    """Convert all batches of a plan, and commit them.

    Their results are in the state prefix, as if a task had converted each of them. Raises the first batch's error once
    all are done; the converted ones are committed all the same.
    """
    plan, numbers = values["plan"], range(values["batches"])
    outcomes = list(workers.attempt_each(partial(_convert, table, plan), numbers))
    merge = partial(merge_late, limit=ConvertLimits().late_gb << 30, workers=workers)
    commit = commit_plan(
        table, plan, read_results(table, plan, numbers), lambda: datetime.now(UTC), merge, workers=workers
    )
    counted: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for sums, rejected in (outcome.get() for outcome in outcomes):
        counted.update(sums)
        reasons.update(rejected)
    return {"sums": dict(counted), "reasons": dict(reasons), "late": commit.committed.late}


def _convert(table: Table, plan: str, number: int) -> tuple[dict[str, int], dict[str, int]]:
    result = convert_or_wait(table, read_batch_plan(table, plan, number))
    return asdict(result.sums), dict(result.rejected.reasons)


def night(requests: Requests) -> dict[str, Any]:
    """Return the request of a job that does a night's work."""
    return asdict(requests)


def do_night(table: Table, values: Mapping[str, Any], workers: Workers) -> dict[str, Any]:
    """Do a night's work (`dynalake/night.py`). Return its log lines and its faults."""
    settings = load_settings(table)
    retention = raw_retention_days(table.clients, table.names.lake)
    requests = Requests(**{**values, "days": tuple(values["days"])})
    said: list[str] = []
    faults = work(
        table, settings, lambda: datetime.now(UTC), said.append, requests, raw_retention_days=retention, workers=workers
    )
    return {"said": said, "faults": [asdict(fault) for fault in faults]}


def snapshot(run: int, plan: str, batches: int) -> dict[str, Any]:
    """Return the request of a job that makes the converted batches of a plan the snapshot number `run`."""
    return {"run": run, "plan": plan, "batches": batches}


def do_snapshot(table: Table, values: Mapping[str, Any], workers: Workers) -> dict[str, Any]:
    """Make converted batches the snapshot. Return whether it is this one that is shown, and how many items are gone."""
    swapped = show_snapshot(table, values["run"], values["plan"], range(values["batches"]), workers=workers)
    return {"run": swapped.run, "shown": swapped.shown, "removed": swapped.removed}
