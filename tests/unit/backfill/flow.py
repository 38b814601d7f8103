"""The DAG's order of calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from dynalake.aws.clients import Clients
from dynalake.backfill.commit.commit import Committed, commit_backfill
from dynalake.backfill.export.export import check_exports, remove_exports, request_exports
from dynalake.backfill.export.manifest import Groups, find_groups, store_groups
from dynalake.backfill.export.read import convert_group
from dynalake.backfill.plan.run import plan_backfill
from dynalake.backfill.scan.scan import scan_segment
from dynalake.errors import NotReadyError
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames
from dynalake.options.backfill import BackfillOptions

NOW = datetime(2019, 5, 25, 12, tzinfo=UTC)
COMMITTED = NOW + timedelta(days=1)
"""The time of an export's commit, which may be after the export's day."""


def backfill(
    clients: Clients, names: TableNames, *, run: str = "manual__1", hand_off: str = "", **options: Any
) -> Committed:
    chosen = BackfillOptions(**{"segments": 3, "target_mb": 0.002, **options})
    plan = plan_backfill(Table(clients, names), run, chosen, hand_off=hand_off, now=lambda: NOW)
    for segment in range(plan.segments):
        scan_segment(Table(clients, names), run=run, segment=segment)
    return commit_backfill(Table(clients, names), run=run, now=lambda: NOW)


def export(clients: Clients, names: TableNames, *, run: str) -> Groups:
    """Do the exporting task without its deferral."""
    groups = find_groups(Table(clients, names), run=run)
    while groups is None:
        try:
            finished = check_exports(Table(clients, names), request_exports(Table(clients, names), run=run))
        except NotReadyError:
            continue
        groups = store_groups(Table(clients, names), finished, run=run)
    return groups


def backfill_exported(
    clients: Clients, names: TableNames, *, run: str = "manual__1", hand_off: str = "", **options: Any
) -> Committed:
    chosen = BackfillOptions(**{"segments": 2, "target_mb": 0.002, "method": "export", **options})
    plan_backfill(Table(clients, names), run, chosen, hand_off=hand_off, now=lambda: NOW)
    for segment in range(len(export(clients, names, run=run).groups)):
        convert_group(Table(clients, names), run=run, segment=segment)
    committed = commit_backfill(Table(clients, names), run=run, now=lambda: COMMITTED)
    remove_exports(Table(clients, names), run=run)
    return committed
