"""The DAG's order of calls."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from dynalake.backfill.commit import Committed, commit_backfill
from dynalake.backfill.run import plan_backfill
from dynalake.backfill.scan import scan_segment
from dynalake.clients import Clients
from dynalake.names import TableNames

NOW = datetime(2019, 5, 25, 12, tzinfo=UTC)


def backfill(clients: Clients, names: TableNames, *, run: str = "manual__1", **options: Any) -> Committed:
    plan = plan_backfill(clients, names, run=run, now=lambda: NOW, **{"segments": 3, "target_mb": 0.002, **options})
    for segment in range(plan.segments):
        scan_segment(clients, names, run=run, segment=segment)
    return commit_backfill(clients, names, run=run)
