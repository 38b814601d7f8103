"""A day becomes one sorted folder whatever else happens: each row once at every step, and all inputs named."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow.parquet as pq
import pytest

from dynalake.errors import CatalogError, ConflictError, LedgerError, SettingsError
from dynalake.lake.catalog.iceberg import Change, DataFile, News
from dynalake.lake.catalog.table import Table
from dynalake.lake.compaction import day as days
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.compaction.day import compact_day, is_compacted, order_of, plan_compaction
from dynalake.lake.files.folders import read_manifests
from dynalake.lake.files.rewrite import Rewrite, check_rewrite, holds_other, name_folder
from dynalake.lake.files.sort import sort_rows
from dynalake.lake.tables.grow import schema_of
from dynalake.lake.types.union import observe
from dynalake.record.change import SEQUENCE_NUMBER
from tests.support.kills import Act, disturbed, is_change, is_write, kill, meets_others
from tests.support.memory.receipts import DAY_1, DAY_2, Receipts

pytestmark = pytest.mark.slow

OPTIONS = CompactOptions()


@pytest.fixture
def lake() -> Receipts:
    """Make two conversions of one day, one of another day, and an item without a typed value."""
    lake = Receipts()
    lake.append(DAY_1, {"id": "b", "n": 1, "tags": []}, {"id": "a", "n": 2**60, "m": {"k": "x"}})
    lake.append(DAY_1, {"id": "a", "n": "text", "tags": ["x", None]}, {"id": "c", "price": Decimal("1.5")})
    lake.append(DAY_2, {"id": "a", "n": 7})
    return lake


def run(lake: Receipts, day: str = DAY_1, options: CompactOptions = OPTIONS) -> Any:
    return compact_day(lake.table, day, options, lake.now)


def files(lake: Receipts, day: str = DAY_1) -> tuple[DataFile, ...]:
    return lake.table.changes().files({day})


def ids(lake: Receipts, day: str = DAY_1) -> list[tuple[str, str]]:
    """Return keys and sequence numbers in the order of the files."""
    ids: list[Any] = []
    for file in sorted(files(lake, day), key=lambda f: f.path):
        body = lake.s3.objects[file.path.removeprefix(lake.names.uri(""))].body
        table = pq.read_table(io.BytesIO(body))
        ids += zip(table["id"].to_pylist(), table[SEQUENCE_NUMBER].to_pylist(), strict=True)
    return ids


def test_a_day_becomes_one_sorted_folder(lake: Receipts) -> None:
    named = lake.named()

    done = run(lake)

    assert (done.rows, done.files, done.replaced) == (4, 1, 2)
    assert lake.rows() == lake.committed
    assert lake.named() == named
    assert ids(lake) == sorted(ids(lake))
    (file,) = files(lake)
    assert file.folder == done.folder
    assert file.bounds("id") == ("a", "c")
    # `[]` had no type when it came; when it was compacted, a column existed for it.
    assert done.lifted == {"tags": 1}
    manifest = read_manifests(Table(lake.table.clients, lake.names), [done.folder])[done.folder]
    assert manifest is not None
    assert manifest.sums.add_up
    assert [p.path for p in manifest.parts] == [file.path]
    assert manifest.misfits == {"n": {"type": "text", "count": 1}}


def test_a_compacted_day_is_left_alone(lake: Receipts) -> None:
    run(lake)
    snapshot = lake.table.changes().snapshot_id

    assert run(lake).replaced == 0
    assert run(lake, "20200101").replaced == 0
    assert lake.table.changes().snapshot_id == snapshot
    assert [p.day for p in plan(lake)] == [DAY_2]


def test_late_changes_make_a_day_due_again(lake: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    run(lake)
    lake.append(DAY_1, {"id": "aa", "n": 3})
    # As if the day were large: sorted files are merged as they are read.
    monkeypatch.setattr(days, "MB", 0)
    monkeypatch.setattr("dynalake.lake.files.sort.SHARE", 1)

    assert [p.day for p in plan(lake)] == [DAY_1, DAY_2]
    assert run(lake).replaced == 2
    assert lake.rows() == lake.committed
    assert ids(lake) == sorted(ids(lake))
    assert len(files(lake)) == 1


def test_files_that_only_look_sorted_are_sorted(lake: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    word = order_of(schema_of(lake.table.changes())).word
    with monkeypatch.context() as patch:
        patch.setattr(days, "sort_rows", lambda unordered, ordered, *rest: unordered)
        run(lake)
    assert is_compacted(files(lake), word)
    assert ids(lake) != sorted(ids(lake))
    lake.append(DAY_1, {"id": "aa"})
    monkeypatch.setattr(days, "MB", 0)

    run(lake)

    assert ids(lake) == sorted(ids(lake))
    assert lake.rows() == lake.committed


def test_parts_have_a_bounded_size_and_do_not_overlap(lake: Receipts) -> None:
    noise = [{"id": f"{n:05d}", "text": random.randbytes(400).hex()} for n in range(6000, 0, -1)]
    lake.append(DAY_1, *noise)

    run(lake, options=CompactOptions(part_mb=1, row_group_mb=1))

    parts = sorted(files(lake), key=lambda f: f.path)
    assert len(parts) > 1
    assert max(p.size for p in parts) < 2 << 20
    ends = [end for p in parts for end in p.bounds("id") or ()]
    assert ends == sorted(ends)
    assert lake.rows() == lake.committed


def test_columns_without_values_are_left_out(lake: Receipts) -> None:
    run(lake, DAY_2)

    (file,) = files(lake, DAY_2)
    body = lake.s3.objects[file.path.removeprefix(lake.names.uri(""))].body
    names = pq.read_schema(io.BytesIO(body)).names
    assert {"id", "n", "dt", "__other"} < set(names)
    assert not {"price", "m", "tags"} & set(names)
    assert not holds_other(file)


def test_files_have_a_version_and_encodings_that_every_engine_reads(lake: Receipts) -> None:
    """Redshift documents only Parquet's first version."""
    run(lake)

    for file in files(lake):
        metadata = pq.read_metadata(io.BytesIO(lake.s3.objects[key(lake, file.path)].body))
        columns = [metadata.row_group(0).column(i) for i in range(metadata.num_columns)]
        assert metadata.format_version == "1.0"
        assert {e for c in columns for e in c.encodings} <= {"PLAIN", "PLAIN_DICTIONARY", "RLE", "BIT_PACKED"}


