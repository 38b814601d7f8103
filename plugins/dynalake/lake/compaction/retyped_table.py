"""All files of one table that a change of types concerns: written again as often as needed, then committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pyiceberg.schema import Schema
from pyiceberg.types import NestedField

from dynalake.errors import ConflictError
from dynalake.lake.catalog.commit import check_age, check_live
from dynalake.lake.catalog.iceberg import Change, DataFile, Head, News
from dynalake.lake.catalog.table import SCHEMA, Table
from dynalake.lake.columns.iceberg_schema import iceberg_schema
from dynalake.lake.columns.retype import entries_of
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.compaction.retype_files import RetypedFile, Retyping, retype_file
from dynalake.lake.current.state_schema import state_columns
from dynalake.lake.files.folders import FolderManifest, delete_strays, new_folder, read_manifests, write_manifest
from dynalake.lake.files.parts import Folder, Writing
from dynalake.lake.files.read import count_deleted, read_rows
from dynalake.lake.files.rewrite import check_rows, holds_other, join_misfits, less, name_folder
from dynalake.lake.tables.grow import schema_of
from dynalake.lake.types.union import Type, takes, type_from_json, type_to_json
from dynalake.lake.working.workers import HERE, Workers
from dynalake.record.change import OTHER

_PARTS = 100  # parts that one file may become


class MoreFilesError(Exception):
    """The table has new files that have to be written again and are not yet."""


@dataclass(frozen=True)
class _Unit:
    """Files that are written again together: all of a folder of `{t}`, or a single one of the state."""

    partition: Any
    folder: str
    files: tuple[DataFile, ...]

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.partition, self.folder, *(f.path for f in self.files))


@dataclass(frozen=True)
class _Done:
    made_at: int
    replaced: tuple[DataFile, ...]
    added: tuple[DataFile, ...]
    held: tuple[Schema, ...]


class RetypedTable:
    """All files of one table that a change of types concerns: written again as often as needed, then committed.

    Files that come while others are written are written again too (`prepare`), until a commit finds nothing left.
    `changes`: whether it is `{t}`, whose folders have manifests and are replaced as a whole.
    """

    def __init__(
        self,
        table: Table,
        first: Head,
        retyping: Retyping,
        writing: Writing,
        now: Callable[[], int],
        work_directory: Path | None,
        words: Collection[str] = (),
        *,
        changes: bool,
        workers: Workers = HERE,
    ) -> None:
        """Prepare the change. `first`: the table before any file was read. `now` returns milliseconds since the epoch.

        `words`: beginnings of names of files whose order the change of types leaves alone.
        """
        self._table, self.first, self.retyping, self._workers = table, first, retyping, workers
        self._now, self._words, self._changes = now, tuple(words), changes
        self._retype = partial(_retype, table, writing, work_directory)
        self._done: dict[tuple[Any, ...], _Done] = {}
        self._manifests: dict[str, FolderManifest | None] = {}
        self._waiting: dict[str, frozenset[str]] = {}
        self.lifted: Counter[str] = Counter()
        self.spilled: Counter[str] = Counter()

    @property
    def written(self) -> int:
        """Bytes that were written."""
        return sum(f.size for done in self._done.values() for f in done.added)

    def at(self, head: Head) -> Retyping:
        """Return the change of types on the table as it is now: it may have new columns since the plan.

        Raises `ConflictError` where a column that changes is no longer as it was planned on.
        """
        before = schema_of(head)
        after = target_schema(self.retyping, before)
        target = target_iceberg(self.retyping, after, head, None if self._changes else state_columns(after))
        return replace(self.retyping, before=before, after=after, source=head.schema, target=target)

    def prepare(self, head: Head) -> None:
        """Write all files of the table that have to be written again and are not yet."""
        missing = [unit for unit in self.units(head) if unit.key not in self._done]
        if not missing:
            return
        retyping, deleted, made_at = self.at(head), count_deleted(head), self._now()
        folders = {unit.key: new_folder() for unit in missing}
        parts = [
            (self._folder(unit, folders[unit.key]), i * _PARTS, file)
            for unit in missing
            for i, file in enumerate(unit.files)
        ]
        written = self._workers.each(partial(self._retype, head, retyping), parts)
        for unit in missing:
            made = [next(written) for _ in unit.files]
            added = tuple(f for file in made for f in file.added)
            check_rows(head, unit.files, sum(deleted.get(f.path, 0) for f in unit.files), added)
            lifted = sum((m.lifted for m in made), Counter[str]())
            if self._changes:
                old = self._manifests_of(unit)
                misfits = _join_left(old, made, lifted, retyping.after)
                manifest = name_folder(folders[unit.key], unit.partition, made_at, added, old, misfits)
                delete_strays(self._table, manifest)
                write_manifest(self._table, manifest)
            self._done[unit.key] = _Done(made_at, unit.files, added, tuple(m.held for m in made))
            self.lifted.update(lifted)
            self.spilled.update(sum((m.spilled for m in made), Counter[str]()))

    def units(self, head: Head) -> list[_Unit]:
        """Return the files that have to be written again of the table as it is in `head`."""
        files = head.files()
        if self.retyping.lifts:
            self._read_waiting(head, [f for f in files if f.rows and holds_other(f)])
        by_folder: dict[tuple[Any, str], list[DataFile]] = {}
        for file in sorted(files, key=lambda f: f.path):
            name = file.folder if self._changes and file.folder else file.path
            by_folder.setdefault((file.partition, name), []).append(file)
        return [
            _Unit(partition, folder, tuple(members))
            for (partition, folder), members in sorted(by_folder.items(), key=lambda item: item[0])
            if any(self.retyping.affects(f, self._find_waiting) for f in members)
        ]

    def change(self, head: Head, news: News) -> Change:
        """Return the commit on `head`: the columns change, and with them every file that holds them.

        `news`: since the first of the files were read. Raises `MoreFilesError` where some are not written yet,
        `ConflictError` where the written files do not hold any more.
        """
        units = self.units(head)
        if any(unit.key not in self._done for unit in units):
            raise MoreFilesError
        retyping = self.at(head)
        done = [self._done[unit.key] for unit in units]
        for unit in done:
            check_age(head, unit.made_at, self._now())
            for held in unit.held:
                _check_held(held, retyping.target, head)
        replaced = tuple(f for unit in done for f in unit.replaced)
        check_live(head, replaced, news)
        same = retyping.after == retyping.before
        return Change(
            tuple(f for unit in done for f in unit.added),
            replaced,
            properties={} if same else {SCHEMA: retyping.after.to_json()},
            schema=None if same else retyping.target,
        )

    def _folder(self, unit: _Unit, name: str) -> Folder:
        names = self._table.names
        prefix = names.change_folder(unit.partition, name) if self._changes else names.items_folder(name)
        return Folder(prefix, unit.partition, _word(unit.files, self._words))

    # -- what waits ------------------------------------------------------------------------------------------------

    def _manifests_of(self, unit: _Unit) -> list[FolderManifest | None]:
        folders = {f.folder for f in unit.files if f.folder}
        missing = folders - self._manifests.keys()
        self._manifests |= read_manifests(self._table, missing)
        return [self._manifests[folder] for folder in sorted(folders)]

    def _read_waiting(self, head: Head, files: Iterable[DataFile]) -> None:
        """Read what is in `__other` of these files: from the manifests, or, for the state, from the files."""
        if self._changes:
            folders = {f.folder for f in files if f.folder} - self._manifests.keys()
            self._manifests |= read_manifests(self._table, folders)
            return
        unknown = [file for file in files if file.path not in self._waiting]
        lifts_of_files = self._workers.each(partial(_read_lifts, head, self.retyping.lifts), unknown)
        self._waiting |= {file.path: lifts for file, lifts in zip(unknown, lifts_of_files, strict=True)}

    def _find_waiting(self, file: DataFile) -> Collection[str] | None:
        if not self._changes:
            return self._waiting.get(file.path)
        manifest = self._manifests.get(file.folder)
        return None if manifest is None else manifest.misfits


def _retype(
    table: Table,
    writing: Writing,
    work_directory: Path | None,
    head: Head,
    retyping: Retyping,
    part: tuple[Folder, int, DataFile],
) -> RetypedFile:
    """Write one file of a unit again: the folder's parts from that number on. Any process can do it."""
    folder, first, file = part
    with TemporaryDirectory(prefix="dynalake-", dir=work_directory) as scratch:
        return retype_file(table, head, file, retyping, folder, first, writing, Path(scratch))


