"""Which objects of a table are due, in which batches, and the number of calls."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.aws.s3 import StoredObject
from dynalake.convert.named import NamedCopy
from dynalake.convert.plan import Batch, ConvertLimits, first_day, plan_again, plan_due, read_batch_plan, split
from dynalake.errors import ConflictError, SettingsError
from dynalake.lake.catalog.iceberg import Change as Commit
from dynalake.lake.catalog.table import HISTORY_FROM
from dynalake.lake.files.folders import new_folder
from tests.support.memory.convert_lake import DAY_MS, HOUR, Change, ConvertLake


@pytest.fixture
def lake() -> ConvertLake:
    lake = ConvertLake()
    lake.create()
    return lake


def raw(day: str, name: str, etag: str = "e", size: int = 1) -> StoredObject:
    return StoredObject(f"dynamodb/json/T/dt={day}/{name}", size, f'"{etag}"', 0)


def keys(batch: Batch) -> list[str]:
    return [i.key.rpartition("/")[2].removesuffix(".gz") for i in batch.inputs]


def calls(lake: ConvertLake) -> Counter[str]:
    """Return the number of planning calls by kind."""
    counted: Counter[str] = Counter()

    def count(service: str, call: str, request: dict[str, Any]) -> None:
        counted[f"{service}.{call}"] += 1

    lake.s3.on_call = lake.glue.on_call = count
    lake.plan()
    lake.s3.on_call = lake.glue.on_call = lambda service, call, request: None
    return counted


# -- pure ----------------------------------------------------------------------------------------------------------


def test_objects_that_no_live_folder_names_are_due_newest_day_first() -> None:
    objects = [raw("20240101", "a"), raw("20240102", "b"), raw("20240101", "c", "new"), raw("20240103", "d")]
    named = {objects[0].key: {"e"}, objects[2].key: {"e", "old"}, objects[3].key: {"e"}}

    due = plan_due(objects, named)

    assert [(d.day, [o.key[-1] for o in d.objects], d.again) for d in due] == [
        ("20240102", ["b"], False),
        ("20240101", ["c"], False),
    ]
    again = plan_due(objects, named, {"20240101", "20240109"})
    assert [(d.day, [o.key[-1] for o in d.objects], d.again) for d in again] == [
        ("20240102", ["b"], False),
        ("20240101", ["a", "c"], True),
    ]


@given(st.lists(st.integers(1, 5 << 20), max_size=40), st.integers(1, 4), st.integers(1, 9))
def test_batches_are_within_the_limits_and_leave_nothing_out(sizes: list[int], mb: int, most: int) -> None:
    objects = [raw("20240101", f"{n:03d}", size=size) for n, size in enumerate(sizes)]

    groups = list(split(objects, ConvertLimits(batch_mb=mb, batch_objects=most)))

    assert [o for group in groups for o in group] == objects
    for group in groups:
        assert 1 <= len(group) <= most
        assert len(group) == 1 or sum(o.size for o in group) <= mb << 20
    for previous, following in pairwise(groups):
        assert len(previous) == most or sum(o.size for o in previous) + following[0].size > mb << 20


@pytest.mark.parametrize(("hours", "day"), [(24, "20240303"), (168, "20240303"), (169, "20240302"), (8760, "20230311")])
def test_the_listing_goes_back_one_day_beyond_the_retention_of_the_stream(hours: int, day: str) -> None:
    assert first_day("20240310", hours) == day


def test_limits_are_checked() -> None:
    with pytest.raises(SettingsError, match="batches is 0"):
        ConvertLimits(batches=0)


@given(st.binary(max_size=50))
def test_an_invalid_copy_counts_as_empty(body: bytes) -> None:
    assert NamedCopy.from_bytes(body) == NamedCopy()


# -- at the edge ---------------------------------------------------------------------------------------------------


def test_a_table_without_objects_has_nothing_due(lake: ConvertLake) -> None:
    plan = lake.plan()

    assert (plan.batches, plan.beyond, plan.changed) == ((), 0, ())
    assert lake.s3.keys(lake.names.conversions) == set()


def test_the_plan_is_stored_under_the_state_prefix(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])

    (batch,) = lake.plan().batches

    assert read_batch_plan(lake.table, batch.plan, 0) == batch
    assert batch.made_at == lake.now
    assert batch.snapshot == lake.table.changes().snapshot_id
    with pytest.raises(ConflictError, match="is gone"):
        read_batch_plan(lake.table, new_folder(), 0)


def test_objects_outside_of_days_are_not_planned(lake: ConvertLake) -> None:
    for day in ("00000000", lake.day(9)):
        lake.put(day, "a", [Change("a", 1, lake.now)])
    for name in (f"dt={lake.today}/_x.gz", f"dt={lake.today}/.x/y.gz", "dt=2024/x", f"dt={lake.today[:6]}99/x", "x"):
        lake.s3.put_object(Key=f"{lake.names.raw_prefix}{name}", Body=b"{}")
    lake.s3.put_object(Key=f"{lake.names.raw_day(lake.today)}empty.gz", Body=b"")

    assert lake.plan().batches == ()


def test_each_day_has_its_own_batches_and_the_oldest_wait_if_there_are_too_many(lake: ConvertLake) -> None:
    lake.limits = ConvertLimits(batch_objects=2, batches=2)
    for ago in (0, 1):
        for name in "abc":
            lake.put(lake.day(ago), name, [Change("a", 1, lake.now)])

    plan = lake.plan()

    assert [(b.number, b.day, keys(b)) for b in plan.batches] == [
        (0, lake.today, ["a", "b"]),
        (1, lake.today, ["c"]),
    ]
    assert plan.beyond == 3
    assert len({b.folder for b in plan.batches}) == 2
    lake.run()
    assert [(b.day, keys(b)) for b in lake.plan().batches] == [(lake.day(1), ["a", "b"]), (lake.day(1), ["c"])]


def test_a_converted_object_is_not_due_even_if_it_has_no_rows(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    lake.put(lake.day(1), "b", [Change("a", 1, lake.now)])  # a repeat
    lake.put(lake.day(2), "c", ['{"__operation":"CANARY","__canary_id":"x"}', "broken"])

    first = lake.run()

    assert first is not None
    assert (first.batches, first.objects, first.sums.rejected, first.sums.canaries) == (3, 3, 1, 1)
    assert len(lake.rows()) == 1
    assert lake.run() is None


def test_a_day_rewritten_by_another_engine_is_read_again_only_once(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    lake.put(lake.day(1), "b", [Change("b", 2, lake.now - DAY_MS)])
    lake.run()
    head = lake.table.changes()
    (file,) = head.files({lake.today})
    path = f"{lake.names.changes_location}/data/dt={lake.today}/x.parquet"
    lake.s3.put_object(Key=path, Body=lake.s3.objects[file.path.removeprefix(lake.names.uri(""))].body)
    moved = head.data_file(lake.names.uri(path), lake.today, _footer(lake, path), file.size, head.schema)
    lake.table.catalog.commit(head, Commit(add=(moved,), remove=(file,)))

    again = lake.run()

    assert again is not None
    assert (again.objects, again.sums.rows, again.sums.repeats) == (1, 0, 1)
    assert len(lake.rows()) == 2
    assert lake.run() is None


def _footer(lake: ConvertLake, key: str) -> Any:
    import io

    import pyarrow.parquet as pq

    return pq.read_metadata(io.BytesIO(lake.s3.objects[key].body))


def test_an_object_with_other_bytes_is_converted_again_and_reported(lake: ConvertLake) -> None:
    key = lake.put(lake.today, "a", [Change("a", 1, lake.now, "old")])
    lake.run()
    lake.put(lake.today, "a", [Change("a", 1, lake.now, "new"), Change("b", 2, lake.now)])

    plan = lake.plan()
    assert plan.changed == (key,)
    lake.run()

    # The live change stays unchanged; to replace it, a run names the day.
    assert [(r.id, r.value) for r in lake.rows()] == [("a", "old"), ("b", "v")]
    assert lake.run() is None
    lake.put(lake.today, "a", [Change("a", 1, lake.now, "old")])
    assert lake.plan().batches == ()  # these bytes were converted before


def test_marked_days_are_planned_and_their_markers_deleted_after_an_hour(lake: ConvertLake) -> None:
    old = lake.day(400)
    marker = lake.names.reported_day(old)
    lake.s3.put_object(Key=marker, Body=b"")
    lake.s3.put_object(Key=f"{lake.names.reported_days}nonsense", Body=b"")
    lake.put(old, "a", [Change("a", 1, lake.now - 400 * DAY_MS)])

    assert [b.day for b in lake.plan().batches] == [old]
    lake.clock.move(seconds=7200)
    assert [b.day for b in lake.plan().batches] == [old]  # still due, so still marked
    lake.run()
    assert marker in lake.s3.objects

    lake.s3.put_object(Key=marker, Body=b"")  # marked again just now
    lake.clock.move(seconds=3599)
    assert lake.plan().batches == ()
    assert marker in lake.s3.objects
    lake.clock.move(seconds=2)
    lake.plan()
    assert marker not in lake.s3.objects


def test_a_marker_written_again_during_its_deletion_is_kept(lake: ConvertLake) -> None:
    marker = lake.names.reported_day(lake.day(400))
    lake.s3.put_object(Key=marker, Body=b"")
    lake.clock.move(seconds=7200)

    def tell(service: str, call: str, request: dict[str, Any]) -> None:
        if service == "glue" and call == "get_table":
            lake.s3.on_call = lake.glue.on_call = lambda service, call, request: None
            lake.s3.put_object(Key=marker, Body=b"")

    lake.glue.on_call = tell
    lake.plan()

    assert marker in lake.s3.objects


def test_days_before_history_begins_are_not_planned(lake: ConvertLake) -> None:
    head = lake.table.changes()
    lake.table.catalog.commit(head, Commit(properties={HISTORY_FROM: lake.day(1)}))
    lake.s3.put_object(Key=lake.names.reported_day(lake.day(400)), Body=b"")
    for ago in (0, 1, 2, 400):
        lake.put(lake.day(ago), "a", [Change("a", ago, lake.now - ago * DAY_MS)])

    assert [b.day for b in lake.plan().batches] == [lake.today, lake.day(1)]
    with pytest.raises(SettingsError, match=rf"days names {lake.day(2)}, whose rows were dropped"):
        lake.plan([lake.day(2)])


@pytest.mark.parametrize(("day", "message"), [("00000000", "the snapshot"), ("2024-01-01", "day is")])
def test_only_days_can_be_named(lake: ConvertLake, day: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        lake.plan([day])


def test_a_named_day_is_planned_whole_and_first(lake: ConvertLake) -> None:
    lake.limits = ConvertLimits(batch_objects=1, batches=2)
    for name in "abc":
        lake.put(lake.day(30), name, [Change("a", 1, lake.now)])
    lake.plan([lake.day(30)])
    lake.run([lake.day(30)])
    for name in "xyz":
        lake.put(lake.today, name, [Change("a", 1, lake.now)])

    plan = lake.plan([lake.day(30)])

    assert [(b.day, keys(b), b.again) for b in plan.batches] == [
        (lake.day(30), ["a"], True),
        (lake.day(30), ["b"], True),
        (lake.day(30), ["c"], True),
    ]
    assert plan.beyond == 3


def test_waiting_objects_are_planned_as_they_are_now(lake: ConvertLake) -> None:
    for name in "abc":
        lake.put(lake.today, name, [Change("a", 1, lake.now)])
    (batch,) = lake.plan().batches
    lake.s3.delete_object(Key=batch.inputs[0].key)
    lake.put(lake.today, "b", [Change("b", 1, lake.now)])
    lake.put(lake.today, "d", [Change("d", 1, lake.now)])

    (again,) = plan_again(lake.table, [batch], lake.limits, lake.clock.moment).batches

    assert keys(again) == ["b", "c"]
    assert again.inputs[0].etag != batch.inputs[1].etag
    assert (again.folder != batch.folder, again.plan != batch.plan) == (True, True)


# -- calls ---------------------------------------------------------------------------------------------------------


def fill(lake: ConvertLake, days: int) -> None:
    """Fill a history with a folder on each of these days."""
    for ago in range(days, 0, -1):
        day = lake.day(ago)
        lake.put(day, "a", [Change("a", ago, lake.now - ago * DAY_MS)])
        lake.s3.put_object(Key=lake.names.reported_day(day), Body=b"")
    lake.limits = ConvertLimits(batches=days)
    lake.run()
    for key in lake.s3.keys(lake.names.reported_days):
        lake.s3.delete_object(Key=key)
    lake.plan()


@pytest.mark.slow
def test_the_calls_of_a_run_with_nothing_due_do_not_grow_with_history() -> None:
    counted = []
    for days in (9, 120):
        lake = ConvertLake()
        lake.create()
        fill(lake, days)
        counted.append(calls(lake))

    assert counted[0] == counted[1]
    assert sum(counted[0].values()) == 4, counted[0]


def test_the_calls_of_a_first_run_grow_in_proportion_to_its_days() -> None:
    """Also if each day has its own attributes; the data passed between tasks keeps its size."""
    counted = []
    for days in (10, 40):
        lake = ConvertLake()
        lake.create()
        for ago in range(days):
            changes = [Change(f"i{n}", 10 * ago + n + 1, lake.now - ago * DAY_MS) for n in range(3)]
            lake.put(lake.day(ago), "a", changes)
            lake.s3.put_object(Key=lake.names.reported_day(lake.day(ago)), Body=b"")
        counted.append(0)

        def count(service: str, call: str, request: dict[str, Any]) -> None:
            counted[-1] += 1

        lake.s3.on_call = lake.glue.on_call = count
        done = lake.run()
        assert done is not None
        assert (done.batches, done.sums.rows, done.passes) == (days, 3 * days, 1)

    assert counted[1] < 4.4 * counted[0], counted


@pytest.mark.slow
def test_only_new_folders_of_an_open_day_are_read(lake: ConvertLake) -> None:
    for number in range(20):
        lake.put(lake.today, f"o{number}", [Change("a", number, lake.now + number)])
        lake.run()
    lake.plan()
    quiet = calls(lake)

    lake.put(lake.today, "new", [Change("a", 99, lake.now + HOUR)])
    lake.run()

    # The list of Iceberg's manifests, one of them, one of our own; and the copy is put again.
    assert calls(lake) == quiet + Counter({"s3.get_object": 3, "s3.put_object": 1})
    assert calls(lake) == quiet
    # What was reported, what has landed, the copy, and whether the table still has the version of the copy.
    assert quiet == Counter({"s3.list_objects_v2": 2, "s3.get_object": 1, "glue.get_table": 1})


@pytest.mark.parametrize("damage", ["missing", "broken", "of later days", "of another table"])
def test_everything_is_read_again_without_the_copy(lake: ConvertLake, damage: str) -> None:
    for ago in (0, 3):
        lake.put(lake.day(ago), "a", [Change("a", ago, lake.now - ago * DAY_MS)])
    lake.run()
    lake.plan()
    copy = lake.names.named_objects
    kept = NamedCopy.from_bytes(lake.s3.objects[copy].body)
    assert kept.since == lake.day(7)
    assert len(kept.folders) == 2
    body = {
        "broken": b"\x1f\x8b nonsense",
        "of later days": NamedCopy(lake.today, dict.fromkeys(kept.manifests, ()), {}).to_bytes(),
        "of another table": NamedCopy(kept.since, {"x": (("y", "z"),)}, {"z": ()}).to_bytes(),
    }.get(damage)
    if body is None:
        lake.s3.delete_object(Key=copy)
    else:
        lake.s3.put_object(Key=copy, Body=body)

    assert lake.plan().batches == ()
    assert NamedCopy.from_bytes(lake.s3.objects[copy].body) == kept


def test_the_copy_drops_days_that_are_no_longer_listed(lake: ConvertLake) -> None:
    lake.put(lake.today, "a", [Change("a", 1, lake.now)])
    lake.run()
    lake.plan()
    lake.clock.move(days=8)
    lake.put(lake.today, "b", [Change("b", 2, lake.now)])

    lake.plan()

    assert NamedCopy.from_bytes(lake.s3.objects[lake.names.named_objects].body).folders == {}
    assert [keys(b) for b in lake.plan([lake.day(8)]).batches] == [["a"], ["b"]]
