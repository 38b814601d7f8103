"""A night of one table: all steps; none of them stops the others."""

from __future__ import annotations

from typing import Any

import pytest

from dynalake.errors import CatalogError, LedgerError, SettingsError
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.files.rewrite import check_rows
from dynalake.night import compact
from dynalake.night.compact import CompactReport, compact_table
from tests.support.kills import Killed, disturbed, is_change, kill
from tests.support.memory.checks import check_lake, check_partitions, check_views
from tests.support.memory.receipts import DAY_1, DAY_2, Receipts
from tests.unit.night.one_table import TODAY, prepared

pytestmark = pytest.mark.slow

OPTIONS = CompactOptions(orc_copy=True)


def run(lake: Receipts, **kwargs: Any) -> CompactReport:
    return compact_table(lake.table, OPTIONS, lake.now, **kwargs)


def test_a_run_does_all_due_work_and_the_next_has_none(lake: Receipts) -> None:
    items, named = lake.items(), lake.named()

    done = run(lake)

    assert done.faults == ()
    assert done.findings == ()
    assert [d.day for d in done.days] == [DAY_1, DAY_2]
    assert done.widened.columns == {"n": ("bigint", "double")}
    assert done.projected["receipts_parquet"].written == (DAY_1, DAY_2)
    assert done.projected["receipts_orc"].written == (DAY_1, DAY_2)
    assert DAY_1 in done.projected["receipts_json"].written
    assert done.views == ()  # the change of types has written them
    check_lake(lake, items, named, "")
    check_partitions(lake)
    nothing = run(lake)
    assert (nothing.days, nothing.widened.columns, nothing.views) == ((), {}, ())
    assert not any(p.written or p.removed or p.columns for p in nothing.projected.values())
    assert nothing.to_dict()["table"] == "RECEIPTS"


def test_a_night_succeeds_however_slow_the_calls_are(lake: Receipts) -> None:
    """Nothing expires while a run reads, and no other service has to be called again."""
    items, named, began = lake.items(), lake.named(), lake.clock.now

    def slowly(*_: Any) -> None:
        lake.clock.move(seconds=400)

    lake.s3.on_call = lake.glue.on_call = slowly
    done = run(lake)
    lake.s3.on_call = lake.glue.on_call = lambda *_: None

    assert done.faults == ()
    assert lake.clock.now - began > 20 * 3600
    assert ([d.day for d in done.days], done.widened.columns) == ([DAY_1, DAY_2], {"n": ("bigint", "double")})
    check_lake(lake, items, named, "")
    check_partitions(lake)


def test_types_widen_even_if_manifests_are_missing(lake: Receipts) -> None:
    run(lake)
    lake.append(DAY_2, {"id": "d", "n": "text"})
    for file in lake.table.changes().files({DAY_1}):
        lake.s3.delete_object(Key=lake.names.folder_manifest(file.folder))

    done = run(lake)

    assert done.faults == ()
    assert done.widened.columns == {"n": ("double", "string")}
    assert lake.rows() == lake.committed


def test_a_named_day_is_compacted_although_it_is_open(lake: Receipts) -> None:
    done = run(lake, days=[TODAY])

    assert TODAY in [d.day for d in done.days]
    assert TODAY not in done.projected["receipts_parquet"].written


def test_a_failing_day_stops_no_other_day(lake: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(head: Any, replaced: Any, *rest: Any) -> None:
        if {f.partition for f in replaced} == {DAY_1}:
            raise LedgerError("3 rows were to be written again, and 2 were written")
        check_rows(head, replaced, *rest)

    monkeypatch.setattr("dynalake.lake.compaction.day.check_rows", fail)
    done = run(lake)

    assert [(f.what, f.transient) for f in done.faults] == [(f"dt={DAY_1}", False)]
    assert "LedgerError: 3 rows" in done.faults[0].error
    assert [d.day for d in done.days] == [DAY_2]
    assert done.projected["receipts_parquet"].written == (DAY_2,)
    assert lake.rows() == lake.committed


@pytest.mark.parametrize("step", ["finish_widening", "plan_days", "widen_table", "write_views", "project_parquet"])
def test_a_failing_step_stops_no_other_step(lake: Receipts, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("whatever it is")

    monkeypatch.setattr(compact, step, fail)
    done = run(lake)

    assert [f.error for f in done.faults] == ["RuntimeError: whatever it is"]
    assert done.projected["receipts_orc"].written
    assert lake.rows() == lake.committed


def test_a_table_with_equality_deletes_is_not_compacted(lake: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any) -> Any:
        raise CatalogError("equality deletes")

    monkeypatch.setattr("dynalake.lake.files.read._Deletes._read", refuse)
    done = run(lake)

    assert {f.what for f in done.faults} == {"plan", "types"}
    assert all("CatalogError" in f.error for f in done.faults)
    assert done.days == ()
    assert done.projected["receipts_parquet"].written == ()


def test_days_beyond_the_budget_wait(lake: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynalake.lake.compaction.day.GB", 1)

    assert (len(run(lake).days), run(lake).waiting) == (1, 0)


def test_an_order_by_unknown_columns_is_reported(lake: Receipts) -> None:
    done = compact_table(lake.table, CompactOptions(sort_by=("nothing",)), lake.now)
    assert "SettingsError: sort_by names 'nothing'" in done.faults[0].error
    assert done.projected.keys() == {"receipts_parquet", "receipts_json"}


def test_views_held_for_too_long_are_found_and_released(lake: Receipts, monkeypatch: pytest.MonkeyPatch) -> None:
    run(lake)
    lake.append(DAY_1, {"id": "z", "l": 1})
    with monkeypatch.context() as patch:
        patch.setattr("dynalake.lake.compaction.widen._Widening._commit", kill_commit)
        with pytest.raises(Killed):
            run(lake)
    assert check_views(lake)
    lake.clock.move(days=2)

    done = run(lake)

    assert [f.kind for f in done.findings] == ["held-views"]
    assert done.finished
    assert done.widened.columns.keys() == {"l"}
    assert not check_views(lake)
    assert run(lake).findings == ()


def kill_commit(*args: Any) -> None:
    raise Killed


def test_the_next_night_finishes_a_night_killed_anywhere() -> None:
    first = prepared()
    items, named = first.items(), first.named()
    for lake, number, _ in disturbed(first, run, lambda lake: kill, is_change, above=10):
        assert lake.rows() == lake.committed, number
        assert named <= lake.named(), number
        done = run(lake)
        assert done.faults == (), number
        check_lake(lake, items, named, number)
        check_partitions(lake, number)
        assert not run(lake).days


@pytest.mark.parametrize(
    "wrong", [{"codec": "brotli"}, {"memory_mb": 1}, {"sort_by": ("a", "a")}, {"part_mb": 0}, {"widen_budget_gb": -1}]
)
def test_options_are_checked(wrong: Any) -> None:
    with pytest.raises(SettingsError):
        CompactOptions(**wrong)
