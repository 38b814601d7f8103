"""Which changes travel together: lines into blobs, blobs into requests. Pure functions.

Kinesis takes 1,000 records a second and shard, and Firehose bills every record rounded up to 5 KB, so many lines
travel as one record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Line:
    """One change record with its line break, and its place in the batch."""

    position: int
    sequence_number: str
    data: bytes


@dataclass(frozen=True)
class Blob:
    """The data of one Kinesis or Firehose record: whole lines of one batch, in the batch's order."""

    first_position: int
    """Place of its first change in the batch."""
    key: str
    """The first change's sequence number: the partition key, so that blobs spread over all shards."""
    data: bytes
    hash_key: str = ""
    """Hash key of the shard that has to take it; empty where the key decides."""

    @property
    def size(self) -> int:
        """Bytes that count in a request: data and partition key."""
        return len(self.data) + len(self.key)


@dataclass(frozen=True)
class Limits:
    """The most that one request may hold, and one record in it; sizes in bytes."""

    records: int
    request: int
    record: int


def pack(lines: Iterable[Line], record_limit: int) -> list[Blob]:
    """Return lines as blobs of up to `record_limit` bytes, in order. No single line may be longer than that."""
    blobs: list[Blob] = []
    held: list[Line] = []
    size = 0
    for line in lines:
        if held and size + len(line.data) > record_limit:
            blobs.append(_blob(held))
            held, size = [], 0
        held.append(line)
        size += len(line.data)
    if held:
        blobs.append(_blob(held))
    return blobs


def requests(blobs: Sequence[Blob], limits: Limits) -> Iterator[list[Blob]]:
    """Yield blobs as requests within `limits`, in order; a blob over the request limit travels alone."""
    held: list[Blob] = []
    size = 0
    for blob in blobs:
        if held and (len(held) == limits.records or size + blob.size > limits.request):
            yield held
            held, size = [], 0
        held.append(blob)
        size += blob.size
    if held:
        yield held


def _blob(lines: Sequence[Line]) -> Blob:
    return Blob(lines[0].position, lines[0].sequence_number, b"".join(line.data for line in lines))
