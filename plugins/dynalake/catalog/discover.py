"""New attributes become columns between compactions, from a bounded sample of what landed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from dynalake.catalog.lease import changing
from dynalake.catalog.partitions import snapshot_location
from dynalake.catalog.register import follow_schema, grow_schema
from dynalake.clients import Clients
from dynalake.convert.read.raw import BadLine, BrokenObject, RawObject, list_objects, parse_line, stream_lines
from dynalake.days import SNAPSHOT_DAY
from dynalake.lake.schema import Observed, TableSchema, merge_observed, observe_record
from dynalake.lake.types import MAX_STRUCT_FIELDS, Type
from dynalake.names import TableNames

LISTED = 10_000
"""Objects of one day that are looked at, at most: ten calls."""


def observe_new_attributes(
    clients: Clients,
    names: TableNames,
    days: Iterable[str],
    *,
    objects: int = 8,
    lines: int = 5_000,
    max_struct_fields: int = MAX_STRUCT_FIELDS,
) -> tuple[str, ...]:
    """Add columns for attributes in the raw objects of `days` (`00000000`: the snapshot). Returns the columns' names.

    Of each day at most `objects` objects are read, half the newest and half spread over the others, and at most
    `lines` lines of each. Columns that are there keep their types: widening is compaction's, which sees every value.
    """
    samples = []
    for day in sorted(set(days)):
        prefix = names.raw_day(day)
        if day == SNAPSHOT_DAY:
            location = snapshot_location(clients, names)
            if location is None:
                continue
            prefix = location.removeprefix(names.uri(""))
        found = list_objects(clients, names.lake.bucket, prefix, LISTED)
        samples += [_sample(clients, names, o, lines, max_struct_fields) for o in plan_sample(found, objects)]
    return add_attributes(clients, names, merge_observed(samples, max_struct_fields), max_struct_fields)


def add_attributes(
    clients: Clients, names: TableNames, observed: Observed, max_struct_fields: int = MAX_STRUCT_FIELDS
) -> tuple[str, ...]:
    """Add columns for what was observed and has none yet. Returns their names."""
    before: list[set[str]] = []

    def grow(schema: TableSchema) -> TableSchema:
        before[:] = [{c.name for c in schema.columns}]
        return schema.extend(observed, max_struct_fields)

    with changing(clients, names):
        grown = grow_schema(clients, names, grow)
        follow_schema(clients, names)
    return tuple(c.name for c in grown.columns if c.name not in before[0])


def plan_sample(found: list[RawObject], count: int) -> list[RawObject]:
    """`count` objects: half of them the newest, the others evenly over the rest."""
    if len(found) <= count:
        return found
    by_age = sorted(found, key=lambda o: (o.modified, o.key))
    newest = by_age[-((count + 1) // 2) :]
    rest = by_age[: -len(newest)]
    spread = count - len(newest)
    return [rest[i * len(rest) // spread] for i in range(spread)] + newest


def _sample(clients: Clients, names: TableNames, found: RawObject, limit: int, max_struct_fields: int) -> Observed:
    seen: dict[str, Type] = {}
    for record in sample_records(clients, names, found, limit):
        observe_record(seen, record, max_struct_fields)
    return seen


def sample_records(
    clients: Clients, names: TableNames, found: RawObject, limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """The change records in the first `limit` lines of an object; what is none is left out."""
    body = clients.s3.get_object(Bucket=names.lake.bucket, Key=found.key)["Body"]
    with body, suppress(BrokenObject):
        for line in islice(stream_lines(body), limit):
            with suppress(BadLine):
                yield parse_line(line)
