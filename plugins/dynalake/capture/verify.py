"""Proves that a table's pipeline works: its resources are active, and a canary comes out in the raw zone."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import IO, Any, cast

from botocore.exceptions import ClientError

from dynalake.clients import Clients
from dynalake.days import shift_day
from dynalake.errors import NotReadyError, StackError
from dynalake.names import TableNames
from dynalake.record.change import CANARY_ID, OPERATION
from dynalake.settings import TableSettings

# How far the clocks of Lambda and S3 may be apart.
CLOCK_SKEW = timedelta(minutes=5)

_GZIP_MAGIC = b"\x1f\x8b"
_LONGEST_LINE = 1 << 20
"""A canary's line is shorter by far. Of a longer line only so much is in memory at once."""


@dataclass(frozen=True)
class Pipeline:
    """The state of a table's resources, as their services report it."""

    mapping_id: str
    mapping_state: str
    last_result: str
    """The mapping's last processing result, such as `OK` or `No records processed`."""
    delivery_stream: str
    delivery_stream_state: str
    stream: str
    """The Kinesis stream; empty with delivery `direct`."""
    stream_state: str


@dataclass(frozen=True)
class Canary:
    """A canary that was sent."""

    table: str
    id: str
    event_time: int
    """When it was sent, in milliseconds since the epoch."""
    delivery: str
    stream: str
    """The Kinesis or Firehose stream that took it."""

    def to_dict(self) -> dict[str, Any]:
        """For XCom."""
        return asdict(self)

    @property
    def sent(self) -> datetime:
        return datetime.fromtimestamp(self.event_time / 1000, UTC)


@dataclass(frozen=True)
class FoundCanary:
    """A canary that came out: the object that holds it, and how long it took to get there."""

    uri: str
    seconds: float


def check_pipeline(clients: Clients, names: TableNames, settings: TableSettings, mapping_id: str) -> Pipeline:
    """The state of the table's resources, if all of them work.

    Raises `NotReadyError` while one is not active yet, `StackError` where the mapping was disabled.
    """
    direct = settings.delivery == "direct"
    stream = "" if direct else names.stream
    stream_state = ""
    if stream:
        summary = clients.kinesis.describe_stream_summary(StreamName=stream)
        stream_state = summary["StreamDescriptionSummary"]["StreamStatus"]
        # A stream that is being resharded takes records all the while.
        _check_state(names, f"Kinesis stream {stream}", stream_state, ("ACTIVE", "UPDATING"))
    delivery = names.direct_delivery_stream if direct else names.delivery_stream
    described = clients.firehose.describe_delivery_stream(DeliveryStreamName=delivery)
    delivery_state = described["DeliveryStreamDescription"]["DeliveryStreamStatus"]
    _check_state(names, f"Firehose stream {delivery}", delivery_state, ("ACTIVE",))
    mapping_state, last_result = check_mapping(clients, names, mapping_id)
    return Pipeline(mapping_id, mapping_state, last_result, delivery, delivery_state, stream, stream_state)


def check_mapping(clients: Clients, names: TableNames, mapping_id: str) -> tuple[str, str]:
    """State and last result of the table's mapping, if it reads the stream.

    Raises `NotReadyError` while it is not enabled yet, `StackError` where it was disabled or deleted.
    """
    try:
        mapping = clients.lambda_.get_event_source_mapping(UUID=mapping_id)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        raise StackError(
            f"The event source mapping {mapping_id} of table {names.table!r} is gone",
            allowed="the mapping that the table's stack made",
            action=f"delete the stack {names.stack} and run dynalake_setup again",
            table=names.table,
        ) from error
    state = mapping["State"]
    if state in ("Disabled", "Disabling", "Deleting"):
        raise StackError(
            f"The event source mapping {mapping_id} of table {names.table!r} is {state}",
            allowed="Enabled; the table's stream drops changes after 24 hours",
            action=f"aws lambda update-event-source-mapping --uuid {mapping_id} --enabled, then run the setup again",
            table=names.table,
        )
    _check_state(names, f"Event source mapping {mapping_id}", state, ("Enabled", "Updating"))
    result = mapping.get("LastProcessingResult", "")
    if cannot_read(result):
        raise NotReadyError(
            f"The event source mapping {mapping_id} cannot read the stream of table {names.table!r}: {result}",
            action="give the forwarder's role what the message names (the stream, its key) if it goes on",
            table=names.table,
        )
    return state, result


