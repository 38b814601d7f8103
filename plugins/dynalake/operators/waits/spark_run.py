"""A task whose work the lake's Glue job may do while no worker waits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator, Context

from dynalake.operators.task import limits
from dynalake.operators.task.session import guarded, named_table, requested, run_lake, say
from dynalake.options.engine import Engine

if TYPE_CHECKING:
    from dynalake.lake.catalog.table import Table
    from dynalake.names import TableNames

POLL_SECONDS = 20


class SparkOperator(BaseOperator):
    """Starts a run of the lake's Glue job, or finds the one under way, and defers until it has ended.

    A subclass calls `defer_to_spark` in `execute`, and continues in `go_on`.
    """

    longest_wait = limits.SPARK

    @abstractmethod
    def dynamodb_table(self) -> str:
        """Return the name of the task's DynamoDB table."""

    def defer_to_spark(self, table: Table, work: str, values: Mapping[str, Any]) -> NoReturn:
        """Let the job do this work for the table. Raise `SettingsError` or `NotReadyError`, as `start_run` does."""
        from dynalake.operators.waits.glue_run import GlueRunTrigger
        from dynalake.spark.glue import start_run
        from dynalake.spark.request import Request

        names = table.names
        run = start_run(table, Request.of(names, work, values))
        say(f"Glue job {names.lake.spark_job}, run {run}")
        trigger = GlueRunTrigger(
            job_name=names.lake.spark_job,
            run_id=run,
            waiter_delay=POLL_SECONDS,
            waiter_max_attempts=int(self.longest_wait.total_seconds()) // POLL_SECONDS,
            aws_conn_id=run_lake().connection,
            region_name=names.lake.region,
        )
        self.defer(trigger=trigger, method_name="finish", timeout=self.longest_wait)

    @guarded
    def finish(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Take the outcome of the job run: its result, or its error."""
        from dynalake.spark.glue import find_request
        from dynalake.spark.request import read_outcome

        say(event)
        table = named_table(self.dynamodb_table())
        return self.go_on(context, table.names, read_outcome(table, find_request(table, event["run_id"])))

    @abstractmethod
    def go_on(self, context: Context, names: TableNames, done: dict[str, Any]) -> Any:
        """Continue after the job. `done`: its answer (`spark/work.py`)."""


def is_for_spark(count: Callable[[], int]) -> bool:
    """Return whether the run's parameters give this work to Spark. Count its bytes only if they decide."""
    options = requested(Engine)
    if options.engine == "auto":
        return count() > options.spark_above_gb << 30
    return options.engine == "spark"
