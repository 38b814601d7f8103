"""How often each step asks Glue for a table or a view, and all calls of a conversion. What was read travels as a value.

Each commit asks once, before its change is decided on the table as it is; the swap of Glue's entry is guarded by the
version that it read. The views are compared with both tables as they are after the views' entries were read.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from copy import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from dynalake.convert.batch import convert_batch
from dynalake.convert.finish import convert_due, finish_table, read_results
from dynalake.convert.plan import Batch, ConvertLimits, plan_table, read_batch_plan
from dynalake.convert.snapshot import plan_snapshot, show_snapshot
from dynalake.lake.catalog.commit_events import take_events
from dynalake.lake.catalog.table import Table
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.current.fold import fold
from dynalake.lake.current.snapshot import finish_snapshot, number_run
from dynalake.lake.current.view_entries import write_views
from dynalake.night.compact import compact_table
from dynalake.record.change import snapshot_encoder
from dynalake.sizing.requests import MANIFESTS, NEWS, OBJECT, QUIET, Requests, run_with_news
from tests.support.memory.convert_lake import DAY_MS, Change, ConvertLake
from tests.support.memory.receipts import ReceiptsGlue

pytestmark = pytest.mark.slow

VIEWS = {"current": 1, "removed": 1, "history": 1}
ONCE = {"changes": 1, "state": 1}


class CountedLake(ConvertLake):
    """A lake in which each step runs in a process of its own, and its calls are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.glue = ReceiptsGlue(self.clock)
        self.table = self.other()
        self.create()
        write_views(self.table)
        self.land("a")
        self.convert_all(self.table)
        self.calls: Counter[str] = Counter()

    def asked(self, step: Callable[[Table], Any]) -> dict[str, int]:
        """Return how often a step asks Glue for each of our tables and views. Its calls by key are in `calls`."""
        self.calls.clear()

        def on_call(service: str, call: str, request: dict[str, Any]) -> None:
            self.calls[f"{call} {request.get('Key') or request.get('Name')}"] += 1

        self.s3.on_call = self.glue.on_call = on_call
        step(self.other())
        self.s3.on_call = self.glue.on_call = lambda *_: None
        prefix = f"get_table {self.names.changes_table}"
        loads = {call: count for call, count in self.calls.items() if call.startswith(prefix)}
        return {call.removeprefix(prefix).removeprefix("_") or "changes": count for call, count in loads.items()}

    def land(self, *ids: str, ago: int = 0, **more: str) -> None:
        """Land changes of these items as one object."""
        time = self.now - ago * DAY_MS
        lines = [json.dumps({**json.loads(Change(id, self.now, time).line()), **more}) for id in ids]
        self.put(self.day(ago), "-".join(ids), lines)

    def run_of(self, id: str) -> Requests:
        """Land a change and convert it as the tasks do. Return the calls to S3 and Glue."""
        self.clock.move(seconds=600)
        self.land(id)
        counted: Counter[str] = Counter()
        self.s3.on_call = self.glue.on_call = lambda service, call, request: counted.update([call])
        (batch,) = self.due(self.other())
        table = self.other()
        result = convert_batch(table, read_batch_plan(table, batch.plan, batch.number))
        finish_table(table, batch.plan, {batch.number: result}, ConvertLimits(), lambda: self.clock.moment)
        assert [event.kind for event in take_events(table, id, known=True)] == ["commit"]
        return _requests(counted)

    def plan_nothing(self) -> Requests:
        counted: Counter[str] = Counter()
        self.s3.on_call = self.glue.on_call = lambda service, call, request: counted.update([call])
        assert self.due(self.other()) == ()
        return _requests(counted)

    def add(self, name: str) -> CountedLake:
        """Return another table of this lake."""
        added = copy(self)
        added.names = self.names.lake.table(name)
        added.table = added.other()
        added.create()
        write_views(added.table)
        take_events(added.table, "made")
        return added

    def due(self, table: Table | None = None) -> tuple[Batch, ...]:
        return plan_table(table or self.table, ConvertLimits(), self.clock.moment).batches

    def convert_all(self, table: Table) -> None:
        convert_due(table, lambda: self.clock.moment)

    def commit(self, table: Table, batch: Batch) -> None:
        results = read_results(table, batch.plan, [batch.number])
        done = finish_table(table, batch.plan, results, ConvertLimits(), lambda: self.clock.moment)
        assert (done.batches, done.waiting) == (1, ())


def _requests(counted: Counter[str]) -> Requests:
    kinds = {"put_object": "puts", "list_objects_v2": "lists", "get_object": "gets"}
    kinds |= {"get_table": "glue", "update_table": "glue"}
    assert set(counted) <= {*kinds, "delete_objects"}
    found: Counter[str] = Counter()
    for call, count in counted.items():
        if call in kinds:
            found[kinds[call]] += count
    return Requests(**found)


@pytest.fixture
def lake() -> CountedLake:
    return CountedLake()


