"""The tasks of `dynalake_setup`, in order."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import PokeReturnValue, get_current_context

from dynalake.errors import counted
from dynalake.operators.task.lineage import emit_landed
from dynalake.operators.task.mapped import check_mapped
from dynalake.operators.task.note_text import escape
from dynalake.operators.task.session import (
    clients,
    conclude,
    parameters,
    places,
    poke,
    requested,
    run_id,
    run_lake,
    run_table,
    say,
    skip,
    tell,
)
from dynalake.operators.task.step import gate, step, wait
from dynalake.operators.waits.canaries import look_for_canaries
from dynalake.options.lake_options import LakeOptions
from dynalake.options.runs import SetupOptions
from dynalake.options.settings import TableSettings
from dynalake.options.where import NewTables, names_several

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynalake.capture.proof.hand_off import HandOff
    from dynalake.capture.stacks.stacks import StackPlan
    from dynalake.capture.table_stack import TableStack
    from dynalake.lake.catalog.table import Table


def _lake(*, planned: bool = False) -> Any:
    from dynalake.capture.lake.registry import load_lake, plan_lake

    environment = str(parameters()["environment"])
    if not planned:
        return load_lake(clients(), environment)
    return plan_lake(clients(), environment, **requested(LakeOptions).place)


SHOWN = 20
"""Tables that a run's note names; the task's log names all."""

NO_COLUMNS = (
    "schema_changes is 'refuse', and the table has no columns but its key's: all values will wait in __other. Set "
    "'types' in the setting columns, or run dynalake_compact with allow_schema_changes once there is data."
)

LONGEST_ID = 190
"""Length of the id of a run that another one starts. Airflow allows 250, and the id of its backfill is longer."""


@step
def choose_tables() -> list[dict[str, Any]]:
    """Returns the runs to start, one for each table, if this run names several; none if it sets its table up itself."""
    from dynalake.capture.source.choose import choose_tables as choose

    text = requested(NewTables).table
    if not names_several(text):
        return []
    tables = choose(clients(), text)
    check_mapped(tables)
    for table in tables:
        say(f"{table}: the run {run_of(run_id(), table)}")
    more = f" and {len(tables) - SHOWN:,} more" if len(tables) > SHOWN else ""
    conclude(f"{counted(len(tables), 'table')}, each set up by its own run")
    tell(f"{', '.join(tables[:SHOWN])}{more}")
    return [{"trigger_run_id": run_of(run_id(), table), "conf": {**parameters(), "table": table}} for table in tables]


def run_of(run: str, table: str) -> str:
    """Return the id of the run that another one starts for a table: the same in each retry."""
    from hashlib import sha256

    name = f"{run}__{table}"
    return name if len(name) <= LONGEST_ID else f"{name[:150]}__{sha256(name.encode()).hexdigest()[:16]}"


class TriggerTable(TriggerDagRunOperator):
    """Starts a table's own run, with the `conf` exactly as the user wrote it: nothing in it is a template."""

    template_fields = ()


