"""The ORC copy of closed days: all rows, all columns in position, compared with the original."""

from __future__ import annotations

import io
import random
from collections import Counter
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import orc

from dynalake.aws.s3 import StoredObject
from dynalake.errors import LedgerError
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.compaction.day import compact_day
from dynalake.lake.compaction.widen import widen_table
from dynalake.lake.current.view_entries import write_views
from dynalake.lake.files.read import read_rows
from dynalake.lake.hive import orc as copying
from dynalake.lake.hive.hive import HiveColumn, Partition
from dynalake.lake.hive.orc import FOLDER, LAYOUT, OrcColumns, copy_days, plan_copies, plan_garbage
from dynalake.lake.hive.parquet_table import TYPES, DayFolder, Projected
from dynalake.lake.tables.grow import schema_of
from tests.support.kills import disturbed, is_write, kill
from tests.support.memory.checks import columns, location
from tests.support.memory.receipts import DAY_1, DAY_2, Receipts, as_text, decode

OPTIONS = CompactOptions(orc_copy=True)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynalake.lake.catalog.commit.time.sleep", lambda _: None)


@pytest.fixture
def lake() -> Receipts:
    lake = Receipts()
    exact = Decimal("12345678901234567890123456789.25")
    lake.append(DAY_1, {"id": "a", "n": 1, "d": exact, "m": {"k": {"x": [1, None]}}, "odd": [1, "x"], "Odd Name": True})
    lake.append(DAY_1, {"id": "b", "t": "text", "m": {"k": {"x": []}}, "f": Decimal("1.5")})
    lake.append(DAY_2, {"id": "b", "n": 2})
    lake.append("20240101", {"id": "today"})
    for day in (DAY_1, DAY_2):
        compact_day(lake.table, day, OPTIONS, lake.now)
    return lake


def run(lake: Receipts, options: CompactOptions = OPTIONS) -> Projected:
    return copy_days(lake.table, options, lake.now)


def copies(lake: Receipts) -> dict[str, dict[str, Any]]:
    return lake.glue.by_day(lake.names.orc_table)


def rows(lake: Receipts, day: str) -> Counter[str]:
    """Read a day's copy by position: the partition's columns give the names."""
    partition = copies(lake)[day]
    names = list(columns(partition["StorageDescriptor"]))
    prefix = location(partition).removeprefix(lake.names.uri(""))
    counts: Counter[str] = Counter()
    for key in lake.s3.keys(prefix):
        table = orc.read_table(io.BytesIO(lake.s3.objects[key].body))
        assert len(names) <= len(table.column_names)
        read = pa.table(list(table.columns)[: len(names)], names=names)
        counts.update(as_text(r) for r in decode(read, schema_of(lake.table.changes())))
    return counts


def check(lake: Receipts) -> None:
    for day in copies(lake):
        assert rows(lake, day) == lake.rows(day), day


def test_closed_days_are_copied_once(lake: Receipts) -> None:
    done = run(lake)

    assert (done.written, done.removed, done.columns) == ((DAY_1, DAY_2), (), True)
    check(lake)
    table = lake.glue.tables[lake.names.orc_table]
    assert table["StorageDescriptor"]["InputFormat"].endswith("OrcInputFormat")
    assert table["StorageDescriptor"]["Location"] == lake.names.uri(lake.names.orc_prefix)
    assert columns(copies(lake)[DAY_2]["StorageDescriptor"]) == columns(table["StorageDescriptor"])
    before = lake.s3.keys(lake.names.orc_prefix)
    assert run(lake) == Projected()
    assert lake.s3.keys(lake.names.orc_prefix) == before


def test_a_changed_day_is_copied_again_and_its_old_copy_is_deleted_later(lake: Receipts) -> None:
    run(lake)
    old = lake.s3.keys(lake.names.orc_prefix)
    lake.append(DAY_1, {"id": "late"})

    assert run(lake).removed == (DAY_1,)
    compact_day(lake.table, DAY_1, OPTIONS, lake.now)
    assert run(lake).written == (DAY_1,)
    check(lake)
    assert old <= lake.s3.keys(lake.names.orc_prefix)
    lake.clock.move(days=8)
    run(lake)
    assert len(old & lake.s3.keys(lake.names.orc_prefix)) == 1
    check(lake)


def test_new_columns_leave_the_copies_alone(lake: Receipts) -> None:
    run(lake)
    lake.append("20240101", {"id": "z", "zz": 1})

    assert run(lake) == Projected(columns=True)
    check(lake)


def test_new_fields_are_registered_and_nothing_is_copied(lake: Receipts) -> None:
    run(lake)
    before = lake.s3.keys(lake.names.orc_prefix)
    lake.append("20240101", {"id": "z", "m": {"k": {"x": [1], "y": 1}}})

    assert run(lake).written == (DAY_1, DAY_2)
    assert lake.s3.keys(lake.names.orc_prefix) == before
    assert columns(copies(lake)[DAY_1]["StorageDescriptor"])["m"] == "struct<k:struct<x:array<bigint>,y:bigint>>"


