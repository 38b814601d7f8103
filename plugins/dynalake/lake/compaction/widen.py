"""Types widen: columns become able to hold values that waited in `__other`, in one commit per table.

    reserve      the new columns' field ids are taken, in both tables
    write        every file that holds such a column, or a value that now fits one, is written again
    hold         both tables' snapshots get a name, `{t}`'s first, and the views go on reading those
    commit       of `{t}`: the columns change, and with them all these files; then of the state
    release      the views read the tables as they are now; then the names go

After a kill anywhere, readers meet no error and no half-done change: they see one snapshot of `{t}` and of the state,
and the views read either both tables as they were, or both as they are. The tables themselves show what is left, and
`finish_widening` brings it to an end: forwards where `{t}` has its new types, else back to the beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from dynalake.days import milliseconds
from dynalake.errors import ConflictError
from dynalake.lake.catalog.commit import commit_on
from dynalake.lake.catalog.iceberg import Change, Head, News
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.iceberg_schema import iceberg_schema
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.compaction.compact_options import GB, CompactOptions
from dynalake.lake.compaction.day import order_of
from dynalake.lake.compaction.retype_files import Retyping, changed_columns
from dynalake.lake.compaction.retyped_table import MoreFilesError, RetypedTable
from dynalake.lake.compaction.widen_plan import Contents, WideningPlan, plan_widening
from dynalake.lake.current.state_schema import grow_state, join_schemas, state_columns
from dynalake.lake.current.view_entries import PIN, write_views
from dynalake.lake.files.parts import Writing
from dynalake.lake.tables.grow import grow_schema, schema_of
from dynalake.lake.types.layout import glue_type
from dynalake.lake.types.union import type_from_json
from dynalake.lake.working.workers import HERE, Workers

Now = Callable[[], datetime]
"""A function that returns the time, aware."""

HELD_SINCE = "dynalake.views-held-since"
"""Of the changes: since when (milliseconds) the views read an older snapshot."""

RELEASED = "dynalake-views-before"
"""The tag that keeps the held snapshot of the changes until no view reads it."""

ROUNDS = 10
"""How often new files are written again before a widening is left to the next run."""

HELD_TOO_LONG = timedelta(days=1)

_STATE = Writing(part_mb=1 << 20, row_group_mb=16)  # a file stays one file; a look-up of a key reads a row group


@dataclass(frozen=True)
class Widened:
    """The changes of types in one run: attribute → types before and after, as Glue has them ('' without one).

    `lifted` and `spilled`: how many values went from `__other` to a column, and the other way, by attribute. `written`:
    bytes. `left`: attributes that wait, and the bytes that they would take.
    """

    columns: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    lifted: Mapping[str, int] = field(default_factory=dict)
    spilled: Mapping[str, int] = field(default_factory=dict)
    written: int = 0
    left: Mapping[str, int] = field(default_factory=dict)


def widen_table(
    table: Table,
    options: CompactOptions,
    now: Now,
    work_directory: Path | None = None,
    workers: Workers = HERE,
    *,
    allow: bool = False,
) -> Widened:
    """Widen what is due, within the budget, and put values into columns that hold them now.

    `allow`: closed columns, too, and with new ones for the values that wait for one. It first finishes what an earlier
    run began. Raises `ConflictError` where others came first too often or have changed what was planned on: the next
    run plans again; `UnknownOutcomeError` where Glue's answer was lost.
    """
    widening = _Widening(table, options, now, work_directory, workers)
    return widening.run(*widening.finish(table.changes()), allow=allow)


def finish_widening(
    table: Table,
    changes: Head,
    options: CompactOptions,
    now: Now,
    work_directory: Path | None = None,
    workers: Workers = HERE,
) -> Head:
    """Finish a widening that was begun and not finished. Return the changes then: the given ones if there was none.

    Raises as `widen_table` does.
    """
    return _Widening(table, options, now, work_directory, workers).finish(changes)[0]


def held_for(changes: Head, now: datetime) -> timedelta | None:
    """Return for how long the views have read an older snapshot; None where they read the tables as they are.

    More than `HELD_TOO_LONG` is a finding: the views show items of that age.
    """
    since = changes.properties.get(HELD_SINCE)
    return None if since is None else timedelta(milliseconds=milliseconds(now) - int(since))


class _PlanChangedError(Exception):
    """The tables have changed since the decision: it is made again."""


class _Widening:
    """One table's change of types in one run."""

    def __init__(
        self, table: Table, options: CompactOptions, now: Now, work_directory: Path | None, workers: Workers
    ) -> None:
        self._table, self._options, self._work_directory, self._workers = table, options, work_directory, workers
        self._clock = now

    def _now(self) -> int:
        return milliseconds(self._clock())

    def run(self, changes: Head, state: Head, *, allow: bool) -> Widened:
        contents = Contents(self._table, changes, state)
        observed = {a: type_from_json(misfit["type"]) for a, misfit in contents.misfits.items()}
        grown = grow_schema(self._table, changes, observed, allow=allow)
        grown_state = grow_state(self._table, grown, state)
        if (grown, grown_state) != (changes, state):
            changes, state = grown, grown_state
            contents = Contents(self._table, changes, state)
        before = schema_of(changes)
        budget = self._options.widen_budget_gb * GB
        plan = plan_widening(before, contents.misfits, contents.numbers, contents.sizes, budget, allow=allow)
        if not plan.changed:
            return self._lift(changes, plan)
        retyped_changes = self._reserve(changes, before, plan.after, plan.lifts, changes=True)
        retyped_state = self._reserve(state, schema_of(state), _as_changes(schema_of(state), plan.after), plan.lifts)
        for retyped, head in ((retyped_changes, self._table.changes()), (retyped_state, self._table.items())):
            retyped.prepare(head)
        held = self._hold()
        try:
            self._commit(retyped_changes, lambda head: self._check_held(head, held))
        except ConflictError:
            self.finish(self._table.changes())
            raise
        self.finish(self._table.changes(), retyped_state)
        new = plan.after.known
        return Widened(
            {
                c.attribute: (c.glue_type, glue_type(new[c.attribute].type) if c.attribute in new else "")
                for c in changed_columns(before, plan.after)
            },
            dict(retyped_changes.lifted),
            dict(retyped_changes.spilled),
            retyped_changes.written + retyped_state.written,
            plan.left,
        )

    # -- reserve, write, commit ------------------------------------------------------------------------------------

    def _reserve(
        self, planned: Head, before: TableSchema, after: TableSchema, lifts: frozenset[str], *, changes: bool = False
    ) -> RetypedTable:
        """Take the ids of the columns that change, so that files may be written with them."""
        own = None if changes else state_columns(after)
        reserved: list[tuple[Head, Any]] = []

        def build(head: Head, news: News) -> Change:
            if schema_of(head) != before:
                raise ConflictError(
                    f"The columns of {head.name} have changed since their new types were planned",
                    action="plan again from the table as it is now",
                    table=head.name,
                )
            target = iceberg_schema(after, head.schema, head.last_column_id, before=before, own=own)
            reserved[:] = [(head, target)]
            return Change(reserve=target, note={"dynalake": "reserve"})

        commit_on(self._table.catalog, self._table.names, planned, build)
        ((head, target),) = reserved
        return self._retyped(head, Retyping(before, after, head.schema, target, lifts), changes=changes)

    def _retyped(self, head: Head, retyping: Retyping, *, changes: bool) -> RetypedTable:
        words = self._kept_words(retyping) if changes else ()
        writing = self._options.writing if changes else _STATE
        return RetypedTable(
            self._table,
            head,
            retyping,
            writing,
            self._now,
            self._work_directory,
            words,
            changes=changes,
            workers=self._workers,
        )

    def _kept_words(self, retyping: Retyping) -> list[str]:
        """Return the beginnings of names of files whose order the change leaves alone."""
        moving = {c.attribute for c in retyping.changed} | retyping.lifts
        kept = [order_of(retyping.before).word]
        if self._options.sort_by and moving.isdisjoint(self._options.sort_by):
            kept.append(order_of(retyping.before, self._options.sort_by).word)
        return kept

    def _commit(self, retyped: RetypedTable, check: Callable[[Head], None] = lambda head: None) -> None:
        """Commit a table's change of types, after writing new files again."""
        note = {"dynalake": "widen", "dynalake.columns": str(len(retyped.retyping.changed))}

        def build(head: Head, news: News) -> Change | None:
            check(head)
            change = retyped.change(head, news)
            return replace(change, note=note) if change.remove or change.schema is not None else None

        first = retyped.first
        for _ in range(ROUNDS):
            retyped.prepare(self._table.catalog.load(first.name))
            try:
                commit_on(self._table.catalog, self._table.names, first, build)
                return
            except MoreFilesError:
                continue
        raise ConflictError(
            f"Files were added to {first.name} faster than they were rewritten with the new types, {ROUNDS} times",
            action="try again at a quieter time",
            table=first.name,
        )

    # -- views -----------------------------------------------------------------------------------------------------

    def _hold(self) -> int:
        """Let the views read both tables as they are now until they are released; `{t}`'s snapshot is the older one.

        A change in between is in the held state and not in the held changes, which shows it early at most.
        """
        held: list[int] = []

        def hold(head: Head, news: News) -> Change:
            if PIN in head.tags:
                raise ConflictError(
                    f"Another run is changing types of {head.name}", action="try again when it is done", table=head.name
                )
            assert head.snapshot_id is not None
            held[:] = [head.snapshot_id]
            since = {HELD_SINCE: str(self._now())}
            return Change(tag={PIN: head.snapshot_id}, properties=since, note={"dynalake": "hold"})

        def hold_state(head: Head, news: News) -> Change:
            assert head.snapshot_id is not None
            return Change(tag={PIN: head.snapshot_id}, note={"dynalake": "hold"})

        commit_on(self._table.catalog, self._table.names, self._table.changes(), hold)
        commit_on(self._table.catalog, self._table.names, self._table.items(), hold_state)
        write_views(self._table)
        return held[0]

    def _check_held(self, head: Head, held: int) -> None:
        if head.tags.get(PIN) != held:
            raise ConflictError(
                f"Another run has released the snapshot of {head.name} that the views were to read",
                action="plan again from the table as it is now",
                table=head.name,
            )

    def finish(self, changes: Head, prepared: RetypedTable | None = None) -> tuple[Head, Head]:
        """Bring the state's types to those of the changes, release the views, and drop the held snapshots.

        `changes`: just read. Return both tables as they are then.
        """
        for attempt in range(ROUNDS):
            changes, state = self._table.changes() if attempt else changes, self._table.items()
            new, old = schema_of(changes), schema_of(state)
            behind = changed_columns(join_schemas(old, new), _as_changes(old, new))
            if not behind and not {PIN, RELEASED} & {*changes.tags, *state.tags}:
                return changes, state
            try:
                if behind:
                    self._widen_state(changes, prepared)
                self._release(changes)
            except _PlanChangedError:
                pass
            except ConflictError:
                if schema_of(self._table.items()) == old:
                    raise
            prepared = None
        raise ConflictError(
            f"The types of {self._table.names.table} were changed by others {ROUNDS} times in a row",
            action="try again when they are done",
            table=self._table.names.table,
        )

    def _widen_state(self, changes: Head, prepared: RetypedTable | None) -> None:
        state = grow_state(self._table, changes, self._table.items())
        before = schema_of(state)
        after = _as_changes(before, schema_of(changes))
        if prepared is None or _outcome(prepared.retyping.before, prepared.retyping.after) != _outcome(before, after):
            changed = frozenset(c.attribute for c in changed_columns(before, after)) & after.known.keys()
            prepared = self._reserve(state, before, after, changed)
        self._commit(prepared)

    def _release(self, decided: Head) -> None:
        """Let the views read the tables as they are, then drop the snapshots that they have read."""

        def let_go(head: Head, news: News) -> Change | None:
            if schema_of(head) != schema_of(decided) and PIN in head.tags:
                raise _PlanChangedError
            if PIN not in head.tags:
                return None
            return Change(untag=(PIN,), tag={RELEASED: head.tags[PIN]}, note={"dynalake": "release"})

        def forget(head: Head, news: News) -> Change | None:
            names = tuple(name for name in (RELEASED,) if name in head.tags)
            return Change(untag=names, drop=(HELD_SINCE,), note={"dynalake": "release"}) if names else None

        def forget_state(head: Head, news: News) -> Change | None:
            return Change(untag=(PIN,), note={"dynalake": "release"}) if PIN in head.tags else None

        catalog, names = self._table.catalog, self._table.names
        commit_on(catalog, names, decided, let_go)
        write_views(self._table)
        commit_on(catalog, names, self._table.items(), forget_state)
        commit_on(catalog, names, self._table.changes(), forget)

    # -- without a change of types ---------------------------------------------------------------------------------

    def _lift(self, changes: Head, plan: WideningPlan) -> Widened:
        """Put values into columns that fit them, though no type changes: the columns came after the values."""
        if not plan.lifts:
            return Widened(left=plan.left)
        schema = schema_of(changes)
        retyped_changes = self._retyped(
            changes, Retyping(schema, schema, changes.schema, changes.schema, plan.lifts), changes=True
        )
        self._commit(retyped_changes)
        written, state = retyped_changes.written, self._table.items()
        of = schema_of(state)
        lifts = frozenset(retyped_changes.lifted) & of.known.keys()
        if lifts:
            retyped_state = self._retyped(state, Retyping(of, of, state.schema, state.schema, lifts), changes=False)
            self._commit(retyped_state)
            written += retyped_state.written
        return Widened({}, dict(retyped_changes.lifted), dict(retyped_changes.spilled), written, plan.left)


def _as_changes(state: TableSchema, changes: TableSchema) -> TableSchema:
    """Return the state's schema once its columns are those of the changes."""
    return replace(state, columns=changes.columns, pins=changes.pins)


def _outcome(before: TableSchema, after: TableSchema) -> Any:
    """Return what a change of types does to columns."""
    return {c: after.known.get(c.attribute) for c in changed_columns(before, after)}
