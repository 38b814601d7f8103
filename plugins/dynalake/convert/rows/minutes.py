"""The minutes in which changes were made: by them rows of earlier days are chosen for a comparison."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dynalake.record.change import EVENT_TIME

MINUTE = 60_000
"""Milliseconds."""


def minutes_of(table: pa.Table) -> set[int]:
    """The minutes in which the rows' changes were made."""
    return set(np.unique(np.asarray(table[EVENT_TIME]) // MINUTE).tolist())
