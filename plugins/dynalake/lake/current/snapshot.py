"""The snapshot of a backfill takes the place of the one before: in the state first, then in the changes.

Backfills are numbered. The swap's first commit to the state says that it is getting this one's items (`snapshot-run`):
from then on no earlier backfill can touch it, and any run that finds it above what the changes show (`shown-run`)
finishes the swap. The folders for that are noted before. The changes get all of `dt=00000000` by one commit, which is
the last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import pyarrow_to_schema
from pyiceberg.schema import Schema

from dynalake.days import SNAPSHOT_DAY
from dynalake.errors import ConflictError
from dynalake.lake.catalog.commit import check_age, check_fields, check_live, commit_on
from dynalake.lake.catalog.commit_events import DAYS, MADE_BY
from dynalake.lake.catalog.file_io import S3FileIO
from dynalake.lake.catalog.iceberg import Change, DataFile, Head, News
from dynalake.lake.catalog.table import SHOWN_RUN, SNAPSHOT_RUN, Table, number
from dynalake.lake.current.state import ATTEMPTS, STATE_WRITING, How, Merge, Merged
from dynalake.lake.current.state_schema import RUN
from dynalake.lake.files.folders import FolderManifest, Part, new_folder, read_manifests, write_manifest
from dynalake.lake.files.parts import Folder, PartWriter
from dynalake.lake.files.read import read_rows
from dynalake.lake.working.workers import HERE

pc: Any = pyarrow.compute  # its stubs take no chunked arrays where it does

_AT_ONCE = 16


@dataclass(frozen=True)
class Swapped:
    """The outcome for the snapshot of the backfill `run`: whether it is shown, or a later one instead.

    `removed`: items of earlier backfills that this one does not have.
    """

    run: int
    shown: bool
    merged: Merged = field(default_factory=Merged)
    removed: int = 0


class _LaterRun(Exception):
    """A later backfill's snapshot is going into the state."""


def number_run(table: Table, name: str) -> int:
    """Return the number of the backfill `name`, above those of all that began before. It stays the same."""
    least = max(number(table.changes(), SHOWN_RUN), number(table.items(), SNAPSHOT_RUN)) + 1
    while True:
        for run, number_of_run in read_run_numbers(table):
            if run == name:
                return number_of_run
            least = max(least, number_of_run + 1)
        body = json.dumps({"number": least, "name": name}).encode()
        # The next listing finds the number, also where the answer was lost, or another backfill came first.
        table.store.create(table.names.snapshot_number(least), body)


def read_run_numbers(table: Table) -> Iterator[tuple[str, int]]:
    """Yield the names and numbers of the table's backfills."""
    for stored in table.store.list(table.names.snapshot_runs):
        note = table.store.read_json(stored.key)
        if note is not None:
            yield str(note.value["name"]), int(note.value["number"])


def shown_run(table: Table, changes: Head) -> str | None:
    """Return the name of the backfill whose items `{t}` shows; None where it shows none."""
    run = number(changes, SHOWN_RUN)
    note = table.store.read_json(table.names.snapshot_number(run)) if run else None
    return None if note is None else str(note.value["name"])


def swap_snapshot(table: Table, run: int, manifests: Sequence[FolderManifest], **how: Unpack[How]) -> Swapped:
    """Make these folders of `dt=00000000` the snapshot, in both tables. Another call, also after a kill, does the same.

    Raises `ConflictError` where a file is gone, or is too old to be committed: then the backfill's objects have to be
    converted again, under the same number.
    """
    return _swap_on(table, table.changes(), run, manifests, **how)


def _swap_on(table: Table, changes: Head, run: int, manifests: Sequence[FolderManifest], **how: Unpack[How]) -> Swapped:
    if number(changes, SHOWN_RUN) >= run:
        return Swapped(run, number(changes, SHOWN_RUN) == run)
    _note_swap(table, run, manifests)
    swap = _Swap(table, changes, run, manifests, **how)
    try:
        swap.begin()
        swap.merge()
        swap.remove_earlier()
    except _LaterRun:
        return Swapped(run, shown=False)
    shown = swap.show()
    table.store.delete(table.names.snapshot_swap(run))
    return Swapped(run, shown, swap.merged, swap.removed)


def is_unfinished(changes: Head, state: Head) -> bool:
    """Return whether a snapshot has begun to go into the state and is not shown yet."""
    return number(state, SNAPSHOT_RUN) > number(changes, SHOWN_RUN)


