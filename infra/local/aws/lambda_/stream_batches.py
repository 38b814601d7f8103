"""Decides what becomes of a batch of stream records after Lambda was called with it; no I/O.

https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]

# The sequence number carries the time of the change, which the record itself has in whole seconds only.
SEQUENCE_COUNTER = 10**10


@dataclass(frozen=True)
class Batch:
    """Consecutive records of a shard that go to Lambda together, and how often they failed."""

    records: Sequence[Record]
    attempts: int = 0


@dataclass(frozen=True)
class Settlement:
    """How many records of a batch are done with, and what is to be sent next, in order."""

    done: int
    next: Sequence[Batch] = ()


def sequence_number(record: Record) -> str:
    """The record's sequence number, which names it in a partial batch response."""
    return str(record["dynamodb"]["SequenceNumber"])


def created(record: Record) -> float:
    """When the change was made, in seconds since the epoch."""
    return int(sequence_number(record)) // SEQUENCE_COUNTER / 1000


def first_failure(records: Sequence[Record], response: Any) -> int | None:
    """The position of the first failed record that a partial batch response names; None for success."""
    failures = response.get("batchItemFailures") if isinstance(response, dict) else None
    if not failures:
        return None
    if not isinstance(failures, list):
        return 0
    positions = {sequence_number(record): position for position, record in enumerate(records)}
    named = [failure.get("itemIdentifier") if isinstance(failure, dict) else None for failure in failures]
    # One name that is empty or is none of this batch's fails the whole batch.
    return min(positions.get(name, 0) if isinstance(name, str) else 0 for name in named)


def settle(batch: Batch, failed_at: int | None, *, bisect: bool) -> Settlement:
    """What follows from a failure at a position (0: the whole batch), or from none."""
    records = batch.records
    if failed_at is None:
        return Settlement(len(records))
    if failed_at > 0:
        # Splitting a batch does not consume the retry quota; a retry of the rest is its first.
        return Settlement(failed_at, [Batch(records[failed_at:], 0 if bisect else 1)])
    if bisect and len(records) > 1:
        middle = len(records) // 2
        return Settlement(0, [Batch(records[:middle]), Batch(records[middle:])])
    return Settlement(0, [Batch(records, batch.attempts + 1)])


def discard_condition(batch: Batch, now: float, *, maximum_retries: int, maximum_age: float | None) -> str | None:
    """Why a batch is given up, in the words of its invocation record; None to send it.

    It grows too old before it was ever sent, too: while the function is throttled, or nobody read the stream.
    """
    if maximum_age is not None and now - created(batch.records[0]) > maximum_age:
        return "RecordAgeExceeded"
    if 0 <= maximum_retries < batch.attempts:
        return "RetryAttemptsExhausted"
    return None
