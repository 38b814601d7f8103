"""A dry run's answer: the cost of the run, by each method."""

from __future__ import annotations

from dynalake.aws.dynamodb import find_recovery
from dynalake.backfill.plan.estimate import estimate_export, estimate_scan, quote
from dynalake.backfill.plan.limit import read_limit
from dynalake.backfill.plan.run import BackfillPlan, count_segments
from dynalake.backfill.source.source import describe
from dynalake.errors import SettingsError
from dynalake.lake.catalog.table import Table
from dynalake.options.backfill import BackfillOptions


def quote_backfill(table: Table, plan: BackfillPlan, options: BackfillOptions) -> str:
    """Return the answer as Markdown, and read nothing from the table."""
    description = describe(table, plan.table_id)
    tasks = count_segments(plan.estimated_bytes, options.segments)
    try:
        limit = read_limit(description, options)
    except SettingsError:
        limit = 0.0  # a share of an on-demand table: it does not matter for an export
    recovery = find_recovery(table.clients, table.names.table) is not None
    incremental = plan.window is not None
    estimates = [estimate_export(description, tasks=tasks, recovery=recovery, incremental=incremental)]
    if not incremental:
        # A scan cannot bring the changes of a past window.
        estimates.append(estimate_scan(description, tasks=tasks, consistent=plan.consistent, max_read_capacity=limit))
    return quote(description, plan.method, tuple(estimates))
