"""Digests by key, on disk: shares of all keys by their hash, one of which fits into memory.

A line is JSON: the key, and what is known of it. An item takes about 150 bytes of disk on each side.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dynalake.backfill.export.numbers import Key

SHARE_ITEMS = 200_000
"""Items of a share, about: 125 MB of memory while it is compared."""

_MOST = 4096
_HELD = 100_000
"""Lines in memory before they are written: a file is open only while it is written to."""


def count_shares(items: int) -> int:
    """Return how many shares that many items need (pure)."""
    return min(_MOST, 1 + items // SHARE_ITEMS)


class KeyShares:
    """The shares of one side: `put` all entries, then `read` each share. `entries`: how many were put."""

    def __init__(self, directory: Path, count: int) -> None:
        self._directory = directory
        self._held: list[list[str]] = [[] for _ in range(count)]
        self._lines = 0
        self.entries = 0
        directory.mkdir()

    def put(self, key: Key, *entry: Any) -> None:
        """Add what is known of a key: values of JSON."""
        hashed = zlib.crc32("\0".join(key).encode(errors="surrogatepass"))
        self._held[hashed % len(self._held)].append(json.dumps([key, *entry]))
        self.entries += 1
        self._lines += 1
        if self._lines >= _HELD:
            self._write()

    def read(self, number: int) -> Iterator[tuple[Key, list[Any]]]:
        """Yield the entries of a share, in the order in which they came."""
        self._write()
        path = self._path(number)
        if path.exists():
            with path.open() as lines:
                for line in lines:
                    parts, *entry = json.loads(line)
                    yield tuple(parts), entry

    def _write(self) -> None:
        for number, lines in enumerate(self._held):
            if lines:
                with self._path(number).open("a") as file:
                    file.writelines(f"{line}\n" for line in lines)
                lines.clear()
        self._lines = 0

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:05d}"
