"""The Lambda handler: a batch of a DynamoDB stream in, packed change records out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dynalake.days import DEFAULT_TIME_ZONE
from dynalake.errors import NotReadyError, RecordError
from dynalake.names import DEFAULT_PREFIX, Lake
from dynalake.record.change import CANARY_ID, SNAPSHOT_SEQUENCE, encode_change
from dynalake.record.stream import encode_record
from forwarder.delivery import Delivery, DeliveryStream, KinesisStream, Stream, deliver
from forwarder.large import large_object
from forwarder.packing import Blob, Line, pack
from forwarder.rejected import Rejected, rejected_object
from forwarder.targets import Target, Targets

# Time at the end of an invocation, kept free for the answer that says which changes are stored.
RESERVE_SECONDS = 3.0

JSON, GZIP = "application/json", "application/gzip"

# Characters of a reason that an answer gives; the object of the rejected change has all of it.
SHOWN = 1000


@dataclass(frozen=True)
class Forwarder:
    """The clients and targets that an execution environment sets up once."""

    targets: Targets
    kinesis: Any
    firehose: Any
    s3: Any

    def stream(self, target: Target) -> Stream:
        """Return the stream that takes the target's changes."""
        if target.delivery == "kinesis":
            return KinesisStream(self.kinesis, target)
        return DeliveryStream(self.firehose, target)


def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an event, by what it holds.

    A stream's batch (`{"Records": […]}`) is answered with `{"batchItemFailures": […]}`: empty, or the first sequence
    number that is not known to be stored, from which on Lambda tries again.
    https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html

    `{"dynalake": "redrive", "table": …, "Records": […]}` sends changes again that failed before, by the same code. Its
    answer has more: `{"batchItemFailures": […], "rejected": [{"key", "reason"}], "errors": {code: how often}}`, where
    `rejected` are the objects of the changes that were rejected, now or again.

    `{"dynalake": "canary", "table": …, "delivery": …, "canaries": [{"id", "hash_key"}, …]}` sends `CANARY` records into
    the stream of that delivery, whether the table's settings name it or not, each into the shard of its hash key (`""`:
    into any). It is answered with `{"stream"}` once the stream has taken all of them.
    """

    def seconds_left() -> float:
        return float(context.get_remaining_time_in_millis()) / 1000 - RESERVE_SECONDS

    if event.get("dynalake") == "canary":
        return send_canaries(_forwarder(), event["table"], event["delivery"], event["canaries"], seconds_left)
    if event.get("dynalake") == "redrive":
        return redrive(_forwarder(), str(event["table"]), event["Records"], seconds_left)
    return forward(_forwarder(), event["Records"], seconds_left)


def forward(
    forwarder: Forwarder, records: Sequence[Any], seconds_left: Callable[[], float]
) -> dict[str, list[dict[str, str]]]:
    """Send a batch's changes on, and return the answer of `handle`. Raise where not even the batch's table is known."""
    return _forward(forwarder, source_table(records), records, seconds_left).answer


def redrive(
    forwarder: Forwarder, table: str, records: Sequence[Any], seconds_left: Callable[[], float]
) -> dict[str, Any]:
    """Send changes of a table that failed before, and return the answer of `handle`."""
    done = _forward(forwarder, table, records, seconds_left)
    rejected = [
        {"key": rejected_object(done.target.names, change)[0], "reason": change.reason[:SHOWN]}
        for change in done.rejected
    ]
    return {**done.answer, "rejected": rejected, "errors": done.delivery.errors}


@dataclass(frozen=True)
class Beside:
    """An object that the forwarder itself writes: a change that is rejected, or one that is too large for a stream."""

    position: int
    """Place of the change in the batch."""
    key: str
    body: bytes
    content_type: str


@dataclass(frozen=True)
class Forwarded:
    """The outcome of a batch."""

    target: Target
    delivery: Delivery
    rejected: Sequence[Rejected]
    answer: dict[str, list[dict[str, str]]]


def _forward(forwarder: Forwarder, table: str, records: Sequence[Any], seconds_left: Callable[[], float]) -> Forwarded:
    target = forwarder.targets.get(table)
    stream = forwarder.stream(target)
    encoded, rejected = encode_batch(records)
    limit = stream.limits.record
    lines = [line for line in encoded if len(line.data) <= limit]
    large = [line for line in encoded if len(line.data) > limit]
    moment = datetime.now(UTC)
    objects = [Beside(change.position, *rejected_object(target.names, change), JSON) for change in rejected]
    objects += [Beside(line.position, *large_object(target.names, line, moment), GZIP) for line in large]
    half = seconds_left() / 2
    blocked = _store_objects(forwarder, target, objects, lambda: seconds_left() - half)
    if blocked is not None:
        # Changes behind one that can be neither sent nor stored come again with it, so they are not sent now.
        lines = [line for line in lines if line.position < blocked]
    delivery = deliver(stream, pack(lines, limit), seconds_left)
    if delivery.refused:
        forwarder.targets.forget(table)
    positions = [blob.first_position for blob in delivery.unstored]
    positions += [] if blocked is None else [blocked]
    _log(
        table,
        records=len(records),
        rejected=len(rejected),
        large=len(large),
        delivery=delivery,
        unstored=len(positions),
    )
    answer = failures(records, min(positions)) if positions else {"batchItemFailures": []}
    return Forwarded(target, delivery, rejected, answer)


def send_canaries(
    forwarder: Forwarder,
    table: str,
    delivery: str,
    canaries: Sequence[Mapping[str, str]],
    seconds_left: Callable[[], float],
) -> dict[str, str]:
    """Send `CANARY` records of a table by a delivery, and return the answer of `handle`.

    Raises `NotReadyError` where the stream did not take all of them, or the table's settings cannot be read: the
    table's changes need them too.
    """
    target = replace(forwarder.targets.get(table), delivery=delivery)
    moment = round(time.time() * 1000)
    blobs = []
    for position, canary in enumerate(canaries):
        text = encode_change(
            {CANARY_ID: {"S": canary["id"]}}, operation="CANARY", sequence_number=SNAPSHOT_SEQUENCE, event_time=moment
        )
        blobs.append(Blob(position, canary["id"], f"{text}\n".encode(), canary["hash_key"]))
    sent = deliver(forwarder.stream(target), blobs, seconds_left)
    _log(table, records=len(blobs), rejected=0, large=0, delivery=sent, unstored=len(sent.unstored))
    if sent.unstored:
        raise NotReadyError(
            f"{target.stream} did not take {len(sent.unstored)} of {len(blobs)} canaries: "
            f"{', '.join(sent.errors) or 'no time left'}",
            table=table,
        )
    return {"stream": target.stream}


def encode_batch(records: Sequence[Any]) -> tuple[list[Line], list[Rejected]]:
    """Return each stream record as a line, or as rejected where it is malformed or not understood.

    A record that fails each time would block its shard until the stream drops the records behind it.
    """
    lines: list[Line] = []
    rejected: list[Rejected] = []
    for position, record in enumerate(records):
        try:
            data = f"{encode_record(record)}\n".encode()
        except RecordError as error:
            rejected.append(Rejected(position, record, str(error)))
        except Exception as error:
            rejected.append(Rejected(position, record, f"The forwarder cannot encode it: {error!r}"))
        else:
            lines.append(Line(position, record["dynamodb"]["SequenceNumber"], data))
    return lines, rejected


def source_table(records: Sequence[Any]) -> str:
    """Return the table's name from `arn:aws:dynamodb:region:account:table/NAME/stream/…`; a batch has one source."""
    for record in records:
        arn = record.get("eventSourceARN") if isinstance(record, dict) else None
        parts = arn.split(":", 5)[-1].split("/") if isinstance(arn, str) else []
        if len(parts) == 4 and parts[0] == "table":
            return str(parts[1])
    raise RecordError(
        f"None of {len(records)} records has the eventSourceARN of a DynamoDB stream",
        allowed="a batch of an event source mapping",
    )


