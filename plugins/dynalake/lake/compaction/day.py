"""A day of `{t}` in one folder: its live rows, by any writer, sorted, in files of bounded size.

From Parquet to Parquet: raw objects are not read again, and need no longer exist.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from difflib import get_close_matches
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from pyiceberg.schema import Schema

from dynalake.days import SNAPSHOT_DAY, check_day, end_of_day, milliseconds
from dynalake.errors import SettingsError
from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.commit_events import DAYS, MADE_BY
from dynalake.lake.catalog.iceberg import Change, DataFile, Head, News
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.column import RESERVED_NAMES
from dynalake.lake.columns.gather import Gathering
from dynalake.lake.columns.retype import Retyper, entries_of, parse_json
from dynalake.lake.columns.schema import Observed, TableSchema
from dynalake.lake.compaction.compact_options import GB, MB, CompactOptions
from dynalake.lake.files.folders import (
    FolderManifest,
    delete_strays,
    new_folder,
    read_manifests,
    write_manifest,
)
from dynalake.lake.files.parts import Folder, PartWriter
from dynalake.lake.files.ranges import Range, cut_ranges
from dynalake.lake.files.read import arrow_schema_of, count_deleted, read_rows
from dynalake.lake.files.rewrite import (
    Rewrite,
    check_rewrite,
    check_rows,
    holds_fields,
    holds_other,
    join_misfits,
    leaf_ids,
    less,
    name_folder,
)
from dynalake.lake.files.sort import SHARE, Order, UnorderedError, sort_rows
from dynalake.lake.tables.grow import schema_of
from dynalake.lake.types.union import Boolean, Mixed, Number, Text, Type, observe, type_to_json
from dynalake.lake.working.workers import HERE, Outcome, Workers, attempt
from dynalake.record.change import METADATA, OTHER, SEQUENCE_NUMBER

Now = Callable[[], datetime]
"""A function that returns the time, aware."""

_STREAMS = 4  # folders that are merged as they are read: of each a row group is held
_RANGES, _RANGE_FILES = 99, 1000  # of a day, and of a range: five digits number a folder's files
_SHOWN = 40  # attributes that an error names, at most


@dataclass(frozen=True)
class DayOrder:
    """The order of a day's rows: `columns` of the table, one after the other, of which `nullable` may be null.

    `word` begins the names of files that hold a part of a day in that order.
    """

    columns: tuple[str, ...]
    nullable: tuple[str, ...]

    @property
    def word(self) -> str:
        return f"sorted-{sha256(json.dumps(self.columns).encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class DayPlan:
    """A day to compact, and why: `closed`, or `named`. `size`: bytes of its files."""

    day: str
    reason: str
    files: int
    size: int


@dataclass(frozen=True)
class CompactedDay:
    """The result for a day: `rows` in `files` of `size` bytes, in place of `replaced` files; none: nothing was to do.

    `lifted`: values that went from `__other` to their columns, by attribute.
    """

    day: str
    folder: str = ""
    rows: int = 0
    files: int = 0
    size: int = 0
    replaced: int = 0
    lifted: Mapping[str, int] | None = None


def order_of(schema: TableSchema, sort_by: Sequence[str] = ()) -> DayOrder:
    """Return the order of a day's rows: that of `sort_by`, then of identity and sequence number.

    Raises `SettingsError` where `sort_by` names an attribute without a column, or a column without an order.
    """
    for name in sort_by:
        column = schema.column(name)
        if column is None and name not in METADATA:
            raise SettingsError(
                f"sort_by names {name!r}, which is not a column of the table",
                allowed=_shown(name, [*(c.attribute for c in schema.columns), *METADATA]),
                action="write attributes exactly as the items do, including upper and lower case",
            )
        reason = "" if column is None else _no_order(column.type)
        if reason:
            raise SettingsError(
                f"sort_by names {name!r}, {reason}",
                allowed="attributes that are text, binary, numbers or booleans in all items",
                action="name another attribute, or leave sort_by empty: the item's key and the sequence number",
            )
    chosen = [name if (column := schema.column(name)) is None else column.name for name in sort_by]
    rest = [name for name in (*schema.identity, SEQUENCE_NUMBER) if name not in chosen]
    nullable = tuple(name for name in chosen if name not in (*schema.identity, SEQUENCE_NUMBER))
    return DayOrder((*chosen, *rest), nullable)


def _shown(name: str, names: list[str]) -> str:
    near = [a for a in names if a.lower() == name.lower()] + get_close_matches(name, names, 5, 0.7)
    shown = list(dict.fromkeys([*near, *names]))
    more = f" and {len(shown) - _SHOWN:,} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


def _no_order(column_type: Type) -> str:
    match column_type:
        case Number() if column_type.kind == "text":
            return "whose numbers are kept as text, because no SQL type holds them all; text sorts differently"
        case Mixed():
            return "which has values of several types: they are kept as JSON text, which has no useful order"
        case Boolean() | Number() | Text():
            return ""
        case _:
            return f"which is a {type(column_type).__name__.lower()}: SQL cannot sort it"


def is_compacted(files: Sequence[DataFile], word: str, deleted: Collection[str] = ()) -> bool:
    """Return whether `files`, all live ones of a day, are one folder in the order of `word`, without deleted rows."""
    if len({f.folder for f in files}) != 1 or any(f.path in deleted for f in files):
        return False
    return all(f.folder and f.path.rpartition("/")[2].startswith(f"{word}-") for f in files)


def is_closed(day: str, now: datetime, zone: tzinfo, closed_after_hours: int) -> bool:
    """Return whether a day has been over for that long; the snapshot's always has."""
    return day == SNAPSHOT_DAY or now >= end_of_day(day, zone) + timedelta(hours=closed_after_hours)