def test_rows_are_in_the_requested_order(lake: Receipts) -> None:
    options = CompactOptions(sort_by=("price", "__event_time"))

    run(lake, options=options)

    # Nulls come last: only `c` has a price.
    assert [i for i, _ in ids(lake)] == ["c", "b", "a", "a"]
    assert run(lake, options=options).replaced == 0
    assert run(lake).replaced == 1
    assert lake.rows() == lake.committed


@pytest.mark.parametrize("name", ["Price", "m", "n"])
def test_columns_without_an_order_are_refused(lake: Receipts, name: str) -> None:
    lake.append(DAY_1, {"id": "z", "n2": 1})
    schema = schema_of(lake.table.changes())
    if name == "n":
        schema = schema.widen_for({"n": observe("text")})

    with pytest.raises(SettingsError, match=f"sort_by names '{name}'"):
        order_of(schema, (name,))


# -- the plan ----------------------------------------------------------------------------------------------------------


def plan(lake: Receipts, now: datetime | None = None, options: CompactOptions = OPTIONS, **kwargs: Any) -> Any:
    head = lake.table.changes()
    word = order_of(schema_of(head)).word
    return plan_compaction(head.files(), now or lake.clock.moment, lake.names.lake.zone, options, word, **kwargs)


def test_closed_days_are_due_oldest_first(lake: Receipts) -> None:
    lake.append("20240101", {"id": "today"})
    lake.append("00000000", {"id": "snapshot"})

    assert [(p.day, p.reason, p.files) for p in plan(lake)] == [
        ("00000000", "closed", 1),
        (DAY_1, "closed", 2),
        (DAY_2, "closed", 1),
    ]
    assert [p.day for p in plan(lake, days=["20240101", DAY_2])] == [DAY_2, "20240101", "00000000", DAY_1]