def failures(records: Sequence[Any], position: int) -> dict[str, list[dict[str, str]]]:
    """Return the answer that makes Lambda try again from `position`, or earlier if that has no sequence number."""
    for record in reversed(records[: position + 1]):
        try:
            number = record["dynamodb"]["SequenceNumber"]
        except (KeyError, TypeError):
            continue
        if isinstance(number, str) and number:
            return {"batchItemFailures": [{"itemIdentifier": number}]}
    raise NotReadyError("The first records of a batch are not stored and have no sequence number to report them by")


def _store_objects(
    forwarder: Forwarder, target: Target, objects: Iterable[Beside], seconds_left: Callable[[], float]
) -> int | None:
    """Store what no stream takes, in the batch's order. Return the first position that failed, None without one."""
    for entry in sorted(objects, key=lambda entry: entry.position):
        try:
            if seconds_left() <= 0:
                return entry.position
            forwarder.s3.put_object(
                Bucket=target.names.lake.bucket,
                Key=entry.key,
                Body=entry.body,
                ContentType=entry.content_type,
                ExpectedBucketOwner=target.names.lake.account,
            )
        except (ClientError, BotoCoreError) as error:
            print(json.dumps({"table": target.names.table, "error": f"{entry.key} cannot be written: {error}"}))
            return entry.position
    return None


@cache
def _forwarder() -> Forwarder:
    session = botocore.session.get_session()
    # `deliver` repeats requests and knows the time that is left; the SDK would not know it.
    once = Config(connect_timeout=3, read_timeout=15, retries={"total_max_attempts": 1})
    retrying = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
    region = os.environ["AWS_REGION"]
    lake = Lake(
        os.environ["DYNALAKE_ENVIRONMENT"],
        account=os.environ["DYNALAKE_ACCOUNT"],
        region=region,
        bucket=os.environ["DYNALAKE_BUCKET"],
        # An update brings new code a moment before it brings new variables.
        prefix=os.environ.get("DYNALAKE_PREFIX", DEFAULT_PREFIX),
        time_zone=os.environ.get("DYNALAKE_TIME_ZONE", DEFAULT_TIME_ZONE),
    )

    def client(service: str, config: Config) -> Any:
        return session.create_client(service, region_name=region, config=config)

    return Forwarder(
        targets=Targets(lake, client("ssm", retrying)),
        kinesis=client("kinesis", once),
        firehose=client("firehose", once),
        s3=client("s3", retrying),
    )


def _log(table: str, *, records: int, rejected: int, large: int, delivery: Delivery, unstored: int) -> None:
    # One line per invocation that CloudWatch turns into metrics by itself:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    environment = os.environ.get("DYNALAKE_ENVIRONMENT", "")
    metrics = [{"Name": name, "Unit": "Count"} for name in ("Records", "Rejected", "Retried")]
    directive = {"Namespace": "dynalake", "Dimensions": [["Environment", "Table"]], "Metrics": metrics}
    line = {
        "_aws": {"Timestamp": round(time.time() * 1000), "CloudWatchMetrics": [directive]},
        "Environment": environment,
        "Table": table,
        "Records": records,
        "Rejected": rejected,
        "Large": large,
        "Retried": delivery.retries,
        "Unstored": unstored,
        "Errors": delivery.errors,
    }
    print(json.dumps(line))
