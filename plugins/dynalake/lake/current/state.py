"""Changes are merged into `{t}_state`: the one of each item that counts, in files that are ranges of keys.

One commit sets a key in both partitions, and only files that hold a changing key, or get one, are written again. A
merge may be killed anywhere and repeated: changes that are in the state already change nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict, Unpack

import numpy as np
import pyarrow as pa
import pyarrow.compute

from dynalake.days import SNAPSHOT_DAY
from dynalake.errors import ConflictError, NotReadyError
from dynalake.lake.catalog.clock import now_ms
from dynalake.lake.catalog.commit import check_age, check_fields, check_live, commit_on
from dynalake.lake.catalog.iceberg import Change, DataFile, Head, News
from dynalake.lake.catalog.table import BOUND, FOLDED_TO, SHOWN_RUN, SNAPSHOT_RUN, Table, number, schema_of
from dynalake.lake.columns.column import DELETED
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.current.key_ranges import KeyFile, Keys, Rewrite, Sizes, cut_tables, order_files, plan_rewrites
from dynalake.lake.current.state_schema import grow_state, mark_items, retyper
from dynalake.lake.current.winners import RANK, Group, beats, cut_groups, keep_last, state_order
from dynalake.lake.files.folders import new_folder
from dynalake.lake.files.parts import Folder, PartWriter, Writing
from dynalake.lake.files.ranges import Range, cut_ranges
from dynalake.lake.files.read import arrow_schema_of, read_rows
from dynalake.lake.files.sort import UnorderedError, sort_rows
from dynalake.lake.working.threads import are_at_once, write_each
from dynalake.lake.working.workers import HERE, Workers
from dynalake.record.change import EVENT_TIME

_pa: Any = pa  # its stubs take types only as literals; here they are data
pc: Any = pyarrow.compute

SIZES = Sizes()

MERGES = 16
"""Most ranges of keys that are merged at the same time: each merge commits, and more would wait for one another."""

ATTEMPTS = 20
"""How often a refused group is read and merged again. Each refusal means that another run changed its range."""

UPKEEP = 50
"""Commits of one merge after which its manifests are merged."""

MEMORY_MB = 384
"""Memory for the rows of changes in a sort."""

STATE_WRITING = Writing(part_mb=1 << 20, row_group_mb=16)
"""How the state's files are written: a look-up of one key reads a row group. Their ends are decided before."""

_LONGEST_PAUSE = 5.0  # seconds

_FIRST, _LAST = -(2**63), 2**63 - 1  # milliseconds

Guard = Callable[[Head], None]
"""A function that raises where this merge must not change the state, as it is now, any more."""


def allow(state: Head) -> None:
    """Allow the merge on any state."""


class How(TypedDict, total=False):
    """How merges are made. All except the workers goes to other processes with the work, so by pickle."""

    sizes: Sizes
    clock: Callable[[], int]
    pause: Callable[[float], None]
    work_directory: Path | None
    workers: Workers


@dataclass(frozen=True)
class Merged:
    """The result of a merge: `rows` it was given, how many `won` against the state's, in how many `commits`.

    `replaced` and `written`: bytes of the state's files; `written_rows` and `files`: of those that were written.
    """

    rows: int = 0
    won: int = 0
    commits: int = 0
    replaced: int = 0
    written: int = 0
    written_rows: int = 0
    files: int = 0

    def __add__(self, other: Merged) -> Merged:
        return Merged(
            self.rows + other.rows,
            self.won + other.won,
            self.commits + other.commits,
            self.replaced + other.replaced,
            self.written + other.written,
            self.written_rows + other.written_rows,
            self.files + other.files,
        )


