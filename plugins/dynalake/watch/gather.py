"""Reads all that the watch needs about one table, by a bounded number of calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from dynalake.aws.answers import code_of
from dynalake.aws.clients import Clients
from dynalake.aws.cloudwatch import Points, read_metrics
from dynalake.aws.s3 import StoredObject
from dynalake.capture.proof.hand_off import HandOff, find_hand_off
from dynalake.capture.proof.verify import cannot_read
from dynalake.convert.plan import first_day, list_landed
from dynalake.days import milliseconds
from dynalake.errors import CatalogError
from dynalake.lake.catalog.table import Table, schema_of
from dynalake.lake.files.raw_days import list_raw
from dynalake.lake.tables.identity import is_another, table_id_of
from dynalake.names import STAGE_CONVERT, STAGE_DELIVERY, STAGE_FORWARDER, STAGE_MAPPING
from dynalake.options.settings import TableSettings
from dynalake.record.key import ItemKey
from dynalake.sizing.cost import CONVERT_EVERY_MINUTES
from dynalake.sizing.limits import read_stream as read_kinesis
from dynalake.sizing.shards import filled
from dynalake.watch.judge import FIREHOSE_HOURS, READS, Targets, is_in_time, losing_until, unlanded_since
from dynalake.watch.landed import Sample, landed_since, read_sample
from dynalake.watch.metrics import PERIOD_SECONDS, RECENT_MINUTES, WINDOW, plan_metrics, recent
from dynalake.watch.month import read_month
from dynalake.watch.readings import LISTED, Capture, Comparison, Lake, Landing, Readings, Source
from dynalake.watch.reconcile import choose, clear_up, compare, read_images, read_landed
from dynalake.watch.tables import read_lake


def gather(
    table: Table,
    settings: TableSettings,
    targets: Targets,
    now: datetime,
    *,
    previous: Readings | None = None,
    items: int = 20,
    convert_every_minutes: int = CONVERT_EVERY_MINUTES,
) -> Readings:
    """Return the readings of one table now. `previous`: the last ones, so that what has not changed is not read again.

    `items`: how many are compared with DynamoDB. `convert_every_minutes` is the lake's. A table whose setup has not
    finished has no other readings.
    """
    at = milliseconds(now)
    before = previous or Readings(at)
    hand_off = find_hand_off(table)
    if hand_off is None:
        return Readings(at, owner=settings.owner)
    metrics = plan_metrics(table.names, hand_off.mapping_id, settings.delivery)
    points = read_metrics(table.clients, metrics, now - WINDOW, now, PERIOD_SECONDS)
    rejected, rejected_at = count_rejected(table, hand_off.mapping_id)
    # The listing comes before the tables are loaded: objects converted in between do not count as waiting.
    landed = list(list_landed(table, first_day(table.names.lake.day_of(now), 0)))
    key: ItemKey | None = None
    table_id = ""
    try:
        changes, state = table.changes(), table.items()
        key, table_id = schema_of(changes).key, table_id_of(changes)
        lake = read_lake(table, settings, changes, state, landed, hand_off.at, before, now)
    except CatalogError as error:
        lake = Lake(fault=error.received, repair=error.action)
    except FileNotFoundError as error:
        lake = Lake(fault=f"The tables name {error}, which is gone", repair="restore it (the bucket keeps versions)")
    new = landed_since(landed, before.landing.newest_landed)
    sample = None if key is None else read_sample(table, key, new)
    description = describe_source(table.clients, table.names.table)
    readings = Readings(
        at=at,
        hand_off=milliseconds(hand_off.at),
        capture=read_capture(table, hand_off.mapping_id, table_id, points, before.capture, at, description),
        landing=replace(
            plan_landing(points, new, sample, before.landing, at, targets, rejected_at),
            kept_hours=FIREHOSE_HOURS if settings.delivery == "direct" else settings.stream_retention_hours,
            filled=read_filled(table, points.get("stream_bytes", ())),
        ),
        lake=lake,
        rejected=rejected,
        comparison=before.comparison,
        repaired_at=before.repaired_at,
        source=Source(description.get("ItemCount"), description.get("TableSizeBytes")),
        month=read_month(table, settings, before.month, now, convert_every_minutes) if description else before.month,
        owner=settings.owner,
    )
    readings = plan_lost(readings, points["dropped"], before, hand_off)
    if items <= 0 or key is None or readings.capture.stream == "replaced":
        return readings
    return replace(readings, comparison=reconcile(table, key, sample, landed, readings, targets, items))


def read_capture(
    table: Table,
    mapping_id: str,
    table_id: str,
    points: Mapping[str, Points],
    before: Capture,
    at: int,
    description: Mapping[str, Any],
) -> Capture:
    """Return the mapping as Lambda describes it, the table's stream, and the forwarder's metrics.

    `table_id`: the lake's. `description`: what `describe_source` returned.
    """
    try:
        mapping = table.clients.lambda_.get_event_source_mapping(UUID=mapping_id)
        state, result, changed = mapping["State"], mapping.get("LastProcessingResult", ""), mapping.get("LastModified")
        arn = mapping["EventSourceArn"]
    except Exception as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        state, result, changed, arn = "gone", "", None, before.stream_arn
    stream = stream_of(description, table_id, arn)
    invoked = sum(recent(points["invoked"], at, RECENT_MINUTES))
    unread = cannot_read(result) and not invoked
    reads = state in READS and not unread and not stream
    return Capture(
        mapping_id=mapping_id,
        state=state,
        last_result=result,
        stream=stream,
        unread_since=(before.unread_since or at) if unread else None,
        changed_at=None if changed is None else milliseconds(changed),
        invoked=invoked,
        iterator_age_seconds=_most(recent(points["iterator_age"], at, RECENT_MINUTES), 1000),
        errors=sum(recent(points["errors"], at, 60)),
        throttles=sum(recent(points["throttles"], at, 60)),
        dropped=sum(value for _, value in points["dropped"]),
        stream_arn=arn,
        read_at=at if reads else before.read_at,
    )


def read_filled(table: Table, taken: Points) -> float:
    """Return `Landing.filled`: 0 where nothing went through a Kinesis stream, or AWS chooses its shards."""
    most = max((value for _, value in taken), default=0.0)
    stream = read_kinesis(table) if most else None
    return 0.0 if stream is None or stream.mode == "on_demand" else filled(most, PERIOD_SECONDS, stream)


def describe_source(clients: Clients, table: str) -> Mapping[str, Any]:
    """Return the table as DynamoDB describes it; empty where there is none."""
    try:
        return dict(clients.dynamodb.describe_table(TableName=table)["Table"])
    except Exception as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        return {}


def stream_of(description: Mapping[str, Any], table_id: str, read: str) -> str:
    """Return `Capture.stream`: '' where the mapping, as far as is known, reads the table's stream (pure)."""
    if not description:
        return "gone"
    if is_another(table_id, description["TableId"]):
        return "replaced"
    if not description.get("StreamSpecification", {}).get("StreamEnabled"):
        return "off"
    return "another" if read and description.get("LatestStreamArn") != read else ""


