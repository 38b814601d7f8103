"""A mapping reads its stream once CloudWatch has seen it poll."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dynalake.aws.clients import Clients
from dynalake.capture.proof.verify import UNREAD, check_polled
from dynalake.errors import NotReadyError
from dynalake.lake.catalog.table import Table
from dynalake.names import Lake

NOW = datetime(2019, 5, 25, 12, tzinfo=UTC)
NAMES = Lake("dev", "123456789012", "eu-west-1").table("RECEIPTS")


class Polls:
    """CloudWatch that saw one mapping poll that many minutes ago; polls without records count as well."""

    def __init__(self, *minutes_ago: int) -> None:
        self.moments = [NOW - timedelta(minutes=ago) for ago in minutes_ago]

    def get_paginator(self, _: str) -> Polls:
        return self

    def paginate(self, *, MetricDataQueries: Any, StartTime: datetime, EndTime: datetime, **_: Any) -> Any:
        (query,) = MetricDataQueries
        metric = query["MetricStat"]["Metric"]
        assert (metric["MetricName"], query["MetricStat"]["Stat"]) == ("PolledEventCount", "SampleCount")
        assert metric["Dimensions"] == [{"Name": "EventSourceMappingUUID", "Value": "uuid"}]
        times = [at for at in self.moments if StartTime <= at < EndTime]
        yield {"MetricDataResults": [{"Id": query["Id"], "Timestamps": times, "Values": [1.0 for _ in times]}]}


def check(*minutes_ago: int) -> None:
    check_polled(Table(Clients(lambda _: Polls(*minutes_ago)), NAMES), "uuid", NOW)


def test_a_mapping_counts_as_polling_once_cloudwatch_shows_it() -> None:
    check(2)
    check(1, 30)
    for long_ago in ((), (UNREAD // timedelta(minutes=1) + 1,)):
        with pytest.raises(NotReadyError, match="has not polled the stream of table 'RECEIPTS' yet"):
            check(*long_ago)
