"""The simulation beyond one machine, and docs/scale.md as it calculates it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from benchmarks import scale
from benchmarks.scale import Lake, backfill_hours, capture, cores_for, play_day, run_once, stream_lag
from dynalake.operators.task.mapped import MOST
from dynalake.sizing.shards import SHARD_BYTES
from tests.support.machine import REPOSITORY

PAGE = (REPOSITORY / "docs" / "scale.md").read_text()
PARAMETERS = (REPOSITORY / "docs" / "parameters.md").read_text()


@pytest.mark.parametrize(
    "rows", [scale.unit_rows, scale.quota_rows, scale.capture_rows, scale.day_rows, scale.stream_rows]
)
def test_the_page_shows_what_the_code_calculates(rows: Callable[[], list[str]]) -> None:
    assert "\n".join(rows()) in PAGE, "\n".join(rows())


def test_the_limit_of_a_lake_is_that_of_a_run() -> None:
    assert [limit for name, limit, _, url in scale.QUOTAS if not url] == [MOST]


@pytest.mark.parametrize(
    "option", ["delivery", "shards", "stream_mode", "engine", "convert_every_minutes", "segments", "parallelization"]
)
def test_the_options_that_the_page_names_exist(option: str) -> None:
    assert f"`{option}`" in PAGE
    assert f"`{option}`" in PARAMETERS


def test_every_change_of_a_day_is_committed_or_left() -> None:
    run = run_once(Lake(tables=1, news=1), 1e9)
    assert 0 < run.left < 1e9
    assert run.batches == 100
    assert run_once(Lake(tables=1, news=1), 1000).left == 0
    assert run_once(Lake(), 0).tasks == 1


def test_a_day_without_room_falls_behind_and_one_with_more_batches_does_not() -> None:
    lake = Lake(tables=100, news=100, changes=300_000)
    assert play_day(lake).behind
    enough = cores_for(lake)
    assert enough > lake.batches_at_once
    day = play_day(replace(lake, batches_at_once=enough, tasks_at_once=max(16, enough)))
    assert not day.behind
    assert day.lag_s < play_day(lake).lag_s


def test_a_stream_within_its_shards_never_waits() -> None:
    assert stream_lag(2, iter([2.0 * SHARD_BYTES] * 60)) == (0, 0)
    lag, waited = stream_lag(1, iter([2.0 * SHARD_BYTES] * 60 + [0.0] * 60))
    assert (round(lag), round(waited, 1)) == (3600, 3.8)


def test_a_shard_of_the_tables_stream_is_never_the_limit() -> None:
    for item_bytes in (100, 1_000, 10_000, 100_000):
        found = capture(10_000, item_bytes)
        assert found.most_per_shard > 10_000 / found.partitions
    assert backfill_hours(1e9, 2) == backfill_hours(1e9, 1) / 2
