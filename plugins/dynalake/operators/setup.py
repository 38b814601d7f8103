"""The tasks of `dynalake_setup`, in their order."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import PokeReturnValue, get_current_context, task

from dynalake.operators.parameters.which import default_environment
from dynalake.operators.task.session import clients, guarded, parameters, poke, run_id, say, table_names, tell
from dynalake.operators.waits.canaries import look_for_canaries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynalake.aws.clients import Clients
    from dynalake.capture.proof.hand_off import HandOff
    from dynalake.capture.stacks.stacks import StackPlan
    from dynalake.capture.table_stack import TableStack
    from dynalake.names import TableNames
    from dynalake.options.lake_options import LakeOptions
    from dynalake.options.settings import TableSettings


def _asked_settings() -> TableSettings:
    from dataclasses import fields

    from dynalake.options.settings import TableSettings

    asked = parameters()
    given = {f.name: asked[f.name] for f in fields(TableSettings)}
    return TableSettings.parse({name: "" if value is None else value for name, value in given.items()})


def _asked_options() -> LakeOptions:
    from dynalake.options.lake_options import LakeOptions, option_fields

    asked = parameters()
    return LakeOptions.parse({f.name: asked.get(f.name) for f in option_fields()})


def _lake(*, planned: bool = False) -> Any:
    from dynalake.capture.lake.registry import load_lake, plan_lake

    environment = str(parameters()["environment"])
    if not planned:
        return load_lake(clients(), environment)
    return plan_lake(clients(), environment, **_asked_options().place)


@task
@guarded
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

    asked = parameters()
    found = clients()
    names = _lake(planned=True).table(str(asked["table"]))
    options = check_options(found, names.lake, _asked_options(), update=asked["update_settings"])
    if key := _asked_options().kms_key_arn:
        try_key(found, key)
    settings = _asked_settings()
    source = check(found, names.table, enable_stream=asked["enable_stream"], enable_pitr=asked["enable_pitr"])
    check_table(Table(found, names), source.id)
    TableSchema.of_new_table(source.key, Pins.of_setting(settings.columns))
    check_names(found, names)
    before = check_settings(found, names, settings, update=asked["update_settings"])
    for name, (have, wanted) in {**options, **(settings.changed_from(before) if before else {})}.items():
        say(f"{name} is going to be {wanted!r}, and was {have!r}")
    say(
        f"{source.table}: key {', '.join(source.key.names)}, stream {source.view_type}, "
        f"about {source.item_count:,} items, point-in-time recovery {'on' if source.pitr else 'off'}"
    )
    readers = other_readers(found, names.lake, source.stream_arn)
    say(
        "Nobody looked whether other functions read its stream: this role may not lambda:ListEventSourceMappings"
        if readers is None
        else f"{source.table}: other readers of its stream: {', '.join(readers) or 'none'}"
    )
    if note := readers_note(source, readers or ()):
        tell(note)
    return source.to_dict()


@task.short_circuit
@guarded
def plan(source: dict[str, Any]) -> bool:
    """Shows what CloudFormation is going to change; with `plan_only` the run ends here."""
    from dynalake.capture.lake.bucket import BUCKET_OPTIONS, creates_bucket, kept_bucket
    from dynalake.capture.source.source import Source
    from dynalake.capture.stacks.specs import planned_forwarder, planned_storage, storage_spec
    from dynalake.capture.stacks.stacks import plan_stack, stack_outputs

    found = clients()
    lake = _lake(planned=True)
    names = lake.table(str(parameters()["table"]))
    storage = stack_outputs(found, lake.storage_stack)
    forwarder = stack_outputs(found, lake.forwarder_stack)
    creates = creates_bucket(found, lake)
    notes: list[str] = []
    if not creates:
        # The run's note has it where the stack is made, or is given an option that it does not take.
        asked = _asked_options().given.intersection(BUCKET_OPTIONS)
        (notes.append if storage is None or asked else say)(kept_bucket(lake))
    _show(plan_stack(found, storage_spec(lake, create_bucket=creates, options=_asked_options())))
    if forwarder is None:
        say(f"{lake.forwarder_stack}: will be created")
    partition = Source.from_dict(source).partition
    outputs = storage or planned_storage(lake, partition), forwarder or planned_forwarder(lake, partition)
    shards, note = _sizing(found, names)
    planned, follows = _table_stack(found, names, source, *outputs, shards=shards).plan()
    _show(planned)
    for line in follows:
        say(f"Afterwards: {line}")
    tell("\n\n".join([*notes, note]))
    get_current_context()["ti"].xcom_push("shards", shards)
    return not parameters()["plan_only"]


def _sizing(found: Clients, names: TableNames) -> tuple[int, str]:
    """Return the shards of the table's stream, and the run note's text about them and the costs."""
    from datetime import UTC, datetime

    from dynalake.capture.stacks.specs import template_text
    from dynalake.sizing.cost import costs
    from dynalake.sizing.limits import check_stream, read_stream
    from dynalake.sizing.quote import cost_table, quote
    from dynalake.sizing.shards import plan_shards
    from dynalake.sizing.usage import read_usage

    settings, now = _asked_settings(), datetime.now(UTC)
    usage = read_usage(found, names, now)
    stream = read_stream(found, names)
    planned = plan_shards(settings, usage, stream)
    if settings.delivery == "kinesis":
        check_stream(found, names, settings, stream, planned.shards, now)
    found_costs = costs(usage, settings, planned.shards, template_text("table"))
    say(cost_table(found_costs))
    return planned.shards, quote(settings, usage, planned, found_costs, names.lake.region)


def _table_stack(
    found: Clients,
    names: TableNames,
    source: dict[str, Any],
    storage: Mapping[str, str],
    forwarder: Mapping[str, str],
    *,
    shards: int = 0,
) -> TableStack:
    from dynalake.capture.source.source import Source
    from dynalake.capture.table_stack import TableStack

    return TableStack(found, names, _asked_settings(), Source.from_dict(source), storage, forwarder, shards)


def _show(planned: StackPlan) -> None:
    if not planned.changes:
        say(f"{planned.name}: {'will be created' if planned.creates else 'no changes'}")
        return
    say(f"{planned.name}: {'will be created' if planned.creates else 'will be changed'}")
    for change in planned.changes:
        say(f"    {change}")


@task
@guarded
def storage() -> dict[str, str]:
    """Deploys the lake's bucket, Glue database, workgroup, roles and topic; shared by all tables."""
    from dynalake.capture.lake.bucket import creates_bucket
    from dynalake.capture.stacks.specs import storage_spec
    from dynalake.capture.stacks.stacks import apply_stack

    found = clients()
    lake = _lake(planned=True)
    creates = creates_bucket(found, lake)
    return dict(apply_stack(found, storage_spec(lake, create_bucket=creates, options=_asked_options())))


