"""The S3 objects that queries read and write, from any thread but the event loop's."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ministack.services import s3

from infra.local.corrections import objects
from infra.local.corrections.athena.errors import QueryError


@dataclass(frozen=True)
class S3Object:
    """One object as listed: its address and the version that was seen."""

    bucket: str
    key: str
    etag: str
    size: int

    @property
    def uri(self) -> str:
        """`s3://<bucket>/<key>`."""
        return f"s3://{self.bucket}/{self.key}"


def parse_uri(uri: str) -> tuple[str, str]:
    """Bucket and key or prefix of an `s3://` address."""
    scheme, separator, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if not separator or scheme not in ("s3", "s3a", "s3n") or not bucket:
        raise QueryError("INVALID_TABLE_PROPERTY", f"Not an S3 location: {uri!r}")
    return bucket, key


def folder(uri: str) -> tuple[str, str]:
    """Bucket and prefix of a location; the prefix is empty or ends with a slash."""
    bucket, prefix = parse_uri(uri)
    return bucket, prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def listed(uri: str) -> list[S3Object]:
    """The data files below a location, recursively; names that begin with `_` or `.` are hidden."""
    _, prefix = folder(uri)
    return [found for found in everything(uri) if not _hidden(found.key[len(prefix) :])]


def everything(uri: str) -> list[S3Object]:
    """Every object below a location, in key order."""
    bucket, prefix = folder(uri)
    state = s3._buckets.get(bucket)
    if state is None:
        raise QueryError("HIVE_METASTORE_ERROR", f"The S3 bucket of {uri} does not exist: {bucket}")
    records = _copied(state["objects"])
    return [
        S3Object(bucket, key, str(record["etag"]), int(record["size"]))
        for key, record in sorted((key, record) for key, record in records if key.startswith(prefix))
    ]


def _copied(objects: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The entries of a dictionary to which other threads add meanwhile.

    `list` alone is not one step: it may collect garbage, and what that frees may let another thread run.
    """
    while True:
        try:
            return list(objects.items())
        except RuntimeError:  # it changed size
            continue


def read(found: S3Object) -> bytes:
    """The object's bytes, as stored."""
    body = s3._get_object_data(found.bucket, found.key)
    if body is None:
        raise QueryError("HIVE_CANNOT_OPEN_SPLIT", f"The object {found.uri} is gone")
    return bytes(body)


def read_text(found: S3Object) -> str:
    """The object as text, gunzipped if it is gzip by its content."""
    body = read(found)
    if body[:2] == b"\x1f\x8b":
        try:
            body = gzip.decompress(body)
        except (OSError, EOFError, zlib.error) as error:
            raise QueryError("HIVE_CURSOR_ERROR", f"Failed to read file at {found.uri}: {error}") from None
    return body.decode("utf-8", errors="replace")


def write(uri: str, body: bytes) -> None:
    """Put one object."""
    bucket, key = parse_uri(uri)
    status = objects.put(bucket, key, body)
    if status != 200:
        raise QueryError("HIVE_WRITER_OPEN_ERROR", f"S3 answered HTTP {status} to the write of {uri}")


def _hidden(relative: str) -> bool:
    return relative.endswith("/") or any(part.startswith(("_", ".")) for part in relative.split("/"))
