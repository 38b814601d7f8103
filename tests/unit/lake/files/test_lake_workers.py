"""Other processes do parts of a table's work: readers see what a single process would have written."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal
from functools import cache, partial
from itertools import pairwise
from random import Random
from typing import Any

import boto3
import pytest

from dynalake.aws.clients import Clients
from dynalake.errors import ConflictError, NotReadyError
from dynalake.lake.catalog.commit import check_live
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.compaction.day import compact_days
from dynalake.lake.current import snapshot
from dynalake.lake.current.fold import fold
from dynalake.lake.current.key_ranges import Sizes
from dynalake.lake.current.snapshot import swap_snapshot
from dynalake.lake.current.state import merge_late
from dynalake.lake.files.folders import FolderManifest
from dynalake.lake.files.ranges import cut_ranges
from dynalake.lake.files.read import read_rows
from dynalake.lake.tables.grow import schema_of
from dynalake.lake.working.workers import HERE, Workers
from dynalake.night.compact import CompactReport, compact_table, count_due
from tests.support.kills import killed_anywhere
from tests.support.memory.receipts import DAY_1, DAY_2, DAY_3, Receipts
from tests.support.memory.state_lake import DAY_MS, START, Event, StateLake, replay
from tests.support.other_workers import OtherWorkers

pytestmark = pytest.mark.slow

OPTIONS = CompactOptions()
SMALL = Sizes(file=400, small=100, group=2000)


def prepared() -> Receipts:
    return _prepared().copy()


@cache
def _prepared() -> Receipts:
    """Make three days of several folders each, whose types have to widen."""
    lake, order = Receipts(), Random(7)
    for number in range(12):
        items: list[dict[str, Any]] = [
            {"id": f"{order.randrange(40):02d}", "n": order.randrange(9), "s": order.choice(["x", "y"])}
            for _ in range(9)
        ]
        items[0]["n"] = Decimal("1.5") if number > 6 else 3
        del items[1]["s"]
        lake.append((DAY_1, DAY_2, DAY_3)[number % 3], *items)
    lake.optimize(DAY_2)
    lake.put_items({"id": "01", "n": Decimal("1.5")}, {"id": "02", "n": 2})
    return lake


def rows_of(lake: Receipts, day: str) -> list[str]:
    """Return the rows of a day in the order of its files."""
    head = lake.table.changes()
    files = sorted(head.files({day}), key=lambda f: f.path.rpartition("/")[2])
    return [str(row) for rows in read_rows(head, files) for row in rows.to_pylist()]


@pytest.mark.parametrize("sort_by", [(), ("s",), ("n", "s")])
def test_days_have_the_same_rows_in_the_same_order(sort_by: tuple[str, ...]) -> None:
    alone, spread = prepared(), prepared()
    workers = OtherWorkers(spread.table.clients)
    options = CompactOptions(sort_by=sort_by)
    days = (DAY_1, DAY_2, DAY_3)

    for lake, processes in ((alone, HERE), (spread, workers)):
        assert all(
            done.get().replaced
            for _, done in compact_days(lake.table, lake.table.changes(), days, options, lake.now, None, processes)
        )

    assert workers.done > len(days)
    for day in days:
        assert rows_of(spread, day) == rows_of(alone, day)
        files = spread.table.changes().files({day})
        assert len(files) > 1
        # A part that was done twice leaves nothing in the folder, or `{t}_parquet` could not show it.
        (folder,) = {f.path.rpartition("/")[0] for f in files}
        keys = {spread.names.uri(key) for key in spread.s3.keys(folder.removeprefix(spread.names.uri("")))}
        assert keys == {f.path for f in files}
    assert spread.named() == alone.named()
    assert spread.rows() == alone.rows()
    again = compact_days(spread.table, spread.table.changes(), days, options, spread.now)
    assert [done.get().replaced for _, done in again] == [0, 0, 0]


def night(lake: Receipts, workers: Workers) -> CompactReport:
    return compact_table(lake.table, OPTIONS, lake.now, days=[DAY_3], workers=workers)


def test_a_night_gives_the_same_result() -> None:
    alone, spread = prepared(), prepared()

    single, other = night(alone, HERE), night(spread, OtherWorkers(spread.table.clients))

    assert single.faults == other.faults == ()
    assert single.widened.columns == other.widened.columns == {"n": ("bigint", "double")}
    assert (single.widened.lifted, single.views, single.waiting) == (other.widened.lifted, other.views, other.waiting)
    assert [(d.day, d.rows, d.replaced, d.lifted) for d in single.days] == [
        (d.day, d.rows, d.replaced, d.lifted) for d in other.days
    ]
    assert spread.rows() == alone.rows() == spread.committed
    assert spread.items() == alone.items()
    assert schema_of(spread.table.changes()) == schema_of(alone.table.changes())
    assert other.projected["receipts_parquet"].written == (DAY_1, DAY_2)
    assert not spread.missing()
    assert [d.day for d in night(spread, HERE).days] == []


def test_one_worker_finishes_a_night_of_many_workers_killed_anywhere() -> None:
    items = prepared().items()

    def run(lake: Receipts) -> CompactReport:
        return night(lake, OtherWorkers(lake.table.clients))

    # The calls of one process are tried one by one elsewhere.
    for lake in killed_anywhere(prepared, run, above=60, every=12):
        assert lake.rows() == lake.committed
        assert night(lake, HERE).faults == ()
        assert lake.rows() == lake.committed
        assert {text.replace("2.0", "2") for text in lake.items()} == {text.replace("2.0", "2") for text in items}
        assert not lake.missing()


def test_a_failing_part_fails_only_its_day(monkeypatch: pytest.MonkeyPatch) -> None:
    from dynalake.lake.files.parts import PartWriter

    lake, put = prepared(), PartWriter._put

    def fail(self: Any, *rest: Any) -> Any:
        if f"/dt={DAY_2}/" in self._folder.prefix and self._first >= 1000:
            raise ValueError("whatever it is")
        return put(self, *rest)

    monkeypatch.setattr(PartWriter, "_put", fail)
    done = night(lake, OtherWorkers(lake.table.clients))

    assert [(f.what, f.error) for f in done.faults][:1] == [(f"dt={DAY_2}", "ValueError: whatever it is")]
    assert {d.day for d in done.days} == {DAY_1, DAY_3}
    assert lake.rows() == lake.committed


def folded() -> tuple[StateLake, list[Event]]:
    lake, events = _folded()
    return lake.copy(), events


@cache
def _folded() -> tuple[StateLake, list[Event]]:
    """Make four days of changes, two of them in the state."""
    lake, order = StateLake().make(), Random(3)
    events = [
        Event(f"{order.randrange(60):02d}", n + 1, START + n * DAY_MS // 40, order.choice(["MODIFY", "REMOVE"]))
        for n in range(160)
    ]
    for some in range(0, 160, 40):
        lake.append(*events[some : some + 40])
    fold(lake.table, START + 2 * DAY_MS, sizes=SMALL)
    return lake, events


def test_a_fold_by_ranges_of_keys_gives_the_same_items() -> None:
    (alone, events), (spread, _) = folded(), folded()
    workers, bound = OtherWorkers(spread.table.clients), events[-1].time

    fold(alone.table, bound, sizes=SMALL)
    done = fold(spread.table, bound, sizes=SMALL, workers=workers)

    assert workers.done == 16
    assert done.folded_to == bound
    assert spread.state() == alone.state()
    assert spread.current() == alone.current() == replay(events)


def test_a_state_restored_after_a_range_was_merged_is_not_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    lake, events = folded()
    name = lake.names.state_table
    before = copy.deepcopy(lake.glue.tables[name])
    workers = OtherWorkers(lake.table.clients)
    attempt = workers.attempt_each

    def bring_back(*args: Any) -> Any:
        done = list(attempt(*args))
        version = lake.glue.tables[name]["VersionId"]
        lake.glue.tables[name] = {**before, "VersionId": version}
        return iter(done)

    monkeypatch.setattr(workers, "attempt_each", bring_back)
    with pytest.raises(ConflictError, match="rolled back"):
        fold(lake.table, events[-1].time, sizes=SMALL, workers=workers)
    assert lake.current() == replay(events)


def test_late_changes_are_merged_by_ranges_of_keys() -> None:
    (alone, _), (spread, _) = folded(), folded()
    workers = OtherWorkers(spread.table.clients)
    late = [Event(f"{n:02d}", 1000 + n, START + n, "REMOVE" if n % 3 else "MODIFY") for n in range(80)]
    before = alone.state()

    for lake, processes in ((alone, HERE), (spread, workers)):
        head = lake.grow()
        merge_late(
            lake.table, head, lake.table.items(), [lake.write("20240101", late, head)], sizes=SMALL, workers=processes
        )

    assert workers.done == 16
    assert spread.state() == alone.state() == before | {event.key: event.shown for event in late}


def test_a_limit_applies_to_each_range() -> None:
    """Whatever the limit, a range's first group is merged, so that the next run continues."""
    merged, one_row = [], Sizes(file=1, small=1, group=1)
    for spread in (False, True):
        lake = StateLake().make()
        lake.append(*(Event(f"{n:02d}", n + 1, START) for n in range(40)))
        fold(lake.table, START, sizes=one_row)
        head = lake.grow()
        file = lake.write("20240101", [Event(f"{n:02d}", 100 + n, START) for n in range(40)], head)
        workers = OtherWorkers(lake.table.clients) if spread else HERE
        with pytest.raises(NotReadyError, match="more than 0 bytes"):
            merge_late(lake.table, head, lake.table.items(), [file], sizes=one_row, limit=0, workers=workers)
        merged.append(sum(int(shown.split()[1]) >= 100 for shown in lake.state().values()))

    assert 0 < merged[0] < 16 <= merged[1] < 40