def plan_compaction(
    files: Iterable[DataFile],
    now: datetime,
    zone: tzinfo,
    options: CompactOptions,
    word: str,
    *,
    days: Collection[str] = (),
    deleted: Collection[str] = (),
    bounded: bool = True,
) -> tuple[DayPlan, ...]:
    """Return the days to compact in one run, the oldest first: those that are over and are not one sorted folder.

    `files`: all live ones. `word`: that of the order. `days` are named: they come first, whether they are over or not.
    `deleted`: the paths of files with rows that delete files remove. At least one day, of any size, and
    no more than fit into `options.compact_gb`; all due days where it is not `bounded`.
    """
    by_day: dict[str, list[DataFile]] = defaultdict(list)
    for file in files:
        by_day[file.partition].append(file)
    due = []
    for day in sorted(by_day):
        named = day in days
        if not named and not is_closed(day, now, zone, options.closed_after_hours):
            continue
        if not is_compacted(by_day[day], word, deleted):
            size = sum(f.size for f in by_day[day])
            due.append(DayPlan(day, "named" if named else "closed", len(by_day[day]), size))
    due.sort(key=lambda plan: (plan.reason != "named", plan.day))
    chosen: list[DayPlan] = []
    for plan in due if bounded else ():
        if chosen and plan.reason != "named" and sum(p.size for p in chosen) + plan.size > options.compact_gb * GB:
            break
        chosen.append(plan)
    return tuple(chosen if bounded else due)


def compact_day(
    table: Table, day: str, options: CompactOptions, now: Now, work_directory: Path | None = None
) -> CompactedDay:
    """Make a day one folder, in one commit, unless it is. A kill or another call loses or doubles no row.

    Spills to `work_directory` (default: the system's temporary directory) and leaves nothing there.

    Raises `ConflictError` where others have changed the day in the meantime, `CatalogError` for equality deletes,
    `LedgerError` where not all rows were written, `UnknownOutcomeError` where Glue's answer was lost.
    """
    ((_, done),) = compact_days(table, table.changes(), (day,), options, now, work_directory)
    return done.get()


def compact_days(
    table: Table,
    head: Head,
    days: Sequence[str],
    options: CompactOptions,
    now: Now,
    work_directory: Path | None = None,
    workers: Workers = HERE,
) -> Iterator[tuple[str, Outcome[CompactedDay]]]:
    """Make each day one folder, as `compact_day` does; `workers` write them, and this process commits.

    An error of a day is its outcome, and stops no other day. A day that is large for one of the workers is cut into
    ranges. `work_directory` is theirs. `head`: the changes, just read.
    """
    for start in range(0, len(days), workers.at_once):
        some = days[start : start + workers.at_once]
        yield from _compact_some(table, table.changes() if start else head, some, options, now, work_directory, workers)


def _compact_some(
    table: Table,
    head: Head,
    days: Sequence[str],
    options: CompactOptions,
    now: Now,
    work_directory: Path | None,
    workers: Workers,
) -> Iterator[tuple[str, Outcome[CompactedDay]]]:
    deleted = count_deleted(head)
    plan = partial(_plan_day, table, head, deleted, options, milliseconds(now()), workers.part_bytes)
    plans = {day: attempt(plan, day) for day in days}
    due = [outcome.value.rewriting for outcome in plans.values() if outcome.value is not None]
    parts = [(rewriting, of) for rewriting in due for of in rewriting.ranges]
    written = workers.attempt_each(partial(write_range, options, work_directory), parts)
    for day, outcome in plans.items():
        if outcome.value is None:
            yield day, Outcome(CompactedDay(day), outcome.error)
        else:
            some = [next(written) for _ in outcome.value.rewriting.ranges]
            yield day, attempt(partial(_commit_day, outcome.value, deleted, now), some)


