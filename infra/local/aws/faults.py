"""Failures that tests request from the local AWS server, at `/_dynalake/faults`."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from xml.sax.saxutils import escape

PATH = "/_dynalake/faults"

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


@dataclass
class Fault:
    """What fails and how: the fields of the JSON that a test posts."""

    service: str
    """`kinesis`, `firehose`, `lambda`, `s3`, `dynamodb`, …: the name in the AWS endpoint."""
    operation: str
    """The API operation: `PutRecords`, `PutRecordBatch`, `Invoke`, `PutObject`, …

    `ChangeRecord` of `dynamodb` is not an operation: it removes the images from the change records of a table's stream.
    """
    code: str
    """The AWS error code of the answer; for Lambda, the type of the unhandled error."""
    times: int | None = None
    """How many matching requests fail; if absent, all do until the fault is cleared."""
    fraction: float = 1.0
    """The share of a batch's entries, or else of requests, that fails."""
    status: int = 400
    message: str = "Injected by a test."
    resource: str | None = None
    """Only this stream, delivery stream, function, table or bucket."""
    key_prefix: str | None = None
    """Only S3 keys with this prefix."""
    after: bool = False
    """Whether the request is served and only its answer is lost (Lambda, Kinesis, Firehose)."""

    def hits(self) -> bool:
        """Return whether the next entry or request is in the fraction that fails."""
        return self.fraction >= 1 or random.random() < self.fraction


_faults: list[Fault] = []
_lock = threading.Lock()


def add(description: Mapping[str, Any]) -> None:
    """Add a fault. Raises `TypeError` for an unknown or missing field."""
    fault = Fault(**description)
    with _lock:
        _faults.append(fault)


def clear() -> None:
    """Forget every fault."""
    with _lock:
        _faults.clear()


def active() -> list[dict[str, Any]]:
    """Return the faults that are still active, each with its remaining `times`."""
    with _lock:
        return [asdict(fault) for fault in _faults]


def take(service: str, operation: str, resource: str = "", key: str = "") -> Fault | None:
    """Return the fault that applies to this request, and count it down; None if the request is to be served."""
    with _lock:
        for fault in _faults:
            if (fault.service, fault.operation) != (service, operation):
                continue
            if fault.resource not in (None, resource) or not key.startswith(fault.key_prefix or ""):
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    _faults.remove(fault)
            return fault
    return None


def s3_answer(operation: str, bucket: str, key: str) -> Answer | None:
    """Return the error answer if this S3 request is to fail."""
    fault = take("s3", operation, bucket, key)
    if fault is None or not fault.hits():
        return None
    content = f"<Error><Code>{escape(fault.code)}</Code><Message>{escape(fault.message)}</Message></Error>"
    return fault.status, {"Content-Type": "application/xml"}, content.encode()