@step
def check_source() -> dict[str, Any]:
    """Checks everything that can be wrong before anything is made: connection, names, settings, table and stream."""
    from dynalake.capture.lake.options import check_options, try_key
    from dynalake.capture.lake.registry import check_names, check_settings
    from dynalake.capture.source.readers import other_readers, readers_note
    from dynalake.capture.source.source import check_source as check
    from dynalake.lake.catalog.table import Table
    from dynalake.lake.columns.pins import Pins
    from dynalake.lake.columns.schema import TableSchema
    from dynalake.lake.tables.identity import check_table
    from dynalake.lake.tables.repair import check_restorable

    if names_several(requested(NewTables).table):
        skip("Each table is set up by its own run")
    run, settings, lake_options = requested(SetupOptions), requested(TableSettings), requested(LakeOptions)
    aws = clients()
    table = Table(aws, _lake(planned=True).table(settings.table))
    lake = table.names.lake
    options = check_options(aws, lake, lake_options, update=run.update_settings)
    if lake_options.kms_key_arn:
        try_key(aws, lake_options.kms_key_arn)
    if run.catalog_only:
        check_restorable(table)
        return {}
    source = check(aws, table.names.table, enable_stream=run.enable_stream, enable_pitr=run.enable_pitr)
    check_table(table, source.id)
    TableSchema.of_new_table(source.key, Pins.of_setting(settings.columns, closed=settings.closed))
    check_names(table)
    before = check_settings(table, settings, update=run.update_settings)
    for name, (old, new) in {**options, **(settings.changed_from(before) if before else {})}.items():
        say(f"{name} will be {new!r}, and was {old!r}")
    say(
        f"{source.table}: key {', '.join(source.key.names)}, stream {source.view_type}, "
        f"about {counted(source.item_count, 'item')}, point-in-time recovery {'on' if source.pitr else 'off'}"
    )
    readers = other_readers(aws, lake, source.stream_arn)
    say(
        f"{source.table}: other readers of its stream: unknown (this role may not lambda:ListEventSourceMappings)"
        if readers is None
        else f"{source.table}: other readers of its stream: {', '.join(readers) or 'none'}"
    )
    if note := readers_note(source, readers or ()):
        tell(note)
    return source.to_dict()


@gate
def plan(source: dict[str, Any]) -> bool:
    """Shows what CloudFormation will change; with `dry_run` the run ends here."""
    from dynalake.capture.lake.bucket import BUCKET_OPTIONS, creates_bucket, kept_bucket
    from dynalake.capture.source.source import Source
    from dynalake.capture.stacks.package import build_package, planned_code
    from dynalake.capture.stacks.specs import forwarder_spec, planned_forwarder, planned_storage, storage_spec
    from dynalake.capture.stacks.stacks import plan_stack, stack_outputs
    from dynalake.lake.catalog.table import Table

    aws = clients()
    lake = _lake(planned=True)
    table = Table(aws, lake.table(str(parameters()["table"])))
    storage = stack_outputs(aws, lake.storage_stack)
    forwarder = stack_outputs(aws, lake.forwarder_stack)
    creates = creates_bucket(aws, lake)
    notes: list[str] = []
    storage_plan = plan_stack(aws, storage_spec(lake, create_bucket=creates, options=requested(LakeOptions)))
    if requested(SetupOptions).catalog_only:
        conclude(f"planned: {_show(storage_plan)}, and then the tables of {table.names.table} from the bucket")
        return not requested(SetupOptions).dry_run
    if not creates:
        # It is in the run's note if the stack is new, or if the run gives an option that has no effect.
        ignored = requested(LakeOptions).given.intersection(BUCKET_OPTIONS)
        (notes.append if storage is None or ignored else say)(kept_bucket(lake))
    options, partition = requested(LakeOptions), Source.from_dict(source).partition
    outputs = storage or planned_storage(lake, partition), forwarder or planned_forwarder(lake, partition)
    code = planned_code(aws, lake, build_package(lake))
    stacks = [
        _show(storage_plan),
        _show(plan_stack(aws, forwarder_spec(lake, outputs[0], code, options))),
    ]
    shards, note = _sizing(table)
    planned, follows = _table_stack(table, source, *outputs, shards=shards).plan()
    stacks.append(_show(planned))
    for line in follows:
        say(f"Afterwards: {line}")
    if requested(SetupOptions).dry_run:
        conclude(f"planned, and nothing is changed. {'; '.join(stacks)}")
    tell("\n\n".join([note, *map(escape, notes)]), markdown=True)
    get_current_context()["ti"].xcom_push("shards", shards)
    return not requested(SetupOptions).dry_run


