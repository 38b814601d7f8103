"""The files of a segment: gzipped JSON Lines, cut by size, the same bytes for the same items."""

from __future__ import annotations

import hashlib
import tempfile
from types import TracebackType
from typing import IO, Self

from zlib_ng import zlib_ng

# 64 KiB of text go into the compressor at a time. Cutting on these borders (and not on DynamoDB's pages, whose size
# depends on the pace) makes a part's content depend on its items alone.
CHUNK_BYTES = 64 * 1024
# Takes less than half the time of zlib's own level 4, for 5% more bytes.
LEVEL = 2
_GZIP = 16 + zlib_ng.MAX_WBITS


class Part:
    """One part being written to a temporary file. Memory is constant; the file vanishes with the process.

    `size` and `text_size` are its bytes so far, gzipped and not, as far as they went into the compressor.

    The gzip header has no name and the time 0.
    """

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self.items = 0
        self.size = 0
        self.text_size = 0
        self._digest = hashlib.sha256()
        self._compressor = zlib_ng.compressobj(LEVEL, zlib_ng.DEFLATED, _GZIP)
        self._lines: list[bytes] = []
        self._pending = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.file.close()

    def add(self, line: bytes) -> None:
        """Append one record (a line without its newline)."""
        self.items += 1
        self._lines.append(line)
        self._pending += len(line)
        if self._pending >= CHUNK_BYTES:
            self._flush()

    def close(self) -> str:
        """Finish the gzip stream and go back to the file's start. Return the SHA-256 of the bytes, in hexadecimal."""
        self._flush()
        self._write(self._compressor.flush())
        self.file.seek(0)
        return self._digest.hexdigest()

    def _flush(self) -> None:
        if self._lines:
            self._lines.append(b"")
            text = b"\n".join(self._lines)
            self.text_size += len(text)
            self._write(self._compressor.compress(text))
            self._lines.clear()
            self._pending = 0

    def _write(self, data: bytes) -> None:
        self.file.write(data)
        self._digest.update(data)
        self.size += len(data)


def part_key(prefix: str, segment: int, part: int) -> str:
    """Return `{prefix}segment-00003/part-00000.json.gz`; `prefix` ends with `/`."""
    return f"{segment_prefix(prefix, segment)}part-{part:05d}.json.gz"


def segment_prefix(prefix: str, segment: int) -> str:
    """Return `{prefix}segment-00003/`"""
    return f"{prefix}segment-{segment:05d}/"
