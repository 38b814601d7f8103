"""The day of a row: the later of its raw object's day and the day before the one on which the change was made.

So a query for changes made after some moment needs the days from the one before it on, and no other, whatever clock
named the raw object's day.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import numpy as np
import pyarrow as pa

from dynalake.days import SNAPSHOT_DAY, day_of, end_of_day, shift_day
from dynalake.lake.columns.schema import DAY
from dynalake.record.change import EVENT_TIME

_pa: Any = pa  # its stubs take types only as literals; here they are data

_MINUTE = 60_000  # milliseconds: no time zone has changed its clock within one since 1972
_EARLIEST = round(datetime(1, 1, 3, tzinfo=UTC).timestamp() * 1000)
_LATEST = round(datetime(9999, 12, 29, tzinfo=UTC).timestamp() * 1000)
"""Latest time that has a day. Times beyond these two, such as microseconds by mistake, get the first or last day."""

_LAST_DAY = "99991230"


def day_before(moment: int, zone: tzinfo) -> str:
    """Return the day before that of a moment in milliseconds since the epoch, as `dt` writes it."""
    bounded = min(max(moment, _EARLIEST), _LATEST)
    return shift_day(day_of(datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=bounded), zone), -1)


def row_days(moments: Any, day: str, zone: tzinfo) -> Any | None:
    """Return the day of each row of an object of this `day`, as an array; None where all have that day.

    The snapshot's rows stay in its own day, whenever they were read.
    """
    if day == SNAPSHOT_DAY or day >= _LAST_DAY:
        return None
    # The rows are two days later at the earliest, so this is safe wherever clocks change.
    later = np.flatnonzero(moments >= round(end_of_day(day, zone).timestamp() * 1000))
    minutes, places = np.unique(moments[later] // _MINUTE, return_inverse=True)
    days = np.array([max(day, day_before(int(minute) * _MINUTE, zone)) for minute in minutes], dtype="U8")
    if not len(days) or (days == day).all():
        return None
    result = np.full(len(moments), day, dtype="U8")
    result[later] = days[places]
    return result


def with_day(rows: pa.Table, day: str, zone: tzinfo) -> pa.Table:
    """Return the rows with the column `dt`."""
    days = row_days(np.asarray(rows[EVENT_TIME]), day, zone)
    values: Any = _pa.repeat(day, rows.num_rows) if days is None else _pa.array(days, pa.string())
    return rows.append_column(DAY, values)
