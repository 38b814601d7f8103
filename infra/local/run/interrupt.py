"""Ctrl-C, once: it ends what runs, and nothing disturbs the cleaning up after it (standard library only)."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

_STOPS = (signal.SIGINT, signal.SIGTERM)
_holding = False
_waiting = False


def stop_once() -> None:
    """From now on the first Ctrl-C, or `kill`, raises KeyboardInterrupt; those after it are ignored."""
    for stop in _STOPS:
        signal.signal(stop, _first)


def _first(_signal: int, _frame: object) -> None:
    global _waiting
    for stop in _STOPS:
        signal.signal(stop, signal.SIG_IGN)
    if _holding:
        _waiting = True
    else:
        raise KeyboardInterrupt


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Lets a stop wait until the block is done: for what is made in one line and known to its owner in the next."""
    global _holding, _waiting
    _holding = True
    try:
        yield
    finally:
        _holding = False
        if _waiting:
            _waiting = False
            raise KeyboardInterrupt
