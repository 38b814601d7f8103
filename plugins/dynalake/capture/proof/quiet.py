"""Whether a delivery, or a mapping that was disabled, has come to rest: no metric has moved for long enough.

No service says that it is done. A `Disabled` mapping may still read for minutes, a forwarder follows changed settings a
minute later, and Firehose repeats what S3 refuses; but each has a metric while it does something.
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html#event-source-mapping-metrics
https://docs.aws.amazon.com/streams/latest/dev/monitoring-with-cloudwatch.html
https://docs.aws.amazon.com/firehose/latest/dev/monitoring-with-cloudwatch-metrics.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dynalake.aws.clients import Clients
from dynalake.aws.cloudwatch import Metric, read_metrics
from dynalake.capture.stacks.stacks import stack_state
from dynalake.errors import NotReadyError
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames

PERIOD_SECONDS = 60
SETTINGS_KEPT = timedelta(minutes=1)
"""How long a forwarder may still follow settings that have changed."""
MARGIN = timedelta(minutes=3)
"""Delay with which CloudWatch shows a metric."""
LONGEST_TIMEOUT, LONGEST_BUFFER = 900, 900
"""Most seconds that the templates allow, for a stack without the parameter."""


@dataclass(frozen=True)
class Sign:
    """A metric that shows that something still goes on."""

    what: str
    metric: Metric


def signs_of_delivery(names: TableNames, delivery: str) -> tuple[Sign, ...]:
    """Return the signs that a delivery is written to, or holds records that have not arrived."""
    firehose = ("DeliveryStreamName", names.firehose(delivery))
    freshness = Metric("AWS/Firehose", "DeliveryToS3.DataFreshness", *firehose, "Maximum")
    age = Sign("holds changes that have not arrived", freshness)
    if delivery == "direct":
        return (Sign("takes changes", Metric("AWS/Firehose", "IncomingRecords", *firehose)), age)
    behind = Metric("AWS/Firehose", "KinesisMillisBehindLatest", *firehose, "Maximum")
    return (
        Sign("takes changes", Metric("AWS/Kinesis", "IncomingRecords", "StreamName", names.stream)),
        Sign("is behind its Kinesis stream", behind),
        age,
    )


def signs_of_mapping(mapping_id: str) -> tuple[Sign, ...]:
    """Return the signs that an event source mapping still reads its stream, or calls the forwarder."""
    mapping = ("EventSourceMappingUUID", mapping_id)
    return (
        # A poll that finds nothing counts too, as 0.
        Sign("reads the table's stream", Metric("AWS/Lambda", "PolledEventCount", *mapping, "SampleCount")),
        Sign("calls the forwarder", Metric("AWS/Lambda", "InvokedEventCount", *mapping)),
    )


def rest_of(table: Table) -> timedelta:
    """Return how long nothing may move before the table's pipeline is at rest.

    It is the sum of an invocation under changed settings, Firehose's buffering, and CloudWatch's delay.
    """
    function = stack_state(table.clients, table.names.lake.forwarder_stack).parameters
    pipeline = stack_state(table.clients, table.names.stack).parameters
    seconds = int(function.get("TimeoutSeconds", LONGEST_TIMEOUT)) + int(pipeline.get("BufferSeconds", LONGEST_BUFFER))
    return SETTINGS_KEPT + timedelta(seconds=seconds) + MARGIN


def check_quiet(table: Table, signs: Sequence[Sign], since: datetime, now: datetime, rest: timedelta) -> None:
    """Raise `NotReadyError` unless nothing has moved for `rest`, and the end began at least that long ago."""
    seen = _last_seen(table.clients, signs, now - rest, now)
    problem = still_moving(since, seen, now, rest)
    if problem:
        raise NotReadyError(
            f"The pipeline of table {table.names.table!r} is not at rest: {problem}",
            allowed=f"no movement for {rest.total_seconds():.0f} seconds",
            action="wait: the task checks again",
            table=table.names.table,
        )


def still_moving(since: datetime, seen: Mapping[Sign, datetime], now: datetime, rest: timedelta) -> str:
    """Return what has moved within `rest`, '' for nothing. `since`: when the end began; `seen`: each sign's last time.

    It is pure. The time alone proves nothing, and neither do metrics that are not published yet: both have to agree.
    """
    if seen:
        sign, at = max(seen.items(), key=lambda pair: pair[1])
        return f"{sign.metric.value} {sign.what} ({sign.metric.name} at {at.isoformat(timespec='seconds')})"
    if now - since < rest:
        return f"its end began only at {since.isoformat(timespec='seconds')}"
    return ""


def _last_seen(clients: Clients, signs: Sequence[Sign], start: datetime, end: datetime) -> dict[Sign, datetime]:
    by_id = {f"sign{number}": sign for number, sign in enumerate(signs)}
    points = read_metrics(clients, {id_: sign.metric for id_, sign in by_id.items()}, start, end, PERIOD_SECONDS)
    moved = {by_id[id_]: [at for at, value in series if value > 0] for id_, series in points.items()}
    return {sign: datetime.fromtimestamp(max(at) / 1000, UTC) for sign, at in moved.items() if at}
