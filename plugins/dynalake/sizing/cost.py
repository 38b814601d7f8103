"""The dollars a month of one table's pipeline, by each delivery. Pure.

It leaves out what all tables share (the forwarder's alarms, the dashboard, S3's request metrics of errors), the storage
of the data, and Airflow.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dynalake.options.lakes import LakeEntry
from dynalake.options.settings import TableSettings
from dynalake.sizing.prices import price
from dynalake.sizing.requests import month_of
from dynalake.sizing.usage import Usage

HOURS = 730
"""Hours of a month, as AWS counts."""
GB = 2**30

# Bytes of a batch, with both images of a change:
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
PAYLOAD_BYTES = 6 * 2**20
# How a forwarder of 512 MB spends its time: a round trip to Kinesis or Firehose; see docs/performance.md.
MEMORY_GB, SECONDS, SECONDS_PER_CHANGE = 0.5, 0.04, 0.0001
# The forwarder's own line in the embedded metric format, and Lambda's START, END and REPORT.
LOG_BYTES = 800
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format.html
EMITTED_METRICS = 3
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html#event-source-mapping-metrics , the group
# EventCount. They count as custom metrics here: no page read says that they are, and none says that they are free.
MAPPING_METRICS = 6
# Metrics that one look of dynalake_watch requests from CloudWatch, every ten minutes.
WATCHED_METRICS, LOOKS_A_DAY = 8, 144
CONVERT_EVERY_MINUTES = LakeEntry().convert_every_minutes


@dataclass(frozen=True)
class Traffic:
    """A month of the table's changes on their way."""

    invocations: float
    records: float
    """Records of Kinesis, and of Firehose: one packs the changes of one invocation."""
    bytes: float
    units: float
    """Parts of 25 KB of records, which a provisioned stream bills."""
    billed_bytes: float
    """Bytes with each record rounded up to 5 KB, which Firehose bills."""
    changes: float
    hours: float
    """Hours in which there were changes."""


@dataclass(frozen=True)
class Cost:
    """A month's dollars of one delivery."""

    delivery: str
    parts: Mapping[str, float]
    """Dollars by service."""

    @property
    def dollars(self) -> float:
        return sum(self.parts.values())


PARTS = ("Lambda", "Kinesis", "Firehose", "S3 PUTs", "CloudWatch", "Conversion")


