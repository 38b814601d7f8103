"""The commit of a conversion: valid batches land in one snapshot, the others wait and are tried again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from pyiceberg.types import DoubleType, NestedField

from dynalake.convert import commit
from dynalake.convert.batch import BatchResult, convert_or_wait, pack_places, read_result, unpack_places
from dynalake.convert.commit import commit_results
from dynalake.convert.finish import Finished, finish_table
from dynalake.convert.plan import Batch, ConvertLimits, TablePlan
from dynalake.errors import ConflictError, LedgerError, NotReadyError, UnknownOutcomeError
from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.iceberg import Change as Commit
from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.catalog.table import BOUND, GRACE, HISTORY_FROM, SNAPSHOT_RUN, Table
from dynalake.lake.files.folders import Part, Sums, read_manifests
from dynalake.lake.working import spool
from tests.support.kills import killed_before
from tests.support.memory.convert_lake import DAY_MS, HOUR, Change, ConvertLake, Row
from tests.support.memory.steps import DROP, LATE, LOSE, THROTTLE, Steps, land, use_seed
from tests.support.sweep import played

pytestmark = pytest.mark.slow


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> ConvertLake:
    use_seed(monkeypatch, 1)
    lake = ConvertLake()
    lake.create()
    return lake


def numbers(lake: ConvertLake) -> list[int]:
    return [row.sequence for row in lake.rows()]


def snapshots(lake: ConvertLake) -> int:
    return len(lake.table.changes().iceberg.metadata.snapshots)


def convert_all(lake: ConvertLake, plan: TablePlan) -> list[BatchResult]:
    return [lake.convert(batch) for batch in plan.batches]


def put_three(lake: ConvertLake) -> None:
    """Put objects of one time on two days; two of them share a change."""
    lake.put(lake.today, "a", [Change("a", 1, lake.now), Change("b", 2, lake.now)])
    lake.put(lake.today, "b", [Change("b", 2, lake.now), Change("c", 3, lake.now)])
    lake.put(lake.day(1), "c", [Change("d", 4, lake.now)])


# -- together ------------------------------------------------------------------------------------------------------


def test_batches_of_a_run_land_in_one_snapshot(lake: ConvertLake) -> None:
    lake.limits = ConvertLimits(batch_objects=1)
    for name in "abc":
        lake.put(lake.today, name, [Change(name, ord(name), lake.now), Change("z", ord(name) + 50, lake.now + HOUR)])
    lake.run()  # the first one also adds a column
    before = snapshots(lake)
    for name in "def":
        lake.put(lake.today, name, [Change(name, ord(name), lake.now), Change("z", ord(name) + 50, lake.now + HOUR)])

    done = lake.run()

    assert done is not None
    assert (done.batches, done.sums.rows, done.waiting, done.passes) == (3, 6, (), 1)
    assert snapshots(lake) == before + 1
    assert len(lake.rows()) == 12
    assert lake.s3.keys(lake.names.conversions) == set()


def test_a_manifest_names_the_objects_of_its_folder(lake: ConvertLake) -> None:
    key = lake.put(lake.today, "a", [Change("a", 1, lake.now), Change("a", 1, lake.now), "broken"])
    plan = lake.plan()
    lake.run()

    (file,) = lake.table.changes().files()
    manifest = read_manifests(Table(lake.table.clients, lake.names), [file.folder])[file.folder]

    assert manifest is not None
    assert [(i.key, i.etag) for i in manifest.inputs] == [(key, plan.batches[0].inputs[0].etag)]
    assert manifest.parts == (Part(file.path, file.size, 1),)
    assert manifest.sums == Sums(lines=3, rows=1, duplicates=1, rejected=1)
    assert (manifest.day, manifest.made_at) == (lake.today, lake.now)


def test_the_later_of_two_batches_with_the_same_change_is_converted_again(lake: ConvertLake) -> None:
    lake.limits = ConvertLimits(batch_objects=1)
    put_three(lake)

    done = lake.run()

    assert done is not None
    assert numbers(lake) == [1, 2, 3, 4]
    assert (done.passes, done.waiting, done.batches, done.objects) == (2, (), 3, 3)
    assert (done.sums.lines, done.sums.rows, done.sums.repeats) == (5, 4, 1)
    assert lake.run() is None


def test_batches_that_still_wait_are_left_to_the_next_run_and_reported(lake: ConvertLake) -> None:
    lake.limits = ConvertLimits(batch_objects=1, passes=1)
    put_three(lake)

    done = lake.run()

    assert done is not None
    assert done.waiting == ((lake.today, 1, "it shares a change with batch 0"),)
    assert numbers(lake) == [1, 2, 4]
    lake.run()
    assert numbers(lake) == [1, 2, 3, 4]
    assert Finished.from_dict(done.to_dict()) == done


def test_many_waiting_batches_are_left_to_the_next_run(lake: ConvertLake) -> None:
    lake.limits = ConvertLimits(batch_objects=1)
    object.__setattr__(lake.limits, "again_mb", 0)
    put_three(lake)

    done = lake.run()

    assert done is not None
    assert (done.passes, len(done.waiting)) == (1, 1)
    assert lake.run() is not None
    assert numbers(lake) == [1, 2, 3, 4]


# -- others --------------------------------------------------------------------------------------------------------


def test_only_one_of_two_runs_over_the_same_objects_counts(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    lake.put(lake.today, "empty", ['{"__operation":"CANARY","__canary_id":"x"}'])
    first, second = lake.plan(), lake.plan()
    for plan in (first, second):
        convert_all(lake, plan)

    assert lake.finish(first).batches == 1
    after = snapshots(lake)
    done = lake.finish(second)

    assert (done.batches, done.waiting) == (0, ())
    assert (numbers(lake), snapshots(lake)) == ([1], after)


def test_an_object_without_rows_is_named_only_once_too(lake: ConvertLake) -> None:
    """No row could overlap: only its name shows that another run was first."""
    lake.put(lake.today, "canary", ['{"__operation":"CANARY","__canary_id":"x"}'])
    first, second = lake.plan(), lake.plan()
    for plan in (first, second):
        convert_all(lake, plan)
        lake.finish(plan)

    assert len(lake.folders()) == 1


def test_a_change_that_another_run_has_committed_is_not_committed_again(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    slow = lake.plan()
    convert_all(lake, slow)
    lake.put(lake.today, "b", [Change("a", 1, lake.now), Change("b", 2, lake.now)])
    fast = replace(lake.plan(), batches=tuple(b for b in lake.plan().batches))
    only_b = [replace(b, inputs=tuple(i for i in b.inputs if i.key.endswith("b.gz"))) for b in fast.batches]
    commit_results(
        lake.table,
        lake.table.changes(),
        lake.table.items(),
        [lake.convert(b) for b in only_b],
        lambda: lake.clock.moment,
        lake.state.merge_late,
    )
    assert numbers(lake) == [1, 2]

    done = lake.finish(slow)

    assert numbers(lake) == [1, 2]
    assert (done.passes, done.sums.repeats, done.waiting) == (2, 1, ())
    assert lake.run() is None


def test_later_rows_of_another_time_delay_no_batch(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    slow = lake.plan()
    convert_all(lake, slow)
    other = lake.put(lake.day(1), "b", [Change("b", 2, lake.now - DAY_MS)])
    lake.s3.delete_object(Key=f"{lake.names.raw_day(lake.today)}a.gz")
    lake.run()
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])

    assert lake.finish(slow).passes == 1
    assert (numbers(lake), other) == ([1, 2], other)


def test_everything_is_planned_again_after_the_table_was_recreated(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    plan = lake.plan()
    (result,) = convert_all(lake, plan)
    del lake.glue.tables[lake.names.changes_table]
    for key in lake.s3.keys(lake.names.state_prefix + "iceberg/"):
        lake.s3.delete_object(Key=key)
    for key in lake.s3.keys(lake.names.changes_location + "/"):
        lake.s3.delete_object(Key=key)
    for key in lake.s3.keys(lake.names.conversion_result(plan.batches[0].plan, 0)):
        lake.s3.delete_object(Key=key)
    lake.create()

    with pytest.raises(ConflictError, match="made again"):
        lake.convert(plan.batches[0])
    done = commit_results(
        lake.table, lake.table.changes(), lake.table.items(), [result], lambda: lake.clock.moment, lake.state.merge_late
    )
    assert [w.reason for w in done.waiting] == ["The table receipts was deleted and made again in the meantime"]


def test_a_batch_waits_if_a_column_was_widened_since(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    lake.run()
    lake.put(lake.today, "b", [Change("b", 2, lake.now)])
    plan = lake.plan()
    convert_all(lake, plan)
    head = lake.table.changes()
    fields = [f for f in head.schema.fields if f.name != "value"]
    wider = type(head.schema)(*fields, NestedField(head.last_column_id + 1, "value", DoubleType()), schema_id=9)
    lake.table.catalog.commit(head, Commit(schema=wider))
    results = [r for b in plan.batches if (r := read_result(lake.table, b.plan, b.number)) is not None]

    done = commit_results(
        lake.table, lake.table.changes(), lake.table.items(), results, lambda: lake.clock.moment, lake.state.merge_late
    )

    assert [w.reason for w in done.waiting] == ["The type of value in the table receipts has changed in the meantime"]
    assert numbers(lake) == [1]


# -- Glue ----------------------------------------------------------------------------------------------------------


def with_faults(lake: ConvertLake, faults: list[str], function: Callable[[], Any]) -> Any:
    """Run as a worker whose updates of Glue have these faults."""
    steps = Steps(0, lake.glue)
    steps.faults = lambda worker: faults.pop(0) if faults else ""
    lake.s3.on_call = lake.glue.on_call = steps.on_call
    worker = steps.finish(steps.start("run", function))
    lake.s3.on_call = lake.glue.on_call = lambda service, call, request: None
    if worker.raised is not None:
        raise worker.raised
    return worker.returned


def test_a_commit_whose_answer_was_lost_counts(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    plan = lake.plan()
    convert_all(lake, plan)

    done = with_faults(lake, [LOSE], lambda: lake.finish(plan, lake.other()))

    assert (done.batches, done.waiting) == (1, ())
    assert numbers(lake) == [1]


@pytest.mark.parametrize("fault", [DROP, LATE])
def test_an_unknown_outcome_ends_the_task_and_the_retry_resolves_it(lake: ConvertLake, fault: str) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    plan = lake.plan()
    convert_all(lake, plan)
    with pytest.raises(UnknownOutcomeError):
        with_faults(lake, [fault], lambda: lake.finish(plan, lake.other()))
    assert numbers(lake) == []
    landed = bool(lake.glue.late) and land(lake.glue)

    done = lake.finish(plan)

    assert landed == (fault == LATE)
    assert (done.batches, done.waiting, done.failed, done.sums.rows) == (1, (), (), 1)
    assert numbers(lake) == [1]
    assert lake.run() is None


def test_a_call_that_arrives_after_its_retry_is_refused(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    plan = lake.plan()
    convert_all(lake, plan)
    with pytest.raises(UnknownOutcomeError):
        with_faults(lake, [LATE], lambda: lake.finish(plan, lake.other()))

    lake.finish(plan)

    assert not land(lake.glue)
    assert numbers(lake) == [1]


def test_a_refused_commit_lands_after_the_others(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    plan = lake.plan()
    convert_all(lake, plan)
    calls: list[str] = []

    def others_first(service: str, call: str, request: dict[str, Any]) -> None:
        if call == "update_table" and request["TableInput"]["Name"] == lake.names.changes_table:
            calls.append(call)
            if len(calls) == 1:
                head = lake.table.changes()
                lake.table.catalog.commit(head, Commit(note={"somebody": "else"}))

    lake.glue.on_call = others_first
    done = lake.finish(plan)

    assert (done.batches, len(calls)) == (1, 3)
    assert numbers(lake) == [1]


def test_throttling_is_tried_again(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    plan = lake.plan()
    convert_all(lake, plan)

    assert with_faults(lake, [THROTTLE, THROTTLE], lambda: lake.finish(plan, lake.other())).batches == 1


def test_a_run_whose_last_task_is_tried_again_has_not_failed(lake: ConvertLake) -> None:
    """The last task is tried again after it has deleted the plan."""
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    plan = lake.plan()
    convert_all(lake, plan)
    lake.finish(plan)

    again = lake.finish(plan)

    assert (again.batches, again.failed, again.waiting) == (0, (), ())


# -- attempts ------------------------------------------------------------------------------------------------------


def test_the_first_result_of_two_attempts_counts_and_the_other_is_deleted(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    plan = lake.plan()
    (batch,) = plan.batches
    steps = Steps(0, lake.glue)
    lake.s3.on_call = lake.glue.on_call = steps.on_call
    slow = steps.start("slow", lambda: lake.convert(batch, lake.other()))
    while not any("part-" in call for call in slow.calls):
        steps.advance(slow)
    first = steps.finish(steps.start("fast", lambda: lake.convert(batch, lake.other()))).returned
    assert steps.finish(slow).returned == first
    lake.s3.on_call = lake.glue.on_call = lambda service, call, request: None
    folder = lake.names.change_folder(batch.day, batch.folder)
    assert len(lake.s3.keys(folder)) == 2

    lake.finish(plan)

    assert {lake.names.uri(key) for key in lake.s3.keys(folder)} == {first.folders[0].parts[0].path}
    assert numbers(lake) == [1]


def test_the_result_of_a_late_attempt_removes_no_live_file(lake: ConvertLake) -> None:
    """The run is over and its plan is deleted, so a frozen attempt puts its own result; the commit is tried again."""
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    plan = lake.plan()
    (batch,) = plan.batches
    steps = Steps(0, lake.glue)
    lake.s3.on_call = lake.glue.on_call = steps.on_call
    frozen = steps.start("frozen", lambda: lake.convert(batch, lake.other()))
    while not any("part-" in call for call in frozen.calls):
        steps.advance(frozen)
    lake.convert(batch)
    lake.finish(plan)
    (live,) = lake.table.changes().files()
    steps.finish(frozen)
    lake.s3.on_call = lake.glue.on_call = lambda service, call, request: None
    assert lake.s3.keys(lake.names.conversion_result(batch.plan, 0))

    done = lake.finish(plan)

    assert done.waiting == ()
    assert numbers(lake) == [1]
    assert [f.path for f in lake.table.changes().files()] == [live.path]
    assert lake.run() is None


def test_an_uncommitted_folder_with_another_manifest_waits(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    plan = lake.plan()
    (result,) = convert_all(lake, plan)
    key = lake.names.folder_manifest(result.folders[0].folder)
    lake.s3.put_object(Key=key, Body=b"{}")

    done = commit_results(
        lake.table, lake.table.changes(), lake.table.items(), [result], lambda: lake.clock.moment, lake.state.merge_late
    )

    assert ["another manifest" in w.reason for w in done.waiting] == [True]
    assert lake.s3.keys(lake.names.change_folder(lake.today, result.batch.folder))  # nothing was deleted


@pytest.mark.parametrize("body", [None, b"", b"not Parquet at all, PAR1"])
def test_a_batch_waits_if_a_file_is_missing_or_changed(lake: ConvertLake, body: bytes | None) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    plan = lake.plan()
    (result,) = convert_all(lake, plan)
    key = result.folders[0].parts[0].path.removeprefix(lake.names.uri(""))
    if body is None:
        lake.s3.delete_object(Key=key)
    else:
        lake.s3.put_object(Key=key, Body=body)

    done = lake.finish(plan)

    assert (done.passes, done.batches, done.waiting) == (2, 1, ())
    assert numbers(lake) == [1]


def test_wrong_counts_stop_the_table_before_anything_is_committed(lake: ConvertLake) -> None:
    lake.limits = ConvertLimits(batch_objects=1)
    put_three(lake)
    results = convert_all(lake, lake.plan())
    wrong = replace(results[1], sums=replace(results[1].sums, rows=1))
    before = set(lake.s3.objects)

    with pytest.raises(LedgerError, match=r"Batch 1 .* 2 lines, but they gave 1 rows"):
        commit_results(
            lake.table,
            lake.table.changes(),
            lake.table.items(),
            [results[0], wrong],
            lambda: lake.clock.moment,
            lake.state.merge_late,
        )
    folder = results[1].folders[0]
    fewer = replace(folder, parts=(folder.parts[0]._replace(rows=1),))
    with pytest.raises(LedgerError, match="has 2 rows, but 1 were written"):
        commit_results(
            lake.table,
            lake.table.changes(),
            lake.table.items(),
            [results[0], replace(results[1], folders=(fewer,))],
            lambda: lake.clock.moment,
            lake.state.merge_late,
        )

    assert (lake.rows(), set(lake.s3.objects)) == ([], before)


# -- age -----------------------------------------------------------------------------------------------------------


def frozen_until_collected(lake: ConvertLake) -> Finished:
    """Let a commit sleep for ten days after reading its files, while unreferenced files are collected."""
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    plan = lake.plan()
    convert_all(lake, plan)
    steps = Steps(0, lake.glue)
    lake.s3.on_call = lake.glue.on_call = steps.on_call
    worker = steps.start("commit", lambda: lake.finish(plan, lake.other()))
    while not any(call.startswith("s3.put_object") and "manifests" in call for call in worker.calls):
        steps.advance(worker)
    steps.advance(worker)
    lake.clock.move(seconds=GRACE.total_seconds() + 1)
    for key in lake.s3.keys(f"{lake.names.changes_location}/dt="):
        lake.s3.delete_object(Key=key)
    lake.put(lake.today, "b", [Change("b", 2, lake.now)])
    steps.finish(worker)
    lake.s3.on_call = lake.glue.on_call = lambda service, call, request: None
    assert worker.raised is None
    done: Finished = worker.returned
    return done


def missing(lake: ConvertLake) -> list[str]:
    paths = [f.path.removeprefix(lake.names.uri("")) for f in lake.table.changes().files()]
    return [path for path in paths if path not in lake.s3.objects]


def test_files_as_old_as_half_the_grace_are_not_committed(lake: ConvertLake) -> None:
    done = frozen_until_collected(lake)

    assert missing(lake) == []
    assert (done.batches, done.passes) == (1, 2)
    assert numbers(lake) == [1]


def test_missing_files_would_be_committed_without_the_check_of_age(
    lake: ConvertLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "check_age", lambda *args: None)

    frozen_until_collected(lake)

    assert missing(lake) != []


# -- late changes --------------------------------------------------------------------------------------------------


def bind(lake: ConvertLake, bound: int) -> None:
    lake.table.catalog.commit(lake.table.changes(), Commit(properties={BOUND: str(bound)}))


def test_late_changes_reach_the_state_before_they_are_committed(lake: ConvertLake) -> None:
    bind(lake, lake.now)
    lake.limits = ConvertLimits(batch_objects=1)
    lake.put(lake.today, "late", [Change("a", 1, lake.now), Change("b", 2, lake.now + 1)])
    lake.put(lake.today, "new", [Change("c", 3, lake.now + 1)])
    merged: list[tuple[list[str], int]] = []

    def merge(table: Table, head: Head, state: Head, files: Sequence[DataFile]) -> None:
        merged.append(([f.partition for f in files], len(lake.rows())))
        lake.state.merge_late(table, head, state, files)

    plan = lake.plan()
    results = convert_all(lake, plan)
    done = finish_table(
        lake.table,
        plan.batches[0].plan,
        dict(enumerate(results)),
        lake.limits,
        lambda: lake.clock.moment,
        read=lake.read,
        merge=merge,
    )

    assert merged == [([lake.today], 0)]
    assert (done.late, numbers(lake)) == (2, [1, 2, 3])
    assert lake.state.merged == {("a", 1)}


@pytest.mark.parametrize("error", [NotReadyError("too much"), ConflictError("another type")])
def test_waiting_late_changes_delay_no_other_batch(lake: ConvertLake, error: Exception) -> None:
    bind(lake, lake.now)
    lake.limits = ConvertLimits(batch_objects=1, passes=1)
    lake.put(lake.today, "late", [Change("a", 1, lake.now)])
    lake.put(lake.today, "new", [Change("c", 3, lake.now + 1)])

    def refuse(table: Table, head: Head, state: Head, files: Sequence[DataFile]) -> None:
        raise error

    plan = lake.plan()
    results = convert_all(lake, plan)
    done = commit_results(
        lake.table, lake.table.changes(), lake.table.items(), results, lambda: lake.clock.moment, refuse
    )

    assert numbers(lake) == [3]
    assert [w.reason for w in done.waiting] == [error.received]  # type: ignore[attr-defined]


def test_changes_become_late_again_when_the_bound_rises(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    lake.put(lake.today, "b", [Change("b", 2, lake.now + HOUR)])
    plan = lake.plan()
    results = convert_all(lake, plan)
    bounds: list[int] = []

    def raise_bound(service: str, call: str, request: dict[str, Any]) -> None:
        if call == "update_table" and not bounds:
            bounds.append(lake.now)
            bind(lake, lake.now)

    lake.glue.on_call = raise_bound
    done = commit_results(
        lake.table, lake.table.changes(), lake.table.items(), results, lambda: lake.clock.moment, lake.state.merge_late
    )

    assert (numbers(lake), done.waiting) == ([1, 2], ())
    assert lake.state.merged == {("a", 1)}


def test_everything_waits_while_the_bound_keeps_rising(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now + DAY_MS)])
    results = convert_all(lake, lake.plan())
    within: list[int] = []

    def raise_bound(service: str, call: str, request: dict[str, Any]) -> None:
        if call == "update_table" and not within:
            within.append(1)
            bind(lake, int(lake.table.changes().properties[BOUND]) + 1)
            within.clear()

    lake.glue.on_call = raise_bound
    done = commit_results(
        lake.table, lake.table.changes(), lake.table.items(), results, lambda: lake.clock.moment, lake.state.merge_late
    )

    assert (len(done.waiting), done.results) == (1, ())


def test_a_batch_waits_if_history_now_begins_later(lake: ConvertLake) -> None:
    lake.put(lake.day(3), "a", [Change("a", 1, lake.now - 3 * DAY_MS)])
    plan = lake.plan()
    convert_all(lake, plan)
    calls: list[str] = []

    def drop(service: str, call: str, request: dict[str, Any]) -> None:
        if call == "update_table" and not calls:
            calls.append(call)
            lake.table.catalog.commit(lake.table.changes(), Commit(properties={HISTORY_FROM: lake.day(1)}))

    lake.glue.on_call = drop
    done = lake.finish(plan)

    assert (done.batches, numbers(lake)) == (0, [])
    assert lake.run() is None


def test_an_unfinished_swap_is_reported_and_delays_no_batch(lake: ConvertLake) -> None:
    lake.table.catalog.commit(lake.table.items(), Commit(properties={SNAPSHOT_RUN: "3"}))
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])

    done = lake.run()

    assert done is not None
    assert [f.kind for f in done.findings] == ["snapshot"]
    assert numbers(lake) == [1]


# -- a named day ---------------------------------------------------------------------------------------------------


def values(lake: ConvertLake) -> list[tuple[str, int, str, str]]:
    return [(r.id, r.sequence, r.value, r.day) for r in lake.rows()]


def test_the_raw_objects_of_a_named_day_replace_only_its_own_rows(lake: ConvertLake) -> None:
    day, other = lake.day(1), lake.today
    lake.put(day, "gone", [Change("g", 1, lake.now - HOUR)])
    lake.put(day, "a", [Change("a", 2, lake.now - HOUR), Change("b", 3, lake.now - HOUR)])
    lake.run()
    lake.put(other, "c", [Change("c", 4, lake.now - HOUR)])
    lake.run()
    lake.s3.delete_object(Key=f"{lake.names.raw_day(day)}gone.gz")
    # Its bytes have changed: a row is corrected, one is new, one is in the other day, one is missing.
    corrected = [Change("a", 2, lake.now - HOUR, "new"), Change("d", 5, lake.now), Change("c", 4, lake.now - HOUR, "x")]
    key = lake.put(day, "a", corrected)

    done = lake.run([day])

    assert values(lake) == [
        ("a", 2, "new", day),
        ("b", 3, "v", day),
        ("c", 4, "v", other),
        ("d", 5, "v", day),
        ("g", 1, "v", day),
    ]
    assert done is not None
    assert (done.batches, done.sums.repeats, done.waiting, done.findings) == (1, 1, (), ())
    assert lake.run() is None
    live = {f.folder for f in lake.table.changes().files({day})}
    manifests = read_manifests(Table(lake.table.clients, lake.names), live)
    named = [i.key for m in manifests.values() if m is not None for i in m.inputs]
    assert sorted(named) == [key, f"{lake.names.raw_day(day)}gone.gz"]
    assert len(live) == 2


def test_a_named_day_in_several_batches_is_replaced_at_once(lake: ConvertLake) -> None:
    lake.limits = ConvertLimits(batch_objects=1)
    for number in range(4):
        time = lake.now + number * HOUR
        lake.put(lake.today, f"o{number}", [Change("a", 2 * number, time), Change("b", 2 * number + 1, time)])
    lake.run()
    for number in range(4):
        time = lake.now + number * HOUR
        lake.put(lake.today, f"o{number}", [Change("a", 2 * number, time, "new")])
    before = snapshots(lake)

    done = lake.run([lake.today])

    assert done is not None
    assert (done.batches, done.passes, snapshots(lake)) == (4, 1, before + 1)
    assert [(r.sequence, r.value) for r in lake.rows()] == [
        (n, "v" if n % 2 else "new") for n in (0, 2, 4, 6, 1, 3, 5, 7)
    ]


def test_an_unchanged_named_day_keeps_its_rows(lake: ConvertLake) -> None:
    put_three(lake)
    lake.run()
    before = values(lake)

    for _ in range(2):
        done = lake.run([lake.today, lake.day(1), lake.day(5)])
        assert done is not None
        assert values(lake) == before
        assert done.waiting == ()
    assert lake.run() is None


@pytest.mark.parametrize("meanwhile", ["commit", "rewrite"])
def test_a_named_day_that_changes_in_the_meantime_is_read_again(lake: ConvertLake, meanwhile: str) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    lake.run()
    key = lake.put(lake.today, "a", [Change("a", 1, lake.now, "new")])
    plan = lake.plan([lake.today])
    convert_all(lake, plan)
    if meanwhile == "commit":
        lake.put(lake.day(1), "b", [Change("b", 2, lake.now)])
        lake.s3.delete_object(Key=key)
        lake.run()
        lake.put(lake.today, "a", [Change("a", 1, lake.now, "new")])
    else:
        lake.run([lake.today])

    done = lake.finish(plan)

    assert (done.passes, done.waiting, done.findings) == (2, (), ())
    assert [(r.sequence, r.value) for r in lake.rows()] == [(1, "new"), *([(2, "v")] if meanwhile == "commit" else [])]


def test_a_named_day_that_could_not_be_converted_must_be_named_again(lake: ConvertLake) -> None:
    lake.limits = ConvertLimits(passes=1)
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    lake.run()
    plan = lake.plan([lake.today])
    convert_all(lake, plan)
    lake.run([lake.today])

    done = lake.finish(plan)

    assert [(f.kind, f.day, f.plan) for f in done.findings] == [("named day", lake.today, "name it again")]
    assert numbers(lake) == [1]


def test_retrying_a_landed_commit_of_a_named_day_changes_nothing(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    lake.run()
    lake.put(lake.today, "a", [Change("a", 1, lake.now, "new")])
    plan = lake.plan([lake.today])
    convert_all(lake, plan)
    with pytest.raises(UnknownOutcomeError):
        with_faults(lake, [LATE], lambda: lake.finish(plan, lake.other()))
    land(lake.glue)
    after = snapshots(lake)

    done = lake.finish(plan)

    assert (done.batches, done.passes, snapshots(lake)) == (1, 1, after)
    assert [(r.sequence, r.value) for r in lake.rows()] == [(1, "new")]


def test_no_rows_are_removed_while_part_of_a_named_day_waits(lake: ConvertLake) -> None:
    """The day's remaining rows were written for all its batches: none is committed without the others."""
    lake.limits = ConvertLimits(batch_objects=1, passes=1)
    for number in range(2):
        lake.put(lake.today, f"o{number}", [Change("a", number, lake.now + number * HOUR)])
    lake.run()
    plan = lake.plan([lake.today])
    results = convert_all(lake, plan)
    lake.s3.put_object(Key=lake.names.folder_manifest(results[1].folders[0].folder), Body=b"{}")

    done = commit_results(
        lake.table, lake.table.changes(), lake.table.items(), results, lambda: lake.clock.moment, lake.state.merge_late
    )

    assert len(done.waiting) == 2
    assert numbers(lake) == [0, 1]


