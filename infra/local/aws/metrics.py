"""Publish the CloudWatch metrics that AWS services emit about themselves."""

from __future__ import annotations

from collections.abc import Mapping

from ministack.services import cloudwatch


def publish(namespace: str, name: str, value: float, unit: str, dimensions: Mapping[str, str]) -> None:
    """Add a data point with the present time, in the account and region of the current request."""
    cloudwatch.record_metric(namespace, name, value, unit=unit, dimensions=dict(dimensions))


def decoded_size(data: str) -> int:
    """Return the number of bytes that base64 text encodes, without decoding it."""
    return len(data) * 3 // 4 - data[-2:].count("=")