def _read_lifts(head: Head, lifts: frozenset[str], file: DataFile) -> frozenset[str]:
    """Return which of these attributes are in a file's `__other`."""
    return lifts & {a for rows in read_rows(head, [file], [OTHER]) for a, _ in entries_of(rows[OTHER])}


def _word(files: Iterable[DataFile], words: Iterable[str]) -> str:
    """Return the beginning of the files' names, where it names an order that they still have."""
    names = [f.path.rpartition("/")[2] for f in files]
    return next((w for w in words if all(n.startswith(f"{w}-") for n in names)), "part")


def _join_left(
    old: Iterable[FolderManifest | None], made: Iterable[RetypedFile], lifted: Counter[str], after: TableSchema
) -> dict[str, Any]:
    """Return what is in `__other` afterwards, without what its column takes: that has its place, or gets none."""
    kept = less(join_misfits(old), lifted)
    for attribute in [a for a in kept if a in after.known]:
        if takes(after.known[attribute].type, type_from_json(kept[attribute]["type"])):
            del kept[attribute]
    seen = [{a: {"type": type_to_json(of), "count": f.spilled[a]} for a, of in f.misfits.items()} for f in made]
    return join_misfits(FolderManifest("", "", 0, (), (), misfits=some) for some in [kept, *seen])


