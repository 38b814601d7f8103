"""The state of the two Iceberg tables: how much there is, how new it is, what waits, and faults.

All of it is in their metadata, in the manifests of the last days, and in notes of the lake: no data file is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from dynalake.aws.s3 import StoredObject
from dynalake.backfill.commit.snapshot import snapshot_since
from dynalake.convert.plan import find_due, first_day
from dynalake.days import end_of_day, milliseconds, shift_day
from dynalake.errors import ConflictError, SettingsError
from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.catalog.table import BOUND, FOLDED_TO, SHOWN_RUN, Table, number, schema_of
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.compaction.day import order_of, plan_compaction
from dynalake.lake.compaction.widen import HELD_TOO_LONG, held_for
from dynalake.lake.compaction.widen_plan import Contents
from dynalake.lake.current.fold import FoldOptions, count_bytes
from dynalake.lake.current.past_folds import PastFold, list_folds
from dynalake.lake.current.view_entries import PIN, views_bound, write_texts
from dynalake.lake.upkeep.scrub import read_scrub
from dynalake.lake.upkeep.scrub_tables import LOOKED_AT, check_tables
from dynalake.lake.working.findings import Finding
from dynalake.options.settings import TableSettings
from dynalake.record.change import EVENT_TIME
from dynalake.watch.readings import Day, Lake, Readings, Size, Wait
from dynalake.watch.seen_schema import HELD_ATTRIBUTES, see_columns, see_held

SHOWN_DAYS = 30
"""Days of the changes whose files are read."""

FOLDS = 30
"""Folds that are kept, longer than the snapshots that tell of them."""

CHECK_MS = 3_600_000
"""Milliseconds between two checks of what hardly ever changes, as long as it has no faults."""


def read_lake(
    table: Table,
    settings: TableSettings,
    changes: Head,
    state: Head,
    landed: Sequence[StoredObject],
    hand_off: datetime,
    previous: Readings,
    now: datetime,
) -> Lake:
    """Return the tables as they were loaded after `landed`, the raw objects of the last days, was listed."""
    at, before, today = milliseconds(now), previous.lake, table.names.lake.day_of(now)
    files = changes.files(since=shift_day(today, -SHOWN_DAYS))
    run, folded_to = number(changes, SHOWN_RUN), number(state, FOLDED_TO)
    unfolded = sum(count_bytes(f, folded_to, at) for f in files if f.rows)
    # Conversions call this too, and share what they have read.
    due, _ = find_due(table, changes, landed, (), first_day(today, settings.stream_retention_hours))
    waits = [o for batch in due for o in batch.objects]
    snapshot = before.snapshot
    if run != before.run or snapshot is None or previous.hand_off != milliseconds(hand_off):
        snapshot = snapshot_since(table, hand_off) if run else None
    schema, findings, checked_at = schema_of(changes), before.findings, before.checked_at
    waiting_values = before.held, before.held_attributes, before.held_values
    if findings or at - checked_at >= CHECK_MS:
        findings, checked_at = find_faults(table, changes, state, now), at
        misfits = see_held(schema, Contents(table, changes, state).misfits)
        waiting_values = misfits[:HELD_ATTRIBUTES], len(misfits), sum(held.values for held in misfits)
    held_most, held_attributes, held_values = waiting_values
    newest = max((times[1] for f in files if (times := f.bounds(EVENT_TIME))), default=None)
    held, begun = size_of(state), number(changes, BOUND) > folded_to
    is_due = begun or FoldOptions.of_settings(settings).reason(unfolded, held.bytes, (newest or 0) - folded_to)
    return Lake(
        changes=size_of(changes),
        state=held,
        newest_change=newest,
        folded_to=folded_to or None,
        unfolded=unfolded,
        fold_due_since=(before.fold_due_since or at) if is_due else None,
        unconverted=len(waits),
        unconverted_since=min((o.modified for o in waits), default=None),
        waiting=plan_waiting(table, settings, changes, files, before, now),
        run=run,
        snapshot=snapshot,
        days=sum_days(files),
        findings=findings,
        checked_at=checked_at,
        queries=read_queries(table, changes, state),
        live=before.live
        if held == before.state and before.live is not None
        else sum(f.rows for f in state.files({False})),
        columns=see_columns(schema, before.columns, at, first=not before.checked_at),
        held=held_most,
        held_attributes=held_attributes,
        held_values=held_values,
        schema_changes=settings.schema_changes,
        folds=add_folds(before.folds, list_folds(state)),
    )


def add_folds(known: Sequence[PastFold], found: Iterable[PastFold]) -> tuple[PastFold, ...]:
    """Return the last folds, the newest first: those of the state's snapshots, and those of earlier looks. Pure."""
    folds = {fold.at: fold for fold in (*known, *found)}
    return tuple(folds[at] for at in sorted(folds, reverse=True)[:FOLDS])


