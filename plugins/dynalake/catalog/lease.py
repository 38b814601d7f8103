"""One at a time changes what a table shows: whoever does holds the table's lease, an object in S3.

Glue keeps two writers of one *table* apart (`VersionId`), but a partition has no version, and what a publish decides
depends on many of both. The lease is taken and renewed by conditional writes, and nobody's clock is compared with
another's: it is free when it says so, or when it has not changed while somebody watched it for `SECONDS`.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from botocore.exceptions import ClientError

from dynalake.clients import Clients
from dynalake.errors import ConflictError
from dynalake.names import TableNames

SECONDS = 120.0
"""How long a holder may be silent. It renews long before, and does nothing more once this has passed."""

PATIENCE = 300.0
"""Seconds for which somebody waits for the lease: longer than a holder that was killed keeps it."""

_FREE = b'{"holder": ""}\n'
# 409: another conditional write of the same key was under way.
_LOST = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409", "NoSuchKey", "404")


class Lease:
    """The right to change what one table shows. `check` comes before each change."""

    def __init__(self, clients: Clients, names: TableNames) -> None:
        self._clients, self._names = clients, names
        self._holder = uuid.uuid4().hex
        self._renewals = 0
        self._etag: str | None = None
        self._since = 0.0

    def check(self) -> None:
        """Renews the lease where it is time. Raises `ConflictError` where it was lost."""
        silent = time.monotonic() - self._since
        if silent < SECONDS / 4:
            return
        if silent >= SECONDS or not self._write(self._body()):
            raise ConflictError(
                f"{self._names.table} is published by another run: this one was silent for {silent:.0f} seconds",
                allowed=f"{SECONDS:.0f} seconds",
                action="run the task again: it begins on fresh state",
                table=self._names.table,
            )

    def take(self) -> None:
        """Waits until nobody holds the lease, and takes it. Raises `ConflictError` after `PATIENCE`."""
        started = time.monotonic()
        found, body = self._read()
        watched_since = time.monotonic()
        while True:
            self._etag = found
            silent = time.monotonic() - watched_since
            if (found is None or body == _FREE or silent >= SECONDS) and self._write(self._body()):
                return
            if time.monotonic() - started >= PATIENCE:
                raise ConflictError(
                    f"{self._names.table} has been published by another run for {PATIENCE:.0f} seconds",
                    action="wait for that run, then run the task again",
                    table=self._names.table,
                )
            time.sleep(min(1.0, SECONDS / 4))
            before = found
            found, body = self._read()
            if found != before:
                watched_since = time.monotonic()

    def release(self) -> None:
        """Gives the lease back; nothing where it was lost."""
        self._write(_FREE)

    def _body(self) -> bytes:
        self._renewals += 1
        return json.dumps({"holder": self._holder, "renewals": self._renewals}).encode() + b"\n"

    def _read(self) -> tuple[str | None, bytes]:
        try:
            answer = self._clients.s3.get_object(Bucket=self._names.lake.bucket, Key=self._names.lease)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None, b""
            raise
        with answer["Body"] as body:
            return answer["ETag"], body.read()

    def _write(self, body: bytes) -> bool:
        """Whether the object was as it was known, and is `body` now."""
        condition = {"IfNoneMatch": "*"} if self._etag is None else {"IfMatch": self._etag}
        at = time.monotonic()
        try:
            answer = self._clients.s3.put_object(
                Bucket=self._names.lake.bucket,
                Key=self._names.lease,
                Body=body,
                **condition,  # type: ignore[arg-type]
            )
            self._etag, self._since = answer["ETag"], at
            return True
        except ClientError as error:
            if error.response["Error"]["Code"] not in _LOST:
                raise
        # A write whose answer was lost is sent again by boto3, and then meets itself.
        found, there = self._read()
        if there == body != _FREE:
            self._etag, self._since = found, at
            return True
        return False


@contextmanager
def changing(clients: Clients, names: TableNames) -> Iterator[Lease]:
    """Holds the table's lease for a block; waits for it before."""
    lease = Lease(clients, names)
    lease.take()
    try:
        yield lease
    finally:
        # What was done is done; a lease that is not given back ends by itself.
        with suppress(ClientError):
            lease.release()
