"""The time as the lake's tables have it."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return milliseconds since the epoch, by this machine's clock."""
    return time.time_ns() // 1_000_000
