"""Settings of the running local AWS server."""

from __future__ import annotations

import os

TIME_SCALE_VARIABLE = "DYNALAKE_TIME_SCALE"


def time_scale() -> float:
    """Return how many times faster than on AWS the documented waits pass."""
    return float(os.environ.get(TIME_SCALE_VARIABLE, "60"))


def unscaled(seconds: float) -> float:
    """Return the AWS seconds that these real seconds represent, such as an age to compare with a limit in minutes."""
    return seconds * time_scale()


def scaled(seconds: float) -> float:
    """Return the real seconds that represent `seconds` on AWS."""
    return seconds / time_scale()
