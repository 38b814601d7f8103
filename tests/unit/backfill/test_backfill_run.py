"""Plan, scan and commit together: idempotence, kills at every step, empty tables, ledgers."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dynalake.aws.s3 import StoredObject
from dynalake.backfill.commit.commit import commit_backfill
from dynalake.backfill.commit.ledger import Ledger, failed_sums
from dynalake.backfill.plan.run import BackfillPlan, load_plan, plan_backfill, run_name
from dynalake.backfill.scan.scan import scan_segment
from dynalake.backfill.segment.checkpoint import Checkpoint, Counts, checkpoint_key, load_checkpoint
from dynalake.errors import ConflictError, LedgerError, NotReadyError, RecordError, SettingsError, SourceError
from dynalake.lake.catalog.table import Table
from dynalake.options.backfill import BackfillOptions
from tests.support.sweep import played
from tests.unit.backfill.exports import FakeExports
from tests.unit.backfill.fakes import FakeClock, FakeTable, Kill, KilledError, receipts
from tests.unit.backfill.flow import NOW, backfill, backfill_exported
from tests.unit.backfill.world import World

RunBackfill = Callable[..., Any]

OLD, NEW = {"N": "1500000000"}, {"S": "2024-05-25T00:00:00Z"}
CUTOFF = "2019-05-25T12:00:00Z"


def test_every_item_arrives_once_as_a_snapshot_record(world: World, run_backfill: RunBackfill) -> None:
    items = receipts(400)
    committed = run_backfill(FakeTable(items, page_items=7))
    records = world.visible()
    assert sorted(record["id"] for record in records) == [item["id"]["S"] for item in items]
    assert {record["__operation"] for record in records} == {"SNAPSHOT"}
    assert {record["__sequence_number"] for record in records} == {"0" * 40}
    assert {record["__event_time"] for record in records} == {int(NOW.timestamp() * 1000)}
    assert committed.to_json() == {
        "table": "RECEIPTS",
        "run": "manual__1",
        "read": 400,
        "kept": 400,
        "filtered": 0,
        "kept_without": 0,
        "filtered_without": 0,
        "kept_future": 0,
        "kept_invalid": 0,
        "filtered_invalid": 0,
        "objects": len(world.objects("dynamodb/json/")),
        "bytes": sum(map(len, world.objects("dynamodb/json/").values())),
        "location": f"s3://{world.names.lake.bucket}/dynamodb/json/RECEIPTS/dt=00000000/manual__1/",
    }
    assert committed.ledger.segments[0].parts[1].key.endswith("/manual__1/segment-00000/part-00001.json.gz")
    assert all(part.size > 2_000 for segment in committed.ledger.segments for part in segment.parts[:-1])


def test_repeating_a_run_changes_nothing(world: World, run_backfill: RunBackfill) -> None:
    table = FakeTable(receipts(200))
    run_backfill(table)
    before, scans = world.lake(), len(table.requests)
    run_backfill(table)
    assert world.lake() == before
    assert len(table.requests) == scans


FUTURE = {"S": "2999-01-01T00:00:00Z"}


def test_an_item_with_a_time_after_its_reading_is_kept(world: World, run_backfill: RunBackfill) -> None:
    items = receipts(9, updated={0: OLD, 1: NEW, 2: FUTURE, 3: FUTURE})
    by_hand_off = run_backfill(FakeTable(items), run="one", hand_off=CUTOFF).ledger
    assert sorted(record["id"] for record in world.visible()) == [i["id"]["S"] for n, i in enumerate(items) if n != 1]
    assert by_hand_off.total == Counts(read=9, kept=8, filtered=1, kept_without=5, kept_future=2)
    assert "2 kept with a time after their reading" in by_hand_off.note()
    # Fifteen minutes after the hand-off: an application's clock may be ahead of Airflow's.
    assert by_hand_off.plan.updated_before == "2019-05-25T12:15:00.000000Z"
    # An explicit cutoff is taken literally.
    literally = run_backfill(FakeTable(items), run="two", hand_off=CUTOFF, updated_before=CUTOFF).ledger
    assert literally.total == Counts(read=9, kept=6, filtered=3, kept_without=5)
    assert "after their reading" not in literally.note()


def test_the_bytes_do_not_depend_on_pages_or_pace(world: World, run_backfill: RunBackfill) -> None:
    items = receipts(300)
    lakes = []
    for page_items in (1000, 13, 1):
        run_backfill(FakeTable(items, page_items=page_items))
        lakes.append(world.objects("dynamodb/json/"))
        world.wipe()
    assert lakes[0] == lakes[1] == lakes[2]


@pytest.mark.slow
def test_a_run_killed_at_every_step_and_retried_gives_the_same_lake(world: World, run_backfill: RunBackfill) -> None:
    updated = {n: OLD if n % 3 else NEW for n in range(0, 70, 2)}
    items = receipts(70, updated=updated)
    options = {"updated_before": CUTOFF, "segments": 2, "target_mb": 0.001}
    counter = Kill()
    run_backfill(FakeTable(items, page_items=20), counter, **options)
    expected = world.lake()
    assert len(counter.changing) > 10
    assert "put_object" in counter.changing.values()
    for step, call in played([*counter.changing.items()]):
        world.wipe()
        with pytest.raises(KilledError, match=call):
            run_backfill(FakeTable(items, page_items=20), Kill(step, after=True), **options)
        run_backfill(FakeTable(items, page_items=20), **options)
        assert world.lake() == expected, f"killed after call {step}: {call}"


def test_a_retry_after_the_table_changed_leaves_no_stale_object(world: World, run_backfill: RunBackfill) -> None:
    """The killed attempt left an object that its checkpoint does not list; then the table shrinks."""
    items = receipts(120)
    kill = Kill()
    clients = world.clients(FakeTable(items), kill)
    plan_backfill(Table(clients, world.names), "r", BackfillOptions(segments=1, target_mb=0.001), now=lambda: NOW)
    kill.calls, kill.at = 0, 7
    kill.after = True  # plan, checkpoint, listing, description, scan, first object, its checkpoint
    with pytest.raises(KilledError):
        scan_segment(Table(clients, world.names), run="r", segment=0)
    first, _ = load_checkpoint(Table(world.clients(FakeTable([])), world.names), "r", 0)
    assert len(first.parts) == 1
    stray = f"{world.names.snapshot_run('r')}segment-00000/part-00001.json.gz"
    world.s3.put_object(Bucket=world.names.lake.bucket, Key=stray, Body=gzip.compress(b'{"stale":1}\n'))

    assert first.last_key is not None
    shrunk = FakeTable([item for item in items if item["id"] == first.last_key["id"]])
    result = scan_segment(Table(world.clients(shrunk), world.names), run="r", segment=0)
    commit_backfill(Table(world.clients(shrunk), world.names), run="r")
    assert result.objects == 1
    assert list(world.objects("dynamodb/json/")) == [first.parts[0].key]
    assert len(world.visible()) == first.counts.kept == result.kept


def test_a_recreated_table_is_not_taken_for_the_same(world: World) -> None:
    """Not when the run is planned, not when a killed segment continues, and not when everything is read."""
    table = FakeTable(receipts(10))
    clients = world.clients(table)
    with pytest.raises(SourceError, match=r"deleted and made again.*table-1.*dynalake_teardown with delete_data"):
        plan_backfill(Table(clients, world.names), "r", BackfillOptions(), table_id="table-0")
    assert world.lake() == {}
    plan_backfill(Table(clients, world.names), "r", BackfillOptions(segments=2), table_id="table-1")
    scan_segment(Table(clients, world.names), run="r", segment=0)
    table.id = "table-2"
    with pytest.raises(SourceError, match="deleted and made again"):
        scan_segment(Table(clients, world.names), run="r", segment=1)
    table.id = "table-1"
    scan_segment(Table(clients, world.names), run="r", segment=1)
    table.id = "table-2"
    with pytest.raises(SourceError, match="deleted and made again"):
        commit_backfill(Table(clients, world.names), run="r")
    assert world.committed is None


def test_a_commit_deletes_stray_objects_before_it_shows_the_run(world: World, run_backfill: RunBackfill) -> None:
    table = FakeTable(receipts(10))
    clients = world.clients(table)
    plan_backfill(Table(clients, world.names), "r", BackfillOptions(segments=1))
    scan_segment(Table(clients, world.names), run="r", segment=0)
    stray = f"{world.names.snapshot_run('r')}segment-00009/part-00000.json.gz"
    world.s3.put_object(Bucket=world.names.lake.bucket, Key=stray, Body=b"x")
    commit_backfill(Table(clients, world.names), run="r")
    assert stray not in world.lake()
    assert len(world.visible()) == 10


def test_two_concurrent_attempts_do_not_mix(world: World) -> None:
    """The slower attempt finds that its object or its checkpoint already exists, and stops."""
    clients = world.clients(FakeTable(receipts(200)))
    plan_backfill(Table(clients, world.names), "r", BackfillOptions(segments=1, target_mb=0.001))
    other_done = False

    def other(_: object) -> None:
        nonlocal other_done
        if not other_done:
            other_done = True
            scan_segment(Table(clients, world.names), run="r", segment=0)

    with pytest.raises(ConflictError, match="another attempt"):
        scan_segment(Table(clients, world.names), run="r", segment=0, progress=other)
    assert scan_segment(Table(clients, world.names), run="r", segment=0).kept == 200
    commit_backfill(Table(clients, world.names), run="r")
    assert len(world.visible()) == 200


@pytest.mark.parametrize("count", [0, 1])
def test_a_table_with_no_item_or_one(world: World, run_backfill: RunBackfill, count: int) -> None:
    committed = run_backfill(FakeTable(receipts(count)))
    assert committed.ledger.total.read == count
    assert committed.location.endswith("/dt=00000000/manual__1/")
    assert len(world.visible()) == len(world.objects("dynamodb/json/")) == count


def test_items_of_400_kb(world: World, run_backfill: RunBackfill) -> None:
    items = receipts(5, padding=409_000)
    run_backfill(FakeTable(items, page_items=2), segments=1)
    assert sorted(len(record["note"]) for record in world.visible()) == [409_000] * 5


def test_the_filter_and_its_counts(world: World, run_backfill: RunBackfill) -> None:
    items = receipts(90, updated={n: (OLD if n % 3 == 0 else NEW) for n in range(60)})
    ledger = run_backfill(FakeTable(items), updated_before=CUTOFF).ledger
    assert ledger.total.values() == (90, 50, 40, 30, 0, 0, 0, 0)
    ledger = run_backfill(FakeTable(items), updated_before=CUTOFF, missing_updated_at="drop", run="again").ledger
    assert ledger.total.values() == (90, 20, 70, 0, 30, 0, 0, 0)
    assert {record["id"] for record in world.visible()} == {f"r-{n:05d}" for n in range(0, 60, 3)}
    assert "| **total** | 90 | 20 | 70 | 0 | 30 |" in ledger.markdown()


def test_a_long_stretch_of_filtered_items_is_checkpointed(
    world: World, run_backfill: RunBackfill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynalake.backfill.segment.segment.DROPPED_ITEMS", 10)
    table = FakeTable(receipts(95, updated=dict.fromkeys(range(95), NEW)), page_items=30)
    clients = world.clients(table)
    plan_backfill(Table(clients, world.names), "r", BackfillOptions(segments=1, updated_before=CUTOFF))
    checkpoints: list[int] = []
    scan_segment(
        Table(clients, world.names), run="r", segment=0, progress=lambda result: checkpoints.append(result.read)
    )
    assert checkpoints == [*range(10, 100, 10), 95]


INVALID: dict[int, dict[str, Any]] = {
    3: {"S": "n/a"},
    4: {"S": ""},
    5: {"S": "0000-00-00 00:00:00"},
    6: {"BOOL": True},
    7: {"N": "1E+20"},
}


@pytest.mark.parametrize(("invalid", "kept"), [("keep", 7), ("drop", 2)])
@pytest.mark.parametrize("method", ["scan", "export"])
def test_an_invalid_time_is_kept_or_dropped_and_counted(world: World, method: str, invalid: str, kept: int) -> None:
    """One bad item never stops the others, whatever the method; the note names some of them."""
    items = receipts(8, updated={0: OLD, 1: NEW, 2: OLD, **INVALID})
    options: dict[str, Any] = {
        "updated_before": CUTOFF,
        "invalid_updated_at": invalid,
        "segments": 1,
        "target_mb": 0.0001,
    }
    if method == "scan":
        committed = backfill(world.clients(FakeTable(items, page_items=2)), world.names, **options)
    else:
        committed = backfill_exported(world.clients(FakeExports(items, world.s3, files=1)), world.names, **options)
    dropped = len(INVALID) if invalid == "drop" else 0
    counts = Counts(8, kept, 1 + dropped, kept_invalid=len(INVALID) - dropped, filtered_invalid=dropped)
    assert committed.ledger.total == counts
    assert len(world.visible()) == kept
    assert {record["__sequence_number"] for record in world.visible()} == {"0" * 40}
    note = committed.ledger.note()
    assert f"{len(INVALID) - dropped} kept and {dropped} dropped whose updatedAt is not a time, such as id=" in note
    named = re.findall(r"id='r-0000(\d)'", note)
    assert len(named) == len(set(named)) == 3
    assert set(map(int, named)) <= set(INVALID)


def test_the_examples_leave_room_in_the_note(world: World, run_backfill: RunBackfill) -> None:
    """Airflow's note has 1,000 characters, and a key may have 2,048."""
    items = receipts(5, updated={n: {"S": "n/a"} for n in range(5)})
    for item in items:
        item["id"] = {"S": item["id"]["S"] + "x" * 2000}
    note = run_backfill(FakeTable(items), updated_before=CUTOFF).ledger.note()
    assert len(note) < 1000
    assert "5 kept and 0 dropped" in note


