"""Waiting for what has to come, wherever a test does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = float(os.environ.get("DYNALAKE_PATIENCE", "300"))
"""Seconds that a test waits for what has to come. Only a failure takes them all, and a machine, or AWS, may be busy."""


def eventually(
    see: Callable[[], T], enough: Callable[[T], object] = bool, every: float = 0.1, within: float = PATIENCE
) -> T:
    """What `see` answers once it is `enough`: something true, if nothing else is said. Asked every `every` seconds.

    Raises `AssertionError` with the last answer if that is not `within` so many seconds.
    """
    deadline = time.monotonic() + within
    while not enough(answer := see()):
        assert time.monotonic() < deadline, f"Not within {within:g} s; the last answer: {answer!r}"
        time.sleep(every)
    return answer
