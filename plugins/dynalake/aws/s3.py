"""The objects of one bucket: the only way in which dynalake lists, reads, writes and deletes them.

A condition that does not hold, or an object that is not there, is an answer, not an error. All other errors of S3 are
raised as boto3 has them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from dynalake.aws.answers import code_of
from dynalake.aws.clients import Clients
from dynalake.days import milliseconds
from dynalake.errors import AccessError, ConflictError, DynalakeError, UnavailableError

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_DELETED_AT_ONCE = 1000
_MISSING = ("NoSuchKey", "NotFound", "404")
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList
_PASSING = ("InternalError", "SlowDown", "ServiceUnavailable")
# A condition does not hold (412), or another write is under way (409):
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
_REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


class StoredObject(NamedTuple):
    """An object: `size` in bytes, `modified` in milliseconds since the epoch by S3's clock."""

    key: str
    size: int
    etag: str
    modified: int


class Version(NamedTuple):
    """The bytes of an object, and the ETag that they have."""

    body: bytes
    etag: str


class Json(NamedTuple):
    """A JSON object as it is stored, and the ETag of this version."""

    value: dict[str, Any]
    etag: str


@dataclass(frozen=True)
class Deleted:
    """The result of a deletion. `changed`: keys that stay, because they have other bytes than when they were listed."""

    objects: int = 0
    bytes: int = 0
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Store:
    """The objects of a bucket. Threads may share it."""

    clients: Clients
    bucket: str

    def __post_init__(self) -> None:
        assert self.clients.s3 is not None  # made once, before threads need it

    # -- reading --

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Yield the objects below a prefix, by key: one call per thousand. `after`: only those with greater keys."""
        start: Any = {"StartAfter": after} if after else {}
        for page in self.clients.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, **start
        ):
            for entry in page.get("Contents", ()):
                yield StoredObject(entry["Key"], entry["Size"], entry["ETag"], milliseconds(entry["LastModified"]))

    def first(self, prefix: str) -> StoredObject | None:
        """Return the first object below a prefix; None where there is none. One call."""
        answer = self.clients.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix, MaxKeys=1)
        for entry in answer.get("Contents", ()):
            return StoredObject(entry["Key"], entry["Size"], entry["ETag"], milliseconds(entry["LastModified"]))
        return None

    def folders(self, prefix: str, after: str = "") -> Iterator[str]:
        """Yield the names directly below a prefix that end in a slash there, without it."""
        start: Any = {"StartAfter": after} if after else {}
        pages = self.clients.s3.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket, Prefix=prefix, Delimiter="/", **start):
            for entry in page.get("CommonPrefixes", ()):
                yield entry["Prefix"].removeprefix(prefix).rstrip("/")

    def head(self, key: str) -> StoredObject | None:
        """Return an object without its bytes; None where there is none."""
        try:
            answer = self.clients.s3.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if code_of(error) in _MISSING:
                return None
            raise
        return StoredObject(key, answer["ContentLength"], answer["ETag"], milliseconds(answer["LastModified"]))

    def open(self, key: str, etag: str = "") -> IO[bytes] | None:
        """Return an object's bytes as a stream, to be closed by the caller; None where there is none.

        Raises `ConflictError` where the object has another ETag than `etag`.
        """
        condition: Any = {"IfMatch": etag} if etag else {}
        try:
            return self.clients.s3.get_object(Bucket=self.bucket, Key=key, **condition)["Body"]  # type: ignore[return-value]
        except ClientError as error:
            if code_of(error) in _REFUSED:
                raise ConflictError(
                    f"{self.uri(key)} was replaced after it was listed", action="let the task be retried", key=key
                ) from error
            if code_of(error) in _MISSING:
                return None
            raise

    def read(self, key: str) -> Version | None:
        """Return an object's bytes; None where there is none."""
        try:
            answer = self.clients.s3.get_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if code_of(error) in _MISSING:
                return None
            raise
        with answer["Body"] as body:
            return Version(body.read(), answer["ETag"])

    def read_range(self, key: str, first: int, last: int) -> bytes | None:
        """Return an object's bytes from `first` to `last`, both included; None where it has none of them."""
        try:
            answer = self.clients.s3.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={first}-{last}")
        except ClientError as error:
            if code_of(error) in (*_MISSING, "InvalidRange", "416"):
                return None
            raise
        with answer["Body"] as body:
            return body.read()

    def read_json(self, key: str) -> Json | None:
        """Return a JSON object; None where there is none. Raises `ValueError` where it is not valid JSON."""
        version = self.read(key)
        return None if version is None else Json(json.loads(version.body), version.etag)

    def clock(self, now: datetime) -> datetime:
        """Return the time by S3's clock, by which ages of objects count; never later than `now`.

        A machine whose clock is ahead would take a file that is being written for old.
        """
        answer = self.clients.s3.list_objects_v2(Bucket=self.bucket, MaxKeys=1)
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return min(now, parsedate_to_datetime(date).astimezone(UTC)) if date else now

    # -- writing --

    def write(self, key: str, body: bytes, content_type: str = "") -> str:
        """Write an object over any other. Return its ETag."""
        return self._put(key, body, content_type)

    def create(self, key: str, body: bytes | IO[bytes], content_type: str = "") -> str | None:
        """Write an object where there is none. Return its ETag; None where there is one, or one is being written."""
        return self._put_if(key, body, content_type, IfNoneMatch="*")

    def replace(self, key: str, body: bytes, etag: str, content_type: str = "") -> str | None:
        """Write an object over the version `etag`. Return the new ETag; None where that version is not there."""
        return self._put_if(key, body, content_type, IfMatch=etag)

    def write_json(self, key: str, value: Mapping[str, Any]) -> Json:
        """Write a JSON object over any other, so that a person can read it."""
        return Json(dict(value), self._put(key, _json(value), _JSON))

    def create_json(self, key: str, value: Mapping[str, Any]) -> Json:
        """Write a JSON object where there is none yet. Return the first one that was written."""
        etag = self.create(key, _json(value), _JSON)
        stored = Json(dict(value), etag) if etag else self.read_json(key)
        if stored is None:
            raise self._conflict(key)
        return stored

    def replace_json(self, key: str, value: Mapping[str, Any], before: Json | None) -> Json:
        """Write a JSON object over the version `before` (None: where there is none yet).

        Raises `ConflictError` if somebody else wrote in the meantime.
        """
        if before is None:
            etag = self.create(key, _json(value), _JSON)
        else:
            etag = self.replace(key, _json(value), before.etag, _JSON)
        if etag is None:
            raise self._conflict(key)
        return Json(dict(value), etag)

    def upload(self, path: Path, key: str) -> None:
        """Write a file as an object, in parts where it is large."""
        self.clients.s3.upload_file(str(path), self.bucket, key)

    # -- deleting --

    def delete(self, key: str) -> None:
        """Delete an object. It need not be there."""
        self.clients.s3.delete_object(Bucket=self.bucket, Key=key)

    def delete_all(self, keys: Iterable[str]) -> int:
        """Delete objects, a thousand per call, and return how many.

        Raises `AccessError` where S3 refuses one, `UnavailableError` where it fails.
        """
        left, count = iter(keys), 0
        while batch := list(islice(left, _DELETED_AT_ONCE)):
            for key, failure in self._delete([{"Key": key} for key in batch]).items():
                if failure.get("Code") not in _MISSING:
                    raise self._not_deleted(key, failure)
            count += len(batch)
        return count

    def delete_listed(self, objects: Iterable[StoredObject]) -> Deleted:
        """Delete objects, a thousand per call, unless they were written again since they were listed.

        Raises as `delete_all` does. Deletes by ETag:
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html
        """
        left, count, size = iter(objects), 0, 0
        changed: list[str] = []
        while batch := list(islice(left, _DELETED_AT_ONCE)):
            failures = self._delete([{"Key": o.key, "ETag": o.etag} for o in batch])
            for key, failure in failures.items():
                if failure.get("Code") not in (*_REFUSED, *_MISSING):
                    raise self._not_deleted(key, failure)
                changed.append(key)
            deleted = [o for o in batch if o.key not in failures]
            count, size = count + len(deleted), size + sum(o.size for o in deleted)
        return Deleted(count, size, tuple(changed))

    def uri(self, key: str) -> str:
        """Return the `s3://` address of a key."""
        return f"s3://{self.bucket}/{key}"

    def _put(self, key: str, body: bytes | IO[bytes], content_type: str, **condition: str) -> str:
        arguments: Any = {**condition, **({"ContentType": content_type} if content_type else {})}
        return self.clients.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **arguments)["ETag"]

    def _put_if(self, key: str, body: bytes | IO[bytes], content_type: str, **condition: str) -> str | None:
        try:
            return self._put(key, body, content_type, **condition)
        except ClientError as error:
            if code_of(error) in (*_REFUSED, *_MISSING):  # a vanished object answers If-Match with 404
                return None
            raise

    def _delete(self, identifiers: Sequence[ObjectIdentifierTypeDef]) -> dict[str, Mapping[str, Any]]:
        """Return what S3 did not delete, by key."""
        answer = self.clients.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": identifiers, "Quiet": True})
        return {str(failure.get("Key")): failure for failure in answer.get("Errors", ())}

    def _not_deleted(self, key: str, failure: Mapping[str, Any]) -> DynalakeError:
        what = f"S3 did not delete {self.uri(key)}: {failure.get('Code')} {failure.get('Message')}"
        if failure.get("Code") in _PASSING:
            return UnavailableError(what, action="let the task be retried", key=key)
        return AccessError(
            what,
            action="let the role of the AWS connection delete it (s3:DeleteObject), and look for an object lock",
            key=key,
        )

    def _conflict(self, key: str) -> ConflictError:
        return ConflictError(
            f"Somebody else wrote {self.uri(key)} in the meantime",
            allowed="one running attempt per task",
            action="let the task be retried: it continues from what is stored",
            key=key,
        )


_JSON = "application/json"


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"
