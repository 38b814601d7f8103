"""The tasks of `dynalake_teardown`, in order."""

from __future__ import annotations

from typing import Any

from airflow.sdk import PokeReturnValue

from dynalake.errors import counted
from dynalake.operators.task import limits
from dynalake.operators.task.assets import COMMITS, emit
from dynalake.operators.task.session import conclude, poke, requested, run_id, run_table, say, tell
from dynalake.operators.task.step import gate, step, wait
from dynalake.operators.waits.canaries import look_for_canaries
from dynalake.options.runs import TeardownOptions
from dynalake.options.where import OneTable


@gate
def check() -> bool:
    """Checks the table's name and the typed confirmation, and shows what would go; in a dry run, the run ends here."""
    from dynalake.capture.stored import count_objects
    from dynalake.capture.teardown import check_teardown

    options, table = requested(TeardownOptions), run_table()
    remains = check_teardown(table, options.delete_data)
    stored = count_objects(table) if options.dry_run else ()
    for part in stored:
        say(f"{table.names.uri(part.prefix)}: {counted(part.versions, 'version')}, {counted(part.bytes, 'byte')}")
    lines = remains.lines(table.names, stored, delete_data=bool(options.delete_data))
    if options.dry_run:
        conclude("nothing is removed: the run only shows what would go")
    (tell if options.dry_run else say)("\n".join(lines))
    return not options.dry_run


@step
def stop_mapping() -> str:
    """Disables the event source mapping, which may still read for some minutes."""
    from dynalake.capture.proof.alarms import silence_alarms
    from dynalake.capture.proof.hand_off import note_end
    from dynalake.capture.teardown import stop_mapping as stop

    table = run_table()
    silence_alarms(table)
    stopped = stop(table)
    if stopped:
        note_end(table, stopped)
    say(f"The event source mapping {stopped} is disabled" if stopped else "There is no event source mapping")
    return stopped


@wait(timeout=7200)
def at_rest(mapping_id: str) -> PokeReturnValue:
    """Waits until nothing enters the pipeline any more, which a disabled mapping does not prove, and nothing moves."""
    from datetime import UTC, datetime, timedelta

    from dynalake.capture.proof.quiet import rest_of
    from dynalake.capture.teardown import check_stopped

    options = requested(TeardownOptions)
    if not options.wait_for_delivery:
        return PokeReturnValue(is_done=True)
    table = run_table()
    rest = timedelta(seconds=options.rest_seconds) if options.rest_seconds else rest_of(table)
    return poke(lambda: check_stopped(table, mapping_id, datetime.now(UTC), rest))


@step(retries=5)
def send_last_canaries() -> list[dict[str, Any]]:
    """Sends a canary into every shard of every existing delivery, behind everything under way."""
    from datetime import UTC, datetime

    from dynalake.capture.proof.canaries import parts, send_canaries
    from dynalake.capture.teardown import last_canaries

    if not requested(TeardownOptions).wait_for_delivery:
        say("The run does not wait for changes under way")
        return []
    table = run_table()
    sent = last_canaries(table, run_id(), datetime.now(UTC))
    for canaries in sent:
        into = parts(table, canaries.delivery)
        send_canaries(table, canaries, into)
        say(f"{len(into)} canaries are on their way through {table.names.firehose(canaries.delivery)}")
    return [canaries.to_dict() for canaries in sent]


@wait(timeout=7200)
def delivered(canaries: list[dict[str, Any]]) -> PokeReturnValue:
    """Waits until every canary is read back from S3, and so everything sent before it is there."""
    return look_for_canaries(canaries)


@step
def delete_stack() -> bool:
    """Deletes the table's stack: mapping, streams, delivery, alarms, log and settings."""
    from dynalake.capture.teardown import check_disabled
    from dynalake.capture.teardown import delete_stack as delete

    table = run_table()
    check_disabled(table)
    deleted = delete(table)
    say(f"{table.names.stack} {'is deleted' if deleted else 'did not exist'}")
    return deleted


@step(execution_timeout=limits.DATA, outlets=[COMMITS])
def convert_last() -> int:
    """Converts what arrived last, which no scheduled run does once the table's settings are gone; returns its rows."""
    from datetime import UTC, datetime

    from dynalake.convert.finish import convert_due
    from dynalake.errors import NotReadyError, SourceError
    from dynalake.lake.catalog.metadata_note import noted_metadata
    from dynalake.lake.tables.identity import check_live_table

    table = run_table()
    if requested(TeardownOptions).delete_data == table.names.table:
        return 0
    if noted_metadata(table, table.names.changes_table) is None:
        say(f"{table.names.table} has no tables in Glue")
        return 0
    try:
        check_live_table(table)
    except SourceError as another:
        raw = table.names.uri(table.names.raw_prefix)
        say(f"{another.received}. What arrived last is not converted, and stays in {raw}")
        return 0
    done = convert_due(table, lambda: datetime.now(UTC))
    if waiting := [wait for finished in done[-1:] for wait in finished.waiting]:
        raise NotReadyError(f"dt={waiting[0][0]} waits: {waiting[0][2]}", action="clear this task in some minutes")
    rows = sum(finished.sums.rows for finished in done)
    say(f"Arrived last: {counted(rows, 'row')} of {counted(sum(f.objects for f in done), 'raw object')}")
    emit(table, "commit")
    return rows


@gate(ignore_downstream_trigger_rules=False)
def wants_data_deleted() -> bool:
    """Decides whether to delete the data: only if the run's `delete_data` is exactly the table's name."""
    return requested(TeardownOptions).delete_data == requested(OneTable).table


@step
def delete_catalog() -> list[str]:
    """Deletes the table's views and Glue tables."""
    from dynalake.capture.teardown import delete_catalog as delete

    deleted = delete(run_table())
    say(f"Deleted: {', '.join(deleted) or 'nothing'}")
    return list(deleted)


@step(execution_timeout=limits.DATA)
def delete_objects() -> int:
    """Deletes the table's objects in every version: raw, Parquet, rejected, and the state of runs."""
    from dynalake.capture.stored import delete_objects as delete

    table = run_table()
    return delete(
        table, lambda prefix, deleted: say(f"{table.names.uri(prefix)}: {counted(deleted, 'version')} deleted")
    )


@step(trigger_rule="none_failed")
def report() -> list[str]:
    """Reports what is left, and how to remove that as well."""
    from dynalake.capture.teardown import what_is_left

    table = run_table()
    left = what_is_left(table)
    deleted = requested(TeardownOptions).delete_data == table.names.table
    conclude(f"the pipeline is removed, and its data {'is deleted' if deleted else 'stays'}")
    tell("\n".join(left))
    return left
