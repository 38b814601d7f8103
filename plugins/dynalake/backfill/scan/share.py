"""A segment's part of the allowed read capacity: the same as that of each other segment at work.

Segments are tasks on any number of machines; some wait for a free slot, some end early. Each one at work keeps a small
object in S3 and counts those of the others, so capacity that one does not use goes to the others within a moment. The
sum never exceeds the limit, because a new segment lets the others count before it reads. No clock of one machine is
compared with another's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames

# How old a segment's count of the others may be when it requests a page, with up to 8 segments. With more it may be
# older, so that all together list no more often than 16 times a second.
LOOK_SECONDS = 0.5
LOOKING_AT_ONCE = 8
# Seconds after which a segment shows again that it is at work, and after which it counts as dead.
SHOW_SECONDS = 8.0
DEAD_SECONDS = 30.0


class Share:
    """One segment's share of `units_per_second` while it is at work, `with Share(…) as share:`; 0 is no limit."""

    def __init__(
        self,
        table: Table,
        *,
        run: str,
        segment: int,
        units_per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = table.store
        self._prefix = active_prefix(table.names, run)
        self._key = f"{self._prefix}segment-{segment:05d}"
        self._total = units_per_second
        self._clock = clock
        self._sleep = sleep
        self._active = 1
        self._shown = self._looked = 0.0

    def __enter__(self) -> Self:
        if self._total:
            self._come()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._total:
            self._store.delete(self._key)

    def units_per_second(self) -> float:
        """Return the share now, by a count that is `LOOK_SECONDS` old at most."""
        if self._total:
            now = self._clock()
            if now - self._shown >= DEAD_SECONDS / 2:
                # It paused for so long (a page was requested again and again) that the others may have its share.
                self._come()
            elif now - self._looked >= self._look_seconds:
                if now - self._shown >= SHOW_SECONDS:
                    self._show()
                self._look()
        return self._total / self._active

    @property
    def _look_seconds(self) -> float:
        return LOOK_SECONDS * max(1.0, self._active / LOOKING_AT_ONCE)

    def _come(self) -> None:
        self._show()
        self._look()
        if self._active > 1:
            # Until the others have counted again, their count does not include this one.
            self._sleep(1.25 * self._look_seconds)
            self._look()

    def _show(self) -> None:
        self._shown = self._clock()
        self._store.write(self._key, b"")

    def _look(self) -> None:
        self._looked = self._clock()
        # One call: there are fewer segments than keys in an answer.
        shown = [entry.modified for entry in self._store.list(self._prefix)]
        # This uses S3's clock alone: this segment's own object is at most `SHOW_SECONDS` old.
        dead = max(shown, default=0) - DEAD_SECONDS * 1000
        self._active = max(1, sum(1 for moment in shown if moment > dead))


def active_prefix(names: TableNames, run: str) -> str:
    """Return `{prefix}-state/{TABLE}/backfill/{run}/active/`"""
    return f"{names.backfill_state(run)}active/"
