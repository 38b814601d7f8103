"""Stores a change that is too long for a record of its stream where the stream would have brought it."""

from __future__ import annotations

import gzip
from datetime import datetime

from dynalake.names import TableNames
from dynalake.record.change import pad_sequence_number
from forwarder.packing import Line
from forwarder.rejected import lake_day


def large_object(names: TableNames, line: Line, moment: datetime) -> tuple[str, bytes]:
    """Return the key and body of a large change in the raw zone.

    An item of 400 KB may become six times that in JSON, while Firehose takes 1,000 KiB. As with Firehose, the day is
    that of `moment`, the time of storing: the day of a late change may be compacted already, and would then not be
    compared again for a while. The same change on the same day always gives the same object.
    """
    key = names.large_change(lake_day(names.lake, moment), pad_sequence_number(line.sequence_number))
    return key, gzip.compress(line.data, mtime=0)