@task
@guarded
def forwarder(storage: dict[str, str]) -> dict[str, str]:
    """Uploads the forwarder's code and deploys its Lambda function; shared by all tables."""
    from dynalake.capture.stacks.package import build_package, place_code
    from dynalake.capture.stacks.specs import forwarder_spec
    from dynalake.capture.stacks.stacks import apply_stack

    found = clients()
    lake = _lake()
    code = place_code(found, lake, build_package(lake))
    return dict(apply_stack(found, forwarder_spec(lake, storage, code, _asked_options())))


@task
@guarded
def delivery(source: dict[str, Any], storage: dict[str, str], forwarder: dict[str, str]) -> dict[str, str]:
    """Deploys the table's streams, settings and alarms; changes do not go there before the delivery is proven."""
    found = clients()
    shards = get_current_context()["ti"].xcom_pull(task_ids="plan", key="shards")
    return dict(_table_stack(found, table_names(found), source, storage, forwarder, shards=shards).prepare())


@task.sensor(mode="reschedule", poke_interval=10, timeout=1800)
@guarded
def streams() -> PokeReturnValue:
    """Waits until the streams of the delivery say that they are active, which does not say that they are read."""
    from dynalake.capture.proof.verify import check_delivery

    found = clients()
    names = table_names(found)
    return poke(lambda: check_delivery(found, names, _asked_settings().delivery))


