"""The scrub's findings about the two tables as such: properties, deletes, ranges, optimizers, repeats."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute
from pyiceberg.manifest import DataFileContent
from pyiceberg.transforms import IdentityTransform

from dynalake.aws.answers import code_of
from dynalake.days import SNAPSHOT_DAY
from dynalake.lake.catalog.iceberg import TABLE_PROPERTIES, DataFile, Head
from dynalake.lake.catalog.metadata_note import leads_to, read_note
from dynalake.lake.catalog.table import Table, schema_of
from dynalake.lake.columns.column import DAY, DELETED
from dynalake.lake.current.key_ranges import KeyFile
from dynalake.lake.files.read import read_rows
from dynalake.lake.files.references import stream_files
from dynalake.lake.tables.optimizers import foreign_optimizers
from dynalake.lake.working.findings import Finding
from dynalake.record.change import EVENT_TIME, SEQUENCE_NUMBER

pc: Any = pyarrow.compute  # its stubs take no chunked arrays where it does

MOST_ROWS = 2_000_000
"""Most rows of a day that are compared with each other: of a larger day, a part chosen by the sequence number."""


def scrub_tables(table: Table, changes: Head, state: Head, now: datetime, compared_days: int) -> tuple[Finding, ...]:
    """Return what is wrong with the tables. `compared_days`: how many days, by chance, are searched for repeats."""
    repeats = find_repeats(table, changes, now, compared_days)
    return (*check_tables(table, changes, state), *check_ranges(state), *repeats)


LOOKED_AT = frozenset(
    (
        "changed-format",
        "changed-partitions",
        "changed-property",
        "equality-deletes",
        "foreign-optimizer",
        "optimizers-unknown",
        "other-metadata",
    )
)
"""The kinds of findings of `check_tables`."""


def check_tables(table: Table, changes: Head, state: Head) -> tuple[Finding, ...]:
    """Return what is wrong with the tables by their metadata and Glue: ten calls, for tables of any size."""
    checks = [
        *(check_settings(head, by) for head, by in ((changes, DAY), (state, DELETED))),
        *(check_deletes(head) for head in (changes, state)),
        *(check_note(table, head) for head in (changes, state)),
        _optimizers(table),
    ]
    return tuple(chain.from_iterable(checks))


def check_settings(head: Head, partitioned_by: str) -> Iterator[Finding]:
    """Yield what was changed of a table's properties, format or partitioning."""
    metadata = head.iceberg.metadata
    for name, made_with in TABLE_PROPERTIES.items():
        value = head.properties.get(name, made_with)
        if value == made_with:
            continue
        yield Finding(
            "changed-property",
            head.name,
            f"The property {name} is {value!r}, and was {made_with!r} when the table was made",
            "not repaired automatically; set it back with ALTER TABLE … SET TBLPROPERTIES",
        )
    if metadata.format_version != 2:
        yield Finding(
            "changed-format",
            head.name,
            f"The table has the format version {metadata.format_version}",
            "nothing: a version cannot be lowered, and dynalake reads and writes version 2",
        )
    fields = [(f.name, type(f.transform)) for f in head.iceberg.spec().fields]
    if fields != [(partitioned_by, IdentityTransform)]:
        yield Finding(
            "changed-partitions",
            head.name,
            f"The table is partitioned by {', '.join(name for name, _ in fields) or 'nothing'}",
            f"not repaired automatically; partition it by {partitioned_by} again (for Spark: ALTER TABLE … REPLACE "
            "PARTITION FIELD)",
        )


def check_deletes(head: Head) -> Iterator[Finding]:
    """Yield a finding where another engine has written equality deletes, which are not applied."""
    deletes = [f for f in head.delete_files() if f.content == DataFileContent.EQUALITY_DELETES]
    if deletes:
        yield Finding(
            "equality-deletes",
            head.name,
            f"Another engine has written equality deletes, {deletes[0].file_path} first",
            "compaction of the table waits; rewrite its data files with that engine (for Spark: rewrite_data_files "
            "with delete-file-threshold 1)",
            count=len(deletes),
        )


def check_note(table: Table, head: Head) -> Iterator[Finding]:
    """Yield a finding where the table's metadata does not follow from the noted one: commits are lost."""
    note = read_note(table, head.name)
    if note is not None and not leads_to(note, head):
        yield Finding(
            "other-metadata",
            head.name,
            f"Glue names {head.metadata_location}, which does not follow {note.metadata_location}",
            "no garbage is collected; the next dynalake_compact corrects it if nothing was committed since",
        )