def test_a_conversion(lake: CountedLake) -> None:
    lake.land("b")
    assert lake.asked(lake.due) == {"changes": 1}
    (batch,) = lake.due()
    assert lake.asked(lambda table: convert_batch(table, batch)) == {"changes": 1}
    assert lake.asked(lambda table: lake.commit(table, batch)) == {"changes": 2, "state": 1, **VIEWS}


def test_a_conversion_with_a_new_column(lake: CountedLake) -> None:
    lake.land("b", new="x")
    (batch,) = lake.due()
    assert lake.asked(lambda table: convert_batch(table, batch)) == {"changes": 3, "state": 2, **VIEWS, "current": 2}


def test_a_conversion_of_late_changes(lake: CountedLake) -> None:
    fold(lake.table, lake.now)
    lake.land("late")
    (batch,) = lake.due()
    convert_batch(lake.table, batch)
    assert lake.asked(lambda table: lake.commit(table, batch)) == {"changes": 2, "state": 3, **VIEWS}


def test_results_that_a_process_has_made_are_not_read_again(lake: CountedLake) -> None:
    lake.land("b")
    lake.asked(lake.convert_all)
    results = [count for call, count in lake.calls.items() if call.endswith("result.json")]
    assert results == [1, 1]  # whether there is one, and the new one


def test_the_calls_of_an_open_day_do_not_grow_with_it(lake: CountedLake) -> None:
    """Each run reads the manifests of the day. A commit merges them once there are eight."""
    runs = [lake.run_of(f"n{number}") for number in range(3 * MANIFESTS)]
    later = runs[MANIFESTS:]  # the first one has no run before it whose folder it reads
    for day in (later[:MANIFESTS], later[MANIFESTS:]):
        assert sum(day, Requests()) == run_with_news() * MANIFESTS
    assert max(run.count for run in later) < 1.4 * run_with_news().count


def test_a_lake_of_many_tables_costs_what_is_new_in_it(lake: CountedLake) -> None:
    """A quiet table costs two listings, the copy, and a look at Glue's entry; none of them is a second one."""
    others = [lake.add(f"TABLE{number}") for number in range(6)]
    for other in (lake, *others):
        for item in "ab":
            other.run_of(item)
        assert other.plan_nothing() != QUIET  # it reads the last folder
        assert other.plan_nothing() == QUIET

    quiet = sum((other.plan_nothing() for other in others[2:]), Requests())
    news = [other.run_of("new") for other in others[:2]]

    assert quiet == QUIET * 4
    # Two manifests are compared. The plan has read the last folder already, an Iceberg manifest and one of our own.
    assert news == [NEWS + OBJECT * (1 + 2) + Requests(puts=-1, gets=-2)] * 2


def test_the_compaction_of_a_night(lake: CountedLake) -> None:
    def compact(table: Table) -> None:
        report = compact_table(table, CompactOptions(), lambda: lake.clock.moment)
        assert (report.faults, len(report.days)) == ((), days)

    days = 0
    compact(lake.table)  # makes the Hive tables
    for id in "bc":
        lake.land(id, ago=2)
        lake.convert_all(lake.table)
    hive = {"parquet": 2, "json": 1}  # partitions are written between the two of `_parquet`
    days = 1
    assert lake.asked(compact) == {"changes": 7, "state": 3, **VIEWS, **hive}
    days = 0
    assert lake.asked(compact) == {"changes": 5, "state": 3, **VIEWS, **hive}
    manifests = {call: count for call, count in lake.calls.items() if call.endswith(".avro")}
    assert set(manifests.values()) == {1}, manifests


def test_a_fold(lake: CountedLake) -> None:
    # Of the changes the bound is committed, of the state one group of items, then up to when it has the changes.
    assert lake.asked(lambda table: fold(table, lake.now)) == {"changes": 3, "state": 5, **VIEWS}


def test_a_snapshot(lake: CountedLake) -> None:
    prefix, run = lake.names.snapshot_run("r"), number_run(lake.table, "r")
    body = gzip.compress(snapshot_encoder(lake.now)({"id": {"S": "new"}}))
    lake.s3.put_object(Bucket=lake.names.lake.bucket, Key=f"{prefix}x.gz", Body=body)
    assert lake.asked(lambda table: number_run(table, "r")) == ONCE
    assert lake.asked(lambda table: plan_snapshot(table, prefix, datetime.now(UTC))) == {"changes": 1}
    (batch,) = plan_snapshot(lake.table, prefix, datetime.now(UTC)).batches
    assert lake.asked(lambda table: convert_batch(table, batch)) == {"changes": 1}
    shown = lake.asked(lambda table: show_snapshot(table, run, batch.plan, [0]))
    assert shown == {"changes": 3, "state": 6, **VIEWS}
    assert lake.asked(lambda table: finish_snapshot(table, table.changes(), table.items())) == ONCE
