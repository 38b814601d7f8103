"""The tasks of `dynalake_certify`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import PokeReturnValue, XComArg

from dynalake.errors import AlarmError, NotReadyError
from dynalake.operators.task import limits
from dynalake.operators.task.note_text import name_tables
from dynalake.operators.task.session import (
    clients,
    conclude,
    guarded,
    named_table,
    requested,
    run_id,
    say,
    table_list,
    tell,
)
from dynalake.operators.task.step import LABEL, label, step, wait
from dynalake.operators.waits.export import ExportTable
from dynalake.options.backfill import BackfillOptions
from dynalake.options.runs import CertifyOptions


@step
def tables() -> list[str]:
    """Returns the tables of this run."""
    return table_list(clients())


def read_each(tables: XComArg) -> XComArg:
    """Return one mapped task for each table, which waits for its export."""
    tasks = ExportToCompare.partial(task_id="export", map_index_template=LABEL, execution_timeout=limits.TASK)
    return XComArg(tasks.expand(table=tables))


class ExportToCompare(ExportTable):
    """Decides once how the table is read, and waits for its export if that is how. Returns the table."""

    template_fields = ("table",)

    def __init__(self, *, table: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table

    @guarded
    def _export(self, event: dict[str, Any] | None = None) -> str:
        from dynalake.backfill.plan.run import plan_backfill
        from dynalake.lake.tables.identity import table_id_of

        label(self.table)
        table, options = named_table(self.table), requested(CertifyOptions)
        reading = BackfillOptions(
            method=options.method, max_read_capacity=options.max_read_capacity, updated_at_attribute=""
        )
        plan = plan_backfill(table, run_id(), reading, table_id=table_id_of(table.changes()))
        say(plan.summary())
        if plan.method == "export":
            groups = self.wait_for_groups(table, event)
            say(f"{groups.items:,} items in {groups.count:,} files")
        return self.table


@step(map_index_template=LABEL, execution_timeout=limits.SCAN)
def compare(name: str) -> str:
    """Compares every item with the lake, and keeps those in doubt. Returns the table."""
    from dynalake.backfill.export.export import remove_exports
    from dynalake.certify.compare import compare_items

    label(name)
    table = named_table(name)
    certification = compare_items(table, run=run_id(), say=say)
    remove_exports(table, run=run_id())
    say(f"{certification.items:,} items compared, {len(certification.doubts):,} of them are read again")
    return name


@wait(
    map_index_template=LABEL,
    poke_interval=300,
    timeout=limits.SETTLE.total_seconds(),
    execution_timeout=limits.TASK,
)
def settle(name: str) -> PokeReturnValue:
    """Waits until the lake shows what DynamoDB showed of the items in doubt, or had time enough to."""
    from dynalake.capture.lake.registry import load_settings
    from dynalake.certify.doubts import settle_doubts
    from dynalake.watch.judge import is_in_time
    from dynalake.watch.status import load_status

    label(name)
    table = named_table(name)
    status = load_status(table)
    late = (
        status is not None
        and not status.is_stale(datetime.now(UTC))
        and not is_in_time(status.readings, status.targets)
    )
    target = load_settings(table).freshness_alarm_minutes

    try:
        certificate = settle_doubts(table, run=run_id(), target_minutes=target, conclude=not late)
    except NotReadyError as waiting:
        say(waiting)
        return PokeReturnValue(is_done=False)
    for line in certificate.lines():
        say(line)
    return PokeReturnValue(is_done=True)


# A table that could not be compared must not hide the others.
@step(trigger_rule="all_done")
def report(tables: list[str] | None) -> None:
    """Writes the certificates into the run's note; fails if an item differs, or a table was not compared."""
    from dynalake.backfill.plan.run import run_name
    from dynalake.certify.certificate import check_certificates, find_certificate

    if tables is None:
        raise AlarmError("No table was compared", action="find out why the task 'tables' failed")
    found = {name: find_certificate(named_table(name), run_name(run_id())) for name in tables}
    # Airflow cuts a long note.
    certificates = sorted((c for c in found.values() if c is not None), key=lambda c: c.equal)
    if certificates:
        equal, names = sum(c.equal for c in certificates), name_tables([*found])
        conclude(f"{names}: {'every item is' if equal == len(found) else f'{equal:,} tables are'} as in the lake")
        tell("\n".join(certificate.note() for certificate in certificates))
    check_certificates(found)