def _sizing(table: Table) -> tuple[int, str]:
    """Return the shards of the table's stream, and the run note's text about them and the costs."""
    from datetime import UTC, datetime

    from dynalake.capture.stacks.specs import template_text
    from dynalake.sizing.cost import costs
    from dynalake.sizing.limits import check_stream, read_stream
    from dynalake.sizing.quote import cost_table, quote
    from dynalake.sizing.shards import plan_shards
    from dynalake.sizing.usage import read_usage

    settings, now = requested(TableSettings), datetime.now(UTC)
    usage = read_usage(table, now)
    stream = read_stream(table)
    planned = plan_shards(settings, usage, stream)
    if settings.delivery == "kinesis":
        check_stream(table, settings, stream, planned.shards, now)
    table_costs = costs(usage, settings, planned.shards, template_text("table"), run_lake().convert_every_minutes)
    say(cost_table(table_costs))
    return planned.shards, quote(settings, usage, planned, table_costs, table.names.lake.region)


def _table_stack(
    table: Table,
    source: dict[str, Any],
    storage: Mapping[str, str],
    forwarder: Mapping[str, str],
    *,
    shards: int = 0,
) -> TableStack:
    from dynalake.capture.source.source import Source
    from dynalake.capture.table_stack import TableStack

    return TableStack(table, requested(TableSettings), Source.from_dict(source), storage, forwarder, shards)


def _show(planned: StackPlan) -> str:
    """Write a stack's changes to the log, and return them in a few words."""
    fate = "will be created" if planned.creates else "will be changed" if planned.changes else "no changes"
    say(f"{planned.name}: {fate}")
    for change in planned.changes:
        say(f"    {change}")
    return f"{planned.name}: {fate}" + (f" ({counted(len(planned.changes), 'resource')})" if planned.changes else "")


@step
def storage() -> dict[str, str]:
    """Deploys the lake's bucket, Glue database, workgroup, roles and topic; shared by all tables."""
    from dynalake.capture.lake.bucket import creates_bucket
    from dynalake.capture.stacks.specs import storage_spec
    from dynalake.capture.stacks.stacks import apply_stack

    aws = clients()
    lake = _lake(planned=True)
    creates = creates_bucket(aws, lake)
    return dict(apply_stack(aws, storage_spec(lake, create_bucket=creates, options=requested(LakeOptions))))


@step
def forwarder(storage: dict[str, str]) -> dict[str, str]:
    """Uploads the forwarder's code and deploys its Lambda function; shared by all tables."""
    if requested(SetupOptions).catalog_only:
        skip("The run restores the catalog only")
    from dynalake.capture.stacks.package import build_package, place_code
    from dynalake.capture.stacks.specs import forwarder_spec
    from dynalake.capture.stacks.stacks import apply_stack

    aws = clients()
    lake = _lake()
    code = place_code(aws, lake, build_package(lake))
    return dict(apply_stack(aws, forwarder_spec(lake, storage, code, requested(LakeOptions))))


@step
def delivery(source: dict[str, Any], storage: dict[str, str], forwarder: dict[str, str]) -> dict[str, str]:
    """Deploys the table's streams, settings and alarms; changes go there only after the delivery is proven."""
    shards = get_current_context()["ti"].xcom_pull(task_ids="plan", key="shards")
    return dict(_table_stack(run_table(), source, storage, forwarder, shards=shards).prepare())


@wait(timeout=1800)
def streams() -> PokeReturnValue:
    """Waits until the streams of the delivery are active, which does not mean that they are read."""
    from dynalake.capture.proof.verify import check_delivery

    table = run_table()
    return poke(lambda: check_delivery(table, requested(TableSettings).delivery))


@step(retries=5)
def send_canaries(made: str) -> dict[str, str]:
    """Sends a canary into every shard of the delivery, whether or not changes already go there."""
    from datetime import UTC, datetime

    from dynalake.capture.proof.canaries import Canaries, parts
    from dynalake.capture.proof.canaries import send_canaries as send

    table = run_table()
    canaries = Canaries.of(requested(TableSettings).delivery, made, run_id(), datetime.now(UTC))
    into = parts(table, canaries.delivery)
    send(table, canaries, into)
    say(f"{len(into)} canaries are on their way through {table.names.firehose(canaries.delivery)}")
    return canaries.to_dict()


