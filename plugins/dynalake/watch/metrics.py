"""CloudWatch's numbers about one table's pipeline, in one call.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html: 500 metrics per call; each is
billed, so there are as few as the judgement needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from dynalake.clients import Clients
from dynalake.lake.folders import milliseconds
from dynalake.names import TableNames

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef

PERIOD_SECONDS = 300
WINDOW = timedelta(hours=24)
RECENT_MINUTES = 15

Points: TypeAlias = Sequence[tuple[int, float]]
"""(start of the period in milliseconds, value), the oldest first; a period without data is left out."""


@dataclass(frozen=True)
class Metric:
    """One metric with one dimension; `statistic` over `PERIOD_SECONDS`."""

    namespace: str
    name: str
    dimension: str
    value: str
    statistic: str


def plan_metrics(names: TableNames, mapping_id: str, delivery: str) -> dict[str, Metric]:
    """What is asked for, by the id under which it is answered."""
    forwarder = ("FunctionName", names.lake.forwarder)
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html#event-source-mapping-metrics
    mapping = ("EventSourceMappingUUID", mapping_id)
    direct = delivery == "direct"
    firehose = ("DeliveryStreamName", names.direct_delivery_stream if direct else names.delivery_stream)
    asked = {
        "iterator_age": Metric("AWS/Lambda", "IteratorAge", *forwarder, "Maximum"),
        "errors": Metric("AWS/Lambda", "Errors", *forwarder, "Sum"),
        "throttles": Metric("AWS/Lambda", "Throttles", *forwarder, "Sum"),
        "invoked": Metric("AWS/Lambda", "InvokedEventCount", *mapping, "Sum"),
        "dropped": Metric("AWS/Lambda", "DroppedEventCount", *mapping, "Sum"),
        "firehose_age": Metric("AWS/Firehose", "DeliveryToS3.DataFreshness", *firehose, "Maximum"),
    }
    if direct:
        asked["delivery_throttled"] = Metric("AWS/Firehose", "ThrottledRecords", *firehose, "Sum")
    else:
        refused = ("AWS/Kinesis", "WriteProvisionedThroughputExceeded", "StreamName", names.stream)
        asked["stream_throttled"] = Metric(*refused, "Sum")
        asked["stream_bytes"] = Metric("AWS/Kinesis", "IncomingBytes", "StreamName", names.stream, "Sum")
    return asked


def read_metrics(clients: Clients, asked: Mapping[str, Metric], now: datetime) -> dict[str, Points]:
    """The points of the last 24 hours, by id."""
    queries: list[MetricDataQueryTypeDef] = [
        {
            "Id": name,
            "MetricStat": {
                "Metric": {
                    "Namespace": metric.namespace,
                    "MetricName": metric.name,
                    "Dimensions": [{"Name": metric.dimension, "Value": metric.value}],
                },
                "Period": PERIOD_SECONDS,
                "Stat": metric.statistic,
            },
        }
        for name, metric in asked.items()
    ]
    found: dict[str, list[tuple[int, float]]] = {name: [] for name in asked}
    pages = clients.cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=now - WINDOW, EndTime=now, ScanBy="TimestampAscending"
    )
    for page in pages:
        for result in page["MetricDataResults"]:
            points = zip(result["Timestamps"], result["Values"], strict=True)
            found[result["Id"]] += [(milliseconds(at), float(value)) for at, value in points]
    return {name: sorted(points) for name, points in found.items()}


def recent(points: Points, now: int, minutes: float) -> list[float]:
    """The values of the periods that reach into the last `minutes`."""
    return [value for at, value in points if at + PERIOD_SECONDS * 1000 > now - minutes * 60_000]
