"""Raw objects: listed, streamed line by line, and each line parsed with every digit.

What Firehose writes is a sequence of gzip members or plain text; what a person puts there may be anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any, Protocol

from dynalake.clients import Clients

zlib: Any  # zlib_ng's stubs know neither `copy` nor the error
try:
    from zlib_ng import zlib_ng as zlib
except ImportError:  # where Spark runs, there is what the cluster has
    import zlib

_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
LONGEST_LINE = 64 << 20
"""Bytes. An item has at most 400 KB; what goes on for longer without a line break is no change record."""


@dataclass(frozen=True)
class RawObject:
    """An object as a listing shows it. `size` in bytes."""

    key: str
    etag: str
    size: int
    modified: float = 0.0


class Readable(Protocol):
    """A stream of bytes, such as S3's."""

    def read(self, amount: int, /) -> bytes: ...


class BrokenObject(Exception):
    """The rest of an object cannot be read; the lines before it were."""


class BadLine(ValueError):
    """A line that is no JSON object, or one that Parquet cannot hold."""


def list_objects(clients: Clients, bucket: str, prefix: str, limit: int | None = None) -> list[RawObject]:
    """The objects below `prefix` in the order of their keys, at most `limit` of them; empty ones are left out."""
    return list(islice(iterate_objects(clients, bucket, prefix), limit))


def iterate_objects(clients: Clients, bucket: str, prefix: str, after: str = "") -> Iterator[RawObject]:
    """The same, one after the other, and only those whose key sorts behind `after`: one call per thousand."""
    pages = clients.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, StartAfter=after)
    for page in pages:
        for o in page.get("Contents", []):
            if o["Size"]:
                yield RawObject(o["Key"], o["ETag"].strip('"'), o["Size"], o["LastModified"].timestamp())


def stream_lines(stream: Readable) -> Iterator[bytes]:
    """The lines of a gzip or plain stream, without line breaks; blank ones are left out.

    Holds one line and a few MB at a time. Raises `BrokenObject` after the last line that could be read.
    """
    for text in stream_text(stream):
        for line in text.split(b"\n"):
            if line and not line.isspace():
                yield line


def stream_text(stream: Readable) -> Iterator[bytes]:
    """The text of a gzip or plain stream in pieces of whole lines, each of which ends with a line break.

    Raises `BrokenObject` after the last line that could be read.
    """
    rest = b""
    for block in _blocks(stream):
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join((rest, memoryview(block)[:end]))
            rest = block[end:]
        else:
            rest += block
        if len(rest) > LONGEST_LINE:
            raise BrokenObject(f"a line is longer than {LONGEST_LINE} bytes")
    if rest:
        yield rest + b"\n"


def _blocks(stream: Readable) -> Iterator[bytes]:
    head = stream.read(_CHUNK)
    if head[:2] != _GZIP:
        while head:
            yield head
            head = stream.read(_CHUNK)
        return
    inflate = zlib.decompressobj(31)
    pending = head
    while pending:
        before = inflate.copy()
        try:
            block = inflate.decompress(pending, 4 * _CHUNK)
        except zlib.error as error:
            yield from _until_corrupt(before, pending)
            raise BrokenObject(f"gzip is corrupt: {error}") from error
        if block:
            yield block
        pending = inflate.unconsumed_tail
        if inflate.eof:
            pending = inflate.unused_data.lstrip(b"\0") or stream.read(_CHUNK)
            if pending:
                inflate = zlib.decompressobj(31)
        elif not pending:
            pending = stream.read(_CHUNK)
    if not inflate.eof:
        raise BrokenObject("gzip is cut short")


def _until_corrupt(inflate: Any, pending: bytes) -> Iterator[bytes]:
    """What can be had of a chunk that ends in an error: zlib gives nothing of a call that fails.

    A wrong checksum stands behind the last byte of the data, so the last piece is taken byte by byte.
    """
    for step in (4096, 64, 1):
        start = 0
        while start < len(pending):
            before = inflate.copy()
            try:
                block = inflate.decompress(pending[start : start + step])
            except zlib.error:
                inflate = before
                break
            yield block
            start += step
        pending = pending[start : start + step]


def parse_line(line: bytes) -> dict[str, Any]:
    """The change record in a line: integers as int, other numbers as Decimal with their digits, never as float.

    Raises `BadLine` with the reason.
    """
    try:
        value = _decoder.decode(line.decode())
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise BadLine("nested too deeply") from error
    except BadLine:
        raise
    except ValueError as error:
        raise BadLine(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadLine(f"not a JSON object but {type(value).__name__}")
    if rb"\u" in line and _has_surrogate(value):
        raise BadLine("text with half of a surrogate pair, which UTF-8 cannot hold")
    return value


def decode(text: str) -> Any:
    """The value of a JSON text, with every digit."""
    return _decoder.decode(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise BadLine("a key stands twice in one object")
    return value


def _constant(name: str) -> Any:
    raise BadLine(f"{name} is no JSON number")


_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_constant, object_pairs_hook=_object)


def _has_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, dict):
        return any(_has_surrogate(k) or _has_surrogate(v) for k, v in value.items())
    return isinstance(value, list) and any(map(_has_surrogate, value))
