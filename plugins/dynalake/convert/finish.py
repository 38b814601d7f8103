"""The end of a conversion: the results of its tasks are committed, and batches that had to wait are tried again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from dynalake.convert.batch import BatchResult, Read, convert_batch, convert_or_wait, read_raw, read_result
from dynalake.convert.commit import Committed, MergeLate, Now, Waiting, commit_results
from dynalake.convert.plan import Batch, ConvertLimits, is_planned, plan_again, plan_table
from dynalake.days import SNAPSHOT_DAY, parse_day
from dynalake.errors import ConflictError, cut
from dynalake.lake.catalog.iceberg import Head
from dynalake.lake.catalog.table import Table, schema_of
from dynalake.lake.current.snapshot import finish_snapshot, is_unfinished
from dynalake.lake.current.state import merge_late
from dynalake.lake.current.view_entries import show_tables
from dynalake.lake.files.folders import Sums
from dynalake.lake.files.parts import Writing
from dynalake.lake.working.findings import ALLOW_CHANGES, Finding
from dynalake.lake.working.workers import HERE, Workers

_NAMED = 10  # attributes that a finding names


@dataclass(frozen=True)
class Finished:
    """The result of one run for one table.

    `waiting`: day, number of raw objects, and why they are left to the next run. `failed`: the numbers of batches that
    no task has converted; the next run plans them again. `late`: rows of files with late changes, which went into the
    state first. `misfits`: attributes with values that do not fit their columns.
    """

    table: str
    batches: int = 0
    objects: int = 0
    sums: Sums = field(default_factory=Sums)
    reasons: Mapping[str, int] = field(default_factory=dict)
    waiting: tuple[tuple[str, int, str], ...] = ()
    failed: tuple[int, ...] = ()
    late: int = 0
    passes: int = 1
    misfits: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        lists = {"waiting": list(map(list, self.waiting)), "failed": list(self.failed), "misfits": list(self.misfits)}
        return {**asdict(self), **lists, "findings": [finding.to_dict() for finding in self.findings]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Finished:
        waiting = tuple((str(day), int(objects), str(reason)) for day, objects, reason in values["waiting"])
        lists = {name: tuple(values[name]) for name in ("failed", "misfits")}
        findings = tuple(map(Finding.from_dict, values["findings"]))
        return cls(**{**values, **lists, "sums": Sums(**values["sums"]), "waiting": waiting, "findings": findings})


@dataclass(frozen=True)
class PlanCommit:
    """The committed part of a plan. `failed`: the numbers of batches that no task has converted."""

    committed: Committed
    failed: tuple[int, ...]
    findings: tuple[Finding, ...]


Results = Mapping[int, BatchResult | None]
"""The results of a plan's batches, by their numbers; None where no task has converted one."""


def read_results(table: Table, plan: str, numbers: Iterable[int]) -> Results:
    """Return the results that tasks have kept."""
    return {number: read_result(table, plan, number) for number in sorted(numbers)}


def commit_plan(
    table: Table,
    plan: str,
    results: Results,
    now: Now,
    merge: MergeLate,
    *,
    writing: Writing | None = None,
    work_directory: Path | None = None,
    workers: Workers = HERE,
) -> PlanCommit:
    """Commit a plan's batches of one table, after finishing a swap that was begun and writing the views.

    Another call, by any process, after a kill or a lost answer commits nothing twice, and returns the same. Raises what
    `finish_table` raises.
    """
    changes, state, findings = _write_views(table)
    if is_unfinished(changes, state):
        swap = finish_swap(table, changes, state, workers)
        changes, state, findings = _write_views(table)  # the end of a swap changes both
        findings = (*swap, *findings)
    converted = [result for result in results.values() if result is not None]
    # A run that had ended already, except for the answer of its last task, no longer has a plan.
    failed = tuple(number for number, r in results.items() if r is None and is_planned(table, plan, number))
    ready = [result for result in converted if not result.waits]
    committed = commit_results(table, changes, state, ready, now, merge, writing, work_directory)
    waits = (Waiting(result.batch, result.waits) for result in converted if result.waits)
    return PlanCommit(replace(committed, waiting=(*waits, *committed.waiting)), failed, findings)


def finish_table(
    table: Table,
    plan: str,
    results: Results,
    limits: ConvertLimits,
    now: Now,
    *,
    read: Read = read_raw,
    merge: MergeLate | None = None,
    writing: Writing | None = None,
    work_directory: Path | None = None,
) -> Finished:
    """Commit a plan's batches of one table (`commit_plan`), and delete the plan.

    A batch that had to wait, because another batch or run was first, is planned, converted and committed again here.
    Raises `LedgerError` where counts do not add up, and `UnknownOutcomeError` where an answer was lost.
    """
    merge = merge or partial(merge_late, limit=limits.late_gb << 30)
    first = commit_plan(table, plan, results, now, merge, writing=writing, work_directory=work_directory)
    commits, waiting, failed, findings = [first.committed], first.committed.waiting, first.failed, first.findings
    plans = [plan]
    while waiting and len(commits) < limits.passes and _size(waiting) <= limits.again_mb << 20:
        retry = plan_again(table, [w.batch for w in waiting], limits, now())
        if not retry.batches:
            waiting = ()
            break
        plans.append(retry.batches[0].plan)
        converted, waiting = _convert(table, retry.batches, read, writing, work_directory)
        heads = table.changes(), table.items()
        commits.append(commit_results(table, *heads, converted, now, merge, writing, work_directory))
        waiting = (*waiting, *commits[-1].waiting)
    # A user may run a failed task again, and then it needs its plan.
    if not failed:
        table.store.delete_all(key for number in results for key in _plan_keys(table, plan, number))
    for retried in plans[1:]:
        delete_plan(table, retried)
    return _sum_up(table, commits, waiting, failed, findings)