@wait(timeout=3600)
def canaries_arrive(sent: dict[str, str]) -> PokeReturnValue:
    """Waits until a canary of every shard is read back from S3: the proof that Firehose reads all shards by now."""
    return look_for_canaries([sent])


@step
def start(
    source: dict[str, Any], storage: dict[str, str], forwarder: dict[str, str], proven: dict[str, str]
) -> dict[str, str]:
    """Sends changes through the proven delivery: enables the mapping, or changes the settings."""
    stack = _table_stack(run_table(), source, storage, forwarder)
    return dict(stack.start(proven["made"]))


@wait(timeout=1800)
def reading(outputs: dict[str, str]) -> PokeReturnValue:
    """Waits until the mapping is enabled and has polled the table's stream."""
    from datetime import UTC, datetime

    from dynalake.capture.proof.verify import check_mapping, check_polled

    table = run_table()

    def check() -> str:
        state, _ = check_mapping(table, outputs["MappingId"])
        check_polled(table, outputs["MappingId"], datetime.now(UTC))
        return state

    return poke(check)


@gate
def find_former() -> dict[str, Any]:
    """Looks for a delivery that changes no longer go to, and sends canaries behind what it may still hold.

    If it is not at rest, it is kept, the run's note says so, and the next run tries again.
    """
    from datetime import UTC, datetime

    from dynalake.capture.proof.former import find_former as find
    from dynalake.capture.proof.quiet import rest_of
    from dynalake.errors import NotReadyError

    table = run_table()
    try:
        former = find(table, run_id(), datetime.now(UTC), rest_of(table))
    except NotReadyError as waiting:
        tell(f"The table's former delivery is kept. {waiting.received}. Run dynalake_setup again later.")
        return {}
    if former is None:
        say("The table has no former delivery")
        return {}
    if former.canaries is None:
        tell(f"The streams of the table's former delivery {former.delivery!r} are gone, and with them what they held.")
    return {"version": former.version, "canaries": [former.canaries.to_dict()] if former.canaries else []}


@wait(timeout=3600)
def former_is_empty(former: dict[str, Any]) -> PokeReturnValue:
    """Waits until the canaries are read back from S3, and so everything sent before them is there."""
    return look_for_canaries(former["canaries"])


@step
def remove_former(
    source: dict[str, Any], storage: dict[str, str], forwarder: dict[str, str], former: dict[str, Any]
) -> None:
    """Removes the table's former delivery."""
    _table_stack(run_table(), source, storage, forwarder).remove_former(former["version"])


@step
def register_catalog(source: dict[str, Any]) -> list[str]:
    """Creates the empty tables and the views, with the partitions of the coming days; returns their names."""
    from datetime import UTC, datetime

    from dynalake.capture.source.source import Source
    from dynalake.lake.columns.pins import Pins
    from dynalake.lake.compaction.compact_options import CompactOptions
    from dynalake.lake.hive.json_table import project_json
    from dynalake.lake.hive.parquet_table import project_parquet
    from dynalake.lake.tables.grow import pin_columns, schema_of
    from dynalake.lake.tables.make import make_tables
    from dynalake.lake.tables.optimizers import foreign_optimizers, switch_off_optimizers

    def now() -> datetime:
        return datetime.now(UTC)

    captured, settings = Source.from_dict(source), requested(TableSettings)
    table = run_table()
    pins = Pins.of_setting(settings.columns, closed=settings.closed)
    make_tables(table, captured.key, captured.arn, pins, table_id=captured.id)
    if pin_columns(table, pins):
        say("The tables have the new rules; dynalake_compact changes existing columns when it runs next")
    schema = schema_of(table.changes())
    if pins.closed and len(schema.columns) == len(schema.key_columns):
        tell(NO_COLUMNS)
    for off in switch_off_optimizers(table):
        say(f"Glue's optimizer {off.type} was on for {off.glue_table}. It is off now: dynalake_compact does its work")
    if left := foreign_optimizers(table):
        tell("\n".join(f"{finding.what}; switch it off by hand, because this role may not" for finding in left))
    project_parquet(table, CompactOptions.of_settings(settings), now)
    project_json(table, now)
    names = table.names
    views = (names.current_view, names.removed_view, names.history_view)
    return [names.changes_table, names.state_table, *views, names.parquet_table, names.json_table]


