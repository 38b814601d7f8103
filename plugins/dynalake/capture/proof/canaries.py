"""Canaries: dynalake's own records, sent into every part of a delivery and searched for in the raw zone.

A canary that comes out of a shard proves two things: Firehose has read that shard since before the canary, and the
records before the canary in that shard have arrived. It proves nothing about another shard.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import IO, cast

from dynalake.days import milliseconds, shift_day
from dynalake.errors import NotReadyError
from dynalake.lake.catalog.table import Table
from dynalake.record.change import CANARY_ID, OPERATION

CLOCK_SKEW = timedelta(minutes=5)
"""How far the clocks of Lambda, S3 and Airflow may differ."""
DIRECT_PARTS = 8
"""Canaries for a Firehose stream without a source: nobody can see or name its partitions."""

_GZIP_MAGIC = b"\x1f\x8b"
_LONGEST_LINE = 1 << 20
"""Bytes of a line in memory at once. A canary's line is far shorter."""


@dataclass(frozen=True)
class Canaries:
    """The canaries of one delivery, one for each of its parts. They may be sent more than once."""

    delivery: str
    made: str
    """When the delivery's streams were made (see `check_delivery`)."""
    id: str
    since: str
    """When the first was sent, in ISO 8601."""

    @classmethod
    def of(cls, delivery: str, made: str, run: str, now: datetime) -> Canaries:
        """Return new canaries of a run, whose id may be long."""
        return cls(delivery, made, f"{run[:100]}-{now:%Y%m%dT%H%M%S.%f}", now.isoformat())

    def to_dict(self) -> dict[str, str]:
        """Return the dict for XCom."""
        return asdict(self)

    def id_of(self, part: str) -> str:
        """Return the id of a part's canary."""
        return f"{self.id}/{part}"


@dataclass
class Search:
    """Searches the raw zone for canaries, and reads no object twice."""

    table: Table
    canaries: Canaries
    found: dict[str, str] = field(default_factory=dict)
    """Ids of canaries that have arrived, and the objects that hold them."""
    _read: set[str] = field(default_factory=set)

    def missing(self) -> dict[str, str]:
        """Return the parts whose canary has not arrived, with a hash key of each.

        A new shard of a split or a merge also counts as missing until a canary has come out of it.
        """
        hash_keys = parts(self.table, self.canaries.delivery)
        self._search({self.canaries.id_of(part) for part in hash_keys})
        return {part: key for part, key in hash_keys.items() if self.canaries.id_of(part) not in self.found}

    def check(self, missing: Collection[str]) -> None:
        """Raise `NotReadyError` where canaries are missing, as `missing` returned them."""
        if missing:
            names = self.table.names
            raise NotReadyError(
                f"The canaries of {', '.join(sorted(missing))} that were sent since {self.canaries.since} have not "
                f"reached {names.uri(names.raw_prefix)} yet",
                action="wait: they are sent again. If they never arrive, check the log of "
                f"{names.firehose(self.canaries.delivery)} and its errors under "
                f"{names.uri(names.rejected('delivery'))}",
                table=names.table,
            )

    def _search(self, ids: set[str]) -> None:
        for key in _keys_since(self.table, datetime.fromisoformat(self.canaries.since) - CLOCK_SKEW):
            if ids <= self.found.keys():
                return
            if key not in self._read:
                if body := self.table.store.open(key):
                    with body:
                        for canary in canaries_in(body, self.canaries.id):
                            self.found[canary] = self.table.names.uri(key)
                self._read.add(key)


def parts(table: Table, delivery: str) -> dict[str, str]:
    """Return the parts of a delivery that records go through one by one, each with a hash key that leads into it.

    These are the open shards of the Kinesis stream; a closed one is read before those that replaced it.
    """
    if delivery == "direct":
        return {str(number): "" for number in range(DIRECT_PARTS)}
    pages = table.clients.kinesis.get_paginator("list_shards").paginate(StreamName=table.names.stream)
    return {
        shard["ShardId"]: shard["HashKeyRange"]["StartingHashKey"]
        for page in pages
        for shard in page["Shards"]
        if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
    }


def send_canaries(table: Table, canaries: Canaries, into: dict[str, str]) -> None:
    """Send the canaries of these parts (see `parts`) through the forwarder, into the delivery's own stream.

    Raises `NotReadyError` where the forwarder cannot send them: a new role takes a while to be known everywhere.
    """
    names = table.names
    request = {
        "dynalake": "canary",
        "table": names.table,
        "delivery": canaries.delivery,
        "canaries": [{"id": canaries.id_of(part), "hash_key": key} for part, key in into.items()],
    }
    answer = table.clients.lambda_.invoke(
        FunctionName=names.lake.forwarder, InvocationType="RequestResponse", Payload=json.dumps(request).encode()
    )
    content = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise NotReadyError(
            f"The forwarder cannot send canaries for table {names.table!r}: "
            f"{content.get('errorType', '')}: {content.get('errorMessage', content)}",
            action=f"if this goes on, read the log /aws/lambda/{names.lake.forwarder}",
            table=names.table,
        )


def canaries_in(body: IO[bytes], canary_id: str) -> list[str]:
    """Return the ids of the canaries of this id that an object of the raw zone, gzipped or plain, holds."""
    prefix = f"{canary_id}/".encode()
    # Search for the id before parsing anything: most lines are the users' items.
    ids = (_canary_in(line) for line in _lines(body) if prefix in line)
    return [id_ for id_ in ids if id_.startswith(f"{canary_id}/")]


def _canary_in(line: bytes) -> str:
    """Return the id of the canary in a line, '' for another line."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    return str(record.get(CANARY_ID)) if isinstance(record, dict) and record.get(OPERATION) == "CANARY" else ""


def _lines(body: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of an object, long ones in pieces, until it cannot be read: anybody may have written it."""
    buffered = io.BufferedReader(cast("io.RawIOBase", body))
    packed = buffered.peek(2)[:2] == _GZIP_MAGIC
    with gzip.GzipFile(fileobj=buffered) if packed else buffered as lines:
        with suppress(gzip.BadGzipFile, EOFError, zlib.error):
            while line := lines.readline(_LONGEST_LINE):
                yield line


def _keys_since(table: Table, since: datetime) -> list[str]:
    """Return keys of raw objects written since then, the newest first."""
    names = table.names
    objects: list[tuple[int, str]] = []
    # Firehose writes the day of arrival: the day itself, or the next when canaries are sent at midnight.
    first = names.lake.day_of(since)
    for day in (first, shift_day(first, 1)):
        listed = table.store.list(names.raw_day(day))
        objects += [(o.modified, o.key) for o in listed if o.modified >= milliseconds(since)]
    return [key for _, key in sorted(objects, reverse=True)]
