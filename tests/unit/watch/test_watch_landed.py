"""The last landed changes, the lost ones, and the requested metrics."""

from __future__ import annotations

import gzip
import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from dynalake.aws.clients import Clients
from dynalake.aws.s3 import StoredObject
from dynalake.capture.proof.hand_off import HandOff
from dynalake.lake.catalog.table import Table
from dynalake.names import Lake
from dynalake.record.change import encode_change
from dynalake.record.key import ItemKey, KeyAttribute
from dynalake.watch.gather import describe_source, plan_landing, plan_lost, read_capture
from dynalake.watch.judge import Targets
from dynalake.watch.landed import Sample, landed_since, plan_sample, read_sample
from dynalake.watch.metrics import plan_metrics, recent
from dynalake.watch.readings import Capture, Landing, Readings
from dynalake.watch.reconcile import image_of

NAMES = Lake("dev", "1", "eu-west-1").table("RECEIPTS")
KEY = ItemKey(KeyAttribute("id", "S"))


def raw(key: str, modified: int, size: int = 10) -> StoredObject:
    return StoredObject(key, size, "etag", modified)


LANDED = [raw("a", 100_000), raw("b", 300_000), raw("c", 200_000)]


def test_objects_landed_since_a_moment_are_listed_in_order() -> None:
    assert [o.key for o in landed_since(LANDED, 100_000)] == ["c", "b"]
    assert [o.key for o in landed_since(LANDED, None)] == ["a", "c", "b"]
    assert landed_since([], None) == []


@given(st.integers(0, 50), st.integers(1, 9))
def test_a_sample_is_bounded_and_has_the_newest(there: int, count: int) -> None:
    objects = [raw(str(n), n) for n in range(there)]
    chosen = plan_sample(objects, count)
    assert len(chosen) == len(set(chosen)) == min(there, count)
    assert sorted(chosen, key=lambda o: o.modified) == chosen
    newest = (min(there, count) + 1) // 2
    assert chosen[len(chosen) - newest :] == objects[there - newest :]


class Bucket:
    """The part of S3 that a sample reads."""

    def __init__(self, **bodies: list[str]) -> None:
        self.bodies = {key: gzip.compress("\n".join(lines).encode()) for key, lines in bodies.items()}

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        return {"Body": io.BytesIO(self.bodies[Key])}


def line(operation: str, sequence: int, time: int, value: str = "x") -> str:
    image = {"id": {"S": "a"}, "v": {"S": value}}
    return encode_change(image, operation=operation, sequence_number=str(sequence), event_time=time)


def test_an_items_last_change_has_the_highest_number_whatever_its_time() -> None:
    lines = [line("INSERT", 1, 90_000), "broken", line("CANARY", 9, 95_000), line("SNAPSHOT", 0, 99_000)]
    bucket = Bucket(a=[*lines, line("MODIFY", 7, 10_000, "last")], b=[line("MODIFY", 5, 50_000)])
    sample = read_sample(Table(Clients(lambda _: bucket), NAMES), KEY, [raw("a", 100_000), raw("b", 300_000)])
    assert sample is not None
    (last,) = sample.candidates.values()
    assert (last.sequence, last.at, last.since) == (f"{7:040}", 10_000, 10_000)
    assert last.image == image_of(last.key, {"id": "a", "v": "last"})
    assert (sample.newest_change, sample.landed) == (99_000, 100_000)
    assert read_sample(Table(Clients(lambda _: bucket), NAMES), KEY, []) is None


@pytest.mark.parametrize(
    "broken",
    [
        "not JSON",
        '{"v":1e1000000000000000000}',
        '{"v":' + "[" * 400 + "]" * 400 + "}",
        '{"v":' + "[" * 5_000 + "]" * 5_000 + "}",
        '{"v":1,"v":2}',
        line("INSERT", 2, 1).replace('"a"', '"\\udc00"'),
        line("INSERT", 2, 1).replace('"a"', "7"),
        line("INSERT", 2, 1).replace(":1,", ":1.5,"),
        "\ufeff",
    ],
)
def test_a_line_that_conversion_rejects_stops_no_check(broken: str) -> None:
    bucket = Bucket(a=[broken, line("MODIFY", 7, 10_000)])
    sample = read_sample(Table(Clients(lambda _: bucket), NAMES), KEY, [raw("a", 100_000)])
    assert sample is not None
    assert [c.sequence for c in sample.candidates.values()] == [f"{7:040}"]


def test_replayed_changes_do_not_make_the_newest_change_older() -> None:
    none: dict[str, Any] = dict.fromkeys(plan_metrics(NAMES, "uuid", "kinesis"), ())

    def land(sample: Sample | None, before: Landing, new: list[StoredObject]) -> Landing:
        return plan_landing(none, new, sample, before, 400_000, Targets(), None)

    first = land(Sample({}, 240_000, 300_000), Landing(), landed_since(LANDED, None))
    assert (first.newest_landed, first.newest_change, first.lag_seconds) == (300_000, 240_000, 60)
    assert land(Sample({}, 1_000, 300_000), first, []) == first
    assert land(Sample({}, None, None), first, []) == first
    assert land(None, first, []) == first, "nothing has landed since"


