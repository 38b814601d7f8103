"""Other readers of a table's stream, and what is reported about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients
from dynalake.capture.source.readers import other_readers, readers_note
from dynalake.capture.source.source import Source
from dynalake.names import Lake
from dynalake.record.key import ItemKey, KeyAttribute

LAKE = Lake("dev", "123456789012", "eu-west-1")
FUNCTIONS = "arn:aws:lambda:eu-west-1:123456789012:function"


def source(*replicas: str) -> Source:
    key = ItemKey(KeyAttribute("id", "S"))
    return Source("T", "arn", "id", "stream", "NEW_IMAGE", key, False, "PROVISIONED", 0, 0, replicas)


class Lambda:
    def __init__(self, *pages: Sequence[str], refused: str = "") -> None:
        self.pages, self.refused = pages, refused

    def get_paginator(self, operation: str) -> Lambda:
        assert operation == "list_event_source_mappings"
        return self

    def paginate(self, EventSourceArn: str) -> Any:
        assert EventSourceArn == "stream"
        if self.refused:
            raise ClientError({"Error": {"Code": self.refused, "Message": ""}}, "ListEventSourceMappings")
        for names in self.pages:
            yield {"EventSourceMappings": [{"FunctionArn": f"{FUNCTIONS}:{name}"} for name in names]}


def readers(functions: Lambda) -> tuple[str, ...] | None:
    return other_readers(Clients(lambda _: functions), LAKE, "stream")


def test_the_function_of_the_lake_does_not_count_as_another_reader() -> None:
    assert readers(Lambda(["orders", "dynalake-dev-forwarder"], ["dynalake-prod-forwarder", "audit:live"])) == (
        "audit:live",
        "dynalake-prod-forwarder",
        "orders",
    )
    assert readers(Lambda([])) == ()


def test_a_role_without_read_permission_stops_nothing() -> None:
    assert readers(Lambda(refused="AccessDeniedException")) is None
    with pytest.raises(ClientError):
        readers(Lambda(refused="TooManyRequestsException"))


def test_one_reader_above_the_recommendation_of_aws_is_reported() -> None:
    """Two per shard: https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html"""
    assert readers_note(source(), []) == readers_note(source(), ["orders"]) == ""
    note = readers_note(source(), ["audit", "orders"])
    assert "other readers: audit, orders" in note
    assert "there are 3, but AWS recommends at most 2 per shard" in note


def test_a_global_table_has_room_for_one() -> None:
    assert "add no other" in readers_note(source("us-east-1"), [])
    note = readers_note(source("ap-south-1", "us-east-1"), ["orders"])
    assert "global table (replicas in ap-south-1, us-east-1)" in note
    assert "there are 2, but AWS recommends at most 1 per shard" in note


def test_a_source_survives_json() -> None:
    assert Source.from_dict({**source("us-east-1").to_dict(), "replicas": ["us-east-1"]}) == source("us-east-1")
