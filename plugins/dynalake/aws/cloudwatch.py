"""CloudWatch's metrics of some resources, read together.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html: 500 metrics per call; each is
billed, so callers request as few as they need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from dynalake.aws.clients import Clients

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef

Points: TypeAlias = Sequence[tuple[int, float]]
"""(start of the period in milliseconds, value), the oldest first; a period without data is left out."""


@dataclass(frozen=True)
class Metric:
    """A metric with one dimension."""

    namespace: str
    name: str
    dimension: str
    value: str
    statistic: str = "Sum"


def read_metrics(
    clients: Clients, metrics: Mapping[str, Metric], start: datetime, end: datetime, period: int
) -> dict[str, Points]:
    """Return the points of each metric by its id, one for every `period` seconds that has data.

    An id begins with a lower-case letter, and has letters, digits and underscores.
    """
    queries: list[MetricDataQueryTypeDef] = [
        {
            "Id": name,
            "MetricStat": {
                "Metric": {
                    "Namespace": metric.namespace,
                    "MetricName": metric.name,
                    "Dimensions": [{"Name": metric.dimension, "Value": metric.value}],
                },
                "Period": period,
                "Stat": metric.statistic,
            },
        }
        for name, metric in metrics.items()
    ]
    points: dict[str, list[tuple[int, float]]] = {name: [] for name in metrics}
    pages = clients.cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=start, EndTime=end, ScanBy="TimestampAscending"
    )
    for page in pages:
        for result in page["MetricDataResults"]:
            series = zip(result["Timestamps"], result["Values"], strict=True)
            points[result["Id"]] += [(round(at.timestamp() * 1000), float(value)) for at, value in series]
    return {name: sorted(series) for name, series in points.items()}
