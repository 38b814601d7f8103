"""The shards that a table's Kinesis stream needs, and the steps by which it gets there. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dynalake.options.settings import TableSettings
from dynalake.sizing.usage import Usage

# https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html : bytes a second, written. The forwarder
# packs changes, so a shard is never full by its 1,000 records a second.
SHARD_BYTES = 1024 * 1024
FULL, CALM = 0.7, 0.5
"""Shares of the shards that a peak may fill, since changes are not spread evenly over a minute or over shards. The
second is of the smaller number of shards, before a stream shrinks.
"""


@dataclass(frozen=True)
class StreamState:
    """An existing Kinesis stream."""

    mode: str
    """`provisioned` or `on_demand`."""
    shards: int
    """Open shards."""


@dataclass(frozen=True)
class ShardPlan:
    """The shards that a stream should have, and why."""

    shards: int
    reason: str

    def __str__(self) -> str:
        return f"{self.shards:,} shard{'' if self.shards == 1 else 's'}: {self.reason}"


def needed_shards(usage: Usage, share: float = FULL) -> int:
    """Return how many shards the table's peak fills up to this share; at least one."""
    return max(1, math.ceil(usage.peak_bytes / (share * SHARD_BYTES)))


def plan_shards(settings: TableSettings, usage: Usage, stream: StreamState | None) -> ShardPlan:
    """Return the shards of a provisioned stream: those of the settings, or as many as the table's peak needs.

    They grow as soon as more are needed, and shrink once half of them are more than enough: a peak that goes up and
    down a little does not change a stream with each setup.
    """
    if settings.shards:
        return ShardPlan(settings.shards, "the setting 'shards'")
    peak = describe_peak(usage)
    needed = needed_shards(usage)
    if stream is None or stream.mode == "on_demand" or needed >= stream.shards:
        return ShardPlan(needed, peak)
    fewer = needed_shards(usage, CALM)
    if fewer <= stream.shards / 2:
        return ShardPlan(fewer, peak)
    return ShardPlan(stream.shards, f"{peak}; the stream has them, and shrinks once half are more than enough")


def filled(most: float, seconds: float, stream: StreamState) -> float:
    """Return the part of a stream's capacity that `most` bytes within `seconds` use."""
    return most / (seconds * stream.shards * SHARD_BYTES)


def shard_steps(settings: TableSettings, stream: StreamState | None, shards: int) -> tuple[int, ...]:
    """Return the shard counts that a provisioned stream goes through to get to `shards`; else only `shards`.

    One change at most doubles or halves them; a stream that was on demand keeps its shards when it changes its mode.
    https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateShardCount.html
    """
    if stream is None or settings.delivery == "direct" or settings.stream_mode == "on_demand":
        return (shards,)
    steps = [stream.shards] if stream.mode == "on_demand" else []
    current = stream.shards
    while current != shards:
        current = min(shards, 2 * current) if shards > current else max(shards, math.ceil(current / 2))
        steps.append(current)
    return tuple(steps) or (shards,)


def describe_peak(usage: Usage) -> str:
    """Return `the peak of the last 14 days was 120 changes a second of 0.9 KB, 0.1 MB/s`."""
    hours = max(1, round(usage.days * 24))
    lately = f"the last {usage.days:.0f} days"
    if hours < 48:
        lately = "the last hour" if hours == 1 else f"the last {hours} hours"
    if usage.peak_bytes == 0:
        return f"nothing was written in {lately}"
    if usage.peak_bytes == usage.streamed:
        return f"the stream's peak of {lately} was {_rounded(usage.streamed / 1e6)} MB/s"
    return (
        f"the peak of {lately} was {_rounded(usage.peak)} changes a second of "
        f"{_rounded(usage.line_bytes / 1000)} KB, {_rounded(usage.peak_bytes / 1e6)} MB/s"
    )


def _rounded(number: float) -> str:
    """Return `120`, `0.9`, `0.002`, `under 0.001`: a number that is only an estimate."""
    if number >= 10:
        return f"{number:,.0f}"
    return f"{number:.1g}" if number >= 0.001 else "under 0.001"
