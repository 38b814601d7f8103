"""The tasks of `dynalake_teardown`, in their order."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from airflow.sdk import PokeReturnValue, task

from dynalake.operators.task import limits
from dynalake.operators.task.session import clients, guarded, parameters, poke, run_id, say, table_names
from dynalake.operators.waits.canaries import look_for_canaries


@task
@guarded
def check() -> dict[str, Any]:
    """Checks the table's name and the typed confirmation, and shows what is going to be removed and what stays."""
    from dynalake.capture.teardown import check_teardown

    asked = parameters()
    found = clients()
    names = table_names(found)
    remains = check_teardown(found, names, asked["delete_data"])
    say(f"stack {names.stack}: {remains.stack or 'not there'}, is removed")
    fate = "are deleted" if asked["delete_data"] else "stay"
    say(f"Glue tables and views: {', '.join(remains.catalog) or 'none'}; they {fate}")
    say(f"objects of {names.table} in s3://{names.lake.bucket}/: {'some' if remains.data else 'none'}; they {fate}")
    return asdict(remains)


@task
@guarded
def stop_mapping() -> str:
    """Disables the event source mapping; it may still read for some minutes."""
    from dynalake.capture.proof.alarms import silence_alarms
    from dynalake.capture.proof.hand_off import note_end
    from dynalake.capture.teardown import stop_mapping as stop

    found = clients()
    names = table_names(found)
    silence_alarms(found, names)
    stopped = stop(found, names)
    if stopped:
        note_end(found, names, stopped)
    say(f"The event source mapping {stopped} is disabled" if stopped else "There is no event source mapping")
    return stopped


@task.sensor(mode="reschedule", poke_interval=10, timeout=7200)
@guarded
def at_rest(mapping_id: str) -> PokeReturnValue:
    """Waits until nothing goes into the pipeline any more, which a disabled mapping does not say, and nothing moves."""
    from datetime import UTC, datetime, timedelta

    from dynalake.capture.proof.quiet import rest_of
    from dynalake.capture.teardown import check_stopped

    asked = parameters()
    if not asked["wait_for_delivery"]:
        return PokeReturnValue(is_done=True)
    found = clients()
    names = table_names(found)
    rest = timedelta(seconds=asked["rest_seconds"]) if asked["rest_seconds"] else rest_of(found, names)
    return poke(lambda: check_stopped(found, names, mapping_id, datetime.now(UTC), rest))


@task(retries=5)
@guarded
def send_last_canaries() -> list[dict[str, Any]]:
    """Sends a canary into every shard of every delivery that is there, behind all that is under way."""
    from datetime import UTC, datetime

    from dynalake.capture.proof.canaries import parts, send_canaries
    from dynalake.capture.teardown import last_canaries

    if not parameters()["wait_for_delivery"]:
        say("The run does not wait for what is under way")
        return []
    found = clients()
    names = table_names(found)
    sent = last_canaries(found, names, run_id(), datetime.now(UTC))
    for canaries in sent:
        into = parts(found, names, canaries.delivery)
        send_canaries(found, names, canaries, into)
        say(f"{len(into)} canaries are on their way through {names.firehose(canaries.delivery)}")
    return [canaries.to_dict() for canaries in sent]


@task.sensor(mode="reschedule", poke_interval=10, timeout=7200)
@guarded
def delivered(canaries: list[dict[str, Any]]) -> PokeReturnValue:
    """Waits until every canary is read back from S3, and so is all that was before it."""
    return look_for_canaries(canaries)


@task
@guarded
def delete_stack() -> bool:
    """Deletes the table's stack: mapping, streams, delivery, alarms, log and settings."""
    from dynalake.capture.teardown import check_disabled
    from dynalake.capture.teardown import delete_stack as delete

    found = clients()
    names = table_names(found)
    check_disabled(found, names)
    deleted = delete(found, names)
    say(f"{names.stack} {'is deleted' if deleted else 'was not there'}")
    return deleted


@task(execution_timeout=limits.DATA)
@guarded
def convert_last() -> int:
    """Makes rows of what arrived last, which no scheduled run does once the table's settings are gone; how many."""
    from datetime import UTC, datetime

    from dynalake.convert.finish import convert_due
    from dynalake.errors import NotReadyError, SourceError
    from dynalake.lake.catalog.metadata_note import noted_metadata
    from dynalake.lake.catalog.table import Table
    from dynalake.lake.tables.identity import check_live_table

    asked = parameters()
    if asked["delete_data"] == asked["table"]:
        return 0
    found = clients()
    names = table_names(found)
    if noted_metadata(found, names, names.changes_table) is None:
        say(f"{names.table} has no tables in Glue")
        return 0
    table = Table(found, names)
    try:
        check_live_table(table)
    except SourceError as another:
        say(f"{another.received}. What arrived last is not converted, and stays in {names.uri(names.raw_prefix)}")
        return 0
    done = convert_due(table, lambda: datetime.now(UTC))
    if waiting := [wait for one in done[-1:] for wait in one.waiting]:
        raise NotReadyError(f"dt={waiting[0][0]} waits: {waiting[0][2]}", action="clear this task in some minutes")
    rows = sum(one.sums.rows for one in done)
    say(f"{rows:,} rows of {sum(one.objects for one in done):,} raw objects that arrived last")
    return rows


@task.short_circuit(ignore_downstream_trigger_rules=False)
@guarded
def wants_data_deleted() -> bool:
    """Whether the data goes too: only where the run's `delete_data` is exactly the table's name."""
    asked = parameters()
    return bool(asked["delete_data"] == asked["table"])


@task
@guarded
def delete_catalog() -> list[str]:
    """Deletes the table's views and Glue tables."""
    from dynalake.capture.teardown import delete_catalog as delete

    found = clients()
    deleted = delete(found, table_names(found))
    say(f"Deleted: {', '.join(deleted) or 'nothing'}")
    return list(deleted)


@task(execution_timeout=limits.DATA)
@guarded
def delete_objects() -> int:
    """Deletes the table's objects in every version: raw, Parquet, rejected, and what runs remember."""
    from dynalake.capture.stored import delete_objects as delete

    found = clients()
    names = table_names(found)
    return delete(found, names, lambda prefix, deleted: say(f"{names.uri(prefix)}: {deleted:,} versions deleted"))


@task(trigger_rule="none_failed")
@guarded
def report() -> list[str]:
    """Says what is left, and how to remove that as well."""
    from dynalake.capture.teardown import what_is_left

    found = clients()
    left = what_is_left(found, table_names(found))
    for line in left:
        say(line)
    return left