def cannot_read(last_result: str) -> bool:
    """Whether a mapping's last result says that it could not read the stream; a call that failed is no such thing."""
    return last_result.startswith("PROBLEM") and "Function call" not in last_result


def send_canary(clients: Clients, names: TableNames, canary_id: str) -> Canary:
    """Send a canary through the forwarder and the table's streams; any unique text is an id.

    Raises `NotReadyError` where the forwarder cannot send it: a new role takes a while to be known everywhere.
    """
    request = {"dynalake": "canary", "table": names.table, "id": canary_id}
    answer = clients.lambda_.invoke(
        FunctionName=names.lake.forwarder, InvocationType="RequestResponse", Payload=json.dumps(request).encode()
    )
    content = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise NotReadyError(
            f"The forwarder cannot send a canary for table {names.table!r}: "
            f"{content.get('errorType', '')}: {content.get('errorMessage', content)}",
            action=f"look into the log /aws/lambda/{names.lake.forwarder} if it goes on",
            table=names.table,
        )
    return Canary(**content)


def find_canary(clients: Clients, names: TableNames, canary: Canary) -> FoundCanary:
    """The canary in the raw zone; `NotReadyError` while it is not there.

    Only objects written since it was sent are read, as streams, and only in the `dt=` that it can be in.
    """
    bucket = names.lake.bucket
    for key, written in _objects_since(clients, names, canary.sent - CLOCK_SKEW):
        body = clients.s3.get_object(Bucket=bucket, Key=key)["Body"]
        if holds_canary(cast("IO[bytes]", body), canary.id):
            return FoundCanary(names.uri(key), max(0.0, (written - canary.sent).total_seconds()))
    raise NotReadyError(
        f"The canary {canary.id} sent at {canary.sent.isoformat(timespec='seconds')} is not in "
        f"{names.uri(names.raw_prefix)} yet",
        action="if it never comes, look at the Firehose stream's log and its errors under "
        f"{names.uri(names.rejected('delivery'))}",
        table=names.table,
    )


def holds_canary(body: IO[bytes], canary_id: str) -> bool:
    """Whether an object of the raw zone, gzipped or plain, holds the canary."""
    wanted = canary_id.encode()
    # The id is searched before anything is parsed: other lines are other people's items, and many.
    return any(wanted in line and _is_canary(line, canary_id) for line in _lines(body))


def _is_canary(line: bytes, canary_id: str) -> bool:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and (record.get(OPERATION), record.get(CANARY_ID)) == ("CANARY", canary_id)


def _lines(body: IO[bytes]) -> Iterator[bytes]:
    """The lines of an object, long ones in pieces; up to where it cannot be read, because it may be anybody's."""
    buffered = io.BufferedReader(cast("io.RawIOBase", body))
    packed = buffered.peek(2)[:2] == _GZIP_MAGIC
    with gzip.GzipFile(fileobj=buffered) if packed else buffered as lines:
        with suppress(gzip.BadGzipFile, EOFError, zlib.error):
            while line := lines.readline(_LONGEST_LINE):
                yield line


def _objects_since(clients: Clients, names: TableNames, since: datetime) -> list[tuple[str, datetime]]:
    """Keys and times of raw objects written since then, the newest first."""
    found: list[tuple[str, datetime]] = []
    # Firehose writes the day of arrival: the day itself, or the next when the canary is sent at midnight.
    first = names.lake.day_of(since)
    for day in (first, shift_day(first, 1)):
        pages = clients.s3.get_paginator("list_objects_v2").paginate(
            Bucket=names.lake.bucket, Prefix=names.raw_day(day)
        )
        for page in pages:
            found += [(o["Key"], o["LastModified"]) for o in page.get("Contents", []) if o["LastModified"] >= since]
    return sorted(found, key=lambda pair: pair[1], reverse=True)


def _check_state(names: TableNames, what: str, state: str, allowed: tuple[str, ...]) -> None:
    if state not in allowed:
        raise NotReadyError(f"{what} is {state}", allowed=" or ".join(allowed), table=names.table)
