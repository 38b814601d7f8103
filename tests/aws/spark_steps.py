"""A table with two days of changes, converted by a worker or by the Glue job."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from dynalake.convert.batch import convert_or_wait
from dynalake.convert.finish import Finished, finish_table, read_results
from dynalake.convert.plan import ConvertLimits, plan_table, read_batch_plan
from dynalake.lake.catalog.table import Table
from dynalake.record.change import encode_change
from dynalake.record.key import ItemKey, KeyAttribute
from dynalake.spark.glue import start_run
from dynalake.spark.request import CONVERT, Request, read_outcome
from dynalake.spark.work import conversion
from tests.support.waiting import eventually

KEY = ItemKey(KeyAttribute("id", "S"), KeyAttribute("at", "N"))
NOW = datetime.now(UTC)
DAYS = tuple((NOW - timedelta(days=ago)).strftime("%Y%m%d") for ago in (3, 2))
LIMITS = ConvertLimits(batch_objects=2)
Convert = Callable[[Table, str, int], None]


def noon(day: str) -> int:
    return round(datetime.strptime(day, "%Y%m%d").replace(hour=12, tzinfo=UTC).timestamp() * 1000)


def line(number: int, image: dict[str, Any], day: str, operation: str = "MODIFY") -> str:
    return encode_change(image, operation=operation, sequence_number=str(number + 1), event_time=noon(day) + number)


def image(number: int, **more: Any) -> dict[str, Any]:
    return {"id": {"S": f"{number % 7}"}, "at": {"N": f"{number % 3}.5"}, "v": {"N": str(number)}, **more}


def put(table: Table, day: str, name: str, lines: list[str]) -> None:
    body = gzip.compress("".join(f"{text}\n" for text in lines).encode())
    key = f"{table.names.raw_day(day)}{name}.gz"
    table.clients.s3.put_object(Bucket=table.names.lake.bucket, Key=key, Body=body)


def fill_first(table: Table) -> None:
    """Put a day of changes, with repeats and invalid lines."""
    first = DAYS[0]
    images = [image(n, l={"L": [{"N": str(n)}]}, m={"M": {"x": {"S": "ä"}}}) for n in range(20)]
    lines = [line(n, of, first) for n, of in enumerate(images)]
    put(table, first, "1", [*lines[:8], "no json", '{"a":1}'])
    put(table, first, "2", lines[6:14])
    put(table, first, "3", [*lines[14:], lines[0]])


def fill_second(table: Table) -> None:
    """Put another day: changes of the first day again, removals, values that do not fit the first day's columns."""
    first, second = DAYS
    repeated = line(3, image(3, l={"L": [{"N": "3"}]}, m={"M": {"x": {"S": "ä"}}}), first)
    late = [line(n, image(n, v={"N": f"{n}.25"}, b={"B": "AA=="}), second) for n in range(30, 40)]
    removals = [line(n, image(n), second, "REMOVE") for n in range(40, 43)]
    put(table, second, "1", [*late[:5], repeated, "{"])
    put(table, second, "2", [*late[5:], *removals])
    put(table, second, "3", [line(50, image(50, m={"M": {"x": {"N": "1" * 38}}}), second)])


def convert_here(table: Table, plan: str, batches: int) -> None:
    for number in range(batches):
        convert_or_wait(table, read_batch_plan(table, plan, number))


def run_job(table: Table, work: str, values: dict[str, Any]) -> dict[str, Any]:
    request = Request.of(table.names, work, values)
    run = start_run(table, request)
    assert start_run(table, request) == run  # it is under way

    def state() -> str:
        job_run = table.clients.glue.get_job_run(JobName=table.names.lake.spark_job, RunId=run)["JobRun"]
        return str(job_run["JobRunState"])

    eventually(state, lambda run_state: run_state not in ("STARTING", "RUNNING"), within=1200)
    return read_outcome(table, request)


def on_glue(table: Table, plan: str, batches: int) -> None:
    outcome = run_job(table, CONVERT, conversion(plan, batches))
    assert outcome["reasons"] == {"not JSON": 1}


def convert_due(table: Table, convert: Convert) -> Finished:
    batches = plan_table(table, LIMITS, NOW).batches
    assert len(batches) == 2
    convert(table, batches[0].plan, len(batches))
    results = read_results(table, batches[0].plan, range(len(batches)))
    outcome = finish_table(table, batches[0].plan, results, LIMITS, lambda: NOW)
    assert (outcome.waiting, outcome.failed) == ((), ())
    return outcome
