"""A setup's short text about a table's shards and its cost. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dynalake.options.settings import TableSettings
from dynalake.sizing.cost import PARTS, Cost
from dynalake.sizing.prices import where_and_when
from dynalake.sizing.shards import ShardPlan, describe_peak
from dynalake.sizing.usage import Usage

# https://docs.aws.amazon.com/firehose/latest/dev/limits.html : MiB a second of Direct PUT, unless AWS has raised it.
LARGE_REGIONS = ("us-east-1", "us-west-2", "eu-west-1")
DIRECT_MIB, DIRECT_MIB_IN_LARGE_REGIONS = 1, 5


def direct_bytes(region: str) -> int:
    """Return the bytes a second that a Firehose stream takes by direct writes."""
    return (DIRECT_MIB_IN_LARGE_REGIONS if region in LARGE_REGIONS else DIRECT_MIB) * 2**20


def recommend(usage: Usage, found: Sequence[Cost], region: str) -> str:
    """Return the delivery to take, and why."""
    direct, *streams = found
    stream = min(streams, key=lambda cost: cost.dollars)
    most = direct_bytes(region)
    if usage.peak_bytes > most / 2:
        return (
            f"**{stream.delivery}**: the peak of {usage.peak_bytes / 2**20:.1f} MiB/s is close to the "
            f"{most // 2**20} MiB/s that Firehose takes directly in {region}"
        )
    return (
        f"**{direct.delivery}**, ${stream.dollars - direct.dollars:,.2f} less, unless something else should read the "
        f"changes; then **{stream.delivery}**"
    )


def cost_table(found: Sequence[Cost]) -> str:
    """Return the dollars by delivery and service, as Markdown, for a log."""
    rows = [
        f"| {cost.delivery} | {' | '.join(f'{cost.parts[part]:,.2f}' for part in PARTS)} | **{cost.dollars:,.2f}** |"
        for cost in found
    ]
    return "\n".join([f"| $ a month | {' | '.join(PARTS)} | all |", f"|---|{'---:|' * (len(PARTS) + 1)}", *rows])


def quote(settings: TableSettings, usage: Usage, planned: ShardPlan, found: Sequence[Cost], region: str) -> str:
    """Return the planned pipeline and why, each delivery's cost, and which one to take, for a run's note."""
    match settings.delivery, settings.stream_mode:
        case "direct", _:
            how = f"`direct`; {describe_peak(usage)}"
        case _, "on_demand":
            how = f"`kinesis`, on demand; {describe_peak(usage)}"
        case _:
            how = f"`kinesis`, {planned}"
    dollars = "; ".join(f"{cost.delivery} ${cost.dollars:,.2f}" for cost in found)
    return (
        f"**{settings.table}** by {how}.\n\nA month costs: {dollars} (prices of {where_and_when()}). "
        f"Recommended: {recommend(usage, found, region)}."
    )
