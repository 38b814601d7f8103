"""Backfills that nothing needs any more are deleted with their state; exports to be kept are kept."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace

import pytest

from dynalake.backfill.commit.replaced import ReplacedRuns, delete_replaced_runs
from dynalake.backfill.export.manifest import groups_key
from dynalake.backfill.plan.run import plan_key
from dynalake.days import SNAPSHOT_DAY
from dynalake.lake.catalog.iceberg import Change
from dynalake.lake.catalog.table import SHOWN_RUN, SNAPSHOT_RUN
from tests.support.memory.flat_lake import MemoryLake, use_clock


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> MemoryLake:
    """Make two backfills, the second one shown, and an import that was never committed."""
    lake = MemoryLake()
    use_clock(monkeypatch, lake.clock)
    monkeypatch.setattr("dynalake.backfill.plan.run.BackfillPlan.from_json", lambda value: SimpleNamespace(**value))
    lake.create()
    for number, run in enumerate(("run-1", "run-2"), 1):
        body = json.dumps({"number": number, "name": run}).encode()
        lake.s3.put_object(Key=lake.names.snapshot_number(number), Body=body)
        raw = lake.put_raw(SNAPSHOT_DAY, "0.gz", run.encode(), run=run)
        lake.s3.put_object(Key=plan_key(lake.names, run), Body=b'{"keep_export": false}')
        lake.s3.put_object(Key=groups_key(lake.names, run), Body=b"{}")
        lake.s3.put_object(Key=f"{lake.names.backfill_state(run)}checkpoint", Body=b"{}")
        lake.s3.put_object(Key=f"{lake.names.export_prefix(run)}data.gz", Body=b"export")
    lake.append(SNAPSHOT_DAY, "a", inputs=[raw])
    lake.s3.put_object(Key=f"{lake.names.backfill_state('import')}changes/0.gz", Body=b"x")
    lake.commit(Change(properties={SHOWN_RUN: "2"}))
    lake.commit(Change(properties={SNAPSHOT_RUN: "2"}), lake.names.state_table)
    return lake


def keys_of(lake: MemoryLake, run: str) -> set[str]:
    names = lake.names
    prefixes = (names.backfill_state(run), names.export_prefix(run), names.snapshot_run(run))
    return {key for prefix in prefixes for key in lake.s3.keys(prefix)}


def test_all_but_the_shown_backfill_are_deleted_after_two_weeks(lake: MemoryLake) -> None:
    lake.clock.move(days=13)
    assert delete_replaced_runs(lake.table, lake.clock.moment) == ReplacedRuns()
    lake.clock.move(days=2)

    done = delete_replaced_runs(lake.table, lake.clock.moment)

    assert (done.runs, done.objects) == (("import", "run-1"), 6)
    assert keys_of(lake, "run-1") == keys_of(lake, "import") == set()
    assert len(keys_of(lake, "run-2")) == 5
    assert delete_replaced_runs(lake.table, lake.clock.moment) == ReplacedRuns()


def test_a_backfill_that_is_still_written_is_kept(lake: MemoryLake) -> None:
    lake.clock.move(days=15)
    lake.s3.put_object(Key=f"{lake.names.backfill_state('run-1')}checkpoint", Body=b"more")

    assert delete_replaced_runs(lake.table, lake.clock.moment).runs == ("import",)
    assert len(keys_of(lake, "run-1")) == 5


def test_an_export_to_be_kept_is_not_deleted(lake: MemoryLake) -> None:
    for key in sorted(keys_of(lake, "run-1")):
        body = lake.s3.objects[key].body
        lake.s3.put_object(Key=key.replace("run-1", "kept"), Body=body.replace(b"false", b"true"))
    lake.clock.move(days=15)

    done = delete_replaced_runs(lake.table, lake.clock.moment)

    assert "kept" in done.runs
    assert keys_of(lake, "kept") == {plan_key(lake.names, "kept"), f"{lake.names.export_prefix('kept')}data.gz"}
    assert "kept" not in delete_replaced_runs(lake.table, lake.clock.moment).runs


def test_checkpoints_are_deleted_before_their_parts_and_the_plan_last(lake: MemoryLake) -> None:
    deleted: list[str] = []
    lake.s3.on_call = lambda service, call, request: deleted.extend(
        o["Key"] for o in (request["Delete"]["Objects"] if call == "delete_objects" else ())
    )
    lake.clock.move(days=15)

    delete_replaced_runs(lake.table, lake.clock.moment, timedelta(days=14))

    of_run = [key for key in deleted if "run-1" in key]
    assert of_run[0].endswith("checkpoint")
    assert of_run[1].startswith(lake.names.snapshot_run("run-1"))
    assert of_run[-1] == plan_key(lake.names, "run-1")


def test_nothing_is_deleted_without_a_snapshot(lake: MemoryLake) -> None:
    lake.commit(Change(properties={SHOWN_RUN: "0"}))
    lake.clock.move(days=30)

    assert delete_replaced_runs(lake.table, lake.clock.moment) == ReplacedRuns()
