"""Raw objects: streamed line by line, and each line parsed with every digit.

Firehose writes a sequence of gzip members, or plain text; a person may put anything there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from decimal import Decimal
from typing import Any, Protocol

import numpy as np

from dynalake.lake.types.budget import LINE_DEPTH

zlib: Any  # zlib_ng's stubs know neither `copy` nor the error
try:
    from zlib_ng import zlib_ng as zlib
except ImportError:  # Spark runs with the packages of its cluster
    import zlib

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_CHUNK = 1 << 20
LONGEST_LINE = 16 << 20
"""Bytes of a line. An item has at most 400 KB, in JSON six times that; a longer line is not a change record."""

LARGEST_EXPONENT = 1_000_000
"""Exponent of a number, either way. DynamoDB's end at 125; Python's arithmetic fails at 10^18, or gives 0."""


class Readable(Protocol):
    """A stream of bytes, such as S3's."""

    def read(self, amount: int, /) -> bytes: ...


class BrokenObject(Exception):
    """The rest of an object cannot be read; the lines before it were. `at`: how many of its bytes were read."""

    def __init__(self, reason: str, at: int = 0) -> None:
        super().__init__(reason)
        self.at = at


TOO_DEEP = f"nested deeper than {LINE_DEPTH} levels"
TOO_LARGE = f"a number whose exponent is beyond {LARGEST_EXPONENT:,}"


class BadLine(ValueError):
    """A line that is not a change record. The reason begins with its kind, by which it is counted, up to a `:`."""


def stream_lines(stream: Readable) -> Iterator[bytes]:
    """Yield the lines of a gzip or plain stream, without line breaks; blank ones are left out.

    A line is one value: where several are on one line of the object, `}{`, each becomes a line of its own.

    Holds one line and a few MB at a time. Raises `BrokenObject` after the last line that could be read.
    """
    for text in stream_text(stream):
        for line in text.split(b"\n"):
            if line and not line.isspace():
                yield line


def stream_text(stream: Readable) -> Iterator[bytes]:
    """Yield the text of a gzip or plain stream in pieces of whole lines, each of which ends with a line break.

    A byte order mark at the beginning is left out. Raises `BrokenObject` after the last line that could be read.
    """
    read = _Counted(stream)
    rest, skip = b"", _BOM
    for block in _blocks(read):
        end = block.rfind(b"\n") + 1
        if end:
            yield _one_a_line(b"".join((rest, memoryview(block)[:end])).removeprefix(skip))
            rest, skip = block[end:], b""
        else:
            rest += block
        if len(rest) > _CHUNK:
            lines = _one_a_line(rest.removeprefix(skip))
            end = lines.rfind(b"\n") + 1
            if end:
                yield lines[:end]
                rest, skip = lines[end:], b""
        if len(rest) > LONGEST_LINE:
            raise BrokenObject(f"a line is longer than {LONGEST_LINE} bytes", read.bytes - len(rest))
    if rest:
        yield _one_a_line(rest.removeprefix(skip)) + b"\n"


_MEET = re.compile(rb"\}[ \t\r]*+\{")
_ESCAPE = re.compile(rb"\\.", re.DOTALL)


def _one_a_line(text: bytes) -> bytes:
    """Return `text` with a line break between values on one line: within a value, `}{` is found only in a string.

    Firehose writes records one behind the other, and their sender may have left out the line breaks.
    """
    if not _MEET.search(text):
        return text
    return b"\n".join(map(_apart, text.split(b"\n")))


def _apart(line: bytes) -> bytes:
    pieces, start, last, within = [], 0, 0, False
    for meeting in _MEET.finditer(line):
        between = line[last : meeting.start()]
        if b"\\" in between:
            between = _ESCAPE.sub(b"", between)
        within ^= bool(between.count(b'"') & 1)
        last = meeting.start()
        if not within:
            pieces.append(line[start : meeting.start() + 1])
            start = meeting.end() - 1
    return b"\n".join([*pieces, line[start:]]) if pieces else line


class _Counted:
    """A stream that counts the bytes read from it."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.bytes = 0

    def read(self, amount: int, /) -> bytes:
        data = self._stream.read(amount)
        self.bytes += len(data)
        return data


def _blocks(stream: _Counted) -> Iterator[bytes]:
    head = stream.read(_CHUNK)
    if len(head) == 1:
        head += stream.read(_CHUNK)
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
            after = yield from _until_corrupt(before, pending)
            raise BrokenObject(f"gzip is corrupt: {error}", stream.bytes - after) from error
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
        raise BrokenObject("gzip is cut short", stream.bytes)


def _until_corrupt(inflate: Any, pending: bytes) -> Generator[bytes, None, int]:
    """Yield what can be read of a chunk with an error, for which zlib gives nothing. Return the bytes from there on.

    A wrong checksum comes after the last byte of the data, so the last piece is taken byte by byte.
    """
    after = len(pending)
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
            after -= step
        pending = pending[start : start + step]
    return max(after, 0)


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the change record in a line: integers as int, other numbers as Decimal with their digits, never as float.

    Text with half of a surrogate pair, which has no UTF-8, is accepted. Raises `BadLine` with the reason.
    """
    try:
        value = _decoder.decode(line.decode())
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise BadLine(TOO_DEEP) from error
    except BadLine:
        raise
    except ValueError as error:
        raise BadLine(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadLine(f"not a JSON object but {type(value).__name__}")
    if line.count(b"[") + line.count(b"{") > LINE_DEPTH and _levels(line) > LINE_DEPTH:
        raise BadLine(TOO_DEEP)
    return value


def decode(text: str) -> Any:
    """Return the value of a JSON text, with every digit."""
    return _decoder.decode(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise BadLine("an object has a key twice")
    return value


def _constant(name: str) -> Any:
    raise BadLine(f"{name} is not a JSON number")


def _number(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except ArithmeticError as error:
        raise BadLine(TOO_LARGE) from error
    if not -LARGEST_EXPONENT <= value.adjusted() <= LARGEST_EXPONENT:
        raise BadLine(TOO_LARGE)
    return value


_decoder = json.JSONDecoder(parse_float=_number, parse_constant=_constant, object_pairs_hook=_object)

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"')
_STEPS = bytes({91: 1, 123: 1, 93: 255, 125: 255}.get(c, 0) for c in range(256))


def _levels(line: bytes) -> int:
    """Return how deep objects and lists are nested at most, in a line of JSON."""
    steps = np.frombuffer(_STRING.sub(b"", line).translate(_STEPS), np.int8)
    return int(np.cumsum(steps, dtype=np.int32).max())
