"""The steps of a setup, in the setup DAG's order, and a reader of the raw zone."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dynalake.aws.clients import Clients
from dynalake.capture.lake.bucket import creates_bucket
from dynalake.capture.lake.registry import check_names, check_settings, plan_lake
from dynalake.capture.proof.canaries import Canaries, Search, send_canaries
from dynalake.capture.proof.former import find_former
from dynalake.capture.proof.hand_off import HandOff, record_hand_off
from dynalake.capture.proof.verify import check_delivery, check_mapping, check_polled
from dynalake.capture.source.source import Source, check_source
from dynalake.capture.stacks.package import build_package, place_code
from dynalake.capture.stacks.specs import NO_OPTIONS, forwarder_spec, storage_spec
from dynalake.capture.stacks.stacks import apply_stack
from dynalake.capture.table_stack import TableStack
from dynalake.capture.teardown import check_stopped, last_canaries, stop_mapping
from dynalake.days import parse_day
from dynalake.errors import NotReadyError
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames
from dynalake.options.lake_options import LakeOptions
from dynalake.options.settings import TableSettings
from dynalake.sizing.limits import read_stream
from dynalake.sizing.shards import plan_shards
from dynalake.sizing.usage import read_usage
from forwarder.rejected import Rejected, rejected_object
from infra.local.run.process import LocalAws
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.literals import StreamViewTypeType
    from mypy_boto3_dynamodb.type_defs import StreamSpecificationTypeDef

T = TypeVar("T")

LARGEST = 400 * 1024
"""Bytes of the largest item that DynamoDB accepts, including attribute names."""

REST = timedelta(seconds=4)
"""More than anything on local AWS needs to stop: a disabled mapping, a buffer, old settings."""

SOON = 5
"""`buffer_seconds` of tests that do not depend on Firehose's buffer; every wait for objects takes this long."""


@dataclass(frozen=True)
class SetUp:
    """The result of a setup."""

    names: TableNames
    source: Source
    mapping_id: str
    hand_off: HandOff
    stack: TableStack = field(compare=False)


def make_table(clients: Clients, table: str, *, view_type: str | None = "NEW_AND_OLD_IMAGES") -> None:
    """Create a table with the key `id` (S). With `view_type` None its stream is off."""
    stream: StreamSpecificationTypeDef = {"StreamEnabled": view_type is not None}
    if view_type is not None:
        stream["StreamViewType"] = cast("StreamViewTypeType", view_type)
    clients.dynamodb.create_table(
        TableName=table,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification=stream,
    )


def set_up(
    clients: Clients,
    environment: str,
    settings: TableSettings,
    *,
    update: bool = False,
    options: LakeOptions = NO_OPTIONS,
) -> SetUp:
    """Run every step from the check of the source to the hand-off, in the order of `dynalake_setup`."""
    stack = lake_for(clients, environment, settings, update=update, options=options)
    mapping_id = capture(stack)
    return SetUp(
        stack.table.names,
        stack.source,
        mapping_id,
        record_hand_off(Table(clients, stack.table.names), mapping_id),
        stack,
    )


def lake_for(
    clients: Clients,
    environment: str,
    settings: TableSettings,
    *,
    update: bool = False,
    options: LakeOptions = NO_OPTIONS,
) -> TableStack:
    """Run every step before the table's stack."""
    lake = plan_lake(clients, environment, **options.place)
    names = lake.table(settings.table)
    source = check_source(clients, settings.table)
    check_names(Table(clients, names))
    check_settings(Table(clients, names), settings, update=update)
    storage = apply_stack(clients, storage_spec(lake, create_bucket=creates_bucket(clients, lake), options=options))
    package = build_package(lake)
    forwarder = apply_stack(clients, forwarder_spec(lake, storage, place_code(clients, lake, package), options))
    planned = plan_shards(
        settings, read_usage(Table(clients, names), datetime.now(UTC)), read_stream(Table(clients, names))
    )
    return TableStack(Table(clients, names), settings, source, storage, forwarder, planned.shards)


def capture(stack: TableStack) -> str:
    """Run the steps of `dynalake_setup` from the table's stack to the enabled mapping; return the mapping's id."""
    stack.prepare()
    streams, _ = prove(stack.table.clients, stack.table.names, stack.settings.delivery)
    mapping_id = stack.start(streams)["MappingId"]
    patiently(lambda: check_mapping(stack.table, mapping_id))
    patiently(lambda: check_polled(stack.table, mapping_id, datetime.now(UTC)))
    return mapping_id


def prove(clients: Clients, names: TableNames, delivery: str) -> tuple[str, Search]:
    """Prove every part of a delivery; return the streams by `check_delivery`, and the search's result."""
    streams = patiently(lambda: check_delivery(Table(clients, names), delivery))
    return streams, await_canaries(clients, names, Canaries.of(delivery, streams, "test", datetime.now(UTC)))


