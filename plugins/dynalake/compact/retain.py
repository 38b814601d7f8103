"""Raw objects that are older than the user's days are deleted once their Parquet has been checked; off by default.

Never by age alone: the day's Parquet must have been made from exactly the objects that lie there, or they from it;
nothing of them may be in quarantine; and the rows must be in the files by their footers. A partition whose raw objects
are gone says so in a parameter; whoever needs them again (`restore`) writes them from the Parquet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice

from dynalake.catalog.lease import Lease, changing
from dynalake.catalog.partitions import Partition, change_parameters, list_partitions
from dynalake.catalog.views import Watermark, read_hold, read_watermark
from dynalake.clients import Clients
from dynalake.compact.convert import check_ledger
from dynalake.compact.look import are_restored
from dynalake.compact.manifest import is_complete, read_manifest
from dynalake.compact.plan import INPUTS, MANIFEST, QUARANTINED, RAW_DELETED, inputs_digest, list_day, list_days
from dynalake.compact.supersede import delete_keys
from dynalake.convert.options import CompactOptions
from dynalake.convert.rows.write import count_rows
from dynalake.days import shift_day
from dynalake.errors import LedgerError
from dynalake.names import TableNames

DAYS_AT_ONCE = 100
"""Days whose objects one run deletes, at most: the rest is the next run's."""


def plan_retention(
    days: Iterable[str],
    published: Mapping[str, Partition],
    mark: Watermark,
    today: str,
    retention_days: int,
    lookback: int,
) -> tuple[str, ...]:
    """The days, of those with raw objects, that are old enough and whose Parquet is what readers read.

    Not the days that are still looked at for late objects, not a day with lines in quarantine.
    """
    if not retention_days or not mark.through:
        return ()
    last = min(shift_day(today, -retention_days - 1), shift_day(mark.through, -lookback - 1))
    return tuple(
        day
        for day in sorted(days)
        if day <= last and day in published and published[day].parameters.get(QUARANTINED) == "0"
    )


def delete_raw(
    clients: Clients, names: TableNames, options: CompactOptions, retention_days: int, now: datetime
) -> tuple[str, ...]:
    """Delete the raw objects of the days that are due. Returns these days.

    Raises `LedgerError` where a day's files do not hold the rows that its manifest counts: its raw objects stay.
    """
    if not retention_days:
        return ()
    with changing(clients, names) as lease:
        if read_hold(clients, names) is not None:
            return ()  # the views read these days from JSON until a change of types is finished
        published = list_partitions(clients, names, names.typed_table)
        due = plan_retention(
            list_days(clients, names),
            published,
            read_watermark(clients, names),
            names.lake.day_of(now),
            retention_days,
            options.lookback_days,
        )
        deleted = (day for day in due if _delete_day(clients, names, lease, published[day]))
        return tuple(islice(deleted, DAYS_AT_ONCE))


def _delete_day(clients: Clients, names: TableNames, lease: Lease, shown: Partition) -> bool:
    listed = list_day(clients, names, shown.day)
    keys = [o.key for o in listed]
    note = names.raw_deleted_note(shown.day)
    if RAW_DELETED not in shown.parameters:
        same = shown.parameters.get(INPUTS) == inputs_digest(listed) or are_restored(names, shown, shown.day, listed)
        if not same:
            return False  # something came late: the day has to be converted again first
        _check_rows(clients, names, shown)
        lease.check()
        # First which, then that: a run that is killed from here on is finished by the next, which deletes no other.
        clients.s3.put_object(Bucket=names.lake.bucket, Key=note, Body=json.dumps(keys, indent=0).encode())
        change_parameters(clients, names, shown.day, {RAW_DELETED: note})
    else:
        known = set(json.loads(clients.s3.get_object(Bucket=names.lake.bucket, Key=note)["Body"].read()))
        keys = [key for key in keys if key in known]
    delete_keys(clients, names.lake.bucket, keys)
    return bool(keys)


def _check_rows(clients: Clients, names: TableNames, shown: Partition) -> None:
    manifest = read_manifest(clients, names, shown.parameters[MANIFEST])
    check_ledger(manifest)
    there = is_complete(clients, names, manifest)
    rows = sum(count_rows(clients, names.lake.bucket, p.key, p.size) for p in manifest.parts) if there else 0
    if rows != manifest.rows or shown.location != names.uri(names.parquet_version(manifest.day, manifest.version)):
        raise LedgerError(
            f"The Parquet of {names.table} dt={shown.day} has {rows} rows by its footers, its manifest {manifest.rows}",
            action="convert the day again (dynalake_compact with days and force); its raw objects are all there",
            table=names.table,
            day=shown.day,
        )