def test_days_are_copied_again_when_a_type_widens(lake: Receipts) -> None:
    """All of them: a column keeps its position, but is another one."""
    run(lake)
    write_views(lake.table)
    lake.append("20240101", {"id": "z", "n": Decimal("1.5")})
    widen_table(lake.table, OPTIONS, lake.now)

    assert run(lake).written == (DAY_1, DAY_2)
    check(lake)


def test_a_day_beyond_the_budget_is_not_shown_with_its_old_type(
    lake: Receipts, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(lake)
    write_views(lake.table)
    lake.append("20240101", {"id": "z", "n": Decimal("1.5")})
    widen_table(lake.table, OPTIONS, lake.now)
    monkeypatch.setattr(copying, "GB", 1)

    assert run(lake).written == (DAY_1,)
    assert copies(lake).keys() == {DAY_1}
    assert run(lake).written == (DAY_2,)
    check(lake)


def test_large_copies_have_parts(lake: Receipts) -> None:
    lake.append(DAY_2, *({"id": f"{n:05d}", "t": random.randbytes(300).hex()} for n in range(9000)))
    options = CompactOptions(orc_copy=True, part_mb=1, row_group_mb=1, codec="gzip")
    compact_day(lake.table, DAY_2, options, lake.now)

    run(lake, options)

    prefix = location(copies(lake)[DAY_2]).removeprefix(lake.names.uri(""))
    assert len(lake.s3.keys(prefix)) > 1
    check(lake)


def test_killed_anywhere(lake: Receipts) -> None:
    for killed, _, _ in disturbed(lake, run, lambda copy: kill, is_write, above=0):
        check(killed)
        run(killed)
        check(killed)
        assert copies(killed).keys() == {DAY_1, DAY_2}


def test_a_copy_that_lacks_rows_is_not_shown(lake: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "read_rows", lambda *args: (t.slice(1) for t in read_rows(*args)))

    with pytest.raises(LedgerError, match="has 1 rows, and the day has 2"):
        run(lake)
    assert copies(lake) == {}


# -- the plan ----------------------------------------------------------------------------------------------------------

COLUMNS = OrcColumns((HiveColumn("id", "string"), HiveColumn("n", "bigint")), (1, 2))


def test_the_layout_includes_names_positions_and_ids() -> None:
    longer = OrcColumns((*COLUMNS.columns, HiveColumn("x", "string")), (1, 2, 3))
    other = OrcColumns(COLUMNS.columns, (1, 9))
    turned = OrcColumns(COLUMNS.columns[::-1], (2, 1))

    layout = COLUMNS.layout(2)
    assert COLUMNS.has(layout)
    assert longer.has(layout)
    assert not COLUMNS.has(longer.layout(3))
    assert not other.has(layout)
    assert not turned.has(layout)
    assert not COLUMNS.has("")


def test_days_are_copied_oldest_first_within_the_budget() -> None:
    def folder(day: str) -> DayFolder:
        return DayFolder(Partition(day, f"s3://b/{day}/", {"numRows": "1"}), frozenset())

    folders = {day: folder(day) for day in "123456"}
    parameters = {"numRows": "1", LAYOUT: COLUMNS.layout(2), TYPES: COLUMNS.types(COLUMNS.layout(2))}
    partitions = {
        "2": Partition("2", "s3://o/2/", {**parameters, FOLDER: "s3://b/2/"}),
        "3": Partition("3", "s3://o/3/", {**parameters, FOLDER: "s3://b/2/"}),
        "4": Partition("4", "s3://o/4/", {**parameters, FOLDER: "s3://b/4/", TYPES: "others"}),
        "7": Partition("7", "s3://o/7/", {**parameters, FOLDER: "s3://b/7/"}),
    }
    sizes = dict.fromkeys(folders, 10)

    plan = plan_copies(folders, partitions, COLUMNS, sizes, 20)
    assert (plan.copy, [p.day for p in plan.write], plan.remove) == (("1", "3"), ["4"], ("7",))
    assert plan.write[0].columns == COLUMNS.columns
    assert plan_copies(folders, partitions, COLUMNS, sizes, 1).copy == ("1",)
    none = plan_copies(folders, partitions, COLUMNS, sizes, 0)
    assert (none.copy, none.remove) == ((), ("3", "7"))


def test_only_old_unreferenced_copies_are_garbage() -> None:
    stored = [StoredObject(f"o/dt=1/v={v}/part-00000.orc", 1, "e", at) for v, at in (("a", 1), ("b", 1), ("c", 9))]
    assert [o.key for o in plan_garbage(stored, {"o/dt=1/v=a/"}, 5)] == ["o/dt=1/v=b/part-00000.orc"]
