"""The plan of a backfill: decided once, stored, and the same for every task and every retry of the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from dynalake.aws.dynamodb import find_recovery, turn_on_recovery
from dynalake.backfill.plan.estimate import UNIT_BYTES, estimate_export, estimate_scan
from dynalake.backfill.plan.filter import Invalid, Missing, UpdatedBefore, of_datetime, parse_cutoff, to_iso
from dynalake.backfill.plan.limit import read_limit
from dynalake.backfill.plan.windows import Window, plan_window
from dynalake.backfill.source.recovery import choose_method, recovery_off
from dynalake.backfill.source.source import describe
from dynalake.errors import NotReadyError
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames, shorten
from dynalake.options.backfill import MAX_SEGMENTS, BackfillOptions
from dynalake.options.settings import TableSettings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TableDescriptionTypeDef

# Each segment is one Airflow task; a table of this size is a few minutes of one task's work.
SEGMENT_BYTES = 512 * 1024 * 1024
MIN_SEGMENTS = 4
# A killed task reads again what came after its last object. Where the read capacity is limited, so that an object takes
# long to fill, an object ends after that many seconds' worth of it.
PART_SECONDS = 600
SKEW_SECONDS = 15 * 60
"""Seconds by which an application's clock may be ahead of Airflow's: items up to then after the hand-off are read too.

The stream has them too, and every change wins over the snapshot's row, so a margin costs rows, but is never wrong.
"""


@dataclass(frozen=True)
class BackfillPlan:
    """One backfill run. The estimates come from DescribeTable, which DynamoDB updates about every six hours.

    `updated_before` is ISO-8601 in UTC with microseconds, or empty where nothing is filtered; `read_at_ms` is the
    `__event_time` of every record; `max_read_capacity` is units/s over all segments together, 0 for no limit.
    `table_id` is DynamoDB's id of the table: another one with its name is not read. `keeps_future` says that the stream
    has the filtered items, so that an item with a time after its reading is kept.
    """

    table: str
    run: str
    method: str
    segments: int
    updated_at_attribute: str
    updated_before: str
    missing: Missing
    invalid: Invalid
    read_at_ms: int
    consistent: bool
    max_read_capacity: float
    target_bytes: int
    estimated_items: int
    estimated_bytes: int
    estimated_read_units: float
    estimated_dollars: float
    estimated_seconds: int
    table_id: str = ""
    keep_export: bool = False
    window: Window | None = None
    keeps_future: bool = False

    @property
    def filters(self) -> bool:
        """True where items are left out by their time."""
        return bool(self.updated_before and self.updated_at_attribute)

    def filter(self, exported_at: int | None = None) -> UpdatedBefore | None:
        """Return the filter, or None where all is kept. `exported_at`: the moment an export shows (ms), else now."""
        if not self.filters:
            return None
        exported = None if exported_at is None else exported_at * 1000

        def read_at() -> int:
            return of_datetime(datetime.now(UTC)) if exported is None else exported

        cutoff = parse_cutoff(self.updated_before)
        known = read_at if self.keeps_future else None
        return UpdatedBefore(self.updated_at_attribute, cutoff, self.missing, self.invalid, known)

    @property
    def target_text_bytes(self) -> float:
        """Bytes before compression at which an object ends, if not earlier by its `target_bytes` after it."""
        if not self.max_read_capacity:
            return math.inf
        return PART_SECONDS * self.max_read_capacity * UNIT_BYTES * (1 if self.consistent else 2)

    def prefix(self, names: TableNames) -> str:
        """Return where the run's objects go: `{prefix}/json/{TABLE}/dt=00000000/{run}/`.

        Those of an incremental run are put where nothing queries them, until the commit.
        """
        return names.snapshot_run(self.run) if self.window is None else f"{names.backfill_state(self.run)}changes/"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BackfillPlan:
        window = value.get("window")
        return cls(**{**value, "window": None if window is None else (window[0], window[1])})

    def summary(self) -> str:
        """Return the plan as a Markdown table, for a run's note or a dry run's answer."""
        rows = {
            "method": self.method,
            **({} if self.window is None else {"changes": " to ".join(to_iso(m * 10**6) for m in self.window)}),
            "keeps": f"`{self.updated_at_attribute}` before {self.updated_before}" if self.filters else "every item",
            "segments": f"{self.segments:,}" if self.segments else "by the export's size",
            "read limit": f"{self.max_read_capacity:,.10g} units/s" if self.max_read_capacity else "none",
            "items (estimate)": f"{self.estimated_items:,}",
            "bytes (estimate)": f"{self.estimated_bytes:,}",
            "read units (estimate)": f"{self.estimated_read_units:,.1f}",
            "cost (estimate)": f"${self.estimated_dollars:,.4f}",
            "time (estimate)": f"{self.estimated_seconds:,} s",
        }
        lines = [f"| {name} | {text} |" for name, text in rows.items()]
        return "\n".join([f"| backfill | {self.table}, run {self.run} |", "|---|---|", *lines])


def run_name(run_id: str) -> str:
    """Return the run's name in S3 keys: an Airflow run id without characters that trouble S3 or Glue, and a hash."""
    return shorten(run_id, 100, not_allowed=r"[^a-zA-Z0-9_-]")


