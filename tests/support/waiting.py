"""Waiting in tests."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = float(os.environ.get("DYNALAKE_PATIENCE", "300"))
"""Seconds that a test waits for an expected result. Only a failure takes all of them; a machine or AWS may be busy."""


def eventually(
    see: Callable[[], T], enough: Callable[[T], object] = bool, every: float = 0.1, within: float = PATIENCE
) -> T:
    """Call `see` every `every` seconds, and return its answer when it is `enough`: by default, true.

    Raises `AssertionError` with the last answer if this takes longer than `within` seconds.
    """
    deadline = time.monotonic() + within
    while not enough(answer := see()):
        assert time.monotonic() < deadline, f"Not within {within:g} s; the last answer: {answer!r}"
        time.sleep(every)
    return answer
