"""The task that converts one partition: on this worker, or on Spark while no worker waits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator, Context, XComArg

from dynalake.operators import limits
from dynalake.operators.compact import compact_options
from dynalake.operators.session import clients, guarded, lake, parameters, say

if TYPE_CHECKING:
    from dynalake.clients import Clients
    from dynalake.compact.manifest import ConvertedPartition
    from dynalake.compact.plan import PartitionPlan
    from dynalake.names import TableNames
    from dynalake.spark.request import Request

# Each holds up to about 1 GB of memory; how many a worker bears is known when the DAG is parsed, not when it runs.
MAX_ACTIVE_PARTITIONS = int(os.environ.get("DYNALAKE_MAX_ACTIVE_PARTITIONS", "4"))

POLL_SECONDS = 20


def convert_each(partitions: XComArg) -> XComArg:
    """One mapped task for each partition."""
    tasks = ConvertPartition.partial(
        task_id="convert",
        map_index_template="{{ partition_label }}",
        max_active_tis_per_dag=MAX_ACTIVE_PARTITIONS,
        execution_timeout=limits.CONVERSION,
    )
    return XComArg(tasks.expand(partition=partitions))


class ConvertPartition(BaseOperator):
    """Converts one partition with the run's engine. Readers see nothing of it yet.

    On Spark it starts the run of the lake's Glue job, or finds the one that is under way, and defers.
    """

    template_fields = ("partition",)
    longest_wait = limits.SPARK

    def __init__(self, *, partition: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.partition = partition

    @guarded
    def execute(self, context: Context) -> dict[str, Any]:
        from dynalake.compact.convert import compact_day
        from dynalake.spark.convert import find_done, find_input
        from dynalake.spark.glue import choose_engine, start_conversion

        found = clients()
        planned, names = self._planned(context, found)
        options, engine = compact_options(), parameters()["engine"]
        if engine != "arrow":
            given = find_input(found, names, planned.day, options, planned.beside)
            engine = choose_engine(engine, sum(o.size for o in given.objects), parameters()["spark_above_gb"])
            if engine == "spark":
                done = find_done(found, names, planned.day, options, given, planned.force)
                if done is not None:
                    return _report(done)
                self._wait(names, start_conversion(found, names, _request(names, planned, given.digest)))
        return _report(compact_day(found, names, planned.day, options, planned.beside, force=planned.force))

    def _wait(self, names: TableNames, run: str) -> NoReturn:
        from dynalake.operators.glue_run import GlueRunTrigger

        say(f"Glue job {names.lake.spark_job}, run {run}")
        trigger = GlueRunTrigger(
            job_name=names.lake.spark_job,
            run_id=run,
            waiter_delay=POLL_SECONDS,
            waiter_max_attempts=int(self.longest_wait.total_seconds()) // POLL_SECONDS,
            aws_conn_id=str(parameters()["aws_conn_id"]),
            region_name=names.lake.region,
        )
        self.defer(trigger=trigger, method_name="finish", timeout=self.longest_wait)

    @guarded
    def finish(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """What the job run left: its conversion, or its error."""
        from dynalake.spark.glue import find_request
        from dynalake.spark.request import read_outcome

        say(event)
        found = clients()
        _, names = self._planned(context, found)
        return _report(read_outcome(found, names, find_request(found, names, event["run_id"])))

    def _planned(self, context: Context, found: Clients) -> tuple[PartitionPlan, TableNames]:
        from dynalake.compact.plan import PartitionPlan

        planned = PartitionPlan.from_dict(self.partition)
        context["partition_label"] = f"{planned.table} dt={planned.day}"  # type: ignore[typeddict-unknown-key]
        return planned, lake(found).table(planned.table)


def _request(names: TableNames, planned: PartitionPlan, inputs: str) -> Request:
    from dynalake.spark.request import Request

    where, options = names.lake, compact_options()
    beside = tuple(planned.beside)
    return Request(where.region, where.environment, names.table, planned.day, options, beside, inputs, planned.force)


def _report(converted: ConvertedPartition) -> dict[str, Any]:
    say(
        f"{converted.lines:,} lines of {converted.objects:,} objects = {converted.rows:,} rows "
        f"+ {converted.duplicates:,} duplicates + {converted.repeats:,} repeats of earlier days "
        f"+ {converted.canaries:,} canaries "
        f"+ {converted.quarantined:,} quarantined; {converted.parts} files, {converted.size:,} bytes"
    )
    for reason, count in sorted(converted.reasons.items()):
        say(f"quarantined: {count:,} × {reason}")
    return converted.to_dict()
