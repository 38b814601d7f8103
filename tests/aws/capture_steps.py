"""The steps of a setup in their order, as the setup DAG runs them, and a reader of the raw zone."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dynalake.capture.bucket import creates_bucket
from dynalake.capture.draining import draining
from dynalake.capture.hand_off import HandOff, record_hand_off
from dynalake.capture.lake import check_names, check_settings, plan_lake
from dynalake.capture.package import build_package, place_code
from dynalake.capture.source import Source, check_source
from dynalake.capture.specs import NO_OPTIONS, forwarder_spec, storage_spec, table_spec
from dynalake.capture.stacks import apply_stack
from dynalake.capture.verify import Canary, FoundCanary, check_pipeline, find_canary, send_canary
from dynalake.clients import Clients
from dynalake.days import parse_day
from dynalake.errors import NotReadyError
from dynalake.lake_options import LakeOptions
from dynalake.names import TableNames
from dynalake.settings import TableSettings
from forwarder.rejected import Rejected, rejected_object
from infra.local.process import LocalAws
from tests.waiting import eventually

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.literals import StreamViewTypeType
    from mypy_boto3_dynamodb.type_defs import StreamSpecificationTypeDef

T = TypeVar("T")

LARGEST = 400 * 1024
"""Bytes of the largest item that DynamoDB takes, its attributes' names included."""

SOON = 5
"""`buffer_seconds` where nothing depends on what Firehose holds back: each wait is for as long."""


@dataclass(frozen=True)
class SetUp:
    """What a setup left."""

    names: TableNames
    source: Source
    mapping_id: str
    hand_off: HandOff


def make_table(clients: Clients, table: str, *, view_type: str | None = "NEW_AND_OLD_IMAGES") -> None:
    """A table with the key `id` (S); its stream is off with `view_type` None."""
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
    """Everything from the check of the source to the hand-off; the canary is left out."""
    lake = plan_lake(clients, environment, **options.place)
    names = lake.table(settings.table)
    source = check_source(clients, settings.table)
    check_names(clients, names)
    check_settings(clients, names, settings, update=update)
    storage = apply_stack(clients, storage_spec(lake, create_bucket=creates_bucket(clients, lake), options=options))
    package = build_package(lake)
    forwarder = apply_stack(clients, forwarder_spec(lake, storage, place_code(clients, lake, package), options))
    kept = draining(clients, names, settings, datetime.now(UTC))
    table = apply_stack(clients, table_spec(names, settings, source, storage, forwarder, draining=kept))
    mapping_id = table["MappingId"]
    patiently(lambda: check_pipeline(clients, names, settings, mapping_id))
    return SetUp(names, source, mapping_id, record_hand_off(clients, names, mapping_id))


def prove(clients: Clients, names: TableNames, canary_id: str) -> tuple[Canary, FoundCanary]:
    """Send a canary and read it back."""
    canary = send_canary(clients, names, canary_id)
    return canary, patiently(lambda: find_canary(clients, names, canary))


def patiently(ask: Callable[[], T]) -> T:
    """What `ask` returns once it raises no `NotReadyError` any more."""

    def answer() -> tuple[T] | NotReadyError:
        try:
            return (ask(),)
        except NotReadyError as error:
            return error

    found = eventually(answer, lambda found: isinstance(found, tuple))
    assert isinstance(found, tuple)
    return found[0]


def break_changes(aws: LocalAws, table: str, times: int = 1) -> None:
    """The next changes of the table come without their images: what no item of DynamoDB can do."""
    fault = {"service": "dynamodb", "operation": "ChangeRecord", "code": "", "times": times, "resource": table}
    aws.call("POST", "/_dynalake/faults", fault)


def put_aside_large(clients: Clients, names: TableNames, source: Source, number: int) -> str:
    """What earlier versions did with a change that is longer than a record of the stream; the object's key."""
    image = {"id": {"S": f"large-{number}"}, "text": {"S": "x" * 9000}}
    change = {"ApproximateCreationDateTime": time.time(), "SequenceNumber": str(10**20 + number), "NewImage": image}
    record = {"eventName": "INSERT", "eventSourceARN": source.stream_arn, "dynamodb": change}
    key, body = rejected_object(names, Rejected(0, record, "The change record has 9200 bytes, the limit is 5056"))
    clients.s3.put_object(Bucket=names.lake.bucket, Key=key, Body=body)
    return key


def rejected(clients: Clients, names: TableNames) -> None:
    """`NotReadyError` while the forwarder has put nothing aside."""
    if not clients.s3.list_objects_v2(Bucket=names.lake.bucket, Prefix=names.rejected("forwarder")).get("KeyCount"):
        raise NotReadyError("Nothing was put aside yet")


def raw_lines(clients: Clients, names: TableNames) -> Iterator[str]:
    """Every line in the raw zone."""
    pages = clients.s3.get_paginator("list_objects_v2").paginate(Bucket=names.lake.bucket, Prefix=names.raw_prefix)
    for page in pages:
        for entry in page.get("Contents", []):
            body = clients.s3.get_object(Bucket=names.lake.bucket, Key=entry["Key"])["Body"].read()
            # Only \n ends a line: text may hold what `splitlines` would end one at.
            yield from gzip.decompress(body).decode().removesuffix("\n").split("\n")


def raw_changes(clients: Clients, names: TableNames) -> list[dict[str, Any]]:
    """Every change record in the raw zone, canaries left out; no digit of a number gets lost."""
    changes = (json.loads(line, parse_float=Decimal) for line in raw_lines(clients, names))
    return [change for change in changes if change["__operation"] != "CANARY"]


def raw_days(clients: Clients, names: TableNames) -> list[str]:
    """The days with raw objects, and the snapshot's: what "today" is to a test that midnight may fall into."""
    listed = clients.s3.list_objects_v2(Bucket=names.lake.bucket, Prefix=names.raw_prefix)["Contents"]
    return sorted({day for entry in listed if (day := parse_day(entry["Key"]))})


def wait_for_changes(clients: Clients, names: TableNames, count: int) -> list[dict[str, Any]]:
    """The raw zone's changes once there are `count` different ones."""

    def enough(changes: list[dict[str, Any]]) -> bool:
        return len({change["__sequence_number"] for change in changes}) >= count

    return eventually(lambda: raw_changes(clients, names), enough)
