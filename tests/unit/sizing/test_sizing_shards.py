"""The number of a stream's shards: enough for the peak, no flapping, and only steps that AWS allows."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynalake.options.settings import TableSettings
from dynalake.sizing.limits import limit_problem, switch_problem
from dynalake.sizing.shards import (
    FULL,
    SHARD_BYTES,
    StreamState,
    filled,
    needed_shards,
    plan_shards,
    shard_steps,
)
from dynalake.sizing.usage import Usage, usage_of

AUTO = TableSettings("RECEIPTS")
NOW = datetime(2019, 5, 25, 12, tzinfo=UTC)


def peaking(megabytes: float) -> Usage:
    """Return a table whose busiest minute had that many MiB a second."""
    return Usage({7: megabytes * 2**20 * 60 / 1000, 9: 1.0}, days=14, line_bytes=1000, partitions=1)


def test_changes_are_derived_from_write_units_and_expired_items() -> None:
    """An item of 2.5 KB takes three units; a removal by TTL takes none, but is a change."""
    description = {"ItemCount": 10, "TableSizeBytes": 25_600}
    usage = usage_of(description, {1: 180.0, 2: 3.0}, {2: 5.0, 3: 60.0}, 14)
    assert usage.minutes == {1: 60.0, 2: 6.0, 3: 60.0}
    assert (usage.peak, usage.changes) == (1.0, 126.0)
    assert usage.line_bytes > 2560, "a line of JSON is longer than the item"
    empty = usage_of({}, {}, {}, 3)
    assert (empty.peak, empty.partitions, empty.line_bytes > 1024) == (0, 1, True)


def test_the_volume_of_the_stream_counts_if_it_is_larger() -> None:
    """A batch of transactions, for example, costs more units than it has changes; items may exceed the average size."""
    usage = usage_of({"ItemCount": 1, "TableSizeBytes": 100}, {1: 60.0}, {}, 14, {1: 60.0, 2: 60 * 3 * 2**20})
    assert (usage.peak_bytes, needed_shards(usage)) == (3 * 2**20, 5)
    assert str(plan_shards(AUTO, usage, None)) == "5 shards: the stream's peak of the last 14 days was 3 MB/s"
    assert filled(60 * 3 * 2**20, 60, StreamState("provisioned", 4)) == 0.75


def test_the_reason_gives_the_measurements() -> None:
    usage = Usage({5: 120 * 60.0}, days=14, line_bytes=900, partitions=1)
    expected = "1 shard: the peak of the last 14 days was 120 changes a second of 0.9 KB, 0.1 MB/s"
    assert str(plan_shards(AUTO, usage, None)) == expected
    assert str(plan_shards(AUTO, Usage({}, 2, 900, 1), None)) == "1 shard: nothing was written in the last 2 days"
    assert str(plan_shards(TableSettings("T", shards=7), usage, None)) == "7 shards: the setting 'shards'"
    young = Usage({5: 1.0}, 1 / 24, 900, 1)
    slow = "1 shard: the peak of the last hour was 0.02 changes a second of 0.9 KB, under 0.001 MB/s"
    assert str(plan_shards(AUTO, young, None)) == slow
    assert "the last 30 hours" in str(plan_shards(AUTO, replace(young, days=30 / 24), None))


@given(st.floats(0, 300), st.none() | st.builds(StreamState, st.just("provisioned"), st.integers(1, 500)))
def test_at_least_one_shard_and_enough_for_the_peak(megabytes: float, stream: StreamState | None) -> None:
    usage = peaking(megabytes)
    planned = plan_shards(AUTO, usage, stream).shards
    assert planned >= 1
    assert usage.peak_bytes <= planned * FULL * SHARD_BYTES * 1.0001
    # With that many shards, the same peak changes nothing.
    assert plan_shards(AUTO, usage, StreamState("provisioned", planned)).shards == planned


@given(st.floats(0.1, 100), st.lists(st.floats(0.75, 1.0), min_size=1))
def test_a_fluctuating_peak_changes_the_shards_at_most_once(megabytes: float, shares: list[float]) -> None:
    """By a quarter: the peak stays below the limit for growing, and above the one for shrinking."""
    most = needed_shards(peaking(megabytes))
    stream = StreamState("provisioned", most)
    for share in shares:
        stream = StreamState("provisioned", plan_shards(AUTO, peaking(megabytes * share), stream).shards)
        assert stream.shards == most


def test_the_shards_shrink_after_a_peak() -> None:
    assert plan_shards(AUTO, peaking(0.1), StreamState("provisioned", 8)).shards == 1
    kept = plan_shards(AUTO, peaking(2.6), StreamState("provisioned", 8))
    assert (kept.shards, "shrinks once half are more than enough" in kept.reason) == (8, True)


@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from(["provisioned", "on_demand"]))
def test_aws_allows_every_step(current: int, wanted: int, mode: str) -> None:
    """https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateShardCount.html"""
    steps = shard_steps(AUTO, StreamState(mode, current), wanted)
    assert steps[-1] == wanted
    if mode == "on_demand":
        assert steps[0] == current, "a stream does not change its mode and its shards together"
    for before, after in zip((current, *steps), steps, strict=False):
        assert math.ceil(before / 2) <= after <= 2 * before
    assert len([step for step in steps if step != current]) <= 10, "in a day"


def test_streams_without_shards_of_their_own_take_no_steps() -> None:
    stream = StreamState("provisioned", 40)
    assert shard_steps(TableSettings("T", delivery="direct"), stream, 1) == (1,)
    assert shard_steps(TableSettings("T", stream_mode="on_demand"), stream, 1) == (1,)
    assert shard_steps(AUTO, None, 9) == (9,)


LIMITS = {"OnDemandStreamCount": 50, "OnDemandStreamCountLimit": 50, "OpenShardCount": 995, "ShardLimit": 1000}
ON_DEMAND = TableSettings("RECEIPTS", stream_mode="on_demand")


def test_limits_of_the_account_are_checked_first() -> None:
    refused = limit_problem(LIMITS, ON_DEMAND, None, 1)
    assert refused
    for part in ("50 Kinesis streams on demand", "stream_mode at 'provisioned'"):
        assert part in str(refused)
    assert limit_problem({**LIMITS, "OnDemandStreamCount": 49}, ON_DEMAND, None, 1) is None
    assert limit_problem(LIMITS, ON_DEMAND, StreamState("on_demand", 4), 4) is None, "it is one of the 50"
    assert limit_problem(LIMITS, AUTO, None, 5) is None
    assert "needs 6 more" in str(limit_problem(LIMITS, AUTO, None, 6))
    assert limit_problem(LIMITS, AUTO, StreamState("provisioned", 40), 45) is None


def version(hours: float, mode: str | None) -> dict[str, Any]:
    value = "{}" if mode is None else f'{{"stream_mode":"{mode}"}}'
    return {"LastModifiedDate": NOW - timedelta(hours=hours), "Value": value}


@pytest.mark.parametrize(
    ("versions", "refused"),
    [
        ([version(1, "provisioned")], False),
        ([version(30, "provisioned"), version(5, "on_demand"), version(4, "on_demand")], False),
        ([version(30, "provisioned"), version(25, "on_demand"), version(4, "provisioned")], False),
        ([version(4, "on_demand"), version(30, "on_demand"), version(5, "provisioned")], True),
    ],
)
def test_a_third_switch_within_a_day_is_refused_first(versions: list[dict[str, Any]], refused: bool) -> None:
    """https://docs.aws.amazon.com/streams/latest/dev/how-do-i-size-a-stream.html"""
    problem = switch_problem(versions, AUTO, NOW)
    assert (problem is not None) == refused
    assert problem is None or "until 2019-05-26 07:00 UTC" in str(problem)
