"""Stores a change that is longer than a record of its stream may be where its stream would have brought it."""

from __future__ import annotations

import gzip
from datetime import datetime

from dynalake.names import TableNames
from dynalake.record.change import pad_sequence_number
from forwarder.packing import Line
from forwarder.rejected import lake_day


def large_object(names: TableNames, line: Line, moment: datetime) -> tuple[str, bytes]:
    """The key and body of a large change in the raw zone.

    An item of 400 KB may become six times that in JSON, while Firehose takes 1,000 KiB. The day is that of `moment`,
    the time at which it is stored, as with Firehose: the day of a change that comes late may be compacted already, and
    is then not looked at for a while. The same change on the same day always gives the same object.
    """
    key = names.large_change(lake_day(names.lake, moment), pad_sequence_number(line.sequence_number))
    return key, gzip.compress(line.data, mtime=0)
