"""Each change once: changes in live files or an earlier batch are found, in memory or on disk."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynalake.convert import once
from dynalake.convert.once import Changes, LiveRows, Sieve, find_same, find_waiting
from dynalake.lake.catalog.iceberg import Change as Commit
from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.files.folders import new_folder
from dynalake.lake.files.parts import file_schema
from dynalake.lake.files.read import read_rows
from dynalake.lake.working import spool
from dynalake.record.change import SEQUENCE_NUMBER
from tests.support.memory.convert_lake import Change, ConvertLake

IDENTITY = ("id",)
numbers = st.integers(0, 3).map(lambda n: n * 10**20 + 7) | st.integers(0, 5)
changes = st.builds(Change, st.sampled_from("abc"), numbers, st.integers(0, 9))


def table_of(lake: ConvertLake, rows: Sequence[Change], day: str = "20240101") -> pa.Table:
    schema = file_schema(lake.table.changes().schema)
    values = [{"dt": day, "id": r.id, "__sequence_number": f"{r.sequence:040d}", "__event_time": r.time} for r in rows]
    return pa.Table.from_pylist(values, schema)


def file_of(lake: ConvertLake, rows: Sequence[Change], day: str = "20240101") -> DataFile:
    head, body = lake.table.changes(), io.BytesIO()
    pq.write_table(table_of(lake, rows, day), body, row_group_size=2, store_schema=False)
    key = f"{lake.names.change_folder(day, new_folder())}part.parquet"
    lake.s3.put_object(Key=key, Body=body.getvalue())
    size = len(body.getvalue())
    return head.data_file(lake.names.uri(key), day, pq.read_metadata(body), size, head.schema)


def changes_of(rows: pa.Table) -> list[tuple[str, int]]:
    return [(r["id"], int(r["__sequence_number"])) for r in rows.to_pylist()]


def unique(rows: Sequence[Change]) -> list[Change]:
    return sorted({(r.id, r.sequence): r for r in rows}.values())


def live_rows(
    head: Head, lake: ConvertLake, files: Sequence[DataFile], changes: Sequence[Change], place: Path, replace: str = ""
) -> tuple[LiveRows, list[tuple[str, int]]]:
    sought = Changes(IDENTITY)
    rows = table_of(lake, changes)
    sought.add(rows)
    live = LiveRows(IDENTITY, place)
    live.gather(head, files, sought, replace)
    kept = [c for start in range(0, len(changes), 2) for c in changes_of(live.drop(rows.slice(start, 2)))]
    return live, kept


@settings(max_examples=40)
@given(
    st.lists(st.lists(changes, max_size=6).map(unique), max_size=3),
    st.lists(changes, max_size=8).map(unique),
    st.sampled_from([1, 1 << 20]),
)
def test_a_change_is_dropped_if_a_live_file_of_its_time_has_it(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[Change]], mine: list[Change], held: int
) -> None:
    lake, place = ConvertLake(), tmp_path_factory.mktemp("once")
    lake.create()
    written = [file_of(lake, rows) for rows in files]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "HELD", held)  # bytes: with 1 everything is on disk

        live, kept = live_rows(lake.table.changes(), lake, written, mine, place)

    times = [c.time for c in mine]
    present = {
        (c.id, c.sequence)
        for rows in files
        if rows and times and min(c.time for c in rows) <= max(times) and min(times) <= max(c.time for c in rows)
        for c in rows
    }
    assert kept == [(c.id, c.sequence) for c in mine if (c.id, c.sequence) not in present]
    assert live.dropped == len(mine) - len(kept)
    assert live.replaced == {}


def test_rows_of_the_replaced_day_are_returned_with_their_positions(tmp_path: Path) -> None:
    lake = ConvertLake()
    lake.create()
    same_day = file_of(lake, [Change("a", 1, 5), Change("b", 2, 5), Change("c", 3, 5)])
    other_day = file_of(lake, [Change("d", 4, 5)], "20240102")
    changes = [Change("b", 2, 5), Change("c", 3, 5), Change("d", 4, 5), Change("e", 5, 5)]

    live, kept = live_rows(lake.table.changes(), lake, [same_day, other_day], changes, tmp_path, "20240101")

    assert kept == [("b", 2), ("c", 3), ("e", 5)]
    assert live.dropped == 1
    assert {path: places.tolist() for path, places in live.replaced.items()} == {same_day.path: [1, 2]}


def test_row_groups_that_cannot_hold_the_items_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = ConvertLake()
    lake.create()
    file = file_of(lake, [Change(f"k{n:03d}", n, 5) for n in range(100)])
    read: list[int] = []

    def count(*request: Any, **options: Any) -> Any:
        for rows in read_rows(*request, **options):
            read.append(rows.num_rows)
            yield rows

    monkeypatch.setattr(once, "read_rows", count)
    _, kept = live_rows(lake.table.changes(), lake, [file], [Change("k042", 42, 5), Change("k043", 1, 5)], tmp_path)
    assert (kept, sum(read)) == ([("k043", 1)], 2)

    read.clear()
    _, kept = live_rows(lake.table.changes(), lake, [file], [Change("x", 42, 5)], tmp_path)
    assert (kept, read) == ([("x", 42)], [])

    monkeypatch.setattr(once, "_FEW", 1)  # the items of more rows are not kept
    _, kept = live_rows(lake.table.changes(), lake, [file], [Change("k042", 42, 5), Change("x", 1, 5)], tmp_path)
    assert (kept, sum(read)) == ([("x", 1)], 100)


@pytest.mark.parametrize("number", ["", "12", "x" * 40, None, f"{7:040d}.0000000000000012"])
def test_invalid_sequence_numbers_of_other_engines_cause_no_error(number: str | None) -> None:
    sieve = Sieve()
    sieve.add(pa.table({SEQUENCE_NUMBER: [f"{7:040d}"]}))

    possible = sieve.may_hold(pa.table({SEQUENCE_NUMBER: pa.array([number, f"{7:040d}"], pa.string())}))

    assert possible[1]
    assert (
        find_same(
            pa.table({"id": ["a"], SEQUENCE_NUMBER: pa.array([number], pa.string())}),
            pa.table({"id": ["a"], SEQUENCE_NUMBER: [f"{7:040d}"]}),
            ["id", SEQUENCE_NUMBER],
        )[0].tolist()
        == []
    )


@settings(max_examples=40)
@given(st.lists(st.lists(changes, max_size=4).map(unique), min_size=1, max_size=4), st.sampled_from([1, 1 << 20]))
def test_the_later_of_two_batches_with_the_same_change_waits(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Change]], held: int
) -> None:
    """A change has the same time in every batch."""
    of_one_time: dict[tuple[str, int], int] = {}
    batches = [[c._replace(time=of_one_time.setdefault((c.id, c.sequence), c.time)) for c in rows] for rows in batches]
    lake, place = ConvertLake(), tmp_path_factory.mktemp("waiting")
    lake.create()
    files = [[file_of(lake, rows)] for rows in batches]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "HELD", held)

        waiting = find_waiting(lake.table.changes(), files, IDENTITY, place)

    known: set[tuple[str, int]] = set()
    expected = set()
    for number, rows in enumerate(batches):
        numbers = {(c.id, c.sequence) for c in rows}
        if numbers & known:
            expected.add(number)
        else:
            known |= numbers
    assert set(waiting) == expected
    for later, earlier in waiting.items():
        assert earlier < later
        assert earlier not in waiting
        assert {(c.id, c.sequence) for c in batches[later]} & {(c.id, c.sequence) for c in batches[earlier]}


def test_batches_of_different_times_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = ConvertLake()
    lake.create()
    files = [[file_of(lake, [Change("a", n, 10 * n)])] for n in range(3)] + [[file_of(lake, [])]]
    monkeypatch.setattr(once, "read_rows", None)

    assert find_waiting(lake.table.changes(), files, IDENTITY, tmp_path) == {}


def test_live_rows_of_the_snapshot_are_not_compared() -> None:
    """Files are requested from the day before the first change on, and no day is before the snapshot's."""
    lake = ConvertLake()
    lake.create()
    lake.table.catalog.commit(lake.table.changes(), Commit(add=(file_of(lake, [Change("a", 1, 0)], "00000000"),)))
    lake.put(lake.today, "o", [Change("a", 1, 0)])

    lake.run()

    assert [(r.id, r.sequence, r.day) for r in lake.rows()] == [("a", 1, "00000000"), ("a", 1, lake.today)]