def test_a_run_may_fail_on_an_invalid_time(world: World, run_backfill: RunBackfill) -> None:
    items = receipts(5, updated={3: {"S": "n/a" * 1000}})
    with pytest.raises(RecordError, match=r"id='r-00003' is 'n/a.*… which|invalid_updated_at") as caught:
        run_backfill(FakeTable(items), updated_before=CUTOFF, invalid_updated_at="fail")
    assert len(str(caught.value)) < 600


def test_a_failed_run_keeps_the_last_snapshot(world: World, run_backfill: RunBackfill) -> None:
    run_backfill(FakeTable(receipts(20)), run="first")
    before = world.visible()
    clients = world.clients(FakeTable(receipts(30)))
    plan_backfill(Table(clients, world.names), "second", BackfillOptions(segments=2, target_mb=0.001))
    with pytest.raises(NotReadyError, match="unfinished in segment\\(s\\) 0, 1"):
        commit_backfill(Table(clients, world.names), run="second")
    scan_segment(Table(clients, world.names), run="second", segment=0)
    with pytest.raises(NotReadyError, match="unfinished in segment\\(s\\) 1"):
        commit_backfill(Table(clients, world.names), run="second")
    scan_segment(Table(clients, world.names), run="second", segment=1)
    key = next(iter(world.objects(world.names.snapshot_run("second"))))
    good = world.objects(key)[key]
    for wrong, message in ((b"", "0 bytes in S3"), (bytes(len(good)), "differs from the object that was written")):
        world.s3.put_object(Bucket=world.names.lake.bucket, Key=key, Body=wrong)
        with pytest.raises(LedgerError, match=message):
            commit_backfill(Table(clients, world.names), run="second")
    world.s3.delete_object(Bucket=world.names.lake.bucket, Key=key)
    with pytest.raises(LedgerError, match="is not in S3"):
        commit_backfill(Table(clients, world.names), run="second")
    assert world.visible() == before


