"""The pace of a scan, from the capacity that each page has consumed by DynamoDB's report."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable

# Seconds of the allowed rate that one page may cost, and that may be saved up while a page is worked on. Where items
# are alike, no window exceeds the rate by more than both together: 0.4 s, which is 4% of ten seconds.
PAGE_SECONDS = 0.25
SAVED_SECONDS = 0.15
# Where single items cost more than that, the pages of the last ten seconds are added up, for at most 5% too much.
WINDOW_SECONDS = 10.0
WINDOW_COST = 10.5
# Pages by which the next one is estimated: as expensive, per item, as the most expensive of them.
REMEMBERED_PAGES = 8
# Seconds of a wait before the allowed rate is read again.
ASK_SECONDS = 0.5
BACK_OFF_SECONDS, MOST_BACK_OFF_SECONDS = 0.5, 20.0
# A shorter wait is skipped: a clock may be too coarse to ever pass it.
_TICK = 0.001


class Pace:
    """Limits a reader to the rate that `allowed` returns, in read capacity units per second; 0 is no limit.

    The cost of a page is known only afterwards, so each page is paid for by waiting before the next one, and pages are
    kept small (`limit`) by the cost of an item so far. `allowed` is called before every page and may change.

        pace = Pace(lambda: 100)
        pace.wait(); response = scan(Limit=pace.limit); pace.consumed(units, items)
    """

    def __init__(
        self,
        allowed: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._allowed = allowed
        self._clock = clock
        self._sleep = sleep
        self._rate = 0.0
        self._owed = 0.0
        self._owed_at = clock()
        # The first page reads one item, then sizes at most double: so the size of an item need not be guessed.
        self._limit = 1
        self._pages: deque[tuple[float, int]] = deque(maxlen=REMEMBERED_PAGES)
        self._window: deque[tuple[float, float]] = deque()
        self._throttled = 0
        self._cheapest = 1.0

    @property
    def limit(self) -> int | None:
        """Number of items that the next page may have; None where there is no limit."""
        return self._limit if self._rate else None

    def wait(self) -> None:
        """Sleep until the next page may be requested."""
        while delay := self.delay():
            self._sleep(min(delay, ASK_SECONDS))

    def delay(self) -> float:
        """Return seconds to wait before the next page, by what is allowed now."""
        allowed = self._allowed()
        now = self._clock()
        self._pay(now)
        self._rate = allowed
        if not allowed:
            return 0.0
        delay = max(self._owed / allowed, self._until_there_is_room(now))
        return delay if delay > _TICK else 0.0

    def consumed(self, units: float, items: int) -> None:
        """Count a page: `units` as DynamoDB reports them (`ConsumedCapacity.CapacityUnits`), `items` evaluated."""
        self._throttled = 0
        if not self._rate:
            return
        now = self._clock()
        self._pay(now)
        self._owed += units
        self._window.append((now, units / self._rate))
        if items and units:
            self._pages.append((units, items))
            all_units, all_items = (sum(column) for column in zip(*self._pages, strict=True))
            affordable = int(self._rate * PAGE_SECONDS * all_items / all_units)
            if units <= self._cheapest:
                # This is the least that a page costs, which does not show the cost of one more item.
                affordable = max(affordable, self._limit * 2)
                self._cheapest = units
            self._limit = max(1, min(affordable, self._limit * 2))

    def back_off(self) -> float:
        """Sleep because DynamoDB throttled the page, twice as long each time it does so again. Return the seconds."""
        longest = min(MOST_BACK_OFF_SECONDS, BACK_OFF_SECONDS * 2**self._throttled)
        self._throttled += 1
        self._limit = max(1, self._limit // 2)
        seconds = random.uniform(longest / 2, longest)
        self._sleep(seconds)
        return seconds

    def _pay(self, now: float) -> None:
        paid = self._rate * (now - self._owed_at)
        self._owed = max(self._owed - paid, -SAVED_SECONDS * self._rate)
        self._owed_at = now

    def _until_there_is_room(self, now: float) -> float:
        while self._window and self._window[0][0] <= now - WINDOW_SECONDS:
            self._window.popleft()
        if not self._window or not self._pages:
            return 0.0
        # Every page costs at least the cheapest; only the rest of its cost is due to its items.
        item = max(max(0.0, units - self._cheapest) / items for units, items in self._pages)
        expected = (self._cheapest + self._limit * item) / self._rate
        excess = sum(seconds for _, seconds in self._window) + expected - WINDOW_COST
        for moment, seconds in self._window:
            if excess <= 0:
                return 0.0
            excess -= seconds
            leaves = moment + WINDOW_SECONDS - now + 2 * _TICK
            if excess <= 0:
                return leaves
        return leaves