@task(retries=5)
@guarded
def send_canaries(made: str) -> dict[str, str]:
    """Sends a canary into every shard of the delivery, whether changes go there already or not."""
    from datetime import UTC, datetime

    from dynalake.capture.proof.canaries import Canaries, parts
    from dynalake.capture.proof.canaries import send_canaries as send

    found = clients()
    names = table_names(found)
    canaries = Canaries.of(_asked_settings().delivery, made, run_id(), datetime.now(UTC))
    into = parts(found, names, canaries.delivery)
    send(found, names, canaries, into)
    say(f"{len(into)} canaries are on their way through {names.firehose(canaries.delivery)}")
    return canaries.to_dict()


@task.sensor(mode="reschedule", poke_interval=10, timeout=3600)
@guarded
def canaries_arrive(sent: dict[str, str]) -> PokeReturnValue:
    """Waits until a canary of every shard is read back from S3: the proof that Firehose reads all of them by now."""
    return look_for_canaries([sent])


@task
@guarded
def start(
    source: dict[str, Any], storage: dict[str, str], forwarder: dict[str, str], proven: dict[str, str]
) -> dict[str, str]:
    """Lets changes go by the proven delivery: enables the mapping, or changes the settings."""
    found = clients()
    stack = _table_stack(found, table_names(found), source, storage, forwarder)
    return dict(stack.start(proven["made"]))


@task.sensor(mode="reschedule", poke_interval=10, timeout=1800)
@guarded
def reading(table: dict[str, str]) -> PokeReturnValue:
    """Waits until the mapping says that it is enabled, and has polled the table's stream."""
    from datetime import UTC, datetime

    from dynalake.capture.proof.verify import check_mapping, check_polled

    found = clients()
    names = table_names(found)

    def check() -> str:
        state, _ = check_mapping(found, names, table["MappingId"])
        check_polled(found, names, table["MappingId"], datetime.now(UTC))
        return state

    return poke(check)


@task.short_circuit
@guarded
def find_left() -> dict[str, Any]:
    """Looks for a delivery that changes go to no more, and sends canaries behind what it may hold.

    Where it is not at rest, it is kept, the run's note says so, and the next run looks again.
    """
    from datetime import UTC, datetime

    from dynalake.capture.proof.left import find_left as find
    from dynalake.capture.proof.quiet import rest_of
    from dynalake.errors import NotReadyError

    found = clients()
    names = table_names(found)
    try:
        left = find(found, names, run_id(), datetime.now(UTC), rest_of(found, names))
    except NotReadyError as waiting:
        tell(f"The delivery that the table has left is kept. {waiting.received}. Run dynalake_setup again later.")
        return {}
    if left is None:
        say("The table has left no delivery")
        return {}
    if left.canaries is None:
        tell(f"The streams of the delivery {left.delivery!r}, which the table has left, are gone, and what they held.")
    return {"version": left.version, "canaries": [left.canaries.to_dict()] if left.canaries else []}


@task.sensor(mode="reschedule", poke_interval=10, timeout=3600)
@guarded
def left_is_empty(left: dict[str, Any]) -> PokeReturnValue:
    """Waits until the canaries are read back from S3, and so is all that was before them."""
    return look_for_canaries(left["canaries"])


@task
@guarded
def remove_left(
    source: dict[str, Any], storage: dict[str, str], forwarder: dict[str, str], left: dict[str, Any]
) -> None:
    """Removes the delivery that the table has left."""
    found = clients()
    _table_stack(found, table_names(found), source, storage, forwarder).remove_left(left["version"])


