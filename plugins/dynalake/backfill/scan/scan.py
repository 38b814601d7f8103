"""One segment of a parallel scan: items in, gzipped change records out, a checkpoint after each object.

A killed task goes on from its last checkpoint. Where a part ends depends on the items alone (never on page sizes or the
clock), so the retry writes the same bytes. Objects of the killed attempt beyond its checkpoint are deleted first, and
no attempt ever overwrites an object, so two attempts at once cannot mix their files: the slower one fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dynalake.backfill.plan.run import load_plan, run_name
from dynalake.backfill.scan.share import Share
from dynalake.backfill.segment.checkpoint import load_checkpoint, save_checkpoint
from dynalake.backfill.segment.segment import SegmentResult, Step, check_segment, delete_unfinished
from dynalake.backfill.source.pace import Pace
from dynalake.backfill.source.source import describe, read_segment
from dynalake.lake.catalog.table import Table
from dynalake.record.change import snapshot_encoder
from dynalake.record.key import ItemKey


def scan_segment(
    table: Table,
    *,
    run: str,
    segment: int,
    progress: Callable[[SegmentResult], None] = lambda result: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> SegmentResult:
    """Read segment `segment` (0-based) of the planned `run` to its end, starting at its checkpoint.

    `run` is the Airflow run id; everything else is in the stored plan. `progress` is called after each object. A
    finished segment is left as it is.

    Raises `RecordError` for an item whose time is invalid, `ConflictError` if another attempt is at work and
    `SourceError` if the table is gone, also where another one has its name. While DynamoDB throttles, it waits.
    """
    run = run_name(run)
    plan = load_plan(table, run)
    check_segment(table.names, run, segment, plan.segments)
    checkpoint, stored = load_checkpoint(table, run, segment)
    if checkpoint.finished:
        return SegmentResult.of(checkpoint)
    delete_unfinished(table, plan, checkpoint)
    key = ItemKey.of(describe(table, plan.table_id))
    step = Step(plan, key, snapshot_encoder(plan.read_at_ms))
    with Share(
        table,
        run=run,
        segment=segment,
        units_per_second=plan.max_read_capacity,
        clock=clock,
        sleep=sleep,
    ) as share:
        items = read_segment(
            table,
            segment=segment,
            segments=plan.segments,
            after=checkpoint.last_key,
            consistent=plan.consistent,
            pace=Pace(share.units_per_second, clock, sleep),
        )
        while True:
            checkpoint = step.next_part(table, items, checkpoint)
            stored = save_checkpoint(table, run, checkpoint, stored)
            result = SegmentResult.of(checkpoint)
            progress(result)
            if result.finished:
                return result
