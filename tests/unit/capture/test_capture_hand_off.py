"""The hand-off between two pipelines of a table: which stream was read, and until when."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynalake.aws.clients import Clients
from dynalake.capture.proof.hand_off import HandOff, find_hand_off, note_end, plan_lost_since, record_hand_off
from dynalake.lake.catalog.table import Table
from dynalake.names import Lake

NAMES = Lake("dev", "1", "eu-west-1").table("RECEIPTS")
BEGAN = datetime(2019, 5, 1, 12, tzinfo=UTC)
ENDED = datetime(2019, 5, 20, 12, tzinfo=UTC)
FIRST = HandOff("RECEIPTS", "one", BEGAN, "stream/1")


def hours(number: float) -> datetime:
    return ENDED + timedelta(hours=number)


@pytest.mark.parametrize(
    ("read_until", "read_at", "stream", "at", "lost_since"),
    [
        (ENDED, None, "stream/1", hours(23.9), None),
        (ENDED, None, "stream/1", hours(24), ENDED),
        (None, ENDED, "stream/1", hours(23.9), None),
        (None, ENDED, "stream/1", hours(24), ENDED),
        # A teardown knows it better than the last check before.
        (ENDED, hours(-1), "stream/1", hours(23.9), None),
        # Nothing has checked, and the stack was deleted by hand, perhaps right after its creation.
        (None, None, "stream/1", hours(1), BEGAN),
        (None, None, "stream/1", BEGAN + timedelta(hours=2), None),
        # The stream was turned off and on.
        (ENDED, None, "stream/2", hours(1), ENDED),
    ],
)
def test_changes_between_two_pipelines_are_lost_unless_the_second_reads_them(
    read_until: datetime | None, read_at: datetime | None, stream: str, at: datetime, lost_since: datetime | None
) -> None:
    before = HandOff("RECEIPTS", "one", BEGAN, "stream/1", read_until)
    assert plan_lost_since(before, stream, at, read_at) == lost_since


def test_a_first_pipeline_has_lost_nothing() -> None:
    assert plan_lost_since(None, "stream/1", ENDED, None) is None


class Aws:
    """S3, with one object and its ETag, and Lambda, whose mappings are all enabled."""

    body, tag, result = b"", 0, "OK"

    def put_object(self, *, Body: bytes, IfMatch: str = "", **_: str) -> dict[str, str]:
        assert IfMatch in ("", str(self.tag))
        self.body, self.tag = Body, self.tag + 1
        return {"ETag": str(self.tag)}

    def get_object(self, **_: str) -> dict[str, Any]:
        if not self.body:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": io.BytesIO(self.body), "ETag": str(self.tag)}

    def get_event_source_mapping(self, *, UUID: str) -> dict[str, Any]:
        mapping = {"State": "Enabled", "EventSourceArn": "stream/1", "LastModified": ENDED}
        return {**mapping, "LastProcessingResult": self.result}


def test_the_end_of_a_mapping_that_could_not_read_is_unknown() -> None:
    aws = Aws()
    clients = Clients(lambda _: aws)
    record_hand_off(Table(clients, NAMES), "one", lambda: BEGAN)
    aws.result = "PROBLEM: Lambda cannot decrypt the records."
    note_end(Table(clients, NAMES), "one")
    assert find_hand_off(Table(clients, NAMES)) == FIRST


def test_a_teardown_notes_when_the_mapping_stopped_reading() -> None:
    aws = Aws()
    clients = Clients(lambda _: aws)
    first = record_hand_off(Table(clients, NAMES), "one", lambda: BEGAN)
    assert first == FIRST
    note_end(Table(clients, NAMES), "another")
    assert find_hand_off(Table(clients, NAMES)) == FIRST
    note_end(Table(clients, NAMES), "one")
    note_end(Table(clients, NAMES), "one")
    assert find_hand_off(Table(clients, NAMES)) == HandOff("RECEIPTS", "one", BEGAN, "stream/1", read_until=ENDED)
    late = record_hand_off(Table(clients, NAMES), "two", lambda: hours(30))
    assert late == HandOff("RECEIPTS", "two", hours(30), "stream/1", lost_since=ENDED)
    assert (
        record_hand_off(Table(clients, NAMES), "two", lambda: hours(40)) == find_hand_off(Table(clients, NAMES)) == late
    )