def convert_due(table: Table, now: Now, limits: ConvertLimits | None = None) -> tuple[Finished, ...]:
    """Convert all due objects of one table here, batch by batch. Return the result of each round that had work.

    It stops where a round makes no progress: the rest waits for others, and the last round says so.
    """
    limits, rounds = limits or ConvertLimits(), list[Finished]()
    while batches := plan_table(table, limits, now()).batches:
        results = {batch.number: convert_or_wait(table, batch) for batch in batches}
        rounds.append(finish_table(table, batches[0].plan, results, limits, now))
        if not rounds[-1].batches:
            break
    return tuple(rounds)


def finish_swap(table: Table, changes: Head, state: Head, workers: Workers = HERE) -> tuple[Finding, ...]:
    """Finish the swap of a backfill's snapshot if these tables show a begun one; nothing else waits for it."""
    try:
        finish_snapshot(table, changes, state, workers=workers)
    except ConflictError as error:
        return (Finding("snapshot", table.names.table, error.received, error.action, SNAPSHOT_DAY),)
    return ()


def _write_views(table: Table) -> tuple[Head, Head, tuple[Finding, ...]]:
    """Give the views the columns that came in this run, or in one that died, before any row has values for them.

    Return both tables as they are, the changes read first. Changes do not wait for the views.
    """
    try:
        return *show_tables(table), ()
    except ConflictError as error:
        finding = Finding("views", table.names.table, error.received, error.action)
        return table.changes(), table.items(), (finding,)


def _convert(
    table: Table, batches: Sequence[Batch], read: Read, writing: Writing | None, work_directory: Path | None
) -> tuple[list[BatchResult], tuple[Waiting, ...]]:
    results, waiting = [], []
    for batch in batches:
        try:
            results.append(convert_batch(table, batch, read, writing, work_directory))
        except ConflictError as error:
            waiting.append(Waiting(batch, error.received))
    return results, tuple(waiting)


def _size(waiting: Iterable[Waiting]) -> int:
    """Return the bytes of raw objects, without those of named days: the next run does not know that they were named."""
    return sum(w.batch.size for w in waiting if not w.batch.again)


def _sum_up(
    table: Table,
    commits: Sequence[Committed],
    waiting: Sequence[Waiting],
    failed: tuple[int, ...],
    findings: Sequence[Finding],
) -> Finished:
    results = [result for commit in commits for result in commit.results]
    counted: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for result in results:
        counted.update(asdict(result.sums))
        reasons.update(result.rejected.reasons)
    return Finished(
        table.names.table,
        len(results),
        sum(len(result.batch.inputs) for result in results),
        Sums(**counted),
        dict(reasons),
        tuple((w.batch.day, len(w.batch.inputs), w.reason) for w in waiting),
        failed,
        sum(commit.late for commit in commits),
        len(commits),
        tuple(sorted({attribute for result in results for attribute in result.misfits})),
        (*findings, *_deleted(table, results), *_refused(table, results), *_forgotten(table, waiting)),
    )


def _deleted(table: Table, results: Iterable[BatchResult]) -> Iterator[Finding]:
    keys = sorted({key for result in results for key in result.rejected.deleted})
    if keys:
        what = f"{len(keys):,} raw objects were deleted before they were converted, the first one {keys[0]}"
        plan = "restore them (the bucket keeps versions): the next run converts them"
        yield Finding("raw deleted", table.names.table, what, plan, parse_day(keys[0]) or "", len(keys))


def _refused(table: Table, results: Iterable[BatchResult]) -> Iterator[Finding]:
    """Yield a finding where values wait because the table's columns are closed."""
    counts: Counter[str] = Counter()
    for result in results:
        counts.update({attribute: misfit["count"] for attribute, misfit in result.misfits.items()})
    if counts and schema_of(table.changes()).pins.closed:
        names = ", ".join(cut(attribute) for attribute, _ in counts.most_common(_NAMED))
        more = f" and {len(counts) - _NAMED:,} more" if len(counts) > _NAMED else ""
        what = f"schema_changes is 'refuse', so values of these attributes wait in __other: {names}{more}"
        yield Finding("schema-refused", table.names.table, what, ALLOW_CHANGES, count=counts.total())


def _forgotten(table: Table, waiting: Sequence[Waiting]) -> Iterator[Finding]:
    """Yield a finding for each named day of which a part has to be named again: the next run does not know of it."""
    for day in sorted({w.batch.day for w in waiting if w.batch.again}):
        reason = next(w.reason for w in waiting if w.batch.again and w.batch.day == day)
        yield Finding(
            "named day", table.names.table, f"dt={day} was not converted again: {reason}", "name it again", day
        )


def _plan_keys(table: Table, plan: str, number: int) -> tuple[str, str]:
    return table.names.conversion_batch(plan, number), table.names.conversion_result(plan, number)


def delete_plan(table: Table, plan: str) -> None:
    """Delete a plan's objects in the state prefix. Garbage collection deletes those that a kill leaves."""
    table.store.delete_all(o.key for o in table.store.list(table.names.conversion(plan)))
