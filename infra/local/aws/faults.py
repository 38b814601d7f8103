"""Failures that a test asks the local AWS server for, over `/_dynalake/faults`."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

PATH = "/_dynalake/faults"


@dataclass
class Fault:
    """What fails and how: every field of the JSON a test posts."""

    service: str
    """`kinesis`, `firehose`, `lambda`, `s3`, `dynamodb`, …: the name in the AWS endpoint."""
    operation: str
    """The API operation: `PutRecords`, `PutRecordBatch`, `Invoke`, `PutObject`, …

    `ChangeRecord` of `dynamodb` is none: it takes the images out of the change records that a table's stream gets.
    """
    code: str
    """The AWS error code answered; for Lambda, the unhandled error's type."""
    times: int | None = None
    """How many matching requests fail; unlimited until cleared where absent."""
    fraction: float = 1.0
    """The part of the entries of a batch, else of the requests, that fails."""
    status: int = 400
    message: str = "Injected by a test."
    resource: str | None = None
    """Only this stream, delivery stream, function, table or bucket."""
    key_prefix: str | None = None
    """Only S3 keys that start so."""
    after: bool = False
    """Whether the request is served all the same, and only its answer is lost (Lambda, Kinesis, Firehose)."""

    def hits(self) -> bool:
        """Whether the next entry or request is among the fraction that fails."""
        return self.fraction >= 1 or random.random() < self.fraction


_faults: list[Fault] = []
_lock = threading.Lock()


def add(description: Mapping[str, Any]) -> None:
    """Arm one fault; TypeError for an unknown or missing field."""
    fault = Fault(**description)
    with _lock:
        _faults.append(fault)


def clear() -> None:
    """Forget every fault."""
    with _lock:
        _faults.clear()


def active() -> list[dict[str, Any]]:
    """The faults that would still fail a request, with what is left of `times`."""
    with _lock:
        return [asdict(fault) for fault in _faults]


def take(service: str, operation: str, resource: str = "", key: str = "") -> Fault | None:
    """The fault that applies to this request, counted down; None when it is to be served."""
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