def test_lost_changes_stay_reported_until_marked_as_repaired() -> None:
    now = Readings(9_000, capture=Capture("uuid", "Enabled"))
    dropped = [(5_000, 2.0)]

    def lost(points: list[tuple[int, float]], since: int | None = None, **before: Any) -> tuple[int | None, int | None]:
        lost_since = None if since is None else datetime.fromtimestamp(since / 1000, UTC)
        hand_off = HandOff("T", "uuid", datetime.fromtimestamp(8, UTC), lost_since=lost_since)
        lost_changes = plan_lost(now, points, replace(Readings(0), **before), hand_off)
        return lost_changes.lost_since, lost_changes.lost_at

    assert lost([]) == (None, None)
    assert lost(dropped) == (None, 5_000)
    assert lost([], lost_at=4_000) == (None, 4_000)
    assert lost(dropped, lost_at=7_000) == (None, 7_000)
    assert lost(dropped, repaired_at=5_000) == (None, None), "the metric still shows it for a day"
    assert lost([*dropped, (6_000, 1.0)], repaired_at=5_000) == (None, 6_000)
    assert lost([], 2_000) == (2_000, 8_000), "between two pipelines, with or without a check in between"
    assert lost(dropped, 2_000, repaired_at=7_999) == (2_000, 8_000)
    assert lost(dropped, 2_000, repaired_at=8_000) == (None, None)


class Reading:
    """The part of Lambda and DynamoDB that shows who reads the table's stream; no `state`: no mapping."""

    table_id = "first"

    def __init__(self, state: str) -> None:
        self.state = state

    def get_event_source_mapping(self, *, UUID: str) -> dict[str, Any]:
        if not self.state:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetEventSourceMapping")
        return {"State": self.state, "EventSourceArn": "stream/1"}

    def describe_table(self, *, TableName: str) -> dict[str, Any]:
        on = {"StreamSpecification": {"StreamEnabled": True}, "LatestStreamArn": "stream/1"}
        return {"Table": {"TableId": self.table_id, **on}}


def test_the_last_read_of_the_stream_is_remembered_while_nobody_reads_it() -> None:
    none: dict[str, Any] = dict.fromkeys(plan_metrics(NAMES, "uuid", "kinesis"), ())
    capture, reads, reading = Capture(), [], Reading("")
    for at, reading.state in ((1_000, "Enabled"), (2_000, "Enabled"), (3_000, "Disabled"), (4_000, "")):
        table = Table(Clients(lambda _: reading), NAMES)
        capture = read_capture(table, "uuid", "first", none, capture, at, describe_source(table.clients, "RECEIPTS"))
        reads.append((capture.read_at, capture.stream_arn))
    assert reads == [(1_000, "stream/1"), *[(2_000, "stream/1")] * 3]


@pytest.mark.parametrize("state", ["Enabled", ""])
def test_a_recreated_table_is_recognised_by_its_id(state: str) -> None:
    """Also if a mapping reads the new table's stream, and if there is no mapping any more."""
    none: dict[str, Any] = dict.fromkeys(plan_metrics(NAMES, "uuid", "kinesis"), ())
    reading = Reading(state)

    def look(table_id: str) -> Capture:
        table = Table(Clients(lambda _: reading), NAMES)
        description = describe_source(table.clients, "RECEIPTS")
        return read_capture(table, "uuid", table_id, none, Capture(), 1_000, description)

    assert look("first").stream == look("").stream == ""
    reading.table_id = "second"
    assert (look("first").stream, look("first").read_at) == ("replaced", None)


def test_metrics_are_those_of_the_delivery_of_the_table() -> None:
    kinesis, direct = plan_metrics(NAMES, "uuid", "kinesis"), plan_metrics(NAMES, "uuid", "direct")
    assert kinesis["stream_throttled"].value == NAMES.stream
    assert kinesis["firehose_age"].value == NAMES.delivery_stream
    assert direct["firehose_age"].value == direct["delivery_throttled"].value == NAMES.direct_delivery_stream
    assert "stream_throttled" not in direct
    assert {metric.value for metric in kinesis.values() if metric.namespace == "AWS/Lambda"} == {
        "uuid",
        NAMES.lake.forwarder,
    }


def test_a_period_counts_as_recent_while_it_overlaps_the_time() -> None:
    points = [(0, 1.0), (300_000, 2.0), (600_000, 3.0)]
    assert recent(points, 900_000, 10) == [2.0, 3.0]
    assert recent(points, 899_999, 10) == [1.0, 2.0, 3.0]
