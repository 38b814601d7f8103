"""The tasks of `dynalake_compact`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context, XComArg, get_current_context

from dynalake.operators.task.assets import COMMITS, emit
from dynalake.operators.task.limits import NIGHT
from dynalake.operators.task.note_text import name_tables
from dynalake.operators.task.session import clients, conclude, guarded, lake, named_table, requested, say, table_list
from dynalake.operators.task.step import LABEL, label, step
from dynalake.operators.waits.spark_run import SparkOperator, is_for_spark
from dynalake.operators.watch import leave_reading
from dynalake.options.runs import NightOptions

if TYPE_CHECKING:
    from dynalake.lake.catalog.table import Table
    from dynalake.lake.working.steps import Fault
    from dynalake.names import Lake, TableNames
    from dynalake.night.night import Requests


@step
def tables() -> list[str]:
    """Returns the tables of this run, one of which must have each of the days that it names."""
    from dynalake.days import check_day
    from dynalake.lake.catalog.table import Table
    from dynalake.night.compact import check_days

    aws = clients()
    chosen, days = table_list(aws), [check_day(day) for day in requested(NightOptions).days]
    if chosen:
        where = lake(aws)
        check_days([Table(aws, where.table(name)) for name in chosen], days)
        work = "What a night would do" if requested(NightOptions).dry_run else "A night's work"
        conclude(f"{work} on {name_tables(chosen)}")
    return chosen


def compact_each(tables: XComArg) -> XComArg:
    """Return one mapped task for each table."""
    tasks = CompactTable.partial(
        task_id="compact", map_index_template=LABEL, execution_timeout=NIGHT, outlets=[COMMITS]
    )
    return XComArg(tasks.expand(table=tables))


class CompactTable(SparkOperator):
    """Does a night's work on one table, here or on Spark. If a step fails, it fails after it has tried all steps."""

    template_fields = ("table",)

    def __init__(self, *, table: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table

    def dynamodb_table(self) -> str:
        return self.table

    @guarded
    def execute(self, context: Context) -> None:
        from dynalake.capture.lake.registry import load_settings, raw_retention_days
        from dynalake.lake.catalog.metadata_note import noted_metadata
        from dynalake.lake.catalog.table import Table
        from dynalake.night.night import count_work, work
        from dynalake.night.preview import preview
        from dynalake.spark.request import COMPACT
        from dynalake.spark.work import night

        label(self.table)
        aws = clients()
        where = lake(aws)
        table = Table(aws, where.table(self.table))
        settings = load_settings(table)
        if noted_metadata(table, table.names.changes_table) is None:
            conclude(f"{self.table} has no tables in Glue yet: dynalake_setup makes them")
            return
        request, retention = _request(where), raw_retention_days(aws, where)
        lines: list[str] = []

        def both(line: str) -> None:
            say(line)
            lines.append(line)

        if requested(NightOptions).dry_run:
            faults = preview(table, settings, _now, both, request, raw_retention_days=retention)
            conclude(f"{self.table}: {'; '.join(lines)}")
            _check(self.table, faults)
            return
        if is_for_spark(lambda: count_work(table, settings, _now(), request)):
            self.defer_to_spark(table, COMPACT, night(request))
        self._end(table, lines, work(table, settings, _now, both, request, raw_retention_days=retention))

    def go_on(self, context: Context, names: TableNames, done: dict[str, Any]) -> None:
        from dynalake.lake.working.steps import Fault

        label(self.table)
        for line in done["said"]:
            say(line)
        self._end(named_table(self.table), done["said"], [Fault(**fault) for fault in done["faults"]])

    def _end(self, table: Table, lines: Sequence[str], faults: Sequence[Fault]) -> None:
        """Put the night's work into the run's note and onto the page. Raise one error for all failed steps."""
        conclude(f"{self.table}: {'; '.join(lines) or 'nothing was due'}")
        leave_reading(table)
        _check(self.table, faults)
        emit(table, "day", "fold")


def _check(table: str, faults: Sequence[Fault]) -> None:
    from dynalake.errors import TerminalError, TransientError

    if failed := "; ".join(f"{f.what}: {f.error}" for f in faults):
        kind = TransientError if all(f.transient for f in faults) else TerminalError
        raise kind(f"{table}: {failed}", action="repair this and run it again; the other steps are done")


def _now() -> datetime:
    return datetime.now(UTC)


def _request(where: Lake) -> Requests:
    """Return the work that the run requests. A run of `airflow backfill` compacts the day before its logical date."""
    from datetime import timedelta

    from dynalake.days import check_day
    from dynalake.night.night import Requests

    run, options = get_current_context()["dag_run"], requested(NightOptions)
    days = [check_day(day) for day in options.days]
    if run.run_type == "backfill" and run.logical_date is not None:
        days.append(where.day_of(datetime.fromisoformat(str(run.logical_date)) - timedelta(days=1)))
    return Requests(tuple(days), options.fold, options.scrub, options.allow_schema_changes)
