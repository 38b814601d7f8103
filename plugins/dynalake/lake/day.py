"""A day of `{t}` in one folder: its live rows, sorted, in files of bounded size, whoever wrote them before.

From Parquet to Parquet: raw objects are not read again, and need not be there any more.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from dynalake.days import SNAPSHOT_DAY, check_day, end_of_day
from dynalake.errors import SettingsError
from dynalake.lake.column import RESERVED_NAMES
from dynalake.lake.commit import commit_on
from dynalake.lake.compact_options import GB, MB, CompactOptions
from dynalake.lake.folders import FolderManifest, milliseconds, new_folder, read_manifests, write_manifest
from dynalake.lake.gather import Gathering
from dynalake.lake.grow import schema_of
from dynalake.lake.iceberg import Change, DataFile, Head, News
from dynalake.lake.parts import Folder, PartWriter
from dynalake.lake.read import arrow_schema_of, count_deleted, read_rows
from dynalake.lake.retype import Retyper, entries_of, parse_json
from dynalake.lake.rewrite import (
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
from dynalake.lake.schema import TableSchema
from dynalake.lake.sort import SHARE, Order, UnorderedError, sort_rows
from dynalake.lake.table import Table
from dynalake.lake.types import Boolean, Mixed, Number, Text, Type, observe, type_to_json
from dynalake.record.change import METADATA, OTHER, SEQUENCE_NUMBER

Now = Callable[[], datetime]
"""Tells the time, aware."""

_STREAMS = 4  # folders that are merged as they are read: of each a row group is held
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
    """What became of a day: `rows` in `files` of `size` bytes, in place of `replaced` files; none: nothing was to do.

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
    """The order of a day's rows: that of `sort_by`, then of identity and sequence number.

    Raises `SettingsError` where `sort_by` names what is no column, or a column without an order.
    """
    for name in sort_by:
        column = schema.column(name)
        if column is None and name not in METADATA:
            raise SettingsError(
                f"sort_by names {name!r}, which is not a column of the table",
                allowed=_shown(name, [*(c.attribute for c in schema.columns), *METADATA]),
                action="name attributes as the items have them, in their own case",
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


def _shown(name: str, there: list[str]) -> str:
    near = [a for a in there if a.lower() == name.lower()] + get_close_matches(name, there, 5, 0.7)
    shown = list(dict.fromkeys([*near, *there]))
    more = f" and {len(shown) - _SHOWN:,} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


def _no_order(of: Type) -> str:
    match of:
        case Number() if of.kind == "text":
            return "whose numbers are kept as text, because no SQL type holds them all: text is not in their order"
        case Mixed():
            return "which has values of several types: they are kept as JSON text, which has no order of use"
        case Boolean() | Number() | Text():
            return ""
        case _:
            return f"which is a {type(of).__name__.lower()}: SQL has no order of them"


def is_compacted(files: Sequence[DataFile], word: str, deleted: Collection[str] = ()) -> bool:
    """Whether these, all live files of a day, are one folder in the order of `word`, without rows that are deleted."""
    if len({f.folder for f in files}) != 1 or any(f.path in deleted for f in files):
        return False
    return all(f.folder and f.path.rpartition("/")[2].startswith(f"{word}-") for f in files)


def is_closed(day: str, now: datetime, zone: tzinfo, closed_after_hours: int) -> bool:
    """Whether a day has been over for so long; the snapshot's always has."""
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

    `files`: all live ones. `word`: that of the order. `days` are named: they come whether they are over or not, and
    first. `deleted`: the paths of files with rows that somebody's delete files take away. At least one day, however
    large, and no more than `options.compact_gb` have room for; all that are due where it is not `bounded`.
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
    """Make a day one folder, in one commit, unless it is. Killed anywhere, or again: no row is lost or doubled.

    Spills to `work_directory` (default: the system's temporary directory) and leaves nothing there.

    Raises `ConflictError` where others have changed the day in the meantime, `CatalogError` for equality deletes,
    `LedgerError` where not all rows were written, `UnknownOutcomeError` where Glue's answer was lost.
    """
    made_at = milliseconds(now())
    head = table.changes()
    order = order_of(schema_of(head), options.sort_by)
    files = head.files({check_day(day)})
    deleted = count_deleted(head)
    if not files or is_compacted(files, order.word, deleted):
        return CompactedDay(day)
    with TemporaryDirectory(prefix="dynalake-", dir=work_directory) as scratch:
        compaction = _Compaction(table, head, day, files, order, options, made_at)
        try:
            rewrite = compaction.run(Path(scratch), compaction.ordered())
        except UnorderedError:  # values were put into a column that the order is about, or somebody copied our names
            rewrite = compaction.run(Path(scratch), {})
    check_rows(head, files, sum(deleted.get(f.path, 0) for f in files), rewrite.added)
    write_manifest(table.clients, table.names, rewrite.manifest)
    note = {"dynalake": "compact", "dynalake.day": day}

    def build(current: Head, news: News) -> Change:
        check_rewrite(current, news, rewrite, milliseconds(now()))
        return Change(rewrite.added, rewrite.replaced, note=note)

    commit_on(table.catalog, table.names, head, build)
    return CompactedDay(
        day,
        rewrite.manifest.folder,
        sum(f.rows for f in rewrite.added),
        len(rewrite.added),
        sum(f.size for f in rewrite.added),
        len(files),
        dict(compaction.lifted),
    )


class _Compaction:
    """One attempt at one day, as it is in one head."""

    def __init__(
        self,
        table: Table,
        head: Head,
        day: str,
        files: Sequence[DataFile],
        order: DayOrder,
        options: CompactOptions,
        made_at: int,
    ) -> None:
        self._table, self._head, self._day, self._files = table, head, day, files
        self._order, self._options, self._made_at = order, options, made_at
        self._schema = schema_of(head)
        self._manifests = read_manifests(table.clients, table.names, {f.folder for f in files})
        held = held_columns(head, self._schema, files, self._manifests, order.columns)
        self._held = head.schema.select(*held)
        self._seen = Gathering(self._schema)
        self._counts: Counter[str] = Counter()
        self.lifted: Counter[str] = Counter()

    def ordered(self) -> dict[str, list[DataFile]]:
        """The largest folders whose files hold rows in order, one after the other, by their names."""
        folders: dict[str, list[DataFile]] = defaultdict(list)
        for file in sorted(self._files, key=lambda f: f.path):
            folders[file.folder].append(file)
        large = self._options.memory_mb * MB // SHARE // 4
        found = {
            folder: files
            for folder, files in folders.items()
            if is_compacted(files, self._order.word) and sum(f.size for f in files) > large
        }
        return dict(sorted(found.items(), key=lambda item: -sum(f.size for f in item[1]))[:_STREAMS])

    def run(self, scratch: Path, ordered: Mapping[str, Sequence[DataFile]]) -> Rewrite:
        """Write the day's rows into a folder that nobody has written to."""
        self.lifted.clear()
        self._counts.clear()
        self._seen = Gathering(self._schema)
        folder = new_folder()
        work = scratch / folder
        work.mkdir()
        arrow = arrow_schema_of(self._held)
        order = Order(arrow, self._order.columns, self._order.nullable)
        rest = [f for f in self._files if f.folder not in ordered]
        streams = [self._rows(files, arrow) for files in ordered.values()]
        rows = sort_rows(self._rows(rest, arrow), streams, order, work, self._options.memory_mb)
        place = Folder(self._table.names.change_folder(self._day, folder), self._day, self._order.word)
        writer = PartWriter(
            self._table.clients, self._table.names, self._head, self._held, place, self._options.writing, work
        )
        added = writer.write(rows)
        manifest = name_folder(folder, self._day, self._made_at, added, self._manifests.values(), self._misfits())
        return Rewrite(tuple(self._files), added, self._held, manifest)

    def _rows(self, files: Iterable[DataFile], arrow: pa.Schema) -> Iterator[pa.Table]:
        """The files' rows; what has waited in `__other` for a column that holds it now is in it."""
        names = set(arrow.names)
        schema = replace(self._schema, columns=tuple(c for c in self._schema.columns if c.name in names))
        for file in files:
            retype = Retyper(schema, schema, arrow)
            known = self._manifests.get(file.folder) is not None
            for rows in read_rows(self._head, [file], schema=self._held):
                rows = retype(rows)
                if not known:
                    self._gather(rows)
                yield rows
            if known:
                self.lifted.update(retype.lifted)

    def _gather(self, rows: pa.Table) -> None:
        """What no manifest tells is seen again."""
        for attribute, text in entries_of(rows[OTHER]):
            self._seen.add({attribute: observe(parse_json(text))})
            self._counts[attribute] += 1

    def _misfits(self) -> dict[str, Any]:
        seen = {
            attribute: {"type": type_to_json(of), "count": self._counts[attribute]}
            for attribute, of in self._seen.observed.items()
        }
        others = FolderManifest("", self._day, 0, (), (), misfits=seen)
        return join_misfits([others, *_without(self._manifests.values(), self.lifted)])


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
    """The columns that rows of these files may have values in, also once what waits in `__other` is in its column.

    Others are left out of what is written: they read as null, and a change of their types leaves those files alone.
    `always`: columns that are kept whatever is in them.
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
        wanted = field.name in always or (attribute is None and field.name in RESERVED_NAMES)
        wanted = wanted or (attribute is not None and (everything or attribute in waiting))
        leaves = leaf_ids(head.schema, field.name)
        if wanted or any(holds_fields(f, leaves) for f in files):
            held.append(field.name)
    return held
