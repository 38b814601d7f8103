"""The tasks of `dynalake_backfill`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context, get_current_context

from dynalake.operators.task import limits
from dynalake.operators.task.assets import emit
from dynalake.operators.task.lineage import emit_landed
from dynalake.operators.task.session import (
    clients,
    conclude,
    guarded,
    parameters,
    places,
    requested,
    run_id,
    run_table,
    say,
    tell,
)
from dynalake.operators.task.step import LABEL, label, step
from dynalake.operators.waits.spark_run import SparkOperator, is_for_spark
from dynalake.options.backfill import BackfillOptions

if TYPE_CHECKING:
    from dynalake.names import TableNames


@step
def plan() -> list[int]:
    """Decides once what the run reads, and returns the scan's segments.

    An export has none. A dry run has none either: it shows what the run would take.
    """
    from dynalake.backfill.plan.run import plan_backfill
    from dynalake.capture.lake.registry import load_settings
    from dynalake.capture.proof.hand_off import load_hand_off
    from dynalake.lake.current.snapshot import number_run
    from dynalake.lake.tables.identity import table_id_of

    options = requested(BackfillOptions)
    table = run_table()
    settings = load_settings(table)
    if options.updated_at_attribute is None:
        options = replace(options, updated_at_attribute=settings.updated_at_attribute)
    planned = plan_backfill(
        table,
        run_id(),
        options,
        table_id=table_id_of(table.changes()),
        hand_off="" if options.updated_before else load_hand_off(table).at.isoformat(),
    )
    say(planned.summary())
    if not options.dry_run and planned.window is None:
        # The backfill that starts later is the newer snapshot, even if it ends first.
        number_run(table, planned.run)
    if options.dry_run:
        from dynalake.backfill.plan.quote import quote_backfill

        conclude("estimated, and nothing is read")
        tell(quote_backfill(table, planned, options), markdown=True)
    get_current_context()["ti"].xcom_push("plan", planned.to_json())
    return [] if options.dry_run or planned.method != "scan" else list(range(planned.segments))


@step(map_index_template=LABEL, execution_timeout=limits.SCAN)
def scan(segment: int) -> dict[str, Any]:
    """Writes one segment of the table as gzipped change records; continues at its checkpoint after a failure."""
    from dynalake.backfill.scan.scan import scan_segment

    label(f"segment {segment}")
    table = run_table()
    result = scan_segment(
        table,
        run=run_id(),
        segment=segment,
        progress=lambda now: say(f"{now.read:,} items read, {now.kept:,} kept, {now.objects:,} objects"),
    )
    return result.to_json()


@step(map_index_template=LABEL, execution_timeout=limits.DATA)
def convert(segment: int) -> dict[str, Any]:
    """Writes one group of the export's files as gzipped change records; continues at its checkpoint after a failure."""
    from dynalake.backfill.export.read import convert_group

    label(f"files {segment}")
    result = convert_group(
        run_table(),
        run=run_id(),
        segment=segment,
        progress=lambda now: say(f"{now.read:,} items read, {now.kept:,} kept, {now.objects:,} objects"),
    )
    return result.to_json()


@step(trigger_rule="none_failed_min_one_success")
def commit() -> dict[str, Any]:
    """Checks that the counts add up, and stores the ledger. From here on, changes of a past window are visible."""
    from dynalake.backfill.commit.commit import commit_backfill

    table = run_table()
    committed = commit_backfill(table, run=run_id())
    ledger = committed.ledger.markdown()
    say(ledger)
    get_current_context()["ti"].xcom_push("ledger", ledger)
    conclude(committed.ledger.headline(), *places(table))
    tell(committed.ledger.note())
    emit_landed(table)
    return committed.to_json()


@step
def remove_export() -> int:
    """Deletes the export's own files, which nothing needs any more, unless the run keeps them."""
    from dynalake.backfill.export.export import remove_exports

    return remove_exports(run_table(), run=run_id())


@step
def plan_snapshot() -> list[dict[str, Any]]:
    """Plans the batches in which the run's objects become the snapshot of the Iceberg tables."""
    from datetime import UTC, datetime

    from dynalake.backfill.plan.run import load_plan, run_name
    from dynalake.convert.snapshot import plan_snapshot as plan

    table = run_table()
    backfill = load_plan(table, run_name(run_id()))
    if backfill.window is not None:
        say("The changes of the past window are in the day of this run: dynalake_convert takes them from there")
        return []
    planned = plan(table, backfill.prefix(table.names), datetime.now(UTC))
    say(f"{sum(len(b.inputs) for b in planned.batches):,} objects in {len(planned.batches):,} batches")
    return [{"plan": b.plan, "number": b.number, "size": b.size} for b in planned.batches]


@step(map_index_template=LABEL)
def convert_snapshot(batch: dict[str, Any]) -> dict[str, Any]:
    """Converts one batch of the snapshot; readers see nothing of it yet."""
    from dataclasses import asdict

    from dynalake.convert.batch import convert_batch
    from dynalake.convert.plan import read_batch_plan

    label(f"batch {batch['number']}")
    table = run_table()
    result = convert_batch(table, read_batch_plan(table, batch["plan"], batch["number"]))
    say(f"{result.sums.lines:,} lines, {result.sums.rows:,} rows, {result.sums.rejected:,} rejected")
    return asdict(result.sums)


class ShowSnapshot(SparkOperator):
    """Makes the converted batches the snapshot, in the state first and then in the changes; here or on Spark."""

    template_fields = ("batches",)

    def __init__(self, *, batches: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batches = batches

    def dynamodb_table(self) -> str:
        return str(parameters()["table"])

    @guarded
    def execute(self, context: Context) -> dict[str, Any]:
        from dynalake.backfill.plan.run import load_plan, run_name
        from dynalake.lake.current.snapshot import number_run
        from dynalake.lake.working.workers import HERE
        from dynalake.spark.request import SNAPSHOT
        from dynalake.spark.work import do_snapshot, snapshot

        table = run_table()
        backfill = load_plan(table, run_name(run_id()))
        if backfill.window is not None:
            return {}
        request = snapshot(
            number_run(table, backfill.run), self.batches[0]["plan"] if self.batches else "", len(self.batches)
        )
        if is_for_spark(lambda: sum(batch["size"] for batch in self.batches)):
            self.defer_to_spark(table, SNAPSHOT, request)
        return self.go_on(context, table.names, do_snapshot(table, request, HERE))

    def go_on(self, context: Context, names: TableNames, done: dict[str, Any]) -> dict[str, Any]:
        from datetime import UTC, datetime

        from dynalake.lake.catalog.table import Table
        from dynalake.lake.hive.json_table import project_json

        run = done["run"]
        if done["shown"]:
            say(f"The snapshot is that of this run, number {run}; {done['removed']:,} items of earlier ones are gone")
        else:
            conclude(f"not the snapshot: that is the one of a later backfill, number {run}")
        table = Table(clients(), names)
        project_json(table, lambda: datetime.now(UTC))
        emit(table, "snapshot")
        return done