def backfilled() -> tuple[StateLake, list[FolderManifest]]:
    lake, folder = _backfilled()
    return lake.copy(), folder


@cache
def _backfilled() -> tuple[StateLake, list[FolderManifest]]:
    """Make a state with a backfill's items, some changed since, and the folder of another backfill's items."""
    lake, order = StateLake().make(), Random(5)
    lake.append(*(Event(f"{order.randrange(90):02d}", n + 1, START) for n in range(30)))
    fold(lake.table, START, sizes=SMALL)
    swap_snapshot(
        lake.table, 1, [lake.backfill(1, *(f"{n:02d}" for n in range(60)))], sizes=SMALL, clock=partial(int, lake.now())
    )
    return lake, [lake.backfill(2, *(f"{n:02d}" for n in range(40, 100)), files=3)]


def test_a_backfill_replaces_the_previous_items_by_ranges_of_keys() -> None:
    (alone, folder), (spread, other) = backfilled(), backfilled()
    workers, clock = OtherWorkers(spread.table.clients), partial(int, alone.now())

    single = swap_snapshot(alone.table, 2, folder, sizes=SMALL, clock=clock)
    done = swap_snapshot(spread.table, 2, other, sizes=SMALL, clock=clock, workers=workers)

    assert workers.done > 16 + 1  # the ranges of keys, and groups of files with items of the first one
    assert done.shown
    assert (done.removed, done.merged.rows) == (single.removed, single.merged.rows) == (done.removed, 60)
    assert done.removed > 20
    assert spread.state() == alone.state()
    assert spread.current() == alone.current()
    assert {row["__run"] for row in spread.items()} == {None, 2}


