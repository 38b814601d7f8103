"""What the running local AWS server was started with."""

from __future__ import annotations

import os

TIME_SCALE_VARIABLE = "DYNALAKE_TIME_SCALE"


def time_scale() -> float:
    """How many times faster than on AWS the documented waits pass."""
    return float(os.environ.get(TIME_SCALE_VARIABLE, "60"))


def unscaled(seconds: float) -> float:
    """The seconds of AWS's that real ones stand for: how old something is, beside limits that are in minutes."""
    return seconds * time_scale()


def scaled(seconds: float) -> float:
    """The real seconds that stand for `seconds` of AWS's."""
    return seconds / time_scale()
