"""The asset events by which other DAGs learn of a table's commits.

Tables are known only when a task runs, so the DAGs declare one alias, and the tasks add each table's asset to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import Asset, AssetAlias, get_current_context

from dynalake.operators.task.lineage import emit_committed

if TYPE_CHECKING:
    from dynalake.lake.catalog.table import Table

COMMITS = AssetAlias("dynalake", group="dynalake")
"""The outlet of every task that emits events. A DAG with this schedule gets those of all tables of all lakes."""


def emit(table: Table, *kinds: str, known: bool = False) -> None:
    """Emit the events of the table's commits, of the asset `dynalake://{environment}/{TABLE}`.

    `kinds`: those that the task makes itself, and so is what OpenLineage learns of it. The others were left by a task
    that had failed. `known`: as `take_events` takes it.

    Call it last: Airflow sends them only if the task succeeds. An asset's name is its URI, so that
    `Asset("dynalake://dev/RECEIPTS")` in another DAG means this one.
    """
    from dynalake.lake.catalog.commit_events import take_events

    context = get_current_context()
    asset = Asset(f"dynalake://{table.names.lake.environment}/{table.names.table}")
    events = take_events(table, f"{context['run_id']}/{context['ti'].task_id}", known=known)
    for event in events:
        context["outlet_events"][COMMITS].add(asset, extra=dict(event.to_extra()))
    emit_committed(table, [event for event in events if event.kind in kinds])
