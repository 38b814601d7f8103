"""How fast a scan may read: paced by the capacity that DynamoDB says each page consumed."""

from __future__ import annotations

import time
from collections.abc import Callable

# Seconds of the allowed rate that one page may cost, and that may be saved up while a page is worked on. Together
# they are the most by which any window can be above the rate: 0.4 s, which is 4% of ten seconds.
PAGE_SECONDS = 0.25
SAVED_SECONDS = 0.15


class Pace:
    """Holds a reader at `units_per_second` (read capacity units); 0 is no limit.

    What a page costs is known only afterwards, so each page is paid for by waiting before the next one, and pages
    are kept small (`limit`) by what an item has cost so far. Time is injected: `clock` gives seconds.

        pace = Pace(100)
        time.sleep(pace.delay()); response = scan(Limit=pace.limit); pace.consumed(units, items)
    """

    def __init__(self, units_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = units_per_second
        self._clock = clock
        self._paid_until = clock()
        # The first page reads one item, then sizes at most double: no guess about the size of an item is needed.
        self._limit = 1
        self.units = 0.0

    @property
    def limit(self) -> int | None:
        """How many items the next page may have; None where there is no limit."""
        return self._limit if self.rate else None

    def delay(self) -> float:
        """Seconds to wait before the next page."""
        return max(0.0, self._paid_until - self._clock()) if self.rate else 0.0

    def consumed(self, units: float, items: int) -> None:
        """A page was read: `units` as DynamoDB reports them (`ConsumedCapacity.CapacityUnits`), `items` evaluated."""
        self.units += units
        if not self.rate:
            return
        self._paid_until = max(self._paid_until, self._clock() - SAVED_SECONDS) + units / self.rate
        if items and units:
            affordable = int(self.rate * PAGE_SECONDS * items / units)
            self._limit = max(1, min(affordable, self._limit * 2))