@step
def restore_catalog(storage: dict[str, str]) -> None:
    """Makes the tables and views from what the bucket has, if that is all that the run is to do."""
    from datetime import UTC, datetime

    from dynalake.lake.compaction.compact_options import CompactOptions
    from dynalake.lake.hive.json_table import project_json
    from dynalake.lake.hive.parquet_table import project_parquet
    from dynalake.lake.tables.repair import restore_catalog as restore

    def now() -> datetime:
        return datetime.now(UTC)

    if not requested(SetupOptions).catalog_only:
        skip("The run sets the table up")
    table = run_table()
    for finding in restore(table):
        say(f"{finding.kind}: {finding.what}; {finding.plan}")
    project_parquet(table, CompactOptions(), now)
    project_json(table, now)
    conclude("the catalog is restored from the bucket", *places(table))


def not_read(hand_off: HandOff, environment: str) -> str:
    """Return the warning for a table whose pipeline was gone for too long before this setup; otherwise ''."""
    if hand_off.lost_since is None:
        return ""
    conf = {
        "table": hand_off.table,
        "environment": environment,
        "export_type": "incremental",
        "window_from": f"{hand_off.lost_since:%Y-%m-%dT%H:%M:%SZ}",
        "window_to": f"{hand_off.at + timedelta(minutes=15):%Y-%m-%dT%H:%M:%SZ}",
    }
    return (
        f"Changes are lost: the table's former pipeline read its stream until {hand_off.lost_since:%Y-%m-%d %H:%M} "
        "UTC, and a stream keeps changes for only 24 hours, or until it is turned off. The new snapshot does not "
        "replace what the lake had before. In 15 minutes, import the missing time, which needs point-in-time recovery: "
        f"run dynalake_backfill with {json.dumps(conf)}. The table stays 'lost' until you run dynalake_watch with "
        "'repaired'. Without point-in-time recovery, begin again: run dynalake_teardown with delete_data, then "
        "dynalake_setup."
    )


@step
def record_hand_off(outputs: dict[str, str]) -> str:
    """Records the moment from which on the stream has every change; the backfill reads what was written before."""
    from dynalake.capture.proof.alarms import arm_alarms
    from dynalake.capture.proof.hand_off import record_hand_off as record
    from dynalake.watch.status import last_read

    table = run_table()
    hand_off = record(table, outputs["MappingId"], read_at=last_read(table))
    arm_alarms(table)
    say(f"The hand-off is at {hand_off.at.isoformat(timespec='milliseconds')}")
    emit_landed(table)
    if note := not_read(hand_off, table.names.lake.environment):
        tell(note)
    return hand_off.at.isoformat(timespec="milliseconds")


@gate
def needs_backfill(source: dict[str, Any], hand_off: str) -> bool:
    """Decides whether to start a backfill: the run requests one, and there is no snapshot since the hand-off."""
    from datetime import UTC, datetime

    from dynalake.backfill.commit.snapshot import snapshot_since
    from dynalake.watch.judge import duration

    table = run_table()
    committed = snapshot_since(table, datetime.fromisoformat(hand_off))
    starts = requested(SetupOptions).backfill != "none" and committed is None
    if starts:
        follows = f"dynalake_backfill brings in about {counted(source['item_count'], 'item')}"
    elif committed is not None:
        follows = f"the items of before are there, from the backfill run {committed}"
    else:
        follows = "no backfill was requested; trigger dynalake_backfill when you want one"
    now = datetime.now(UTC)
    seconds = (now - (get_current_context()["dag_run"].start_date or now)).total_seconds()
    conclude(f"set up in {duration(seconds)}; {follows}", *places(table))
    return starts
