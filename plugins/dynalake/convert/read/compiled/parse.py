"""The lines of blocks: their places, their numbers, and which of them are read first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dynalake.convert.read.compiled.blocks import Block
from dynalake.convert.read.records import DELETED, Rejecting
from dynalake.lake.files.folders import Input

_pa: Any = pa  # its stubs take types only as literals; here they are data

_SAMPLE = 200
"""Odd lines that are read before all others: they show most of the types, and few lines stay odd then."""

_SAMPLE_BYTES = 200 << 10
"""Bytes of a sample of wide or huge items."""


@dataclass(frozen=True)
class ParsedBlock:
    """The content of a block except its rows, of which it has the count. `bad`: place in the text, reason, line."""

    rows: int
    canaries: int
    bad: list[tuple[int, str, bytes]]
    starts: Any  # int64: of all lines that are not blank

    @property
    def read(self) -> int:
        """Records, canaries included."""
        return self.canaries + self.rows


class LineNumbers:
    """Finds object and line number for the rejected lines of blocks, which come in order."""

    def __init__(self, objects: Sequence[Input], rejected: Rejecting) -> None:
        self._objects = objects
        self._rejected = rejected
        self._lines = [0] * len(objects)

    def take(self, block: Block, parsed: ParsedBlock) -> None:
        ends = [*(start for start, _ in block.origins[1:]), len(block.text)]
        bad, lost = deque(parsed.bad), deque(block.lost)
        for (start, number), end in zip(block.origins, ends, strict=False):
            while lost and lost[0][0] < number:
                self._lose(*lost.popleft())
            before, after = np.searchsorted(parsed.starts, [start, end])
            while bad and bad[0][0] < end:
                place, reason, line = bad.popleft()
                at = self._lines[number] + int(np.searchsorted(parsed.starts, place) - before) + 1
                self._rejected.add(self._objects[number].key, at, reason, line)
            self._lines[number] += int(after - before)
        for broken in lost:
            self._lose(*broken)

    def _lose(self, number: int, reason: str, lost: int) -> None:
        line = 0 if reason == DELETED else self._lines[number] + 1
        self._rejected.add(self._objects[number].key, line, reason, lost=lost)


def sample(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return some of the lines, spread evenly; there may be very many."""
    size = sum(end - start for start, end in places)
    return places[:: max(len(places) // _SAMPLE, min(len(places), size // _SAMPLE_BYTES)) + 1]


def lines_of(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield where lines begin and end."""
    start = 0
    while (end := text.find(b"\n", start)) >= 0:
        if end > start:
            yield start, end
        start = end + 1


def without(text: bytes, places: Iterable[int]) -> bytes:
    """Return the text with the lines at these places blank, so that all others keep their places."""
    kept = bytearray(text)
    for start in places:
        end = kept.index(b"\n", start)
        kept[start:end] = b"\n" * (end - start)
    return bytes(kept)


def is_utf8(text: bytes) -> bool:
    """Return whether a text is valid UTF-8."""
    offsets = _pa.py_buffer(np.array([0, len(text)], np.int32))
    array = _pa.Array.from_buffers(pa.binary(), 1, [None, offsets, _pa.py_buffer(text)])
    try:
        array.cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True