def drain(clients: Clients, names: TableNames, run: str = "run") -> None:
    """Run the steps of `dynalake_teardown` before it deletes the stack."""
    mapping_id = stop_mapping(Table(clients, names))
    patiently(lambda: check_stopped(Table(clients, names), mapping_id, datetime.now(UTC), REST))
    for canaries in last_canaries(Table(clients, names), run, datetime.now(UTC)):
        await_canaries(clients, names, canaries)


def leave(stack: TableStack) -> None:
    """Remove the table's former delivery as `dynalake_setup` does."""
    former = patiently(lambda: find_former(stack.table, "left", datetime.now(UTC), REST))
    if former:
        if former.canaries:
            await_canaries(stack.table.clients, stack.table.names, former.canaries)
        stack.remove_former(former.version)


def await_canaries(clients: Clients, names: TableNames, canaries: Canaries) -> Search:
    """Send canaries into every part until one of each has arrived."""
    search = Search(Table(clients, names), canaries)

    def missing() -> dict[str, str]:
        parts = search.missing()
        if parts:
            patiently(lambda: send_canaries(Table(clients, names), canaries, parts))
        return parts

    eventually(missing, lambda parts: not parts, every=1)
    return search


def patiently(ask: Callable[[], T]) -> T:
    """Return the answer of `ask` as soon as it raises no `NotReadyError`."""

    def answer() -> tuple[T] | NotReadyError:
        try:
            return (ask(),)
        except NotReadyError as error:
            return error

    result = eventually(answer, lambda result: isinstance(result, tuple), every=0.5)
    assert isinstance(result, tuple)
    return result[0]


def break_changes(aws: LocalAws, table: str, times: int = 1) -> None:
    """Deliver the next changes of the table without images, which DynamoDB never does."""
    fault = {"service": "dynamodb", "operation": "ChangeRecord", "code": "", "times": times, "resource": table}
    aws.call("POST", "/_dynalake/faults", fault)


def reject_large(clients: Clients, names: TableNames, source: Source, number: int) -> str:
    """Reject a change longer than a record of the stream, as earlier versions did; return the object's key."""
    image = {"id": {"S": f"large-{number}"}, "text": {"S": "x" * 9000}}
    change = {"ApproximateCreationDateTime": time.time(), "SequenceNumber": str(10**20 + number), "NewImage": image}
    record = {"eventName": "INSERT", "eventSourceARN": source.stream_arn, "dynamodb": change}
    key, body = rejected_object(names, Rejected(0, record, "The change record has 9200 bytes, the limit is 5056"))
    clients.s3.put_object(Bucket=names.lake.bucket, Key=key, Body=body)
    return key


def rejected(clients: Clients, names: TableNames) -> None:
    """Raise `NotReadyError` while the forwarder has rejected nothing."""
    if not clients.s3.list_objects_v2(Bucket=names.lake.bucket, Prefix=names.rejected("forwarder")).get("KeyCount"):
        raise NotReadyError("Nothing was rejected yet")


def raw_lines(clients: Clients, names: TableNames) -> Iterator[str]:
    """Yield every line in the raw zone."""
    pages = clients.s3.get_paginator("list_objects_v2").paginate(Bucket=names.lake.bucket, Prefix=names.raw_prefix)
    for page in pages:
        for entry in page.get("Contents", []):
            body = clients.s3.get_object(Bucket=names.lake.bucket, Key=entry["Key"])["Body"].read()
            # Only \n ends a line; text may contain other separators of `splitlines`.
            yield from gzip.decompress(body).decode().removesuffix("\n").split("\n")


def raw_changes(clients: Clients, names: TableNames) -> list[dict[str, Any]]:
    """Return every change record in the raw zone except canaries, with all digits of numbers."""
    changes = (json.loads(line, parse_float=Decimal) for line in raw_lines(clients, names))
    return [change for change in changes if change["__operation"] != "CANARY"]


def raw_days(clients: Clients, names: TableNames) -> list[str]:
    """Return the days with raw objects, and the snapshot's: "today" for a test that may run past midnight."""
    listed = clients.s3.list_objects_v2(Bucket=names.lake.bucket, Prefix=names.raw_prefix)["Contents"]
    return sorted({day for entry in listed if (day := parse_day(entry["Key"]))})


def wait_for_changes(clients: Clients, names: TableNames, count: int) -> list[dict[str, Any]]:
    """Return the raw zone's changes as soon as there are `count` different ones."""

    def enough(changes: list[dict[str, Any]]) -> bool:
        return len({change["__sequence_number"] for change in changes}) >= count

    return eventually(lambda: raw_changes(clients, names), enough, every=0.5)
