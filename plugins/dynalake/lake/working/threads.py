"""Threads that prepare, encode and write files: Arrow releases Python's lock, so each keeps a core busy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

THREADS = 2
"""Each holds a row group and its pages in memory."""

WORTH = 64 << 20
"""Bytes of work below which a thread saves nothing worth having."""


def are_at_once(parts: int, size: int) -> bool:
    """Return whether `write_each` writes these parts, of so many bytes in all, at the same time."""
    return parts > 1 and size >= THREADS * WORTH


def write_each(work: Callable[[T], R], parts: Sequence[T], size: int) -> list[R]:
    """Return the result of `work` for each part, in their order; raise what it raises. `size`: bytes of all parts."""
    if not are_at_once(len(parts), size):
        return [work(part) for part in parts]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, parts))


def prepare_next(items: Iterator[T]) -> Iterator[T]:
    """Yield the items. A thread makes the next one while the caller works with the one before."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]  # mypy does not tell the end from an item
