"""One commit for all batches of a table: each is checked against the table as it is, and waits if it does not hold.

The order makes a kill anywhere harmless. A folder's manifest comes first: it is put once, so it says for good which
files are the folder's, and all other files there may be deleted. Late changes reach the state next. Then comes the
commit.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import pyarrow_to_schema
from pyiceberg.schema import Schema

from dynalake.aws.s3 import Store
from dynalake.convert.batch import BatchResult, check_sums
from dynalake.convert.named import NamedFolders
from dynalake.convert.once import find_waiting
from dynalake.convert.plan import Batch, history_from
from dynalake.convert.rest import Rest, write_rest
from dynalake.days import milliseconds
from dynalake.errors import ConflictError, DynalakeError, LedgerError, NotReadyError
from dynalake.lake.catalog.commit import check_age, check_fields, check_live, commit_on, overlap
from dynalake.lake.catalog.commit_events import DAYS, MADE_BY
from dynalake.lake.catalog.iceberg import Change, DataFile, Head, News
from dynalake.lake.catalog.table import BOUND, FOLDED_TO, PLANNED_ON, Table, number
from dynalake.lake.files.folders import FolderManifest, Part, delete_strays, write_manifest
from dynalake.lake.files.parts import Writing
from dynalake.lake.tables.grow import schema_of
from dynalake.record.change import EVENT_TIME

ATTEMPTS = 3
"""Maximum attempts of a commit: it begins again where the table's bound rose after late changes had been merged."""

_AT_ONCE = 16
_FOOTER = 1 << 16  # bytes that are read at first

Now = Callable[[], datetime]

MergeLate = Callable[[Table, Head, Head, Sequence[DataFile]], Any]
"""A function that merges the late changes of files that will be committed next into the state (`current/state.py`)."""


@dataclass(frozen=True)
class Waiting:
    """A batch that could not be committed, and the reason."""

    batch: Batch
    reason: str


