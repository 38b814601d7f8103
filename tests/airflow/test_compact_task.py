"""The values that a task of `dynalake_compact` passes to the night's work."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, patch

from dynalake.names import Lake
from dynalake.operators import compact


def test_a_run_with_a_future_date_does_not_close_today() -> None:
    """Airflow starts a run of any date at once, so its date does not tell whether a day is over."""
    future = datetime(2100, 1, 1, tzinfo=UTC)
    run = SimpleNamespace(run_type="manual", logical_date=future, data_interval_end=future, run_after=future)
    params = {"days": [], "fold": False, "scrub": False, "engine": "arrow"}
    clocks: list[Callable[[], datetime]] = []

    def work(table: Any, settings: Any, now: Callable[[], datetime], *rest: Any, **options: Any) -> tuple[()]:
        clocks.append(now)
        return ()

    stand_ins: dict[str, Any] = {
        "dynalake.operators.compact.get_current_context": lambda: {"dag_run": run},
        "dynalake.operators.task.session.parameters": lambda: params,
        "dynalake.operators.task.session.get_current_context": lambda: {"ti": Mock()},
        "dynalake.operators.compact.label": lambda text: None,
        "dynalake.operators.compact.clients": object,
        "dynalake.operators.compact.lake": lambda aws: Lake("dev", "1", "eu-west-1"),
        "dynalake.capture.lake.registry.load_settings": lambda table: None,
        "dynalake.capture.lake.registry.raw_retention_days": lambda aws, where: 0,
        "dynalake.lake.catalog.metadata_note.noted_metadata": lambda table, name: "s3://b/metadata.json",
        "dynalake.night.night.work": work,
        "dynalake.operators.compact.emit": lambda table, *kinds: None,
        "dynalake.operators.compact.leave_reading": lambda table: None,
    }
    with ExitStack() as stack:
        for name, stand_in in stand_ins.items():
            stack.enter_context(patch(name, stand_in))
        before = datetime.now(UTC)
        context: Any = {"dag_run": run}
        compact.CompactTable.execute(compact.CompactTable(task_id="compact", table="RECEIPTS"), context)
    (now,) = clocks
    assert before <= now() <= datetime.now(UTC)
