"""CloudWatch's numbers about one table's pipeline: as few as the judgement needs, since each is billed."""

from __future__ import annotations

from datetime import timedelta

from dynalake.aws.cloudwatch import Metric, Points
from dynalake.names import TableNames

PERIOD_SECONDS = 300
WINDOW = timedelta(hours=24)
RECENT_MINUTES = 15


def plan_metrics(names: TableNames, mapping_id: str, delivery: str) -> dict[str, Metric]:
    """Return the metrics to request, by the id of their answer."""
    forwarder = ("FunctionName", names.lake.forwarder)
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html#event-source-mapping-metrics
    mapping = ("EventSourceMappingUUID", mapping_id)
    direct = delivery == "direct"
    firehose = ("DeliveryStreamName", names.direct_delivery_stream if direct else names.delivery_stream)
    metrics = {
        "iterator_age": Metric("AWS/Lambda", "IteratorAge", *forwarder, "Maximum"),
        "errors": Metric("AWS/Lambda", "Errors", *forwarder),
        "throttles": Metric("AWS/Lambda", "Throttles", *forwarder),
        "invoked": Metric("AWS/Lambda", "InvokedEventCount", *mapping),
        "dropped": Metric("AWS/Lambda", "DroppedEventCount", *mapping),
        "firehose_age": Metric("AWS/Firehose", "DeliveryToS3.DataFreshness", *firehose, "Maximum"),
    }
    if direct:
        metrics["delivery_throttled"] = Metric("AWS/Firehose", "ThrottledRecords", *firehose)
    else:
        refused = ("AWS/Kinesis", "WriteProvisionedThroughputExceeded", "StreamName", names.stream)
        metrics["stream_throttled"] = Metric(*refused)
        metrics["stream_bytes"] = Metric("AWS/Kinesis", "IncomingBytes", "StreamName", names.stream)
    return metrics


def recent(points: Points, now: int, minutes: float) -> list[float]:
    """Return the values of the periods that reach into the last `minutes`."""
    return [value for at, value in points if at + PERIOD_SECONDS * 1000 > now - minutes * 60_000]
