"""When a pipeline counts as at rest: neither a clock nor a silent metric alone is enough."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.capture.proof.quiet import check_quiet, rest_of, signs_of_delivery, signs_of_mapping
from dynalake.errors import NotReadyError
from dynalake.lake.catalog.table import Table
from dynalake.names import Lake

NOW = datetime(2019, 5, 25, 12, tzinfo=UTC)
REST = timedelta(minutes=6)
LONG_AGO = NOW - timedelta(hours=1)
LAKE = Lake("dev", "123456789012", "eu-west-1")
NAMES = LAKE.table("RECEIPTS")
SIGNS = (*signs_of_mapping("uuid"), *signs_of_delivery(NAMES, "kinesis"), *signs_of_delivery(NAMES, "direct"))


class Watching:
    """CloudWatch with these values, as (minutes ago, value), of metrics by name and dimension."""

    def __init__(self, values: dict[tuple[str, str], list[tuple[int, float]]]) -> None:
        self.values = values

    def get_paginator(self, name: str) -> Watching:
        assert name == "get_metric_data"
        return self

    def paginate(
        self, *, MetricDataQueries: Any, StartTime: datetime, EndTime: datetime, ScanBy: str
    ) -> list[dict[str, Any]]:
        assert (StartTime, EndTime) == (NOW - REST, NOW)
        results = []
        for query in MetricDataQueries:
            metric = query["MetricStat"]["Metric"]
            (dimension,) = metric["Dimensions"]
            points = [
                (NOW - timedelta(minutes=m), v)
                for m, v in self.values.get((metric["MetricName"], dimension["Value"]), [])
            ]
            points = [(at, value) for at, value in points if at >= StartTime]
            results.append({"Id": query["Id"], "Timestamps": [p[0] for p in points], "Values": [p[1] for p in points]})
        return [{"MetricDataResults": results}]


def check(since: datetime, values: dict[tuple[str, str], list[tuple[int, float]]]) -> None:
    check_quiet(Table(Clients(lambda _: Watching(values)), NAMES), SIGNS, since, NOW, REST)


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: f"{sign.metric.name} {sign.metric.value}")
def test_a_wait_names_everything_that_still_moves(sign: Any) -> None:
    metric = (sign.metric.name, sign.metric.value)
    check(LONG_AGO, {metric: [(30, 5.0), (7, 1.0)]})
    with pytest.raises(NotReadyError, match=rf"{sign.metric.name} at 2019-05-25T11:57:00"):
        check(LONG_AGO, {metric: [(5, 1.0), (3, 1.0), (2, 0.0)]})


def test_metrics_without_data_are_not_trusted_at_once() -> None:
    check(NOW - REST, {})
    with pytest.raises(NotReadyError, match="its end began only at 2019-05-25T11:59"):
        check(NOW - timedelta(minutes=1), {})


class Stacks:
    """CloudFormation with these stacks' parameters."""

    def __init__(self, parameters: dict[str, dict[str, str]]) -> None:
        self.parameters = parameters

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        values = self.parameters.get(StackName, {})
        parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]
        stack = {"StackName": StackName, "StackId": "id", "StackStatus": "UPDATE_COMPLETE", "Parameters": parameters}
        return {"Stacks": [stack]}


def test_a_rest_is_longer_than_any_remaining_path_of_a_change() -> None:
    stacks = {LAKE.forwarder_stack: {"TimeoutSeconds": "900"}, NAMES.stack: {"BufferSeconds": "900"}}
    long = rest_of(Table(Clients(lambda _: Stacks(stacks)), NAMES))
    assert long > timedelta(minutes=15 + 15 + 1)
    assert rest_of(Table(Clients(lambda _: Stacks({})), NAMES)) == long
    stacks = {LAKE.forwarder_stack: {"TimeoutSeconds": "60"}, NAMES.stack: {"BufferSeconds": "60"}}
    assert rest_of(Table(Clients(lambda _: Stacks(stacks)), NAMES)) == REST