def _check_held(held: Schema, target: Schema, head: Head) -> None:
    for number in held.field_ids:
        current = target.find_type(number) if number in target.field_ids else None
        written = held.find_type(number)
        if current is None or (current != written if written.is_primitive else type(current) is not type(written)):
            raise ConflictError(
                f"The column {held.find_column_name(number)} of {head.name} is not the one that files were written for",
                action="plan again from the table as it is now",
                table=head.name,
            )


def target_schema(retyping: Retyping, now: TableSchema) -> TableSchema:
    """Return the schema after the change of types, where `now` may have new columns since the plan.

    Raises `ConflictError` where a column that changes is no longer as it was planned on.
    """
    changed = {c.attribute: c for c in retyping.changed}
    after = retyping.after.known
    columns = []
    for column in now.columns:
        if column.attribute not in changed:
            columns.append(column)
            continue
        if changed[column.attribute] != column:
            raise ConflictError(
                f"The column {column.name} has changed while its type was changed",
                action="plan again from the table as it is now",
                column=column.name,
            )
        if column.attribute in after:
            columns.append(after[column.attribute])
    return replace(now, columns=tuple(columns), pins=retyping.after.pins)


def target_iceberg(retyping: Retyping, after: TableSchema, head: Head, own: Mapping[str, Type] | None = None) -> Schema:
    """Return the Iceberg schema of `after` on this head: changed columns have the ids that were reserved for them."""
    schema = iceberg_schema(after, head.schema, head.last_column_id, before=schema_of(head), own=own)
    changed = {c.attribute for c in retyping.changed}
    reserved = {c.name for c in after.columns if c.attribute in changed}

    def take(f: NestedField) -> NestedField:
        return retyping.target.find_field(f.name) if f.name in reserved else f

    return Schema(*(take(f) for f in schema.fields), schema_id=schema.schema_id)