def traffic_of(usage: Usage, settings: TableSettings) -> Traffic:
    """Return a month like the days that were measured.

    Each shard of the table's stream makes one invocation at a time, and at most one in `batch_window_seconds`, so busy
    minutes have larger ones.
    """
    factor = HOURS / 24 / usage.days
    most = min(settings.batch_size, max(1.0, PAYLOAD_BYTES / (2 * usage.line_bytes)))
    pace = 60 / max(settings.batch_window_seconds, SECONDS) * usage.partitions * settings.parallelization
    size = settings.max_record_kb * 1024
    invocations = records = units = billed = 0.0
    for changes in usage.minutes.values():
        invoked = max(changes / most, min(changes, pace))
        sent = changes * usage.line_bytes / invoked
        packed = max(1, math.ceil(sent / size))
        invocations += invoked
        records += invoked * packed
        units += invoked * packed * math.ceil(sent / packed / (25 * 1024))
        billed += invoked * packed * math.ceil(sent / packed / (5 * 1024)) * 5 * 1024
    return Traffic(
        invocations=invocations * factor,
        records=records * factor,
        bytes=usage.changes * usage.line_bytes * factor,
        units=units * factor,
        billed_bytes=billed * factor,
        changes=usage.changes * factor,
        hours=len({minute // 60 for minute in usage.minutes}) * factor,
    )


def objects_of(usage: Usage, settings: TableSettings, shards: int) -> float:
    """Return the raw objects that Firehose writes in a month: it gathers for each shard by itself."""
    seconds, full = max(settings.buffer_seconds, 1), settings.buffer_mb * 2**20
    gathered: dict[int, float] = {}
    for minute, changes in usage.minutes.items():
        buffer = minute * 60 // seconds
        gathered[buffer] = gathered.get(buffer, 0.0) + changes
    # If buffers are shorter than a minute, there are several in it.
    times = max(1.0, 60 / seconds)
    objects = sum(max(min(shards * times, c), c * usage.line_bytes / full) for c in gathered.values())
    return objects * HOURS / 24 / usage.days


def costs(
    usage: Usage,
    settings: TableSettings,
    shards: int,
    template: str,
    convert_every_minutes: int = CONVERT_EVERY_MINUTES,
) -> tuple[Cost, ...]:
    """Return the costs of `direct`, of `kinesis` with `shards`, and of `kinesis` on demand.

    `template` is that of the table's stack.
    """
    every = convert_every_minutes
    traffic = traffic_of(usage, settings)
    kept = max(0, settings.stream_retention_hours - 24)
    provisioned = shards * HOURS * (
        price("kinesis_shard_hour") + (price("kinesis_extended_shard_hour") if kept else 0.0)
    ) + traffic.units * price("kinesis_put_unit")
    on_demand = HOURS * price("kinesis_on_demand_hour") + traffic.bytes / GB * (
        price("kinesis_on_demand_gb_in")
        + price("kinesis_on_demand_gb_out")
        + price("kinesis_on_demand_gb_kept") * kept / HOURS
    )
    return (
        _cost("direct", "direct", 0.0, 1, usage, settings, traffic, template, every),
        _cost(f"kinesis, {shards} × shard", "kinesis", provisioned, shards, usage, settings, traffic, template, every),
        # https://docs.aws.amazon.com/streams/latest/dev/how-do-i-size-a-stream.html : it begins with four.
        _cost("kinesis, on demand", "kinesis", on_demand, max(4, shards), usage, settings, traffic, template, every),
    )


def _cost(
    name: str,
    delivery: str,
    kinesis: float,
    shards: int,
    usage: Usage,
    settings: TableSettings,
    traffic: Traffic,
    template: str,
    convert_every_minutes: int,
) -> Cost:
    seconds = traffic.invocations * SECONDS + traffic.changes * SECONDS_PER_CHANGE
    lambda_ = traffic.invocations * price("lambda_request") + seconds * MEMORY_GB * price("lambda_gb_second_arm64")
    cloudwatch = (
        alarm_metrics(template, delivery) * price("alarm_metric")
        + (EMITTED_METRICS * traffic.hours / HOURS + MAPPING_METRICS) * price("custom_metric")
        + traffic.invocations * LOG_BYTES / GB * price("log_gb")
        + WATCHED_METRICS * LOOKS_A_DAY * HOURS / 24 * price("metric_read")
    )
    objects = objects_of(usage, settings, shards)
    parts = (
        lambda_,
        kinesis,
        traffic.billed_bytes / GB * price("firehose_gb"),
        objects * price("s3_put"),
        cloudwatch,
        month_of(usage, objects, convert_every_minutes).dollars,
    )
    return Cost(name, dict(zip(PARTS, parts, strict=True)))


def alarm_metrics(template: str, delivery: str) -> int:
    """Return the number of metrics that a table's alarms watch and AWS bills, from the text of its template."""
    resources = re.split(r"^  (?=\w+:\n    Type: )", template, flags=re.MULTILINE)
    alarms = [text for text in resources if "    Type: AWS::CloudWatch::Alarm\n" in text]
    conditions = [re.search(r"^    Condition: (\w+)$", text, re.MULTILINE) for text in alarms]
    # `HasKinesis`, `IsKinesis`, `HasDirect`.
    own = [condition is None or condition[1].endswith(delivery.capitalize()) for condition in conditions]
    return sum(text.count("MetricName: ") for text, counts in zip(alarms, own, strict=True) if counts)