def test_sums_that_do_not_match_are_named(world: World, run_backfill: RunBackfill) -> None:
    ledger = run_backfill(FakeTable(receipts(50)), segments=2).ledger
    listed = [StoredObject(part.key, part.size, part.etag, 0) for part in ledger.parts]
    assert list(failed_sums(ledger, listed)) == []
    first: Checkpoint = ledger.segments[0]
    wrong = replace(first, counts=replace(first.counts, read=1, kept_without=10**6))
    failed = "; ".join(failed_sums(Ledger(ledger.plan, (wrong, ledger.segments[1])), listed))
    assert "segment 0: read 1 ≠ kept" in failed
    assert "total: read" in failed
    assert "1,000,000 kept without a time" in failed
    wrong = replace(first, counts=replace(first.counts, kept_future=10**6))
    failed = "; ".join(failed_sums(Ledger(ledger.plan, (wrong, ledger.segments[1])), listed))
    assert "0 kept without a time, 1,000,000 with a future and 0 with an invalid one" in failed
    wrong = replace(first, counts=replace(first.counts, kept_invalid=10**6, filtered_invalid=10**6))
    failed = "; ".join(failed_sums(Ledger(ledger.plan, (wrong, ledger.segments[1])), listed))
    assert "1,000,000 with an invalid one, of" in failed
    assert "0 dropped without a time and 1,000,000 with an invalid one" in failed
    without_part = replace(first, parts=first.parts[1:])
    assert "but its objects hold" in "; ".join(
        failed_sums(Ledger(ledger.plan, (without_part, ledger.segments[1])), listed)
    )
    assert "segments 0 to 1 planned, [0] found" in "; ".join(failed_sums(Ledger(ledger.plan, (first,)), listed))


