"""Decide what to do with a batch of stream records after Lambda was called with it; no I/O.

https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]

# The sequence number contains the time of the change; the record itself has it only in whole seconds.
SEQUENCE_COUNTER = 10**10


@dataclass(frozen=True)
class Batch:
    """Consecutive records of a shard that go to Lambda together, and how often they failed."""

    records: Sequence[Record]
    attempts: int = 0


@dataclass(frozen=True)
class Settlement:
    """The number of records of a batch that are done, and the batches to send next, in order."""

    done: int
    next: Sequence[Batch] = ()


def sequence_number(record: Record) -> str:
    """Return the record's sequence number, which identifies it in a partial batch response."""
    return str(record["dynamodb"]["SequenceNumber"])


def created(record: Record) -> float:
    """Return the time of the change, in seconds since the epoch."""
    return int(sequence_number(record)) // SEQUENCE_COUNTER / 1000


def first_failure(records: Sequence[Record], response: Any) -> int | None:
    """Return the position of the first failed record in a partial batch response; None for success."""
    failures = response.get("batchItemFailures") if isinstance(response, dict) else None
    if not failures:
        return None
    if not isinstance(failures, list):
        return 0
    positions = {sequence_number(record): position for position, record in enumerate(records)}
    named = [failure.get("itemIdentifier") if isinstance(failure, dict) else None for failure in failures]
    # An empty or unknown identifier fails the whole batch.
    return min(positions.get(name, 0) if isinstance(name, str) else 0 for name in named)


def settle(batch: Batch, failed_at: int | None, *, bisect: bool) -> Settlement:
    """Return what follows from a failure at a position (0: the whole batch), or from success (None)."""
    records = batch.records
    if failed_at is None:
        return Settlement(len(records))
    if failed_at > 0:
        # Splitting a batch does not consume the retry quota; otherwise the rest starts its first retry.
        return Settlement(failed_at, [Batch(records[failed_at:], 0 if bisect else 1)])
    if bisect and len(records) > 1:
        middle = len(records) // 2
        return Settlement(0, [Batch(records[:middle]), Batch(records[middle:])])
    return Settlement(0, [Batch(records, batch.attempts + 1)])


def discard_condition(batch: Batch, now: float, *, maximum_retries: int, maximum_age: float | None) -> str | None:
    """Return why a batch is rejected, as its invocation record says it; None to send the batch.

    A batch can also become too old before its first call, if the function is throttled or nothing reads the stream.
    """
    if maximum_age is not None and now - created(batch.records[0]) > maximum_age:
        return "RecordAgeExceeded"
    if 0 <= maximum_retries < batch.attempts:
        return "RetryAttemptsExhausted"
    return None