def finish_snapshot(table: Table, changes: Head, state: Head, **how: Unpack[How]) -> Swapped | None:
    """Finish a swap that was begun; None where these tables show none. Every run does this first.

    Raises `ConflictError` where it cannot be finished: changes of every day can be converted all the same, and the
    backfill has to be committed again.
    """
    if not is_unfinished(changes, state):
        return None
    run = number(state, SNAPSHOT_RUN)
    manifests = _noted_swap(table, run)
    if manifests is None:
        if not is_unfinished(table.changes(), table.items()):
            return None  # another run has finished it in the meantime
        raise ConflictError(
            f"The snapshot of the backfill {run} of {table.names.table} is only partly in the state, and its source "
            "is no longer known",
            action="commit the backfill again (the task of dynalake_backfill), or run another one",
            table=table.names.table,
        )
    return _swap_on(table, changes, run, manifests, **how)


class _Swap:
    """The steps of one swap; any run may repeat each of them."""

    def __init__(
        self, table: Table, changes: Head, run: int, manifests: Sequence[FolderManifest], **how: Unpack[How]
    ) -> None:
        self._table, self._run, self._changes = table, run, changes
        self._merge = Merge(table, changes, table.items(), partial(_check_run, run), **how)
        self._made_at = min((m.made_at for m in manifests), default=self._merge.clock())
        opened = _open_parts(table, self._changes, [part for m in manifests for part in m.parts])
        self._files = tuple(file for file, _ in opened)
        self._held = tuple(held for _, held in opened)
        self.removed = 0

    @property
    def merged(self) -> Merged:
        return self._merge.done

    def begin(self) -> None:
        """Note in the state whose items it is getting."""

        def build(head: Head, news: News) -> Change | None:
            state_run = number(head, SNAPSHOT_RUN)
            if state_run > self._run:
                raise _LaterRun
            if state_run == self._run:
                return None
            return Change(properties={SNAPSHOT_RUN: str(self._run)}, note={"dynalake": "snapshot"})

        landed = commit_on(self._table.catalog, self._table.names, self._merge.state, build, pause=self._merge.pause)
        self._merge.state = landed or self._table.items()

    def merge(self) -> None:
        """Merge the snapshot's items."""
        self._merge.add(self._files, self._run)

    def remove_earlier(self) -> None:
        """Remove the items of earlier backfills that this one does not have."""
        self.removed += remove_earlier(self._merge, self._run)

    def show(self) -> bool:
        """Replace the snapshot in the changes, by one commit. Return whether it is this one that is shown."""

        def build(head: Head, news: News) -> Change | None:
            if number(head, SHOWN_RUN) >= self._run:
                return None
            check_age(head, self._made_at, self._merge.clock())
            for held in self._held:
                check_fields(held, head)
            return Change(
                self._files,
                head.files({SNAPSHOT_DAY}),
                properties={SHOWN_RUN: str(self._run)},
                note={MADE_BY: "snapshot", DAYS: SNAPSHOT_DAY},
            )

        landed = commit_on(self._table.catalog, self._table.names, self._changes, build, pause=self._merge.pause)
        return number(landed or self._table.changes(), SHOWN_RUN) == self._run


def _check_run(run: int, state: Head) -> None:
    state_run = number(state, SNAPSHOT_RUN)
    if state_run > run:
        raise _LaterRun
    if state_run < run:
        raise ConflictError(
            f"The table {state.name} was rolled back to a time before the backfill {run} began",
            action="run again",
            table=state.name,
        )


def remove_earlier(merge: Merge, run: int) -> int:
    """Remove the items of backfills before `run` from the state, and return how many there were.

    Call it once the items of `run` are in the state: then only those backfills have the removed ones. The merge's
    workers write groups of files again, and this process commits each of them.
    """
    removed, refused = 0, 0
    clean: set[str] = set()
    while True:
        merge.state = merge.refresh()
        earlier = [f for f in merge.state.files() if f.path not in clean and _may_be_earlier(f, run)]
        if not earlier:
            return removed
        groups = _group(earlier, merge.sizes.group)
        rewrite = partial(_rewrite, replace(merge, workers=HERE), run)
        conflict: ConflictError | None = None
        while some := list(islice(groups, merge.workers.at_once)):
            for rewritten in merge.workers.each(rewrite, some):
                clean |= rewritten.clean
                try:
                    removed += _commit(merge, rewritten)
                except ConflictError as error:
                    conflict = error
        refused += conflict is not None
        if conflict is not None and refused > ATTEMPTS:
            raise conflict


