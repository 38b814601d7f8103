"""Sends blobs to Kinesis or Firehose and says which of them are not known to be stored."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from forwarder.packing import MEBIBYTE, Blob, Limits, requests
from forwarder.targets import Target

FIRST_BACKOFF_SECONDS = 0.05
LONGEST_BACKOFF_SECONDS = 5.0

# No repetition helps within this invocation: the stream is gone, the function may not write to it, or the request is
# malformed.
_FINAL_CODES = frozenset(
    {
        "AccessDeniedException",
        "InvalidArgumentException",
        "InvalidSignatureException",
        "KMSAccessDeniedException",
        "KMSDisabledException",
        "KMSInvalidStateException",
        "KMSNotFoundException",
        "ResourceNotFoundException",
        "SerializationException",
        "UnrecognizedClientException",
        "ValidationException",
    }
)


class Stream(Protocol):
    """A stream that takes blobs."""

    @property
    def limits(self) -> Limits: ...

    def put(self, blobs: Sequence[Blob]) -> list[str]:
        """Send one request. Return each blob's error code, empty where it is stored."""
        ...


@dataclass(frozen=True)
class KinesisStream:
    """https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html"""

    client: Any
    target: Target

    @property
    def limits(self) -> Limits:
        # A record's limit counts its partition key too: a sequence number has at most 40 characters.
        return Limits(records=500, request=5 * MEBIBYTE, record=self.target.max_record_kb * 1024 - 64)

    def put(self, blobs: Sequence[Blob]) -> list[str]:
        entries = [
            {
                "Data": blob.data,
                "PartitionKey": blob.key,
                **({"ExplicitHashKey": blob.hash_key} if blob.hash_key else {}),
            }
            for blob in blobs
        ]
        answer = self.client.put_records(StreamName=self.target.stream, Records=entries)
        return [entry.get("ErrorCode") or "" for entry in answer["Records"]]


@dataclass(frozen=True)
class DeliveryStream:
    """https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html"""

    client: Any
    target: Target

    @property
    def limits(self) -> Limits:
        return Limits(records=500, request=4 * MEBIBYTE, record=self.target.max_record_kb * 1024)

    def put(self, blobs: Sequence[Blob]) -> list[str]:
        entries = [{"Data": blob.data} for blob in blobs]
        answer = self.client.put_record_batch(DeliveryStreamName=self.target.stream, Records=entries)
        return [entry.get("ErrorCode") or "" for entry in answer["RequestResponses"]]


@dataclass
class Delivery:
    """The outcome for a batch's blobs."""

    unstored: list[Blob]
    """Blobs of which it is not known that they are stored."""
    retries: int = 0
    """Blobs sent again."""
    errors: dict[str, int] = field(default_factory=dict)
    """Number of answers by error code."""
    refused: bool = False
    """Whether the stream answered that no repetition helps."""


def deliver(
    stream: Stream,
    blobs: Sequence[Blob],
    seconds_left: Callable[[], float],
    *,
    sleep: Callable[[float], None] = time.sleep,
    uniform: Callable[[float, float], float] = random.uniform,
) -> Delivery:
    """Send every blob. Send those that failed again, alone, with jittered backoff while there is time.

    `seconds_left` returns the time that may still be spent. Blobs that are left then are in `unstored`, in the batch's
    order. https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """
    delivery = Delivery(unstored=list(blobs))
    attempt = 0
    while delivery.unstored:
        delivery.unstored = _send(stream, delivery, seconds_left)
        if not delivery.unstored or delivery.refused:
            break
        pause = uniform(0, min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(attempt, 10)))
        if seconds_left() <= pause:
            break
        sleep(pause)
        attempt += 1
        delivery.retries += len(delivery.unstored)
    return delivery


def _send(stream: Stream, delivery: Delivery, seconds_left: Callable[[], float]) -> list[Blob]:
    failed: list[Blob] = []
    for request in requests(delivery.unstored, stream.limits):
        if delivery.refused or seconds_left() <= 0:
            failed.extend(request)
            continue
        try:
            codes = stream.put(request)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "Unknown")
            delivery.refused = code in _FINAL_CODES
            codes = [code] * len(request)
        except BotoCoreError as error:
            # Without an answer a blob may be stored or not, so it is sent again. Compaction removes the repetition.
            codes = [type(error).__name__] * len(request)
        for blob, code in zip(request, codes, strict=True):
            if code:
                failed.append(blob)
                delivery.errors[code] = delivery.errors.get(code, 0) + 1
    return failed