# -- midnight ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland"])
def test_a_batch_over_two_days_makes_a_folder_in_each_and_both_name_its_objects(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_seed(monkeypatch, 2)
    lake = ConvertLake(time_zone=zone)
    lake.create()
    early = lake.day(3)
    key = lake.put(
        early, "o", [Change("a", 1, lake.now - 3 * DAY_MS), Change("b", 2, lake.now), Change("c", 3, lake.now)]
    )

    done = lake.run()

    assert done is not None
    assert (done.batches, done.sums.lines, done.sums.rows) == (1, 3, 3)
    assert [(r.sequence, r.day) for r in lake.rows()] == [(1, early), (2, lake.day(1)), (3, lake.day(1))]
    manifests = read_manifests(Table(lake.table.clients, lake.names), lake.folders())
    assert sorted(m.day for m in manifests.values() if m is not None) == [early, lake.day(1)]
    assert {i.key for m in manifests.values() if m is not None for i in m.inputs} == {key}
    assert lake.run() is None
    # It comes again on the day of its rows, and once more on a later one.
    for number, ago in enumerate((1, 0)):
        lake.put(lake.day(ago), f"again{number}", [Change("b", 2, lake.now), Change("c", 3, lake.now)])
    lake.run()
    assert numbers(lake) == [1, 2, 3]
    assert lake.run() is None


def test_a_batch_with_rows_only_of_other_days_is_named_in_its_own_day(lake: ConvertLake) -> None:
    lake.put(lake.day(3), "o", [Change("b", 2, lake.now)])

    lake.run()

    assert sorted((f.partition, f.rows) for f in lake.table.changes().files()) == [(lake.day(3), 0), (lake.day(1), 1)]
    assert lake.run() is None


def test_implausible_times_still_have_a_day(lake: ConvertLake) -> None:
    changes = [Change("a", 1, -(2**63)), Change("b", 2, 2**63 - 1), Change("c", 3, 1_700_000_000_000_000)]
    for name in ("one", "two"):
        lake.put(lake.today, name, changes)
        lake.run()

    assert [(r.sequence, r.day) for r in lake.rows()] == [(1, lake.today), (2, "99991228"), (3, "99991228")]


# -- raw objects that change ---------------------------------------------------------------------------------------


def test_a_batch_waits_if_an_object_is_replaced_while_it_is_read(lake: ConvertLake) -> None:
    lake.limits = ConvertLimits(batch_objects=1)
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    lake.put(lake.today, "b", [Change("b", 2, lake.now)])
    plan = lake.plan()
    lake.put(lake.today, "a", [Change("a", 1, lake.now), Change("c", 3, lake.now)])

    with pytest.raises(ConflictError, match="has changed"):
        lake.convert(plan.batches[0])
    assert "has changed" in convert_or_wait(lake.table, plan.batches[0], lake.read).waits
    assert convert_or_wait(lake.table, plan.batches[1], lake.read).waits == ""
    done = lake.finish(plan)

    assert (numbers(lake), done.failed, done.passes) == ([1, 2, 3], (), 2)
    assert lake.run() is None


def test_a_batch_whose_task_failed_is_reported_and_planned_by_the_next_run(lake: ConvertLake) -> None:
    lake.limits = ConvertLimits(batch_objects=1)
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    lake.put(lake.today, "b", [Change("b", 2, lake.now)])
    plan = lake.plan()
    lake.convert(plan.batches[1])

    done = lake.finish(plan)

    assert (numbers(lake), done.failed, done.waiting) == ([2], (0,), ())
    lake.convert(plan.batches[0])  # the task may be asked to run again
    assert lake.finish(plan).batches == 2
    assert numbers(lake) == [1, 2]


def test_batches_and_results_survive_json() -> None:
    batch = Batch("T", "p", 3, "20240101", "f", 5, "u", None, ())
    assert Batch.from_dict(batch.to_dict()) == batch
    places = [0, 1, 5, 2**40]
    result = BatchResult(batch, 7, (), Sums(lines=1, rows=1), {"a": 1}, replaced={"x": pack_places(places)})
    assert BatchResult.from_json(result.to_json()) == result
    assert unpack_places(result.replaced["x"]).tolist() == places
    assert (batch.folder_of("20240101"), batch.folder_of("20240102")) == ("f", "f-20240102")


# -- kills ---------------------------------------------------------------------------------------------------------


def fresh(patch: pytest.MonkeyPatch) -> ConvertLake:
    use_seed(patch, 5)
    lake = ConvertLake()
    lake.create()
    lake.limits = ConvertLimits(batch_objects=1)
    bind(lake, lake.now - 1)
    lake.put(lake.day(3), "old", [Change("o", 9, lake.now - 5), Change("p", 10, lake.now)])
    put_three(lake)
    return lake


def whole_run(lake: ConvertLake, planned: list[TablePlan]) -> None:
    table = lake.other()
    if not planned:
        planned.append(lake.plan(table=table))
    for batch in planned[0].batches:
        lake.convert(batch, table)
    lake.finish(planned[0], table)


@pytest.mark.parametrize("retried", [True, False], ids=["retried", "given up"])
def test_a_kill_between_any_two_calls_neither_loses_nor_duplicates_changes(retried: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        lake = fresh(patch)
        with killed_before(lake, None) as writes:
            whole_run(lake, [])
    assert len(writes) > 30
    for place in played(range(len(writes))):
        with pytest.MonkeyPatch.context() as patch:
            lake = fresh(patch)
            planned: list[TablePlan] = []
            with killed_before(lake, place):
                whole_run(lake, planned)
            if retried and planned:
                whole_run(lake, planned)
            while lake.run() is not None:
                pass

            assert numbers(lake) == [1, 2, 3, 4, 9, 10], place
            assert lake.state.merged == {("o", 9)}


def test_rows_are_read_unchanged(lake: ConvertLake) -> None:
    """The other tests rely on this."""
    lake.put(lake.today, "a", [Change("a", 1, lake.now, "x")])
    lake.run()
    assert lake.rows() == [Row("a", 1, lake.now, "x", lake.today)]
    assert (commit_on.__name__, spool.HELD) == ("commit_on", 64 << 20)
