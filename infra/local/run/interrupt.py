"""Stop on the first Ctrl-C, and let nothing disturb the cleanup after it (standard library only)."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

_STOPS = (signal.SIGINT, signal.SIGTERM)
_holding = False
_waiting = False


def stop_once() -> None:
    """Raise KeyboardInterrupt on the first Ctrl-C or `kill` from now on, and ignore later ones."""
    for stop in _STOPS:
        signal.signal(stop, _first)


def until_stopped(command: Callable[[], int]) -> int:
    """Return the exit code of a command. After Ctrl-C, when the command has cleaned up, end this process with 130.

    It says that everything is cleaned up, or what the command's `KeyboardInterrupt` says instead.
    """
    try:
        stop_once()
        return command()
    except KeyboardInterrupt as stop:
        print(*(stop.args or ["Stopped; everything is cleaned up."]), flush=True)
        # Where the signal came during the import of some C extensions, Python ends with SIGINT, whatever is returned.
        os._exit(130)


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
    """Delay a stop until the block ends, so that its owner always knows a process or folder that the block creates."""
    global _holding, _waiting
    _holding = True
    try:
        yield
    finally:
        _holding = False
        if _waiting:
            _waiting = False
            raise KeyboardInterrupt
