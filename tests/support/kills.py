"""Kills: a run ends before any of its calls to AWS, as when its process is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Killed(BaseException):
    """The process of a run is gone."""


class Lake(Protocol):
    """A lake in memory, whose clients report each call by `on_call` before they answer."""

    @property
    def s3(self) -> Any: ...

    @property
    def glue(self) -> Any: ...


@contextmanager
def killed_before(lake: Lake, number: int) -> Iterator[list[str]]:
    """Kill the block before its call with that number (from 1) to S3 or Glue, and before any later one.

    Yield the names of the calls that were refused: none where the block had fewer, and has ended by itself.
    """
    calls = 0
    refused: list[str] = []

    def on_call(service: str, call: str, request: dict[str, Any]) -> None:
        nonlocal calls
        calls += 1
        if calls >= number:
            refused.append(f"{service}.{call}")
            raise Killed

    lake.s3.on_call = lake.glue.on_call = on_call
    try:
        yield refused
    except Killed:
        pass
    finally:
        lake.s3.on_call = lake.glue.on_call = lambda *_: None
