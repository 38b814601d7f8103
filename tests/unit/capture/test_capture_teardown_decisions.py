"""What a teardown decides without asking AWS."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dynalake.capture.draining import DRAIN
from dynalake.capture.teardown import canary_ids, drained_at

NOW = datetime(2019, 5, 25, tzinfo=UTC)
LARGEST = 2**128 - 1


@given(st.integers(1, 60))
def test_one_canary_goes_into_each_shard(shards: int) -> None:
    step = (LARGEST + 1) // shards
    ranges = [(n * step, LARGEST if n == shards - 1 else (n + 1) * step - 1) for n in range(shards)]
    ids = canary_ids("run", ranges)
    keys = [int(hashlib.md5(each.encode()).hexdigest(), 16) for each in ids]
    assert all(low <= key <= high for key, (low, high) in zip(keys, ranges, strict=True))
    assert canary_ids("run", ranges) == ids
    assert len(set(ids)) == shards


def test_a_delivery_that_was_left_is_given_its_time() -> None:
    changed = NOW - timedelta(minutes=10)
    assert drained_at({"Delivery": "direct", "Draining": "kinesis"}, changed, NOW) == changed + DRAIN
    for parameters in ({}, {"Draining": "none"}, {"Delivery": "direct", "Draining": "direct"}):
        assert drained_at(parameters, changed, NOW) == NOW
    assert drained_at({"Delivery": "direct", "Draining": "kinesis"}, None, NOW) == NOW
