"""Workers and the Glue job give the same rows by the same commits; Spark runs on this machine, on local AWS.

The job treats everything as too large, so that Spark's executors process ranges of days, of late changes, of a snapshot
and of a fold.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, NoReturn

import pytest

from dynalake.aws.clients import Clients
from dynalake.convert.finish import Finished
from dynalake.convert.snapshot import plan_snapshot, show_snapshot
from dynalake.errors import SettingsError
from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.table import Table
from dynalake.lake.current.fold import fold
from dynalake.lake.current.snapshot import is_unfinished, number_run
from dynalake.lake.current.state import Merge
from dynalake.lake.files.read import read_rows
from dynalake.lake.tables.grow import schema_of
from dynalake.lake.tables.make import make_tables
from dynalake.names import Lake
from dynalake.night.night import Requests, work
from dynalake.options.settings import TableSettings
from dynalake.record.change import snapshot_encoder
from dynalake.spark.request import COMPACT
from dynalake.spark.work import conversion, convert_plan, do_night, night
from tests.aws.spark_steps import (
    DAYS,
    KEY,
    NOW,
    Convert,
    convert_due,
    convert_here,
    fill_first,
    fill_second,
    noon,
    on_glue,
    run_job,
)
from tests.support.aws.lake import deploy_job
from tests.support.kills import Killed
from tests.support.machine import need
from tests.support.other_workers import OtherWorkers

LAKE = Lake("engines", "000000000000", "us-east-1")
SETTINGS = TableSettings("RECEIPTS", sort_by='["v"]')
REQUESTS = Requests(DAYS, fold=True)

Night = Callable[[Table], list[str]]


def fold_some(table: Table) -> None:
    """Fold, so that changes up to the middle of the second day are late from now on."""
    fold(table, noon(DAYS[1]) + 34)


def begin_backfill(table: Table) -> None:
    """Start a backfill whose worker dies before its first item is in the state; the night finishes it."""
    prefix = table.names.snapshot_run("r")
    encode = snapshot_encoder(noon(DAYS[0]))
    items = b"".join(encode({"id": {"S": f"s{n}"}, "at": {"N": f"{n}"}, "v": {"N": "1"}}) + b"\n" for n in range(30))
    body = gzip.compress(items)
    table.clients.s3.put_object(Bucket=table.names.lake.bucket, Key=f"{prefix}0.gz", Body=body)
    (batch,) = plan_snapshot(table, prefix, NOW).batches
    convert_here(table, batch.plan, 1)

    def kill(*_: Any, **__: Any) -> NoReturn:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Merge, "add", kill)
        with pytest.raises(Killed):
            show_snapshot(table, number_run(table, "r"), batch.plan, [0])
    assert is_unfinished(table.changes(), table.items())


@pytest.fixture(scope="module")
def lake(clients: Clients) -> Lake:
    """A lake with the template's Glue job, with parts of one byte."""
    clients.s3.create_bucket(Bucket=LAKE.bucket)
    clients.glue.create_database(DatabaseInput={"Name": LAKE.database})
    place = json.dumps({"bucket": LAKE.bucket})
    clients.ssm.put_parameter(Name=LAKE.lake_parameter, Type="String", Value=place)
    deploy_job(clients, LAKE, part_bytes="1")
    return LAKE


def add(clients: Clients, name: str) -> Table:
    table = Table(clients, LAKE.table(name))
    settings = replace(SETTINGS, table=name).to_json()
    clients.ssm.put_parameter(Name=table.names.settings_parameter, Type="String", Value=settings)
    make_tables(table, KEY, "arn")
    return table


def night_here(table: Table) -> list[str]:
    log: list[str] = []
    assert work(table, SETTINGS, lambda: datetime.now(UTC), log.append, REQUESTS) == ()
    return log


def elsewhere(table: Table, plan: str, batches: int) -> None:
    convert_plan(table, conversion(plan, batches), OtherWorkers(table.clients))


def night_elsewhere(table: Table) -> list[str]:
    """Run the night with the smallest possible parts."""
    return check_night(do_night(table, night(REQUESTS), OtherWorkers(table.clients)))


def check_night(outcome: dict[str, Any]) -> list[str]:
    assert outcome["faults"] == []
    return list(outcome["said"])


def night_on_glue(table: Table) -> list[str]:
    return check_night(run_job(table, COMPACT, night(REQUESTS)))