@dataclass(frozen=True)
class Rewriting:
    """A day that becomes one folder, as it is in one head. `held`: the schema of the new files.

    `known`: the folders whose manifests list what waits in `__other`. Any process can write a range of it.
    """

    table: Table
    head: Head
    day: str
    made_at: int
    files: tuple[DataFile, ...]
    order: DayOrder
    held: Schema
    known: frozenset[str]
    folder: str
    ranges: tuple[Range, ...]


@dataclass(frozen=True)
class WrittenRange:
    """The written part of a day. `lifted`: values that went from `__other` to their columns, by attribute.

    `seen` and `counts`: values that stay in `__other` of files that no manifest lists, by attribute.
    """

    added: tuple[DataFile, ...]
    lifted: Counter[str]
    seen: Observed
    counts: Counter[str]


@dataclass(frozen=True)
class _Due:
    rewriting: Rewriting
    manifests: Mapping[str, FolderManifest | None]


def _plan_day(
    table: Table,
    head: Head,
    deleted: Mapping[str, int],
    options: CompactOptions,
    made_at: int,
    part_bytes: int,
    day: str,
) -> _Due | None:
    schema = schema_of(head)
    order = order_of(schema, options.sort_by)
    files = head.files({check_day(day)})
    if not files or is_compacted(files, order.word, deleted):
        return None
    manifests = read_manifests(table, {f.folder for f in files})
    held = head.schema.select(*held_columns(head, schema, files, manifests, order.columns))
    known = frozenset(folder for folder, manifest in manifests.items() if manifest is not None)
    count = min(_RANGES, -(-sum(f.size for f in files) // part_bytes))
    ranges = cut_ranges(head, files, order.columns[0], count)
    return _Due(Rewriting(table, head, day, made_at, files, order, held, known, new_folder(), ranges), manifests)


def _commit_day(
    due: _Due, deleted: Mapping[str, int], now: Now, written: Sequence[Outcome[WrittenRange]]
) -> CompactedDay:
    rewriting, manifests = due.rewriting, due.manifests.values()
    table, head, day, files = rewriting.table, rewriting.head, rewriting.day, rewriting.files
    parts = [outcome.get() for outcome in written]
    added = tuple(f for part in parts for f in part.added if f.rows) or parts[0].added
    check_rows(head, files, sum(deleted.get(f.path, 0) for f in files), added)
    lifted = sum((part.lifted for part in parts), Counter[str]())
    misfits = _join_misfits(schema_of(head), manifests, parts, lifted)
    manifest = name_folder(rewriting.folder, day, rewriting.made_at, added, manifests, misfits)
    delete_strays(table, manifest)
    write_manifest(table, manifest)
    rewrite = Rewrite(files, added, rewriting.held, manifest)
    note = {MADE_BY: "compact", DAYS: day}

    def build(current: Head, news: News) -> Change:
        check_rewrite(current, news, rewrite, milliseconds(now()))
        return Change(added, files, note=note)

    commit_on(table.catalog, table.names, head, build)
    size, rows = sum(f.size for f in added), sum(f.rows for f in added)
    return CompactedDay(day, rewriting.folder, rows, len(added), size, len(files), dict(lifted))


def write_range(options: CompactOptions, work_directory: Path | None, part: tuple[Rewriting, Range]) -> WrittenRange:
    """Write a range of a day's rows into its folder, in their order. Any process can do it."""
    with TemporaryDirectory(prefix="dynalake-", dir=work_directory) as scratch:
        try:
            return _RangeWriter(*part, options, Path(scratch)).write(in_order=True)
        except UnorderedError:  # values were put into a column of the order, or somebody copied our names
            return _RangeWriter(*part, options, Path(scratch)).write(in_order=False)


class _RangeWriter:
    """One attempt at one range of one day."""

    def __init__(self, rewriting: Rewriting, of: Range, options: CompactOptions, scratch: Path) -> None:
        self._day, self._range, self._options, self._scratch = rewriting, of, options, scratch
        self._schema = schema_of(rewriting.head)
        self._arrow = arrow_schema_of(rewriting.held)
        self._seen = Gathering(self._schema)
        self._counts: Counter[str] = Counter()
        self._lifted: Counter[str] = Counter()

    def write(self, *, in_order: bool) -> WrittenRange:
        """Write the rows. Raise `UnorderedError` where the files that seem to be in order are not."""
        day, order = self._day, self._day.order
        ordered = self._ordered() if in_order else {}
        rest = [f for f in day.files if f.folder not in ordered]
        streams = [self._rows(files) for files in ordered.values()]
        by = Order(self._arrow, order.columns, order.nullable)
        place = Folder(day.table.names.change_folder(day.day, day.folder), day.day, order.word)
        first = self._range.number * _RANGE_FILES
        with TemporaryDirectory(dir=self._scratch) as name:
            work = Path(name)
            rows = sort_rows(self._rows(rest), streams, by, work, self._options.memory_mb)
            writer = PartWriter(day.table, day.head, day.held, place, self._options.writing, work, first)
            added = writer.write(rows)
        return WrittenRange(added, self._lifted, self._seen.observed, self._counts)

    def _ordered(self) -> dict[str, list[DataFile]]:
        """Return the largest folders whose files hold rows in order, one after the other, by their names."""
        folders: dict[str, list[DataFile]] = defaultdict(list)
        for file in sorted(self._day.files, key=lambda f: f.path):
            folders[file.folder].append(file)
        large = self._options.memory_mb * MB // SHARE // 4
        sorted_folders = {
            folder: files
            for folder, files in folders.items()
            if is_compacted(files, self._day.order.word) and sum(f.size for f in files) > large
        }
        return dict(sorted(sorted_folders.items(), key=lambda item: -sum(f.size for f in item[1]))[:_STREAMS])

    def _rows(self, files: Iterable[DataFile]) -> Iterator[pa.Table]:
        """Yield the files' rows, with values that waited in `__other` in columns that hold them now."""
        names = set(self._arrow.names)
        schema = replace(self._schema, columns=tuple(c for c in self._schema.columns if c.name in names))
        # A value that waits in `__other` is not in the file's statistics.
        within = {} if self._range.column in self._day.order.nullable else self._range.within
        for file in files:
            retype = Retyper(schema, schema, self._arrow)
            known = file.folder in self._day.known
            for rows in read_rows(self._day.head, [file], schema=self._day.held, within=within):
                rows = self._range.rows(rows) if within else rows
                rows = retype(rows)
                rows = rows if within else self._range.rows(rows)
                if not known:
                    self._gather(rows)
                yield rows
            if known:
                self._lifted.update(retype.lifted)

    def _gather(self, rows: pa.Table) -> None:
        """Observe the values that no manifest lists."""
        for attribute, text in entries_of(rows[OTHER]):
            self._seen.add({attribute: observe(parse_json(text))})
            self._counts[attribute] += 1


def _join_misfits(
    schema: TableSchema,
    manifests: Iterable[FolderManifest | None],
    parts: Iterable[WrittenRange],
    lifted: Counter[str],
) -> dict[str, Any]:
    """Return what is in `__other` of all ranges."""
    gathered, counts = Gathering(schema), Counter[str]()
    for part in parts:
        gathered.add(part.seen)
        counts.update(part.counts)
    seen = {a: {"type": type_to_json(of), "count": counts[a]} for a, of in gathered.observed.items()}
    others = FolderManifest("", "", 0, (), (), misfits=seen)
    return join_misfits([others, *_without(manifests, lifted)])


def _without(manifests: Iterable[FolderManifest | None], lifted: Counter[str]) -> list[FolderManifest | None]:
    joined = less(join_misfits(manifests), lifted)
    return [FolderManifest("", "", 0, (), (), misfits=joined)]


def held_columns(
    head: Head,
    schema: TableSchema,
    files: Iterable[DataFile],
    manifests: Mapping[str, FolderManifest | None],
    always: Collection[str] = (),
) -> list[str]:
    """Return the columns in which rows of these files may have values, also after lifting values from `__other`.

    New files leave out the others: they read as null, and a change of their types leaves those files alone. `always`:
    columns that are always kept.
    """
    files = tuple(files)
    waiting: set[str] = set()
    everything = False
    for file in files:
        if file.rows and holds_other(file):
            manifest = manifests.get(file.folder)
            everything = everything or manifest is None
            waiting.update(() if manifest is None else manifest.misfits)
    attributes = {c.name: c.attribute for c in schema.columns}
    held = []
    for field in head.schema.fields:
        attribute = attributes.get(field.name)
        kept = field.name in always or (attribute is None and field.name in RESERVED_NAMES)
        kept = kept or (attribute is not None and (everything or attribute in waiting))
        leaves = leaf_ids(head.schema, field.name)
        if kept or any(holds_fields(f, leaves) for f in files):
            held.append(field.name)
    return held