def plan_lost(readings: Readings, dropped: Points, before: Readings, hand_off: HandOff) -> Readings:
    """Return the readings with the time until which changes were lost: now, before, or between two pipelines.

    It is left out where the repair has been reported since then. Pure. A new snapshot does not prove a repair: it
    sorts below the stream's changes, so it cannot replace an older one.
    """
    since = None if hand_off.lost_since is None else milliseconds(hand_off.lost_since)
    between = None if since is None else milliseconds(hand_off.at)
    times = (losing_until(readings, dropped), between, before.lost_at)
    lost = max((at for at in times if at is not None), default=None)
    repaired = before.repaired_at or 0
    if between is None or between <= repaired:
        since = None
    return replace(readings, lost_at=None if lost is None or lost <= repaired else lost, lost_since=since)


def plan_landing(
    points: Mapping[str, Points],
    new: Sequence[StoredObject],
    sample: Sample | None,
    before: Landing,
    at: int,
    targets: Targets,
    rejected_at: int | None,
) -> Landing:
    """Return the delivery's metrics and the newest object; a rejected change did not get lost on the way. Pure.

    `new`: objects that landed since the last look, the oldest first.
    """
    landed = new[-1].modified if new else before.newest_landed
    change, lag = before.newest_change, before.lag_seconds
    # A replayed object lands late, and is older than what landed before.
    if sample is not None and sample.landed is not None and (sample.newest_change or 0) >= (change or 0):
        change, lag = sample.newest_change, max(0.0, (sample.landed - (sample.newest_change or 0)) / 1000)
    known = max((moment for moment in (landed, rejected_at) if moment is not None), default=None)
    refused = points.get("stream_throttled") or points.get("delivery_throttled") or ()
    return Landing(
        firehose_age_seconds=_most(recent(points["firehose_age"], at, RECENT_MINUTES), 1),
        throttled=sum(recent(refused, at, 60)),
        newest_landed=landed,
        newest_change=change,
        lag_seconds=lag,
        unlanded_since=unlanded_since(points["invoked"], known, at, targets.freshness_minutes * 60),
    )


def count_rejected(table: Table, mapping_id: str) -> tuple[dict[str, int], int | None]:
    """Return the number of objects in the error prefixes by stage, at most `LISTED` of each, and the time of the last.

    It counts the present mapping's only; `dynalake_redrive` lists those of former ones too.
    """
    names = table.names
    prefixes = {
        STAGE_MAPPING: f"{names.lake.failed_batches}{mapping_id}/",
        **{stage: names.rejected(stage) for stage in (STAGE_FORWARDER, STAGE_DELIVERY, STAGE_CONVERT)},
    }
    listed = {s: list(islice(list_raw(table.store, prefix), LISTED)) for s, prefix in prefixes.items()}
    changes = (o.modified for stage in (STAGE_MAPPING, STAGE_FORWARDER, STAGE_DELIVERY) for o in listed[stage])
    return {stage: len(objects) for stage, objects in listed.items()}, max(changes, default=None)


def reconcile(
    table: Table,
    key: ItemKey,
    sample: Sample | None,
    landed: Sequence[StoredObject],
    readings: Readings,
    targets: Targets,
    items: int,
) -> Comparison:
    """Clear up open doubts, then compare some of the items that landed last with DynamoDB."""
    comparison = readings.comparison
    open_doubts = (*comparison.doubts, *comparison.differing)
    if open_doubts:
        objects = landed_since(landed, min(doubt.since for doubt in open_doubts))
        images = read_landed(table, key, open_doubts, objects)
        conclude = is_in_time(readings, targets)
        comparison = clear_up(comparison, images, readings.at, targets.freshness_minutes, conclude=conclude)
    if sample is not None:
        chosen = choose(sample.candidates.values(), items, readings.at)
        comparison = compare(chosen, read_images(table, key, chosen), comparison, readings.at)
    return comparison


def _most(values: list[float], divisor: float) -> float | None:
    return max(values) / divisor if values else None
