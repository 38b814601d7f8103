"""The dollars of a month of a table, estimated once a day: its writes of two weeks, by minute, are many points."""

from __future__ import annotations

from datetime import datetime

from dynalake.capture.stacks.specs import template_text
from dynalake.days import milliseconds
from dynalake.lake.catalog.table import Table
from dynalake.options.settings import TableSettings
from dynalake.sizing.cost import Cost, costs
from dynalake.sizing.limits import read_stream
from dynalake.sizing.shards import plan_shards
from dynalake.sizing.usage import read_usage
from dynalake.watch.readings import Month

EVERY_MS = 24 * 3_600_000


def read_month(
    table: Table, settings: TableSettings, before: Month | None, now: datetime, convert_every_minutes: int
) -> Month:
    """Return a month's cost of the table's delivery; `before` where that is younger than a day."""
    at = milliseconds(now)
    if before is not None and at - before.at < EVERY_MS:
        return before
    usage, stream = read_usage(table, now), read_stream(table)
    shards = stream.shards if stream is not None else plan_shards(settings, usage, stream).shards
    chosen = own_cost(settings, costs(usage, settings, shards, template_text("table"), convert_every_minutes))
    return Month(at, chosen.delivery, {name: round(dollars, 4) for name, dollars in chosen.parts.items()})


def own_cost(settings: TableSettings, found: tuple[Cost, ...]) -> Cost:
    """Return the cost of the delivery that the settings choose (pure)."""
    direct, provisioned, on_demand = found
    if settings.delivery == "direct":
        return direct
    return on_demand if settings.stream_mode == "on_demand" else provisioned
