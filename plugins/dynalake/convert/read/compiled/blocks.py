"""Raw objects as blocks of whole lines: small objects together, large ones in pieces."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

from dynalake.aws.s3 import Store
from dynalake.convert.read.compiled.scan import PADDING
from dynalake.convert.read.raw import BrokenObject, stream_text
from dynalake.convert.read.records import DELETED
from dynalake.lake.catalog.table import Table
from dynalake.lake.files.folders import Input

BLOCK = 3 << 20
"""Bytes of text, or a little more, that are parsed in one go: several blocks are in memory at once."""

_WIDE = 800
"""Columns for which a block is larger by another `BLOCK`, up to three: each column costs time."""

_WHOLE = 4 << 20  # up to this size an object is fetched in one go, while those before it are parsed
_AHEAD = 8


@dataclass(frozen=True)
class Block:
    """Whole lines of one or more objects.

    `text` ends with `scan.PADDING`. `origins`: the place in the text where an object's lines begin, and the object's
    place in the list. `lost`: objects that break off here, with the reason and the bytes that could not be read.
    """

    text: bytes
    origins: tuple[tuple[int, int], ...]
    lost: tuple[tuple[int, str, int], ...] = ()


def block_bytes(columns: int) -> int:
    """Return the bytes of text that make a block."""
    return BLOCK * min(3, 1 + columns // _WIDE)


def read_blocks(table: Table, objects: Sequence[Input], columns: Callable[[], int] = lambda: 0) -> Iterator[Block]:
    """Yield all lines of the objects, in order. Raise `ConflictError` where an object was replaced since it was listed.

    `columns`: a function that returns how many are known by now.
    """
    pieces: list[bytes] = []
    origins: list[tuple[int, int]] = []
    lost: list[tuple[int, str, int]] = []
    size = 0
    for number, body in enumerate(_fetch(table.store, objects)):
        if body is None:
            lost.append((number, DELETED, objects[number].size))
            continue
        with body:
            try:
                for text in stream_text(body):
                    pieces.append(text)
                    origins.append((size, number))
                    size += len(text)
                    if size >= block_bytes(columns()):
                        yield Block(b"".join([*pieces, PADDING]), tuple(origins), tuple(lost))
                        pieces, origins, lost, size = [], [], [], 0
            except BrokenObject as error:
                lost.append((number, str(error), max(0, objects[number].size - error.at)))
    if pieces or lost:
        yield Block(b"".join([*pieces, PADDING]), tuple(origins), tuple(lost))


def _fetch(store: Store, objects: Sequence[Input]) -> Iterator[IO[bytes] | None]:
    """Yield the objects' streams, in order. Thousands of small objects must not wait for each other."""

    def fetch(raw: Input) -> IO[bytes] | None:
        body = store.open(raw.key, raw.etag)
        if body is None:
            return None
        with body:
            return io.BytesIO(body.read())

    def opened(source: Input | Future[IO[bytes] | None]) -> IO[bytes] | None:
        return store.open(source.key, source.etag) if isinstance(source, Input) else source.result()

    waiting: deque[Input | Future[IO[bytes] | None]] = deque()
    with ThreadPoolExecutor(_AHEAD) as pool:
        try:
            for raw in objects:
                waiting.append(pool.submit(fetch, raw) if raw.size <= _WHOLE else raw)
                if len(waiting) > _AHEAD:
                    yield opened(waiting.popleft())
            while waiting:
                yield opened(waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)