def size_of(head: Head) -> Size:
    """Return how much a table holds, by the summary of its current snapshot."""
    snapshot = head.iceberg.metadata.current_snapshot()
    summary = {} if snapshot is None or snapshot.summary is None else snapshot.summary.additional_properties
    rows, size, files = (int(summary.get(f"total-{name}") or 0) for name in ("records", "files-size", "data-files"))
    return Size(rows, size, files)


def sum_days(files: Iterable[DataFile]) -> tuple[Day, ...]:
    """Return rows, bytes and files of each day. Pure."""
    by_day: dict[str, list[DataFile]] = defaultdict(list)
    for file in files:
        by_day[file.partition].append(file)
    return tuple(
        Day(day, Size(sum(f.rows for f in group), sum(f.size for f in group), len(group)))
        for day, group in sorted(by_day.items())
    )


def plan_waiting(
    table: Table, settings: TableSettings, changes: Head, files: Iterable[DataFile], before: Lake, now: datetime
) -> tuple[Wait, ...]:
    """Return the days that the next compaction would rewrite, and since when they wait for it. Pure.

    A day that an earlier look did not find waits since this one: late changes have opened it again.
    """
    zone, options = table.names.lake.zone, CompactOptions.of_settings(settings)
    word = ""
    with suppress(SettingsError):  # `sort_by` names no column: compaction fails, and every day waits
        word = order_of(schema_of(changes), options.sort_by).word
    due = sorted(plan.day for plan in plan_compaction(files, now, zone, options, word, bounded=False))
    known = {wait.day: wait.since for wait in before.waiting}
    over = {day: milliseconds(end_of_day(day, zone)) for day in due}
    return tuple(Wait(day, known.get(day, milliseconds(now) if before.checked_at else over[day])) for day in due)


def find_faults(table: Table, changes: Head, state: Head, now: datetime) -> tuple[Finding, ...]:
    """Return what is wrong with the tables and their views, and what the last scrub has found."""
    view = table.names.current_view
    findings = [*check_tables(table, changes, state)]
    held, shown = held_for(changes, now), views_bound(table)
    if held is not None and held > HELD_TOO_LONG:
        what = f"A change of types began {held} ago and has not finished: the views show the tables as they were then"
        findings.append(Finding("held-views", changes.name, what, "run dynalake_compact, which finishes it"))
    if shown is None:
        findings.append(Finding("no-view", view, f"There is no view {view}", "run dynalake_compact, which writes it"))
    elif shown > number(state, FOLDED_TO):
        what = f"The view {view} leaves out changes that are not in the state"
        findings.append(Finding("view-ahead", view, what, "run dynalake_compact, which writes it again"))
    last = read_scrub(table)
    if last is not None:
        findings += sum_findings(last.findings, f"{datetime.fromtimestamp(last.at / 1000, UTC):%Y-%m-%d}")
    return tuple(findings)


def sum_findings(findings: Iterable[Finding], day: str) -> list[Finding]:
    """Return a scrub's findings of its `day`, one of each kind, without those that the watch finds itself. Pure."""
    by_kind: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.kind not in LOOKED_AT:
            by_kind[finding.kind].append(finding)
    sums = []
    for first, *others in by_kind.values():
        where = f"dt={first.day}: " if first.day else ""
        more = f", and {len(others):,} more of this kind" if others else ""
        count = first.count + sum(other.count for other in others)
        sums.append(replace(first, what=f"{where}{first.what}{more} (scrub of {day})", count=count))
    return sums


def read_queries(table: Table, changes: Head, state: Head) -> Mapping[str, str]:
    """Return the SQL of the current items for engines without Presto views, by dialect; empty while types change."""
    pinned = PIN in changes.tags and PIN in state.tags
    try:
        return write_texts(table.names, changes, state, views_bound(table) if pinned else None)
    except ConflictError:
        return {}