def bring(clients: Clients, name: str, convert: Convert, do_work: Night) -> tuple[Table, Finished, list[str]]:
    """Make rows, days and items of a table's raw objects, with late changes and a backfill's items."""
    table = add(clients, name)
    fill_first(table)
    convert_due(table, convert_here)
    fold_some(table)
    fill_second(table)
    finished = convert_due(table, convert)
    begin_backfill(table)
    return table, finished, do_work(table)


def rows(head: Head) -> list[dict[str, Any]]:
    """Return the rows of all files, in the files' order."""
    files = sorted(head.files(), key=lambda f: (str(f.partition), f.path.rpartition("/")[2]))
    return [row for table in read_rows(head, files) for row in table.to_pylist()]


@pytest.fixture(scope="module")
def by_worker(clients: Clients, lake: Lake) -> tuple[Table, Finished, list[str]]:
    table, finished, log = bring(clients, "WORKER", convert_here, night_here)
    assert (finished.sums.rows, finished.sums.repeats, finished.sums.rejected) == (14, 1, 1)
    assert "Columns with new types: m, v" in log
    assert commits_of_merges(table) == [1, 1, 1, 1]
    return table, finished, log


@pytest.mark.parametrize("name", ["PARTS", "GLUE"])
def test_all_engines_give_the_same_rows_days_types_and_items(clients: Clients, name: str, by_worker: Any) -> None:
    if name == "GLUE":
        need("java")
    engine: tuple[Convert, Night] = (on_glue, night_on_glue) if name == "GLUE" else (elsewhere, night_elsewhere)
    worker_table, worker_finished, worker_log = by_worker
    table, finished, log = bring(clients, name, *engine)

    assert (finished.sums, finished.reasons, finished.waiting) == (
        worker_finished.sums,
        worker_finished.reasons,
        worker_finished.waiting,
    )
    assert _steps(log, name) == _steps(worker_log, "WORKER")
    assert schema_of(table.changes()) == schema_of(worker_table.changes())
    assert schema_of(table.changes()).known["v"].glue_type == "double"
    assert rows(table.changes()) == rows(worker_table.changes())
    assert by_key(table) == by_key(worker_table)
    assert by_key(table)["1", Decimal("2.5")]["v"] == 50
    assert len([key for key in by_key(table) if key[0].startswith("s")]) == 30
    # One worker did the first fold; then came ranges of late changes, of the snapshot, and of a fold.
    first, *rest = commits_of_merges(table)
    assert (first, len(rest), min(rest) > 1) == (1, 3, True), rest
    for day in DAYS:
        assert len(table.changes().files({day})) > len(worker_table.changes().files({day})) == 1
    for view in ("current_view", "removed_view"):
        assert _text(table, view).replace(name.lower(), "worker") == _text(worker_table, view)


def commits_of_merges(table: Table) -> list[int]:
    """Return the number of commits of each merge into the state, in order: each range of keys has its own commit."""
    snapshots = sorted(table.items().iceberg.metadata.snapshots, key=lambda s: s.sequence_number or 0)
    notes = [s.summary.additional_properties.get("dynalake", "") if s.summary else "" for s in snapshots]
    return [len(list(some)) for note, some in groupby(notes) if note == "merge"]


def _steps(log: list[str], table: str) -> list[str]:
    """Return the steps, without the number of a day's files and of merges of the same items."""
    return [re.sub(r"(became|:) \d+", "", text).replace(table.lower(), "t") for text in log]


def by_key(table: Table) -> dict[tuple[Any, ...], dict[str, Any]]:
    table_rows = rows(table.items())
    items = {(row["id"], row["at"]): row for row in table_rows}
    assert len(items) == len(table_rows)
    return items


def _text(table: Table, view: str) -> str:
    entry = table.clients.glue.get_table(DatabaseName=LAKE.database, Name=getattr(table.names, view))["Table"]
    text = entry["ViewOriginalText"].removeprefix("/* Presto View: ").removesuffix(" */")
    return str(json.loads(base64.b64decode(text))["originalSql"])


def test_an_error_of_the_job_reaches_its_caller(clients: Clients, lake: Lake) -> None:
    need("java")
    table = Table(clients, LAKE.table("MISSING"))
    with pytest.raises(SettingsError, match="'MISSING' is not set up"):
        run_job(table, COMPACT, night(REQUESTS))
