"""CloudWatch alarms follow the metrics of their own dimensions over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.waiting import eventually

Client = Callable[[str], Any]

pytestmark = pytest.mark.real


def alarm(client: Client, name: str, dimension: str, missing: str) -> None:
    """Create an alarm on more than ten in a minute, which is one real second."""
    client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        Namespace="Tests",
        MetricName="Errors",
        Dimensions=[{"Name": "Table", "Value": dimension}],
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=2,
        DatapointsToAlarm=1,
        Threshold=10,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData=missing,
    )


def put(client: Client, dimension: str, value: float) -> None:
    dimensions = [{"Name": "Table", "Value": dimension}]
    data = [{"MetricName": "Errors", "Dimensions": dimensions, "Value": value}]
    client("cloudwatch").put_metric_data(Namespace="Tests", MetricData=data)


def state(client: Client, name: str) -> str:
    return str(client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"])


def test_an_alarm_goes_on_and_off(client: Client, name: str) -> None:
    """An alarm is evaluated every minute, here every second, even if no new data arrives.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
    """
    alarm(client, name, name, "notBreaching")
    put(client, name, 11)
    eventually(lambda: state(client, name) == "ALARM")
    eventually(lambda: state(client, name) == "OK")


def test_an_alarm_sees_its_own_dimensions_only(client: Client, name: str) -> None:
    """A metric is identified by its name, its namespace and its dimensions.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html
    """
    alarm(client, f"{name}-other", f"{name}-other", "ignore")
    alarm(client, name, name, "ignore")
    put(client, name, 11)
    eventually(lambda: state(client, name) == "ALARM")
    assert state(client, f"{name}-other") == "INSUFFICIENT_DATA"


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("missing", "INSUFFICIENT_DATA"), ("breaching", "ALARM"), ("notBreaching", "OK")],
)
def test_missing_data_is_treated_as_configured(client: Client, name: str, missing: str, expected: str) -> None:
    """TreatMissingData decides about a period without data.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
    """
    alarm(client, name, name, missing)
    eventually(lambda: state(client, name) == expected)