def test_a_day_closes_some_hours_after_midnight_in_the_time_zone_of_the_lake(lake: Receipts) -> None:
    zone = ZoneInfo("America/Los_Angeles")
    end = datetime(2023, 12, 31, 8, tzinfo=UTC)

    def due(now: datetime, hours: int) -> bool:
        options = CompactOptions(closed_after_hours=hours)
        head = lake.table.changes()
        plan = plan_compaction(head.files({DAY_2}), now, zone, options, "sorted-x")
        return bool(plan)

    assert due(end, 0)
    assert not due(end - timedelta(seconds=1), 0)
    assert not due(end + timedelta(minutes=59), 1)
    assert due(end + timedelta(hours=1), 1)


def test_a_run_has_a_budget_and_does_at_least_one_day(lake: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(days, "GB", 1)

    assert [p.day for p in plan(lake)] == [DAY_1]
    assert [p.day for p in plan(lake, days=[DAY_2, DAY_1])] == [DAY_1, DAY_2]


# -- another engine ----------------------------------------------------------------------------------------------------


def test_files_of_another_engine_are_compacted_too(lake: Receipts) -> None:
    run(lake)
    lake.optimize(DAY_1)
    assert files(lake)[0].folder == ""
    lake.append(DAY_1, {"id": "aa"})

    run(lake)

    assert len({f.folder for f in files(lake)} - {""}) == 1
    assert lake.rows() == lake.committed
    assert ids(lake) == sorted(ids(lake))
    manifest = read_manifests(Table(lake.table.clients, lake.names), [files(lake)[0].folder])[files(lake)[0].folder]
    assert manifest is not None
    assert manifest.misfits == {"n": {"type": "text", "count": 1}}


def test_rows_deleted_by_another_engine_stay_deleted(lake: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    run(lake)
    (file,) = files(lake)
    deletes = {file.path: np.array([0, 2])}
    monkeypatch.setattr("dynalake.lake.files.read._Deletes._read", lambda self: {p: [g] for p, g in deletes.items()})
    assert [p.day for p in plan(lake, deleted={file.path})] == [DAY_1, DAY_2]

    assert run(lake).rows == 2

    assert len(ids(lake)) == 2
    assert run(lake).replaced == 0


def test_a_folder_without_its_manifest_is_rewritten_like_files_of_another_engine(lake: Receipts) -> None:
    """The types of the values that wait in `__other` are read from the rows instead of its manifest."""
    for folder in {f.folder for f in files(lake)}:
        lake.s3.delete_object(Key=lake.names.folder_manifest(folder))

    done = run(lake)

    assert (done.rows, done.replaced) == (4, 2)
    assert lake.rows() == lake.committed
    manifest = read_manifests(Table(lake.table.clients, lake.names), [done.folder])[done.folder]
    assert manifest is not None
    assert manifest.misfits == {"n": {"type": "text", "count": 1}}


def test_equality_deletes_are_refused(lake: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any) -> Any:
        raise CatalogError("equality deletes")

    monkeypatch.setattr("dynalake.lake.files.read._Deletes._read", refuse)

    with pytest.raises(CatalogError):
        run(lake)
    assert lake.rows() == lake.committed


# -- faults and others -------------------------------------------------------------------------------------------------


def sweep(act: Act, chosen: Callable[[str], bool] = meets_others, named: bool = True) -> None:
    """Compact with an event before one of the chosen calls; then compact again, undisturbed."""
    first = prepared()
    inputs = first.named() if named else set()
    for lake, number, _ in disturbed(first, run, act, chosen, above=0):
        check(lake, inputs, number)
        lake = lake.copy()
        run(lake)
        check(lake, inputs, number)
        assert is_compacted(files(lake), order_of(schema_of(lake.table.changes())).word), number


def check(lake: Receipts, named: set[str], number: int) -> None:
    assert lake.rows() == lake.committed, number
    assert named <= lake.named(), number
    assert not lake.missing(), number


def prepared() -> Receipts:
    lake = Receipts()
    lake.append(DAY_1, {"id": "b", "n": 1}, {"id": "a", "n": 2})
    lake.append(DAY_1, {"id": "a", "n": "x"})
    return lake


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynalake.lake.catalog.commit.time.sleep", lambda _: None)


def test_killed_anywhere() -> None:
    sweep(lambda lake: kill, is_write)


def test_lost_answers_and_late_calls() -> None:
    sweep(lambda lake: lake.lose, is_change)
    sweep(lambda lake: lake.delay, is_change)


def test_conversions_between_any_two_calls() -> None:
    sweep(lambda lake: lambda *_: lake.append(DAY_1, {"id": "aa", "n": 3, "new": {"a": 1}}))


def test_another_optimizer_between_any_two_calls() -> None:
    """A file of its own no longer names its raw object: conversions read that object again, and find that
    all its changes exist."""
    sweep(lambda lake: lambda *_: lake.optimize(DAY_1), named=False)


def test_another_compaction_between_any_two_calls() -> None:
    sweep(lambda lake: lambda *_: run(lake))


def test_a_call_that_sleeps_too_long_is_refused() -> None:
    lake = prepared()

    def sleep(*_: Any) -> None:
        lake.clock.move(days=4)

    with lake.at_call(8, sleep), pytest.raises(ConflictError, match="were written 96 hours ago"):
        run(lake)
    assert lake.rows() == lake.committed


# -- each rule, switched off -------------------------------------------------------------------------------------------


def test_a_folder_with_an_unread_live_file_is_not_replaced() -> None:
    """Its manifest's inputs would be carried over, but not all its rows."""
    lake = prepared()
    (first, second) = files(lake)
    twin = first.path.replace("part-00000", "part-00001")
    lake.s3.put_object(Bucket="b", Key=key(lake, twin), Body=lake.s3.objects[key(lake, second.path)].body)
    body = io.BytesIO(lake.s3.objects[key(lake, second.path)].body)
    head = lake.table.changes()
    other = head.data_file(twin, DAY_1, pq.read_metadata(body), second.size, head.schema)
    lake.table.catalog.commit(head, Change((other,), (second,)))
    rewrite = Rewrite((first,), (), head.schema, name_folder("new", DAY_1, lake.milliseconds, (), (), {}))

    with pytest.raises(ConflictError, match="has gained another live file"):
        check_rewrite(lake.table.changes(), News((), deletes=False), rewrite, lake.milliseconds)


def test_inputs_are_lost_without_the_manifests_of_replaced_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    lake = prepared()
    named = lake.named()
    monkeypatch.setattr(days, "name_folder", lambda f, d, m, added, old, x: name_folder(f, d, m, added, (), x))

    run(lake)

    assert named
    assert lake.named() == set()


def test_without_the_check_of_live_files_only_pyiceberg_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynalake.lake.files.rewrite.check_live", lambda *_: None)
    lake = prepared()
    compacted = 0

    def compact(*_: Any) -> None:
        nonlocal compacted
        compacted += run(lake).replaced

    with lake.at_call(14, compact), pytest.raises(ConflictError, match="does not have all files"):
        run(lake)
    assert compacted == 2
    assert lake.rows() == lake.committed


def test_collected_files_would_be_committed_without_the_check_of_age(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynalake.lake.files.rewrite.check_age", lambda *_: None)
    lake = prepared()

    def collected(*_: Any) -> None:
        live = {key(lake, f.path) for f in files(lake)}
        for stray in lake.s3.keys(lake.names.changes_location) - live:
            if stray.endswith(".parquet"):
                lake.s3.delete_object(Bucket="b", Key=stray)

    with lake.at_call(14, collected):
        run(lake)
    assert lake.missing()


def key(lake: Receipts, path: str) -> str:
    return path.removeprefix(lake.names.uri(""))


def test_a_loss_would_be_committed_without_counting_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    lake = prepared()
    monkeypatch.setattr(days, "sort_rows", lambda *args: (t.slice(1) for t in sort_rows(*args)))

    with pytest.raises(LedgerError, match="3 rows of receipts were to be written again, and 2 were written"):
        run(lake)
    assert lake.rows() == lake.committed
