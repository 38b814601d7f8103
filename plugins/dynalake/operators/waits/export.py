"""The task that exports a table and waits for the export without a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from dynalake.errors import TransientError
from dynalake.operators.task import limits
from dynalake.operators.task.session import guarded, requested, run_id, run_lake, run_table, say
from dynalake.options.backfill import BackfillOptions

try:
    from airflow.sdk.exceptions import AirflowSkipException
except ImportError:  # Airflow 3.1
    from airflow.exceptions import AirflowSkipException  # type: ignore[no-redef]

if TYPE_CHECKING:
    from airflow.sdk import Context

    from dynalake.backfill.export.manifest import Groups
    from dynalake.lake.catalog.table import Table

POLL_SECONDS = 5


class ExportTable(BaseOperator):
    """Exports the run's table if the plan says so; returns the numbers of the groups of its files.

    Even if Airflow dies in the meantime, the task finds its export again: by its note or its token.
    """

    longest_wait = limits.EXPORT

    def execute(self, context: Context) -> Any:
        return self._export()

    def resume(self, context: Context, event: dict[str, Any]) -> Any:
        """Continue after the export is done or has failed, or the triggerer gave up on it."""
        return self._export(event)

    @guarded
    def _export(self, event: dict[str, Any] | None = None) -> Any:
        from dynalake.backfill.plan.run import load_plan, run_name

        if requested(BackfillOptions).dry_run:
            raise AirflowSkipException("Only an estimate was requested")
        table = run_table()
        if load_plan(table, run_name(run_id())).method != "export":
            raise AirflowSkipException("The run scans the table")
        groups = self.wait_for_groups(table, event)
        say(f"{groups.items:,} items in {groups.count:,} files, read by {len(groups.groups):,} tasks")
        return list(range(len(groups.groups)))

    def wait_for_groups(self, table: Table, event: dict[str, Any] | None) -> Groups:
        """Return the files of the run's export, which is requested once, or wait for it without a worker."""
        from dynalake.backfill.export.export import check_exports, request_exports
        from dynalake.backfill.export.manifest import find_groups, store_groups
        from dynalake.errors import NotReadyError

        groups = find_groups(table, run=run_id())
        if groups is None:
            exports = request_exports(table, run=run_id())
            try:
                finished = check_exports(table, exports)
            except NotReadyError as waiting:
                if event is not None and event["status"] != "success":
                    raise TransientError(
                        f"The triggerer could not wait for the export: {event.get('message')}",
                        action="let the task retry: it waits for the same export",
                    ) from None
                say(waiting)
                self._wait_for(table, waiting.ids["export"])
            groups = store_groups(table, finished, run=run_id())
        return groups

    def _wait_for(self, table: Table, export_arn: str) -> None:
        from dynalake.operators.waits.triggers import ExportTrigger

        attempts = int(self.longest_wait.total_seconds()) // POLL_SECONDS
        trigger = ExportTrigger(export_arn, POLL_SECONDS, attempts, run_lake().connection, table.names.lake.region)
        self.defer(trigger=trigger, method_name="resume", timeout=self.longest_wait)