def plan_key(names: TableNames, run: str) -> str:
    """Return `{prefix}-state/{TABLE}/backfill/{run}/plan.json`"""
    return f"{names.backfill_state(run)}plan.json"


def plan_backfill(
    table: Table,
    run: str,
    options: BackfillOptions,
    *,
    table_id: str = "",
    hand_off: str = "",
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> BackfillPlan:
    """Decide what the run does and store it as `plan.json`. A dry run stores nothing.

    `run` is the Airflow run id; `table_id` that of the table whose items the lake has. Without the option
    `updated_before` the cutoff is `SKEW_SECONDS` after the `hand_off`, from which on the stream has all changes, and
    without both every item is kept.

    A plan that is already stored for this run is returned as it is, so a retry has the same cutoff and read time.

    An incremental run brings the changes between `window_from` and `window_to`, unfiltered.

    Raises `SettingsError` for options that the table does not allow, and `SourceError` where there is no such table,
    or another one than the lake has, or no point-in-time recovery for an export.
    """
    names = table.names
    run = run_name(run)
    incremental, turns_on = options.incremental, options.enable_pitr and not options.incremental
    if not options.dry_run:
        stored = table.store.read_json(plan_key(names, run))
        if stored is not None:
            return BackfillPlan.from_json(stored.value)
    description = describe(table, table_id)
    recovery = None if options.method == "scan" else find_recovery(table.clients, names.table)
    if options.method != "scan" and recovery is None and turns_on and not options.dry_run:
        recovery = turn_on_recovery(table.clients, names.table)
    # A dry run does not turn it on, but reports what a run would do that does.
    chosen = choose_method(options.method, on=recovery is not None or turns_on, incremental=incremental)
    if chosen is None:
        raise recovery_off(names, incremental=incremental)
    plan = draft(
        description,
        options,
        run=run,
        method=chosen,
        window=plan_window(options.window_from, options.window_to, recovery) if incremental and recovery else None,
        cutoff=cutoff_of(options.updated_before, hand_off),
        read_at_ms=of_datetime(now()) // 1000,
    )
    if options.dry_run:
        return plan
    return BackfillPlan.from_json(table.store.create_json(plan_key(names, run), plan.to_json()).value)


def cutoff_of(updated_before: str, hand_off: str) -> str:
    """Return the time before which items are read (pure): as a person gives it, or the hand-off's with its margin."""
    if updated_before:
        return to_iso(parse_cutoff(updated_before))
    return to_iso(parse_cutoff(hand_off) + SKEW_SECONDS * 10**6) if hand_off else ""


def load_plan(table: Table, run: str) -> BackfillPlan:
    """Return the stored plan of a run. Raise `NotReadyError` if there is none."""
    names = table.names
    key = plan_key(names, run)
    stored = table.store.read_json(key)
    if stored is None:
        raise NotReadyError(
            f"There is no plan for the backfill run {run!r} at {names.uri(key)}",
            allowed="a planned run",
            action="run the planning task of dynalake_backfill first",
            table=names.table,
            run=run,
        )
    return BackfillPlan.from_json(stored.value)


def draft(
    description: TableDescriptionTypeDef,
    options: BackfillOptions,
    *,
    run: str,
    method: str,
    window: Window | None,
    cutoff: str,
    read_at_ms: int,
) -> BackfillPlan:
    """Return the plan for a table as DescribeTable describes it (pure)."""
    size = description.get("TableSizeBytes", 0)
    segments, tasks = options.segments, count_segments(size, options.segments)
    limit = 0.0
    if method == "export":
        # It reads nothing from the table.
        estimate = estimate_export(description, tasks=tasks, recovery=True)
    else:
        segments, limit = tasks, read_limit(description, options)
        consistent = options.consistent_read
        estimate = estimate_scan(description, tasks=tasks, consistent=consistent, max_read_capacity=limit)
    attribute = options.updated_at_attribute
    if attribute is None:
        attribute = TableSettings.updated_at_attribute
    return BackfillPlan(
        table=description["TableName"],
        run=run,
        table_id=description["TableId"],
        method=method,
        segments=segments,
        updated_at_attribute=attribute,
        # The changes of a window are brought in whole.
        updated_before=cutoff if attribute and not window else "",
        keeps_future=not options.updated_before,
        missing=cast("Missing", options.missing_updated_at),
        invalid=cast("Invalid", options.invalid_updated_at),
        read_at_ms=read_at_ms,
        consistent=options.consistent_read,
        max_read_capacity=limit,
        target_bytes=max(1, int(options.target_mb * 1024 * 1024)),
        estimated_items=description.get("ItemCount", 0),
        estimated_bytes=size,
        estimated_read_units=estimate.read_units,
        estimated_dollars=estimate.dollars,
        estimated_seconds=estimate.seconds,
        keep_export=options.keep_export,
        window=window,
    )


def count_segments(size: int, segments: int) -> int:
    """Return how many tasks read `size` bytes: `segments`, where the run says so (pure)."""
    return segments or min(MAX_SEGMENTS, max(MIN_SEGMENTS, math.ceil(size / SEGMENT_BYTES)))