def test_the_plan_is_decided_once(world: World) -> None:
    table = FakeTable(receipts(10))
    clients = world.clients(table)
    first = plan_backfill(
        Table(clients, world.names), "manual__2026-11-23T05:49:00+00:00", BackfillOptions(updated_before=CUTOFF)
    )
    second = plan_backfill(
        Table(clients, world.names), "manual__2026-11-23T05:49:00+00:00", BackfillOptions(updated_before="1")
    )
    assert second == first == load_plan(Table(clients, world.names), first.run)
    assert first.updated_before == "2019-05-25T12:00:00.000000Z"
    assert BackfillPlan.from_json(json.loads(json.dumps(first.to_json()))) == first
    assert first.run == run_name("manual__2026-11-23T05:49:00+00:00")
    assert first.method == "scan"
    assert first.segments == 4


def test_a_dry_run_writes_nothing(world: World) -> None:
    plan = plan_backfill(
        Table(world.clients(FakeTable(receipts(50_000))), world.names),
        "r",
        BackfillOptions(dry_run=True, max_read_capacity=10),
    )
    assert (plan.estimated_items, plan.estimated_bytes, plan.estimated_read_units) == (50_000, 5_000_000, 610.5)
    assert plan.estimated_seconds == 62
    assert plan.estimated_dollars == 0.000076
    assert world.lake() == {}
    assert "| read units (estimate) | 610.5 |" in plan.summary()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"read_capacity_percent": 50}, "on demand"),
        ({"updated_before": "soon"}, "updated_before is 'soon'"),
    ],
)
def test_invalid_parameters_are_refused(world: World, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        plan_backfill(Table(world.clients(FakeTable([])), world.names), "r", BackfillOptions(**options))
    assert world.lake() == {}


def test_no_table_no_plan_no_segment(world: World) -> None:
    clients = world.clients(FakeTable([]))
    with pytest.raises(SourceError, match="no DynamoDB table 'NOPE'"):
        plan_backfill(Table(clients, world.names.lake.table("NOPE")), "r", BackfillOptions())
    with pytest.raises(NotReadyError, match="no plan"):
        scan_segment(Table(clients, world.names), run="r", segment=0)
    plan_backfill(Table(clients, world.names), "r", BackfillOptions(segments=2))
    with pytest.raises(SettingsError, match="segment is 2"):
        scan_segment(Table(clients, world.names), run="r", segment=2)


def test_a_binary_key_survives_the_checkpoint() -> None:
    checkpoint = Checkpoint(1, last_key={"id": {"B": b"\x00\xff"}, "n": {"N": "1.50"}})
    assert Checkpoint.from_json(json.loads(json.dumps(checkpoint.to_json()))) == checkpoint


def test_state_names(world: World) -> None:
    assert checkpoint_key(world.names, "r", 3) == "dynamodb-state/RECEIPTS/backfill/r/segment-00003.json"


def test_the_scan_stays_within_the_capacity(world: World) -> None:
    clock = FakeClock()
    table = FakeTable(receipts(4000, padding=5), units_per_item=0.5, clock=clock, page_seconds=0.01)
    clients = world.clients(table)
    plan_backfill(
        Table(clients, world.names), "r", BackfillOptions(segments=2, max_read_capacity=100, consistent_read=True)
    )
    scan_segment(Table(clients, world.names), run="r", segment=0, clock=clock, sleep=clock.sleep)
    started, ended = table.consumed[0][0], table.consumed[-1][0]
    units = sum(units for _, units in table.consumed)
    assert 0.85 * 100 <= units / (ended - started) <= 1.05 * 100
    assert all(request["ConsistentRead"] for request in table.requests)
