"""Delivery: only what failed is sent again, and what is unsure is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from dynalake.names import Lake
from forwarder.delivery import DeliveryStream, KinesisStream, deliver
from forwarder.packing import Blob, Limits
from forwarder.targets import Target

NAMES = Lake("dev", "123456789012", "eu-west-1").table("RECEIPTS")
THROTTLED = "ProvisionedThroughputExceededException"


def blobs(count: int) -> list[Blob]:
    return [Blob(i, str(i), b"x") for i in range(count)]


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "PutRecords")


class Stub:
    """A stream that gives preset answers and remembers the stored records."""

    limits = Limits(records=3, request=100, record=10)

    def __init__(self, answer: Callable[[int, Blob], str | Exception]) -> None:
        self.answer = answer
        self.calls: list[list[Blob]] = []
        self.stored: list[Blob] = []

    def put(self, blobs: Sequence[Blob]) -> list[str]:
        self.calls.append(list(blobs))
        answers = [self.answer(len(self.calls), blob) for blob in blobs]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        codes = [str(answer) for answer in answers]
        self.stored += [blob for blob, code in zip(blobs, codes, strict=True) if not code]
        return codes


class Clock:
    """Time that passes with sleeping and with each look at it."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds
        self.pauses: list[float] = []

    def seconds_left(self) -> float:
        self.left -= 0.001
        return self.left

    def sleep(self, seconds: float) -> None:
        self.left -= seconds
        self.pauses.append(seconds)


def run(stub: Stub, count: int, seconds: float = 60.0) -> tuple[Any, Clock]:
    clock = Clock(seconds)
    return deliver(stub, blobs(count), clock.seconds_left, sleep=clock.sleep, uniform=lambda _, high: high), clock


def test_everything_is_stored_at_the_first_attempt() -> None:
    stub = Stub(lambda *_: "")
    delivery, clock = run(stub, 7)
    assert (delivery.unstored, delivery.retries, clock.pauses) == ([], 0, [])
    assert [len(call) for call in stub.calls] == [3, 3, 1]


def test_only_failed_records_are_sent_again() -> None:
    stub = Stub(lambda call, blob: THROTTLED if call <= 3 and blob.first_position in (1, 5) else "")
    delivery, clock = run(stub, 7)
    assert delivery.unstored == []
    assert [blob.first_position for blob in stub.calls[3]] == [1, 5]
    assert sorted(blob.first_position for blob in stub.stored) == list(range(7))
    assert delivery.retries == 2
    assert delivery.errors == {THROTTLED: 2}
    assert clock.pauses == [0.05]


def test_endless_throttling_ends_in_time_and_names_all_records() -> None:
    delivery, clock = run(Stub(lambda *_: THROTTLED), 2)
    assert [blob.first_position for blob in delivery.unstored] == [0, 1]
    assert clock.left >= 0
    assert clock.pauses == sorted(clock.pauses)
    assert max(clock.pauses) == 5.0


def test_nothing_is_sent_without_time() -> None:
    stub = Stub(lambda *_: "")
    delivery, _ = run(stub, 2, seconds=0.0)
    assert len(delivery.unstored) == 2
    assert stub.calls == []


@pytest.mark.parametrize("error", [ReadTimeoutError(endpoint_url="x"), client_error("InternalFailure")])
def test_a_request_without_an_answer_is_sent_again(error: Exception) -> None:
    stub = Stub(lambda call, _: error if call == 1 else "")
    delivery, _ = run(stub, 2)
    assert delivery.unstored == []
    assert len(stub.calls) == 2


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "AccessDeniedException", "ValidationException"])
def test_permanent_errors_are_not_retried(code: str) -> None:
    stub = Stub(lambda call, _: client_error(code) if call == 2 else "")
    delivery, clock = run(stub, 9)
    assert delivery.refused
    assert [blob.first_position for blob in delivery.unstored] == [3, 4, 5, 6, 7, 8]
    assert len(stub.calls) == 2
    assert clock.pauses == []


@given(st.integers(0, 40), st.randoms(use_true_random=False))
def test_every_blob_is_stored_or_named(count: int, random: Any) -> None:
    stub = Stub(lambda *_: random.choice(["", THROTTLED, "InternalFailure", client_error("ServiceUnavailable")]))
    delivery, _ = run(stub, count, seconds=2.0)
    stored = {blob.first_position for blob in stub.stored}
    unstored = {blob.first_position for blob in delivery.unstored}
    assert stored | unstored == set(range(count))
    assert not stored & unstored


class Recorder:
    """A client that remembers its arguments."""

    def put_records(self, **arguments: Any) -> dict[str, Any]:
        self.arguments = arguments
        return {"FailedRecordCount": 1, "Records": [{"SequenceNumber": "1"}, {"ErrorCode": THROTTLED}]}

    def put_record_batch(self, **arguments: Any) -> dict[str, Any]:
        self.arguments = arguments
        return {"FailedPutCount": 1, "RequestResponses": [{"RecordId": "1"}, {"ErrorCode": "ServiceUnavailable"}]}


def test_the_requests_of_both_services() -> None:
    client = Recorder()
    stream = KinesisStream(client, Target(NAMES, "kinesis", 1000))
    assert stream.put(blobs(2)) == ["", THROTTLED]
    assert client.arguments["StreamName"] == "dynalake-dev-RECEIPTS"
    assert client.arguments["Records"] == [{"Data": b"x", "PartitionKey": "0"}, {"Data": b"x", "PartitionKey": "1"}]
    delivery = DeliveryStream(client, Target(NAMES, "direct", 1000))
    assert delivery.put(blobs(2)) == ["", "ServiceUnavailable"]
    assert client.arguments["DeliveryStreamName"] == "dynalake-dev.direct-RECEIPTS"
    assert delivery.limits == Limits(records=500, request=4 * 1024 * 1024, record=1000 * 1024)
    assert stream.limits.record + 40 <= 1000 * 1024
