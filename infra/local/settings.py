"""What the running local AWS server was started with."""

from __future__ import annotations

import os

TIME_SCALE_VARIABLE = "DYNALAKE_TIME_SCALE"


def time_scale() -> float:
    """How many times faster than on AWS the documented waits pass."""
    return float(os.environ.get(TIME_SCALE_VARIABLE, "60"))


def scaled(seconds: float) -> float:
    """The real seconds that stand for `seconds` of AWS's."""
    return seconds / time_scale()
