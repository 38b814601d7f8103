"""The window of an incremental import, and its parts: DynamoDB exports 15 minutes to 24 hours at a time.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport_Requesting.html
"""

from __future__ import annotations

from itertools import pairwise

from dynalake.aws.dynamodb import Recovery
from dynalake.backfill.plan.filter import parse_moment, to_iso
from dynalake.errors import SettingsError

SHORTEST = 15 * 60
LONGEST = 24 * 60 * 60

Window = tuple[int, int]
"""From (inclusive) and to (exclusive), in whole seconds since the epoch."""


def plan_window(window_from: str, window_to: str, recovery: Recovery) -> Window:
    """Return the window that a run imports (pure). Without `window_to`, it ends at what can be restored by now.

    A moment with a fraction of a second is cut down to its second. Raises `SettingsError` for a window that cannot be
    exported.
    """
    start = parse_moment("window_from", window_from, empty="for a full export") // 1_000_000 if window_from else 0
    end = parse_moment("window_to", window_to, empty="for now") // 1_000_000 if window_to else recovery.latest
    problem = ""
    if not window_from:
        problem = "window_from is empty"
    elif end - start < SHORTEST:
        problem = f"The window from {_shown(start)} to {_shown(end)} is shorter than 15 minutes"
    elif start < recovery.earliest or end > recovery.latest:
        problem = f"The window from {_shown(start)} to {_shown(end)} is outside the time that DynamoDB can restore"
    if problem:
        raise SettingsError(
            problem,
            allowed=f"at least 15 minutes between {_shown(recovery.earliest)} and {_shown(recovery.latest)}",
            action="trigger dynalake_backfill again with window_from at the last change that arrived, and window_to "
            "a while after changes arrived again",
            window_from=window_from,
            window_to=window_to,
        )
    return start, end


def split_window(window: Window) -> tuple[Window, ...]:
    """Return consecutive windows of about equal length, as long as one export may be at most (pure)."""
    start, end = window
    parts = -(-(end - start) // LONGEST)
    borders = [start + (end - start) * n // parts for n in range(parts + 1)]
    return tuple(pairwise(borders))


def _shown(seconds: int) -> str:
    return to_iso(seconds * 1_000_000)[:19] + "Z"
