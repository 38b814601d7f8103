"""One segment of a parallel scan: items in, gzipped change records out, a checkpoint after each object.

A killed task goes on from its last checkpoint. Where a part ends depends on the items alone (never on page sizes or
the clock), so the retry writes the same bytes; what the killed attempt left beyond its checkpoint is deleted first,
and no attempt ever overwrites an object, so two attempts at once cannot mix their files: the slower one fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from botocore.exceptions import ClientError

from dynalake.backfill import state
from dynalake.backfill.checkpoint import Checkpoint, Counts, PartObject, load_checkpoint, save_checkpoint
from dynalake.backfill.filter import Outcome
from dynalake.backfill.objects import delete_objects, list_objects
from dynalake.backfill.pace import Pace
from dynalake.backfill.parts import Part, part_key, segment_prefix
from dynalake.backfill.run import BackfillPlan, load_plan, run_name
from dynalake.backfill.source import describe, read_segment
from dynalake.clients import Clients
from dynalake.errors import ConflictError, SettingsError
from dynalake.names import TableNames
from dynalake.record.change import SNAPSHOT_SEQUENCE, encode_change
from dynalake.record.key import ItemKey

OPERATION = "SNAPSHOT"
# A checkpoint comes with each object; where the filter drops everything there is none, so then after this many items.
DROPPED_ITEMS = 100_000


@dataclass(frozen=True)
class SegmentResult:
    """What a segment's task returns: counts only, a few bytes. `bytes` are gzipped."""

    segment: int
    read: int
    kept: int
    filtered: int
    kept_without: int
    filtered_without: int
    objects: int
    bytes: int
    finished: bool

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> SegmentResult:
        return cls(
            segment=checkpoint.segment,
            **asdict(checkpoint.counts),
            objects=len(checkpoint.parts),
            bytes=checkpoint.bytes,
            finished=checkpoint.finished,
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def scan_segment(
    clients: Clients,
    names: TableNames,
    *,
    run: str,
    segment: int,
    progress: Callable[[SegmentResult], None] = lambda result: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> SegmentResult:
    """Read segment `segment` (0-based) of the planned `run` to its end, from where its checkpoint stands.

    `run` is the Airflow run id; everything else is in the stored plan. `progress` is called after each object. A
    finished segment is left as it is.

    Raises `RecordError` for an item whose time is no time, `ConflictError` if another attempt is at work, `SourceError`
    if the table is gone and `TransientError` if DynamoDB keeps throttling.
    """
    run = run_name(run)
    plan = load_plan(clients, names, run)
    if not 0 <= segment < plan.segments:
        raise SettingsError(
            f"segment is {segment!r}",
            allowed=f"0 to {plan.segments - 1}: the run {run!r} has {plan.segments} segments",
            action="map the task over the plan's segments",
            table=names.table,
            run=run,
        )
    checkpoint, stored = load_checkpoint(clients, names, run, segment)
    if checkpoint.finished:
        return SegmentResult.of(checkpoint)
    _delete_unfinished(clients, names, run, checkpoint)
    key = ItemKey.of(describe(clients, names))
    items = read_segment(
        clients,
        names,
        segment=segment,
        segments=plan.segments,
        after=checkpoint.last_key,
        consistent=plan.consistent,
        pace=Pace(plan.units_per_second, clock),
        sleep=sleep,
    )
    while True:
        checkpoint = _next_part(clients, names, plan, key, items, checkpoint)
        stored = save_checkpoint(clients, names, run, checkpoint, stored)
        result = SegmentResult.of(checkpoint)
        progress(result)
        if result.finished:
            return result


def _next_part(
    clients: Clients,
    names: TableNames,
    plan: BackfillPlan,
    key: ItemKey,
    items: Iterator[Mapping[str, Any]],
    checkpoint: Checkpoint,
) -> Checkpoint:
    """Write one more part from `items` and return the checkpoint after it."""
    outcomes = dict.fromkeys(Outcome, 0)
    decide = plan.filter.decide if plan.filter else None
    last: Mapping[str, Any] | None = None
    with Part() as part:
        for item in items:
            outcome = decide(item, key.names) if decide else Outcome.KEPT
            outcomes[outcome] += 1
            if outcome in (Outcome.KEPT, Outcome.KEPT_WITHOUT):
                part.add(
                    encode_change(
                        item, operation=OPERATION, sequence_number=SNAPSHOT_SEQUENCE, event_time=plan.read_at_ms
                    )
                )
            if part.size >= plan.target_bytes or (not part.items and sum(outcomes.values()) >= DROPPED_ITEMS):
                last = {name: item[name] for name in key.names}
                break
        counts = Counts(
            read=sum(outcomes.values()),
            kept=outcomes[Outcome.KEPT] + outcomes[Outcome.KEPT_WITHOUT],
            filtered=outcomes[Outcome.FILTERED] + outcomes[Outcome.FILTERED_WITHOUT],
            kept_without=outcomes[Outcome.KEPT_WITHOUT],
            filtered_without=outcomes[Outcome.FILTERED_WITHOUT],
        )
        written = _store(clients, names, plan.run, checkpoint, part) if part.items else None
    return checkpoint.advanced(counts, written, last)


def _store(clients: Clients, names: TableNames, run: str, checkpoint: Checkpoint, part: Part) -> PartObject:
    key = part_key(names.snapshot_run(run), checkpoint.segment, len(checkpoint.parts))
    sha256 = part.close()
    try:
        # The content is gzip, as the ending says; no ContentEncoding, or clients would unpack it on the way.
        etag = clients.s3.put_object(
            Bucket=names.lake.bucket, Key=key, Body=part.file, ContentType="application/gzip", IfNoneMatch="*"
        )["ETag"]
    except ClientError as error:
        if state.refused(error):
            raise ConflictError(
                f"{names.uri(key)} was written by another attempt of this task",
                allowed="one running attempt per segment",
                action="let the task be retried: it goes on from the last checkpoint",
                table=names.table,
                run=run,
                key=key,
            ) from error
        raise
    return PartObject(key=key, size=part.size, items=part.items, sha256=sha256, etag=etag)


def _delete_unfinished(clients: Clients, names: TableNames, run: str, checkpoint: Checkpoint) -> None:
    known = {part.key for part in checkpoint.parts}
    listed = list_objects(clients, names, segment_prefix(names.snapshot_run(run), checkpoint.segment))
    delete_objects(clients, names, [found.key for found in listed if found.key not in known])