@dataclass(frozen=True)
class _Rewritten:
    """Files, and others with the same rows except `rows` items of earlier backfills. `clean`: paths without any."""

    removed: tuple[DataFile, ...]
    added: tuple[DataFile, ...]
    rows: int
    made_at: int
    clean: frozenset[str]


def _rewrite(merge: Merge, run: int, files: Sequence[DataFile]) -> _Rewritten:
    """Write files again without the items of earlier backfills. Any process can do it."""
    head, made_at = merge.state, merge.clock()
    gone = {
        file: sum(t.num_rows - _without_earlier(t, run).num_rows for t in read_rows(head, [file], [RUN]))
        for file in files
    }
    removed = tuple(file for file, rows in gone.items() if rows)
    added = [new for file in removed if gone[file] < file.rows for new in _write_again(merge, head, file, run)]
    clean = frozenset(file.path for file, rows in gone.items() if not rows)
    return _Rewritten(removed, tuple(added), sum(gone.values()), made_at, clean)


def _commit(merge: Merge, rewritten: _Rewritten) -> int:
    """Commit the rewritten files, planned on the merge's head. Return how many items are gone."""
    if not rewritten.removed:
        return 0

    def build(now: Head, news: News) -> Change:
        merge.guard(now)
        check_fields(merge.state.schema, now)
        check_live(now, rewritten.removed, news)
        check_age(now, rewritten.made_at, merge.clock())
        return Change(rewritten.added, rewritten.removed, note={"dynalake": "snapshot"})

    commit_on(merge.table.catalog, merge.table.names, merge.state, build, pause=merge.pause)
    return rewritten.rows


def _write_again(merge: Merge, head: Head, file: DataFile, run: int) -> tuple[DataFile, ...]:
    table = merge.table
    folder = Folder(table.names.items_folder(new_folder()), file.partition)
    with TemporaryDirectory(prefix="dynalake-snapshot-", dir=merge.work_directory) as name:
        writer = PartWriter(table, head, head.schema, folder, STATE_WRITING, Path(name))
        return writer.write(_without_earlier(rows, run) for rows in read_rows(head, [file]))


def _without_earlier(rows: pa.Table, run: int) -> pa.Table:
    return rows.filter(pc.fill_null(pc.greater_equal(rows[RUN], run), True))


def _may_be_earlier(file: DataFile, run: int) -> bool:
    """Return whether a file may have items of an earlier backfill."""
    if not file.rows or file.is_null(RUN):
        return False
    bounds = file.bounds(RUN)
    return bounds is None or bounds[0] < run


def _group(files: Iterable[DataFile], size: int) -> Iterator[list[DataFile]]:
    """Yield files that are replaced by one commit."""
    group: list[DataFile] = []
    for file in files:
        if group and sum(f.size for f in group) + file.size > size:
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def _open_parts(table: Table, head: Head, parts: Sequence[Part]) -> list[tuple[DataFile, Schema]]:
    """Return the files of these parts, and the fields that each holds. Raise `ConflictError` where one is gone."""
    io = head.iceberg.io
    assert isinstance(io, S3FileIO)

    def opened(part: Part) -> tuple[DataFile, Schema]:
        try:
            with io.open_data(part.path, part.size) as stream:
                footer = pq.read_metadata(stream)
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            raise ConflictError(
                f"The file {part.path} of the snapshot is gone, or has changed since it was written",
                action="convert the backfill's objects again",
                table=table.names.table,
            ) from error
        held = pyarrow_to_schema(footer.schema.to_arrow_schema())
        return head.data_file(part.path, SNAPSHOT_DAY, footer, part.size, head.schema), held

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(opened, parts))


def _note_swap(table: Table, run: int, manifests: Sequence[FolderManifest]) -> None:
    """Put the folders' manifests, and the list of these folders, so that any run can finish."""
    for manifest in manifests:
        assert manifest.day == SNAPSHOT_DAY, manifest.day
        write_manifest(table, manifest)
    note = {"run": run, "folders": [m.folder for m in manifests]}
    table.store.write_json(table.names.snapshot_swap(run), note)


def _noted_swap(table: Table, run: int) -> list[FolderManifest] | None:
    """Return the manifests of the folders with which a swap was begun; None where they are unknown."""
    note = table.store.read_json(table.names.snapshot_swap(run))
    if note is None:
        return None
    folders = note.value["folders"]
    manifests = read_manifests(table, folders)
    noted = [manifests[folder] for folder in folders]
    return None if any(m is None for m in noted) else [m for m in noted if m is not None]
