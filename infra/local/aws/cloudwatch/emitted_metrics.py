"""Metrics from sources other than the metrics API: lines of Lambda's log, and S3's request metrics."""

from __future__ import annotations

import json
from typing import Any

from ministack.services import cloudwatch, lambda_svc, s3

from infra.local.aws import metrics
from infra.local.aws.iam import function_role
from infra.local.aws.patch import Original, patch

_filters: dict[str, dict[str, str]] = {}


@patch(lambda_svc, "_emit_lambda_logs")
def emit_logs(
    original: Original, function: dict[str, Any], request_id: str, log: str, *rest: Any, **options: Any
) -> None:
    """Read metrics from every function's log; write it only if the function's role may."""
    config = function.get("config") or function
    function_role.trace(config)
    if function_role.may_log(config):
        original(function, request_id, log, *rest, **options)
    for line in log.splitlines():
        if '"_aws"' in line:
            _publish(line)


@patch(s3, "_put_object")
def put_object(original: Original, bucket: str, key: str, *rest: Any, **options: Any) -> Any:
    """Count the objects that are put under a bucket's metrics filters."""
    for identifier, prefix in _filters.get(bucket, {}).items():
        if key.startswith(prefix):
            metrics.publish("AWS/S3", "PutRequests", 1, "Count", {"BucketName": bucket, "FilterId": identifier})
    return original(bucket, key, *rest, **options)


def watch(bucket: str, configurations: list[dict[str, Any]]) -> None:
    """Apply the `MetricsConfigurations` of a bucket.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/metrics-configurations.html
    """
    _filters[bucket] = {filter_["Id"]: filter_.get("Prefix", "") for filter_ in configurations}


def _publish(line: str) -> None:
    """Publish the metrics in a line of the embedded metric format.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    try:
        content = json.loads(line[line.index("{") :])
        for directive in content["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = {name: str(content[name]) for name in names}
                for metric in directive["Metrics"]:
                    metrics.publish(
                        directive["Namespace"], metric["Name"], content[metric["Name"]], metric["Unit"], dimensions
                    )
    except (ValueError, KeyError):
        cloudwatch.logger.warning("Not the embedded metric format: %s", line[:200])
