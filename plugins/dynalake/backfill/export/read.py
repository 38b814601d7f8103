"""One group of an export's files: items in, gzipped change records out, a checkpoint after each object.

A file is fetched whole, and used only after its checksum holds. A killed task goes on from its checkpoint: it skips as
many items as were read, in the files' fixed order.
"""

from __future__ import annotations

import gzip
import json
import tempfile
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import md5
from typing import IO, Any

from dynalake.backfill.export.incremental import change_encoder, exported_keys, wanted_numbers
from dynalake.backfill.export.manifest import DataFile, load_groups
from dynalake.backfill.export.numbers import look_up
from dynalake.backfill.export.vanished import encode_vanished, find_vanished, key_attributes
from dynalake.backfill.plan.run import BackfillPlan, load_plan, run_name
from dynalake.backfill.plan.windows import split_window
from dynalake.backfill.segment.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dynalake.backfill.segment.segment import Item, SegmentResult, Step, check_segment, delete_unfinished
from dynalake.backfill.source.source import describe
from dynalake.errors import LedgerError, RecordError
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames
from dynalake.record.change import snapshot_encoder
from dynalake.record.key import ItemKey

_CHUNK = 1 << 20
_LONGEST_LINE = 16 << 20
"""Bytes. An item has at most 400 KB, and an exported line two images of it, in which a character may take six."""


def convert_group(
    table: Table,
    *,
    run: str,
    segment: int,
    progress: Callable[[SegmentResult], None] = lambda result: None,
) -> SegmentResult:
    """Read group `segment` (0-based) of the exported `run` to its end, starting at its checkpoint.

    `run` is the Airflow run id. `progress` is called after each object. A finished group is left as it is.

    Raises `LedgerError` for a file that differs from the manifest, `RecordError` for a malformed line or item, and
    `ConflictError` if another attempt is at work.
    """
    run = run_name(run)
    plan = load_plan(table, run)
    grouped = load_groups(table, run)
    groups = grouped.groups
    check_segment(table.names, run, segment, len(groups))
    checkpoint, stored = load_checkpoint(table, run, segment)
    if checkpoint.finished:
        return SegmentResult.of(checkpoint)
    delete_unfinished(table, plan, checkpoint)
    key = ItemKey.of(describe(table, plan.table_id))
    if grouped.vanished and segment == len(groups) - 1:
        checkpoint = _write_vanished(table, plan, key, groups, checkpoint)
        save_checkpoint(table, run, checkpoint, stored)
        return SegmentResult.of(checkpoint)
    lines = read_files(table, groups[segment], skip=checkpoint.counts.read)
    items: Iterator[Any] = lines
    if plan.window is None:
        step = Step(plan, key, snapshot_encoder(plan.read_at_ms), grouped.exported_at)
        items = (exported_item(*line) for line in lines)
    else:
        numbers_wanted = wanted_numbers(key, read_files(table, groups[segment]))
        encode = change_encoder(key, look_up(table, key, numbers_wanted))
        step = Step(plan, key, encode, keyed=lambda read: read[2]["Keys"])
    while True:
        checkpoint = step.next_part(table, items, checkpoint)
        stored = save_checkpoint(table, run, checkpoint, stored)
        result = SegmentResult.of(checkpoint)
        progress(result)
        if result.finished:
            return result


def _write_vanished(
    table: Table,
    plan: BackfillPlan,
    key: ItemKey,
    groups: Iterable[Sequence[DataFile]],
    checkpoint: Checkpoint,
) -> Checkpoint:
    """Write the removals that no export has.

    The lake and the table go on changing, so a second search may find other removals. So all of one search count, or
    none, and there is no checkpoint on the way.
    """
    exported = exported_keys(read_files(table, [file for group in groups for file in group]))
    removals = find_vanished(table, key, split_window(plan.window or (0, 0)), exported)
    step = Step(plan, key, lambda item: encode_vanished(key, item), keyed=lambda item: key_attributes(key, item.key))
    while not checkpoint.finished:
        checkpoint = step.next_part(table, removals, checkpoint)
    return checkpoint


def read_files(
    table: Table, files: Sequence[DataFile], *, skip: int = 0
) -> Iterator[tuple[DataFile, int, dict[str, Any]]]:
    """Yield every line of the files with its file and number (from 1), without the first `skip` of them altogether.

    Files that end before that were checked by the earlier reader. Raises `LedgerError` where a file is missing, has
    another checksum, or another number of items than the manifest says.
    """
    for file in files:
        if skip > file.items:
            skip -= file.items
            continue
        yield from _read_file(table, file, skip)
        skip = 0


def _read_file(table: Table, file: DataFile, skip: int) -> Iterator[tuple[DataFile, int, dict[str, Any]]]:
    number = 0
    with tempfile.TemporaryFile() as copy:
        _fetch(table, file, copy)
        with gzip.open(copy) as lines:
            try:
                while line := lines.readline(_LONGEST_LINE):
                    number += 1
                    if len(line) == _LONGEST_LINE:
                        raise ValueError(f"it is longer than {_LONGEST_LINE:,} bytes")
                    if number > skip:
                        yield file, number, json.loads(line)
            except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
                raise RecordError(
                    f"Line {number} of {table.names.uri(file.key)} cannot be read: {error}",
                    allowed="gzipped lines of DynamoDB JSON",
                    action="trigger dynalake_backfill again: a new run makes a new export",
                    key=file.key,
                ) from error
    if number != file.items:
        raise _not_as_listed(table.names, file, f"holds {number:,} items, but the manifest says {file.items:,}")


def _fetch(table: Table, file: DataFile, copy: IO[bytes]) -> None:
    names = table.names
    digest = md5(usedforsecurity=False)
    body = table.store.open(file.key)
    if body is None:
        raise _not_as_listed(names, file, "does not exist")
    with body:
        while chunk := body.read(_CHUNK):
            digest.update(chunk)
            copy.write(chunk)
    checksum = b64encode(digest.digest()).decode()
    if checksum != file.md5:
        raise _not_as_listed(names, file, f"has the MD5 {checksum}, but the manifest says {file.md5}")
    copy.seek(0)


def exported_item(file: DataFile, number: int, line: dict[str, Any]) -> Item:
    """Return the item of a line of a full export. Raise `RecordError` where it has none."""
    item = line.get("Item")
    if not isinstance(item, dict):
        raise RecordError(
            f"Line {number} of {file.key} has no item; its fields: {', '.join(sorted(line)) or 'none'}",
            allowed='{"Item": {…}}, as a full export has it',
            key=file.key,
        )
    return item


def _not_as_listed(names: TableNames, file: DataFile, what: str) -> LedgerError:
    return LedgerError(
        f"{names.uri(file.key)} {what}",
        allowed="every file of the export as DynamoDB wrote it",
        action="trigger dynalake_backfill again: a new run makes a new export, and the previous snapshot stays until "
        "the run is committed",
        table=names.table,
        key=file.key,
    )