def check_ranges(state: Head) -> Iterator[Finding]:
    """Yield a finding where files of the state overlap: no error, but a look-up of a key reads more of them."""
    identity = schema_of(state).identity
    by_partition: dict[Any, list[tuple[Any, Any]]] = {}
    unknown = 0
    for file in stream_files(state):
        held = KeyFile.of(file, identity)
        if held.low is None or held.high is None:
            unknown += bool(file.rows)
        else:
            by_partition.setdefault(file.partition, []).append((held.low[0], held.high[0]))
    overlapping = sum(count_overlaps(ranges) for ranges in by_partition.values())
    if overlapping + unknown:
        yield Finding(
            "overlapping-ranges",
            state.name,
            f"{overlapping} files of the state overlap others, and the keys of {unknown} are not known",
            "nothing: merges put them in order as their keys change; look for another engine's OPTIMIZE",
            count=overlapping + unknown,
        )


def count_overlaps(ranges: Iterable[tuple[Any, Any]]) -> int:
    """Return how many ranges begin before an earlier one has ended; ranges may meet in one value."""
    count, end = 0, None
    for low, high in sorted(ranges):
        count += end is not None and low < end
        end = high if end is None else max(end, high)
    return count


def _optimizers(table: Table) -> tuple[Finding, ...]:
    try:
        return foreign_optimizers(table)
    except Exception as error:
        if not (code := code_of(error)):
            raise
        plan = "allow glue:GetTableOptimizer for the role of the AWS connection"
        return (Finding("optimizers-unknown", table.names.table, f"Glue did not list its optimizers: {code}", plan),)


@dataclass(frozen=True)
class _Compared:
    """A day, and the files that may hold a change of its files again."""

    day: str
    files: tuple[DataFile, ...]


def find_repeats(table: Table, changes: Head, now: datetime, days: int) -> Iterator[Finding]:
    """Yield a finding for each of some days, chosen by chance, in which a change is twice."""
    for compared in _choose(changes, now, days):
        count = count_repeats(changes, compared.files)
        if count:
            yield Finding(
                "repeats",
                table.names.table,
                f"{count} changes are in the table more than once, in this day or in others",
                "not repaired automatically; name the day in dynalake_compact, and report it: this must not happen",
                compared.day,
                count,
            )


def count_repeats(changes: Head, files: Sequence[DataFile]) -> int:
    """Return how many changes are in these files more than once; of many rows, a part is compared."""
    identity = [*schema_of(changes).identity, SEQUENCE_NUMBER]
    total = sum(f.rows for f in files)
    digits = _sampled_digits(total)
    parts = []
    for rows in read_rows(changes, files, identity):
        if digits is not None:
            last = pc.utf8_slice_codeunits(rows[SEQUENCE_NUMBER], -1)
            rows = rows.filter(pc.is_in(last, value_set=pa.array(digits)))
        parts.append(rows.select(identity))
    if not parts:
        return 0
    counted = pa.concat_tables(parts).group_by(identity).aggregate([([], "count_all")])
    return int(pc.sum(pc.greater(counted["count_all"], 1)).as_py() or 0)


def _sampled_digits(rows: int) -> list[str] | None:
    """Return the last digits of sequence numbers that are compared, so that repeats always meet."""
    if rows <= MOST_ROWS:
        return None
    return [str(digit) for digit in range(max(1, 10 * MOST_ROWS // rows))]


def _choose(changes: Head, now: datetime, days: int) -> list[_Compared]:
    ranges: dict[str, list[tuple[int, int]]] = {}
    for file in stream_files(changes):
        times = file.bounds(EVENT_TIME)
        if file.partition > SNAPSHOT_DAY and times is not None:
            ranges.setdefault(file.partition, []).append(times)
    chance = random.Random(now.strftime("%Y%m%d"))
    chosen = chance.sample(sorted(ranges), min(days, len(ranges)))
    spans = {day: (min(r[0] for r in ranges[day]), max(r[1] for r in ranges[day])) for day in chosen}
    return [_Compared(day, files) for day, files in _overlapping(changes, spans).items()]


def _overlapping(changes: Head, spans: Mapping[str, tuple[int, int]]) -> dict[str, tuple[DataFile, ...]]:
    by_day: dict[str, list[DataFile]] = {day: [] for day in spans}
    for file in stream_files(changes):
        times = file.bounds(EVENT_TIME)
        if file.partition == SNAPSHOT_DAY or times is None:
            continue
        for day, (low, high) in spans.items():
            if times[0] <= high and low <= times[1]:
                by_day[day].append(file)
    return {day: tuple(files) for day, files in by_day.items()}