@dataclass(frozen=True)
class Committed:
    """The result of one commit. `late`: at most how many rows are in files whose late changes the state got first."""

    results: tuple[BatchResult, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    late: int = 0


@dataclass(frozen=True)
class _Ready:
    """A batch with all of its files. `held`: the fields that each of them holds."""

    result: BatchResult
    files: tuple[DataFile, ...]
    held: tuple[Schema, ...]

    @property
    def batch(self) -> Batch:
        return self.result.batch


@dataclass(frozen=True)
class _Unit:
    """Batches that are committed as a whole or not at all: one, or a named day's with the rows that stay of it."""

    batches: tuple[_Ready, ...]
    rest: Rest = field(default_factory=Rest)

    @property
    def added(self) -> tuple[DataFile, ...]:
        return (*(f for ready in self.batches for f in ready.files), *self.rest.added)


class _BoundChanged(Exception):
    """The bound, and so which changes are late, has moved since the late changes were merged."""


def commit_results(
    table: Table,
    changes: Head,
    state: Head,
    results: Iterable[BatchResult],
    now: Now,
    merge_late: MergeLate,
    writing: Writing | None = None,
    work_directory: Path | None = None,
) -> Committed:
    """Commit those of the results that hold on the table as it is now, in one snapshot.

    `changes` and `state`: the tables as they were read before, the changes first. They are read again where the bound
    has moved since.

    Raises `LedgerError` where counts do not add up, and `UnknownOutcomeError` where the answer was lost: the next call
    finds out what became of it.
    """
    ordered = sorted(results, key=lambda r: r.batch.number)
    for result in ordered:
        check_sums(result.batch, result.sums)
    for _ in range(ATTEMPTS if ordered else 0):
        with TemporaryDirectory(dir=work_directory) as directory:
            commit = _Commit(table, changes, state, now, writing or Writing(), Path(directory))
            try:
                return commit.run(ordered, merge_late)
            except _BoundChanged:
                changes, state = table.changes(), table.items()
    reason = "the table's bound kept changing"
    return Committed(waiting=tuple(Waiting(r.batch, reason) for r in ordered))


class _Commit:
    """One attempt, planned on a head."""

    def __init__(self, table: Table, head: Head, state: Head, now: Now, writing: Writing, directory: Path) -> None:
        self._table, self._store, self._head, self._state, self._now = table, table.store, head, state, now
        self._writing, self._directory = writing, directory
        self._waiting: dict[int, Waiting] = {}
        self._named = NamedFolders(table)

    def run(self, results: Sequence[BatchResult], merge_late: MergeLate) -> Committed:
        ready = self._open([result for result in results if not self._has_landed(result)])
        units = self._make_units(self._without_shared(ready))
        units = [unit for unit in units if self._holds(unit, self._name)]
        units, late = self._merge_late(units, merge_late)
        if units:
            commit_on(self._table.catalog, self._table.names, self._head, lambda head, _: self._build(head, units))
        committed = tuple(result for result in results if result.batch.number not in self._waiting)
        return Committed(committed, tuple(self._waiting.values()), late)

    def _wait(self, batch: Batch, reason: str) -> None:
        self._waiting[batch.number] = Waiting(batch, reason)

    def _holds(self, unit: _Unit, check: Callable[[_Unit], object]) -> bool:
        """Return whether a unit passes a check. Make all of its batches wait where it does not."""
        try:
            check(unit)
        except (ConflictError, NotReadyError) as error:
            self._wait_all(unit, error)
            return False
        return True

    def _wait_all(self, unit: _Unit, error: DynalakeError) -> None:
        for ready in unit.batches:
            self._wait(ready.batch, error.received)

    # -- before the commit -----------------------------------------------------------------------------------------

    def _has_landed(self, result: BatchResult) -> bool:
        """Return whether the result was committed before; also if the table cannot show it: then it has to wait."""
        try:
            return _Check(self._table, self._head, self._named, 0).has_landed(result.batch)
        except ConflictError as error:
            self._wait(result.batch, error.received)
            return True

    def _open(self, results: Sequence[BatchResult]) -> list[_Ready]:
        """Return the batches whose files exist as they were handed over."""

        def opened(result: BatchResult) -> _Ready | Waiting:
            try:
                return self._files(result)
            except ConflictError as error:
                return Waiting(result.batch, error.received)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            outcomes = list(pool.map(opened, results))
        for outcome in outcomes:
            if isinstance(outcome, Waiting):
                self._wait(outcome.batch, outcome.reason)
        return [outcome for outcome in outcomes if isinstance(outcome, _Ready)]

    def _files(self, result: BatchResult) -> _Ready:
        if result.batch.day < history_from(self._head):
            raise _conflict(self._head, f"no longer has rows of dt={result.batch.day}")
        files, fields = [], []
        for folder in result.folders:
            for part in folder.parts:
                footer = _read_footer(self._store, part)
                if footer.num_rows != part.rows:
                    raise LedgerError(
                        f"{part.path} has {footer.num_rows:,} rows, but {part.rows:,} were written",
                        action="report this as a bug; nothing of the batch was committed",
                        table=result.batch.table,
                    )
                schema = pyarrow_to_schema(footer.schema.to_arrow_schema())
                check_fields(schema, self._head)
                files.append(self._head.data_file(part.path, folder.day, footer, part.size, self._head.schema))
                fields.append(schema)
        return _Ready(result, tuple(files), tuple(fields))

    def _without_shared(self, ready: Sequence[_Ready]) -> list[_Ready]:
        """Return the batches without those that have a change of an earlier one."""
        identity = schema_of(self._head).identity
        waits = find_waiting(self._head, [r.files for r in ready], identity, self._directory)
        for place, earlier in waits.items():
            self._wait(ready[place].batch, f"it shares a change with batch {ready[earlier].batch.number}")
        return [r for place, r in enumerate(ready) if place not in waits]

    def _make_units(self, ready: Sequence[_Ready]) -> list[_Unit]:
        """Return batches alone, and those of named days together with the rows that stay of their days."""
        units = [_Unit((r,)) for r in ready if not r.batch.again]
        for day in sorted({r.batch.day for r in ready if r.batch.again}):
            unit = _Unit(tuple(r for r in ready if r.batch.again and r.batch.day == day))
            try:
                units.append(_Unit(unit.batches, self._write_rest(unit, day)))
            except ConflictError as error:
                self._wait_all(unit, error)
        return units

    def _write_rest(self, unit: _Unit, day: str) -> Rest:
        directory = self._directory / f"rest-{day}"
        directory.mkdir()
        results = [ready.result for ready in unit.batches]
        made_at = milliseconds(self._now())
        return write_rest(self._table, self._head, day, results, made_at, self._writing, directory)

    def _name(self, unit: _Unit) -> None:
        """Put the manifests of the batches' folders, and delete all other files in them."""
        for ready in unit.batches:
            result, batch = ready.result, ready.batch
            # An object that was missing is due again if it comes back.
            inputs = tuple(i for i in batch.inputs if i.key not in result.rejected.deleted)
            for folder in result.folders:
                manifest = FolderManifest(
                    folder.folder,
                    folder.day,
                    batch.made_at,
                    inputs,
                    folder.parts,
                    result.sums,
                    result.misfits if folder.day == batch.day else {},
                )
                write_manifest(self._table, manifest)
                delete_strays(self._table, manifest)

    def _merge_late(self, units: Sequence[_Unit], merge_late: MergeLate) -> tuple[list[_Unit], int]:
        bound = max(number(self._head, BOUND), number(self._state, FOLDED_TO))
        late = {i: [f for b in unit.batches for f in b.files if _is_late(f, bound)] for i, unit in enumerate(units)}
        files = [f for late_files in late.values() for f in late_files]
        if not files or self._holds(
            _Unit(tuple(b for i, late_files in late.items() if late_files for b in units[i].batches)),
            lambda _: merge_late(self._table, self._head, self._state, files),
        ):
            return list(units), sum(f.rows for f in files)
        return [unit for i, unit in enumerate(units) if not late[i]], 0

    # -- the commit ------------------------------------------------------------------------------------------------

    def _build(self, head: Head, units: Sequence[_Unit]) -> Change | None:
        """Return the change for the units that hold on this head; None where none holds, or all have landed already."""
        if any(self._head.properties.get(name) != head.properties.get(name) for name in PLANNED_ON):
            raise _BoundChanged
        check = _Check(self._table, head, self._named, milliseconds(self._now()))
        for ready in (ready for unit in units for ready in unit.batches):
            self._waiting.pop(ready.batch.number, None)
        kept = [
            unit
            for unit in units
            if self._holds(unit, check.unit) and not any(check.has_landed(ready.batch) for ready in unit.batches)
        ]
        if not kept:
            return None
        batches = sum(len(unit.batches) for unit in kept)
        added = tuple(f for unit in kept for f in unit.added)
        days = ",".join(sorted({f.partition for f in added}))
        replaced = tuple(f for unit in kept for f in unit.rest.replaced)
        return Change(
            added,
            replaced,
            note={MADE_BY: "convert", "dynalake.batches": str(batches), DAYS: days},
            # Each run adds a manifest, and the next one reads all of the open day's.
            merge=frozenset() if replaced else head.plan_merge(),
            # A plan makes new names: of its folders, and of those for the rows that stay.
            named_after=frozenset(ready.batch.snapshot for unit in kept for ready in unit.batches),
        )


class _Check:
    """Checks whether the plan holds on a head."""

    def __init__(self, table: Table, head: Head, named: NamedFolders, now: int) -> None:
        self._head, self._named, self._now = head, named, now
        self._news: dict[int | None, News] = {}

    def unit(self, unit: _Unit) -> None:
        """Raise `ConflictError` where a unit cannot be committed on this head, unless it has landed already."""
        for ready in unit.batches:
            if self.has_landed(ready.batch):
                continue
            self._batch(ready)
            news = self._since(ready.batch, ready.result.snapshot)
            check_live(self._head, unit.rest.replaced, news)

    def has_landed(self, batch: Batch) -> bool:
        """Return whether a batch is in the table: its attempt lost the answer, or was killed after the commit."""
        return any(f.folder == batch.folder for f in self._since(batch, batch.snapshot).added)

    def _batch(self, ready: _Ready) -> None:
        batch = ready.batch
        check_age(self._head, batch.made_at, self._now)
        for schema in ready.held:
            check_fields(schema, self._head)
        since_plan = self._since(batch, batch.snapshot).added
        if not batch.again:
            folders = {f.folder for f in since_plan if f.partition == batch.day and f.folder}
            if named := self._named.find(batch.inputs, folders):
                raise _conflict(self._head, f"got rows of {named} from another run")
        for new_file in self._since(batch, ready.result.snapshot).added:
            if any(overlap(file, new_file, EVENT_TIME) for file in ready.files):
                raise _conflict(self._head, f"got the new file {new_file.path}, which may hold the same changes")

    def _since(self, batch: Batch, snapshot: int | None) -> News:
        if snapshot not in self._news:
            self._news[snapshot] = self._head.news_since(batch.uuid, snapshot)
        return self._news[snapshot]


def _conflict(head: Head, what: str) -> ConflictError:
    return ConflictError(
        f"The table {head.name} {what}", action="plan again from the table as it is now", table=head.name
    )


def _is_late(file: DataFile, bound: int) -> bool:
    """Return whether a file may have a change of the bound's time or before; it may where it has no bounds."""
    if not file.rows:
        return False
    bounds = file.bounds(EVENT_TIME)
    return bounds is None or bounds[0] <= bound


def _read_footer(store: Store, part: Part) -> Any:
    """Return a file's Parquet footer. Raise `ConflictError` where the file is gone or is another one."""
    key = part.path.removeprefix(store.uri(""))
    length = _FOOTER
    while True:
        start = max(0, part.size - length)
        tail = store.read_range(key, start, part.size - 1)
        if tail is None:
            raise ConflictError(
                f"The file {part.path} is gone", action="nothing: its raw objects are planned again", key=key
            )
        needed = int.from_bytes(tail[-8:-4], "little") + 8
        if tail[-4:] != b"PAR1" or (start == 0 and needed > len(tail)):
            raise ConflictError(
                f"The file {part.path} differs from the one that was written",
                action="nothing: its raw objects are planned again",
                key=key,
            )
        if needed <= len(tail):
            return pq.read_metadata(io.BytesIO(tail))
        length = needed