def test_a_conflict_of_one_worker_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lake, folder = backfilled()
    workers, check, calls = OtherWorkers(lake.table.clients), check_live, list[int]()

    def refuse_first(*args: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ConflictError("others were first")
        check(*args)

    monkeypatch.setattr(snapshot, "check_live", refuse_first)
    swap_snapshot(lake.table, 2, folder, sizes=SMALL, clock=partial(int, lake.now()), workers=workers)

    assert len(calls) > 1
    assert {row["__run"] for row in lake.items()} == {None, 2}


def test_all_due_work_is_counted_before_it_is_done() -> None:
    lake = prepared()
    size = sum(f.size for f in lake.table.changes().files())
    state = sum(f.size for f in lake.table.items().files())

    # All days, and again for the types as far as possible; also if a run has no room for everything.
    assert size < count_due(lake.table, OPTIONS, lake.now(), [DAY_3]) <= 2 * size + state
    assert count_due(lake.table, OPTIONS, lake.now()) < count_due(lake.table, OPTIONS, lake.now(), [DAY_3])
    night(lake, HERE)
    assert count_due(lake.table, OPTIONS, lake.now()) == 0


def test_each_row_is_in_one_range() -> None:
    lake = prepared()
    head = lake.table.changes()
    rows = list(read_rows(head, head.files()))
    for column in ("id", "s"):
        ranges = cut_ranges(head, head.files(), column, 5)
        parts = [[row for t in rows for row in key_range.rows(t).to_pylist()] for key_range in ranges]
        assert sum(map(len, parts)) == sum(t.num_rows for t in rows)
        assert all(parts)
        values = [{row[column] for row in part} - {None} for part in parts]
        assert all(max(a) < min(b) for a, b in pairwise(values))
        assert not any(row[column] is None for part in parts[:-1] for row in part)
    assert len(cut_ranges(head, head.files(), "id", 5)) == 5
    assert len(cut_ranges(head, head.files(), "s", 5)) == 2
    assert len(cut_ranges(head, [], "id", 5)) == 1


def test_clients_that_find_their_credentials_can_be_sent_to_another_process() -> None:
    sent = pickle.loads(pickle.dumps(Clients.in_region("eu-west-1")))
    assert sent.s3.meta.region_name == "eu-west-1"
    assert pickle.loads(pickle.dumps(sent)) is pickle.loads(pickle.dumps(sent))
    with pytest.raises(TypeError, match="cannot be sent to another process"):
        pickle.dumps(Clients.of(boto3.Session("a", "b", region_name="eu-west-1")))