@task
@guarded
def register_catalog(source: dict[str, Any]) -> list[str]:
    """Makes the tables and the views, empty, with the partitions of the coming days; returns their names."""
    from datetime import UTC, datetime

    from dynalake.capture.source.source import Source
    from dynalake.lake.catalog.table import Table
    from dynalake.lake.columns.pins import Pins
    from dynalake.lake.compaction.compact_options import CompactOptions
    from dynalake.lake.hive.json_table import project_json
    from dynalake.lake.hive.parquet_table import project_parquet
    from dynalake.lake.tables.grow import pin_columns
    from dynalake.lake.tables.make import make_tables
    from dynalake.lake.tables.optimizers import foreign_optimizers, switch_off_optimizers

    def now() -> datetime:
        return datetime.now(UTC)

    found = clients()
    captured, settings = Source.from_dict(source), _asked_settings()
    table = Table(found, table_names(found))
    pins = Pins.of_setting(settings.columns)
    make_tables(table, captured.key, captured.arn, pins, table_id=captured.id)
    if pin_columns(table, pins):
        say("The columns are as the setting 'columns' says once dynalake_compact has run")
    for off in switch_off_optimizers(table):
        say(f"Glue's optimizer {off.type} was on for {off.glue_table}, and is off now: dynalake_compact does its work")
    if left := foreign_optimizers(table):
        tell("\n".join(f"{finding.what}, and this role may not switch it off: do so by hand" for finding in left))
    project_parquet(table, CompactOptions.of_settings(settings), now)
    project_json(table, now)
    names = table.names
    views = (names.current_view, names.removed_view, names.history_view)
    return [names.changes_table, names.state_table, *views, names.parquet_table, names.json_table]


def not_scheduled(environment: str, scheduled: str) -> str:
    """Return the warning for a table of another environment than that of scheduled runs; '' for the same one."""
    if environment == scheduled:
        return ""
    return (
        f"Scheduled runs are about the lake {scheduled!r}, and this table is in {environment!r}: they do not convert, "
        f"compact or watch it. Set DYNALAKE_ENVIRONMENT={environment} for all of Airflow."
    )


def not_read(hand_off: HandOff) -> str:
    """Return the warning for a table whose pipeline was gone for too long before this setup; else ''."""
    if hand_off.lost_since is None:
        return ""
    conf = {
        "table": hand_off.table,
        "export_type": "incremental",
        "window_from": f"{hand_off.lost_since:%Y-%m-%dT%H:%M:%SZ}",
        "window_to": f"{hand_off.at + timedelta(minutes=15):%Y-%m-%dT%H:%M:%SZ}",
    }
    return (
        f"Changes are lost: the table's former pipeline read its stream until {hand_off.lost_since:%Y-%m-%d %H:%M} "
        "UTC, and a stream keeps changes for 24 hours, and only until it is turned off. The new snapshot does not "
        "replace what the lake had before. In a quarter of an hour import that time, which takes point-in-time "
        f"recovery: dynalake_backfill with {json.dumps(conf)}. The table is `lost` until a run of dynalake_watch is "
        "told that it is repaired. Without point-in-time recovery begin again: dynalake_teardown with delete_data, "
        "then dynalake_setup."
    )


@task
@guarded
def record_hand_off(table: dict[str, str]) -> str:
    """Notes from when on the stream has every change; the backfill reads what was written before."""
    from dynalake.capture.proof.alarms import arm_alarms
    from dynalake.capture.proof.hand_off import record_hand_off as record
    from dynalake.watch.status import last_read

    found = clients()
    names = table_names(found)
    hand_off = record(found, names, table["MappingId"], read_at=last_read(found, names))
    arm_alarms(found, names)
    say(f"The hand-off is at {hand_off.at.isoformat(timespec='milliseconds')}")
    notes = (not_scheduled(str(parameters()["environment"]), default_environment()), not_read(hand_off))
    if any(notes):
        tell("\n\n".join(filter(None, notes)))
    return hand_off.at.isoformat(timespec="milliseconds")


@task.short_circuit
@guarded
def needs_backfill(hand_off: str) -> bool:
    """Whether a backfill is to start: the run wants one, and the snapshot is not there since the hand-off."""
    from datetime import datetime

    from dynalake.backfill.commit.snapshot import snapshot_since
    from dynalake.lake.catalog.table import Table

    if parameters()["backfill"] == "none":
        say("The run asks for no backfill; trigger dynalake_backfill when you want it")
        return False
    found = clients()
    committed = snapshot_since(Table(found, table_names(found)), datetime.fromisoformat(hand_off))
    if committed:
        say(f"The snapshot is there already, from the backfill run {committed}")
    return committed is None