@dataclass
class Merge:
    """Merges rows of `changes` into the state: by ranges of keys, of which `workers` do each, and group by group.

    `state` is the state as of the last commit: later commits plan on this head, which shows when a table was rolled
    back, or made again, in the meantime. `limit`: bytes of files that each range may replace, after its first group;
    more raises `NotReadyError`, and the next run goes on where this one ended. Spills to `work_directory` (default: the
    system's temporary directory).
    """

    table: Table
    changes: Head
    state: Head
    guard: Guard = allow
    limit: int | None = None
    sizes: Sizes = SIZES
    clock: Callable[[], int] = now_ms
    pause: Callable[[float], None] = time.sleep
    work_directory: Path | None = None
    workers: Workers = HERE
    done: Merged = field(default_factory=Merged)
    _schema: TableSchema = field(init=False, repr=False)

    def add(self, files: Iterable[DataFile], run: int | None = None, *, after: int = 0, up_to: int = _LAST) -> Merged:
        """Merge rows of these files of the changes, as `rows_between` reads them.

        `SNAPSHOT` rows are of the backfill `run`. Each range is merged by commits of its own.
        """
        files = tuple(files)
        state_bytes = sum(f.size for f in self.state.files())
        rows, size = sum(f.rows for f in files), sum(f.size for f in files)
        row_bytes = size / max(1, rows)
        size += min(state_bytes, rows * self.sizes.file)
        count = min(MERGES, -(-size // self.workers.part_bytes))
        ranges = cut_ranges(self.changes, files, schema_of(self.state).identity[0], count)
        part = replace(self, workers=HERE, done=Merged())
        merged, states = zip(
            *self.workers.each(partial(_merge_range, part, files, run, row_bytes, after, up_to), ranges), strict=True
        )
        self.state = states[0]
        if states[1:]:
            head = self.refresh()
            for state in states:
                head.news(state)  # raises where the state lacks what was merged, since the table was brought back
            self.state = head
        self.done = sum(merged, self.done)
        return self.done

    def add_rows(self, rows: Iterable[pa.Table], run: int | None = None, *, row_bytes: float) -> None:
        """Merge these rows, which have the columns of the changes, here. `row_bytes`: of a file, about, per row."""
        self.state = self.refresh()
        self._schema = schema_of(self.state)
        target, identity = arrow_schema_of(self.state.schema), self._schema.identity
        as_items = retyper(schema_of(self.changes), self._schema, target)
        count = 0

        def items() -> Iterator[pa.Table]:
            nonlocal count
            for table in rows:
                count += table.num_rows
                yield as_items(mark_items(table, run))

        with TemporaryDirectory(prefix="dynalake-merge-", dir=self.work_directory) as name:
            directory = Path(name)
            ordered = sort_rows(items(), [], state_order(target, identity), directory, MEMORY_MB)
            files = order_files([KeyFile.of(f, identity) for f in self.state.files({False})])
            for group in cut_groups(keep_last(ordered, identity), identity, files, self.sizes.group, directory):
                before = self.done.commits
                self._merge_group(group, row_bytes, directory)
                if self.done.commits > before and self.done.commits % UPKEEP == 0:
                    self._merge_manifests()
        self.done += Merged(rows=count)

    def refresh(self) -> Head:
        """Return the state as it is now, with the changes' columns. Raise `ConflictError` unless it is from `state`."""
        head = grow_state(self.table, self.changes, self.table.items())
        head.news(self.state)
        self.guard(head)
        return head

    def _merge_manifests(self) -> None:
        """Merge manifests: each group's commit has added one, and the next group reads all of them."""

        def build(head: Head, news: News) -> Change | None:
            merge = head.plan_merge()
            return Change(merge=merge, note={"dynalake": "upkeep"}) if merge else None

        with suppress(ConflictError):
            landed = commit_on(self.table.catalog, self.table.names, self.state, build, pause=self.pause)
            self.state = landed or self.state

    def _merge_group(self, group: Group, row_bytes: float, directory: Path) -> None:
        for attempt in range(ATTEMPTS):
            try:
                with TemporaryDirectory(dir=directory) as name:
                    self._try_group(self.state, group, row_bytes, Path(name))
                return
            except ConflictError:
                if attempt == ATTEMPTS - 1:
                    raise
                self.pause(random.uniform(0, min(_LONGEST_PAUSE, 0.05 * 2**attempt)))
                self.state = self.refresh()

    def _try_group(self, head: Head, group: Group, row_bytes: float, directory: Path) -> None:
        """Merge a group into the state as it is in `head`. Raise `ConflictError` where others were first."""
        identity = schema_of(head).identity
        files = [KeyFile.of(f, identity) for f in head.files()]
        keys = Keys(group.keys, identity)
        wins, held = compare(head, files, group, keys)
        if not wins.any():
            return
        made_at = self.clock()
        winners = keys.select(_pa.array(wins))
        plans = list(_plan(files, group, identity, wins, held, self.sizes, row_bytes))
        removed = {f.file.path: f.file for plan in plans for f in plan.rewrite.files}
        size = sum(f.size for f in removed.values())
        if self.limit is not None and self.done.commits and self.done.replaced + size > self.limit:
            raise NotReadyError(
                f"The late changes of {self.table.names.table} would rewrite more than {self.limit:,} bytes of "
                f"{head.name}",
                action="nothing: the next run continues where this one ended",
                table=self.table.names.table,
            )
        write = partial(self._write, head, group, winners, directory, not are_at_once(len(plans), size))
        written = write_each(write, plans, size)
        added = [file for files_of_plan in written for file in files_of_plan]
        low, high = winners.box

        def build(now: Head, news: News) -> Change:
            self.guard(now)
            check_fields(head.schema, now)
            check_live(now, removed.values(), news)
            check_age(now, made_at, self.clock())
            for file in news.added:
                if KeyFile.of(file, identity).overlaps(low, high):
                    raise ConflictError(
                        f"The table {now.name} has gained {file.path}, which may hold the same keys",
                        action="merge again into the table as it is now",
                        table=now.name,
                    )
            note = {"dynalake": "merge", "dynalake.items": str(len(winners))}
            return Change(tuple(added), tuple(removed.values()), note=note)

        landed = commit_on(self.table.catalog, self.table.names, head, build, pause=self.pause)
        assert landed is not None
        self.state = landed
        self.done += Merged(
            won=len(winners),
            commits=1,
            replaced=size,
            written=sum(f.size for f in added),
            written_rows=sum(f.rows for f in added),
            files=len(added),
        )

    def _write(
        self, head: Head, group: Group, winners: Keys, directory: Path, ahead: bool, plan: _Plan
    ) -> tuple[DataFile, ...]:
        """Write the files that replace those of the plan. `ahead`: as `PartWriter` takes it."""
        write = partial(self._write_sorted, head, group, winners, directory, ahead, plan)
        try:
            return write(in_order=True)
        except UnorderedError:  # another engine wrote one of them
            return write(in_order=False)

    def _write_sorted(
        self, head: Head, group: Group, winners: Keys, directory: Path, ahead: bool, plan: _Plan, *, in_order: bool
    ) -> tuple[DataFile, ...]:
        target, identity = arrow_schema_of(head.schema), winners.identity
        fit = retyper(self._schema, schema_of(head), target)

        def stay() -> Iterator[pa.Table]:
            for rows in read_rows(head, [f.file for f in plan.rewrite.files]):
                yield rows.filter(pc.is_null(winners.places(rows)))

        def come() -> Iterator[pa.Table]:
            first = int(plan.places[0]) if len(plan.places) else 0
            for rows in group.rows.between(first, int(plan.places[-1]) + 1 if len(plan.places) else 0):
                start, end = np.searchsorted(plan.places, [first, first + rows.num_rows])
                if start < end:
                    yield fit(rows.take(_pa.array(plan.places[start:end] - first)))
                first += rows.num_rows

        total = sum(f.file.rows for f in plan.rewrite.files) + len(plan.places)
        files = max(1, -(-int(plan.row_bytes * total) // self.sizes.file))
        with TemporaryDirectory(dir=directory) as name:
            work = Path(name)
            streams = [stay(), come()] if in_order else [come()]
            rows = sort_rows([] if in_order else stay(), streams, state_order(target, identity), work, MEMORY_MB)
            pieces = cut_tables(keep_last(rows, identity), identity, max(1, -(-total // files)))
            folder = Folder(self.table.names.items_folder(new_folder()), plan.deleted)
            writer = PartWriter(self.table, head, head.schema, folder, STATE_WRITING, work, ahead=ahead)
            return _write_files(writer, pieces)


def _merge_range(
    merge: Merge, files: Sequence[DataFile], run: int | None, row_bytes: float, after: int, up_to: int, keys: Range
) -> tuple[Merged, Head]:
    """Merge a range of keys, and return the state as it is afterwards. Any process can do it."""
    merge = replace(merge)
    merge.add_rows(rows_between(merge.changes, files, after, up_to, keys), run, row_bytes=row_bytes)
    return merge.done, merge.state


def rows_between(
    changes: Head, files: Iterable[DataFile], after: int, up_to: int, keys: Range | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of these files, in a range, with `after < __event_time <= up_to`; from the first if `after` is 0.

    The snapshot's rows are all read, of any time: it is merged whole.
    """
    keys = keys or Range("")
    low = after + 1 if after > 0 else _FIRST
    for file in files:
        if file.partition == SNAPSHOT_DAY:
            yield from map(keys.rows, read_rows(changes, [file], within=keys.within))
            continue
        for rows in read_rows(changes, [file], within={EVENT_TIME: (low, up_to), **keys.within}):
            times = rows[EVENT_TIME]
            yield keys.rows(rows.filter(pc.and_(pc.greater_equal(times, low), pc.less_equal(times, up_to))))


def compare(head: Head, files: Iterable[KeyFile], group: Group, keys: Keys) -> tuple[Any, dict[str, Any]]:
    """Return which of a group's changes count against the state, and for each file the places of keys it holds."""
    wins: Any = np.ones(len(keys), dtype=bool)
    held: dict[str, Any] = {}
    low, high = keys.box
    within = {keys.identity[0]: (low[0], high[0])}
    for file in files:
        if not keys.may_be_in(file):
            continue
        for rows in read_rows(head, [file.file], [*keys.identity, *RANK], within=within):
            places = keys.places(rows)
            key_places = np.asarray(places.drop_null())
            if not len(key_places):
                continue
            won = beats(group.keys.take(_pa.array(key_places)), rows.filter(pc.is_valid(places)))
            wins[key_places[~won]] = False
            held[file.file.path] = np.concatenate([held.get(file.file.path, key_places[:0]), key_places])
    return wins, held


def _plan(
    files: Sequence[KeyFile],
    group: Group,
    identity: Sequence[str],
    wins: Any,
    held: dict[str, Any],
    sizes: Sizes,
    new_bytes: float,
) -> Iterator[_Plan]:
    """Yield what is written again, in either partition: files of keys that change, and those that get keys.

    `new_bytes`: of a file, per row, where the partition has none yet: as in the files that the changes come from.
    """
    gone = np.asarray(group.keys[DELETED])
    changed = {path for path, places in held.items() if wins[places].any()}
    for deleted in (False, True):
        partition = [f for f in files if bool(f.file.partition) is deleted]
        rows, size = sum(f.file.rows for f in partition), sum(f.file.size for f in partition)
        row_bytes = max(1.0, size / rows if rows else new_bytes)
        chosen = wins & (gone == deleted)
        places: Any = np.flatnonzero(chosen)
        keys = Keys(group.keys.filter(_pa.array(chosen)), identity)
        for rewrite in plan_rewrites(partition, changed, keys, sizes, row_bytes):
            come = [places[start:end] for start, end in rewrite.spans]
            yield _Plan(deleted, rewrite, np.concatenate([places[:0], *come]), row_bytes)


def _write_files(writer: PartWriter, pieces: Iterator[tuple[pa.Table, bool]]) -> tuple[DataFile, ...]:
    """Write the files of rows; each piece says whether a file ends behind it."""

    def file_rows(rows: pa.Table, ends: bool) -> Iterator[pa.Table]:
        yield rows
        while not ends:
            following = next(pieces, None)
            if following is None:
                return
            rows, ends = following
            yield rows

    files: tuple[DataFile, ...] = ()
    for rows, ends in pieces:
        files = writer.write(file_rows(rows, ends))
    return files


def merge_late(
    table: Table, head: Head, state: Head, files: Sequence[DataFile], *, limit: int | None = None, **how: Unpack[How]
) -> Merged:
    """Merge the late rows of files before they are committed to the changes; they may be committed afterwards.

    Rows are late if they happened at or before the bound, or are the snapshot's. `head`: the changes as the files were
    planned on, whose schema they have; that commit has to check that its bound is still the same (`PLANNED_ON`).
    `state`: as it was read after `head`.
    Another call, or one after a kill, only compares the keys that were merged already.

    `limit`: bytes of the state that each range of keys may write again. Raises `NotReadyError` beyond it: these files
    wait for the next run. Raises `ConflictError` where another backfill's snapshot is in the state than that which the
    changes show, or other commits came first `ATTEMPTS` times.
    """
    bound = max(number(head, BOUND), number(state, FOLDED_TO))
    run = number(head, SHOWN_RUN)
    late = [f for f in files if _may_be_late(f, bound)]
    if not late:
        return Merged()
    snapshot = any(f.partition == SNAPSHOT_DAY for f in late)
    guard = partial(_check_shown, head.name, run) if snapshot else allow
    return Merge(table, head, state, guard, limit, **how).add(late, run, up_to=bound)


def _check_shown(changes: str, run: int, state: Head) -> None:
    state_run = number(state, SNAPSHOT_RUN)
    if state_run != run:
        raise ConflictError(
            f"The items of {state.name} are those of the backfill {state_run}, and {changes} shows those of {run}",
            action="finish the swap of the snapshot first (finish_snapshot)",
            table=state.name,
        )


def _may_be_late(file: DataFile, bound: int) -> bool:
    times = file.bounds(EVENT_TIME)
    return file.rows > 0 and (file.partition == SNAPSHOT_DAY or times is None or times[0] <= bound)


@dataclass(frozen=True)
class _Plan:
    deleted: bool
    rewrite: Rewrite
    places: Any
    row_bytes: float
