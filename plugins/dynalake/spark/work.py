"""What a job does: a conversion or a night's work, by the routines of the Airflow tasks, with executors as workers.

A conversion ends before its commit, which is the Airflow task's after it. A night's work is all of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from dynalake.capture.lake import load_settings, raw_retention_days
from dynalake.convert.batch import convert_or_wait
from dynalake.convert.plan import read_batch_plan
from dynalake.lake.table import Table
from dynalake.lake.workers import Workers
from dynalake.night import Asked, work
from dynalake.spark.request import CONVERT, Request


def do_work(table: Table, request: Request, workers: Workers) -> dict[str, Any]:
    """Return what was done, as JSON has it. Raises what the routines raise."""
    if request.work == CONVERT:
        return convert_plan(table, request.values, workers)
    return do_night(table, request.values, workers)


def conversion(plan: str, batches: int) -> dict[str, Any]:
    """What a job is asked that converts all batches of a plan."""
    return {"plan": plan, "batches": batches}


def convert_plan(table: Table, values: Mapping[str, Any], workers: Workers) -> dict[str, Any]:
    """Convert all batches of a plan. Their results are in the state prefix, as if a task had converted each of them.

    Raises the first error once all are done; a batch that was converted stays so.
    """
    counted: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for sums, rejected in workers.each(partial(_convert, table, values["plan"]), range(values["batches"])):
        counted.update(sums)
        reasons.update(rejected)
    return {"sums": dict(counted), "reasons": dict(reasons)}


def _convert(table: Table, plan: str, number: int) -> tuple[dict[str, int], dict[str, int]]:
    result = convert_or_wait(table, read_batch_plan(table, plan, number))
    return asdict(result.sums), dict(result.rejected.reasons)


def night(asked: Asked) -> dict[str, Any]:
    """What a job is asked that does a night's work."""
    return asdict(asked)


def do_night(table: Table, values: Mapping[str, Any], workers: Workers) -> dict[str, Any]:
    """Do a night's work (`dynalake/night.py`): what it has said, and what has failed."""
    settings = load_settings(table.clients, table.names)
    retention = raw_retention_days(table.clients, table.names.lake)
    asked = Asked(**{**values, "days": tuple(values["days"])})
    said: list[str] = []
    faults = work(
        table, settings, lambda: datetime.now(UTC), said.append, asked, raw_retention_days=retention, workers=workers
    )
    return {"said": said, "faults": [asdict(fault) for fault in faults]}
