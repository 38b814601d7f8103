"""Reads what is to be known about one table, by a bounded number of calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from botocore.exceptions import ClientError

from dynalake.backfill.snapshot import snapshot_since
from dynalake.capture.hand_off import find_hand_off
from dynalake.capture.verify import cannot_read
from dynalake.catalog.discover import add_attributes
from dynalake.catalog.partitions import list_partitions, register_days
from dynalake.catalog.tables import read_schema
from dynalake.catalog.views import Watermark, read_watermark
from dynalake.clients import Clients
from dynalake.compact.plan import is_closed
from dynalake.convert.options import CompactOptions
from dynalake.convert.read.raw import list_objects
from dynalake.days import SNAPSHOT_DAY, coming_days, end_of_day, shift_day
from dynalake.names import STAGE_COMPACT, STAGE_DELIVERY, STAGE_FORWARDER, STAGE_MAPPING, TableNames
from dynalake.settings import TableSettings
from dynalake.watch.judge import ALARMS, FIREHOSE_HOURS, Targets, judge, losing_until, unlanded_since, worst
from dynalake.watch.landed import (
    Landed,
    Sample,
    landed_since,
    list_landed,
    newest_of,
    plan_days,
    plan_misfits,
    read_sample,
)
from dynalake.watch.metrics import RECENT_MINUTES, Points, milliseconds, plan_metrics, read_metrics, recent
from dynalake.watch.readings import LISTED, Capture, Comparison, Lake, Landing, Readings
from dynalake.watch.reconcile import choose, clear_up, compare, read_images, read_landed

SHOWN_DAYS = 30


def gather(
    clients: Clients,
    names: TableNames,
    settings: TableSettings,
    targets: Targets,
    now: datetime,
    *,
    previous: Readings | None = None,
    items: int = 20,
) -> Readings:
    """One table now. `previous` is what was read the last time: what did not change since is not read again.

    Also adds the columns of new attributes in what landed since, and registers the partitions of the coming days.
    `items` are compared with the table. A table whose setup has not finished has no other readings.
    """
    at = milliseconds(now)
    before = previous or Readings(at)
    hand_off = find_hand_off(clients, names)
    if hand_off is None:
        return Readings(at)
    points = read_metrics(clients, plan_metrics(names, hand_off.mapping_id, settings.delivery), now)
    put_aside, aside_at = count_put_aside(clients, names, hand_off.mapping_id)
    register_ahead(clients, names, now)
    mark = read_watermark(clients, names)
    landed = list_landed(clients, names, mark.through, now, before.lake.days)
    sample = read_new(clients, names, landed, before)
    lake = read_lake(clients, names, mark, landed, sample, before.lake, now)
    lake = replace(lake, snapshot=snapshot_since(clients, names, hand_off.at))
    readings = Readings(
        at=at,
        hand_off=milliseconds(hand_off.at),
        capture=read_capture(clients, names, hand_off.mapping_id, points, before.capture, at),
        landing=replace(
            plan_landing(points, landed, sample, before.landing, at, targets, aside_at),
            kept_hours=FIREHOSE_HOURS if settings.delivery == "direct" else settings.stream_retention_hours,
        ),
        lake=lake,
        put_aside=put_aside,
        comparison=before.comparison,
        repaired_at=before.repaired_at,
    )
    readings = replace(readings, lost_at=plan_lost(readings, points["dropped"], before))
    if items <= 0:
        return readings
    conclude = worst(judge(readings, targets)) not in ALARMS
    comparison = reconcile(clients, names, sample, landed, readings, targets, items, conclude=conclude)
    return replace(readings, comparison=comparison)


def read_capture(
    clients: Clients, names: TableNames, mapping_id: str, points: Mapping[str, Points], before: Capture, at: int
) -> Capture:
    """The mapping as Lambda describes it, the table's stream, and the forwarder's metrics."""
    try:
        mapping = clients.lambda_.get_event_source_mapping(UUID=mapping_id)
        state, result, changed = mapping["State"], mapping.get("LastProcessingResult", ""), mapping.get("LastModified")
        stream = read_stream(clients, names.table, mapping["EventSourceArn"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        state, result, changed, stream = "gone", "", None, ""
    invoked = sum(recent(points["invoked"], at, RECENT_MINUTES))
    unread = cannot_read(result) and not invoked
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
    )


def read_stream(clients: Clients, table: str, read: str) -> str:
    """`Capture.stream`: '' where the stream that is read is the table's."""
    try:
        description = clients.dynamodb.describe_table(TableName=table)["Table"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        return "gone"
    if not description.get("StreamSpecification", {}).get("StreamEnabled"):
        return "off"
    return "" if description.get("LatestStreamArn") == read else "another"


def plan_lost(readings: Readings, dropped: Points, before: Readings) -> int | None:
    """Until when changes were lost, now or before, unless somebody said since then that it is repaired. Pure.

    A new snapshot says nothing of it: it sorts below what the stream brought, so it cannot replace an older change.
    """
    lost = max((at for at in (losing_until(readings, dropped), before.lost_at) if at is not None), default=None)
    return None if lost is None or lost <= (before.repaired_at or 0) else lost


def plan_landing(
    points: Mapping[str, Points],
    landed: Landed,
    sample: Sample | None,
    before: Landing,
    at: int,
    targets: Targets,
    aside_at: int | None,
) -> Landing:
    """The delivery's metrics and the newest object; what was put aside did not get lost on the way. Pure."""
    newest = newest_of(landed)
    change, lag = before.newest_change, before.lag_seconds
    newest_landed = None if newest is None else round(newest.modified * 1000)
    # What is replayed lands late, and is older than what landed before.
    if sample is not None and sample.landed is not None and (sample.newest_change or 0) >= (change or 0):
        change, lag = sample.newest_change, max(0.0, (sample.landed - (sample.newest_change or 0)) / 1000)
    known = max((moment for moment in (newest_landed, aside_at) if moment is not None), default=None)
    refused = points.get("stream_throttled") or points.get("delivery_throttled") or ()
    return Landing(
        firehose_age_seconds=_most(recent(points["firehose_age"], at, RECENT_MINUTES), 1),
        throttled=sum(recent(refused, at, 60)),
        newest_object="" if newest is None else newest.key,
        newest_landed=newest_landed,
        newest_change=change,
        lag_seconds=lag,
        unlanded_since=unlanded_since(points["invoked"], known, at, targets.freshness_minutes * 60),
    )


def count_put_aside(clients: Clients, names: TableNames, mapping_id: str) -> tuple[dict[str, int], int | None]:
    """Objects in the error prefixes by stage, at most `LISTED` of each, and when the last change was put there.

    Of the mappings only the present one's; `dynalake_redrive` lists those of former ones too.
    """
    prefixes = {
        STAGE_MAPPING: f"{names.lake.failed_batches}{mapping_id}/",
        **{stage: names.rejected(stage) for stage in (STAGE_FORWARDER, STAGE_DELIVERY, STAGE_COMPACT)},
    }
    found = {s: list_objects(clients, names.lake.bucket, prefix, LISTED) for s, prefix in prefixes.items()}
    changes = (o.modified for stage in (STAGE_MAPPING, STAGE_FORWARDER, STAGE_DELIVERY) for o in found[stage])
    last = max(changes, default=None)
    return {stage: len(objects) for stage, objects in found.items()}, None if last is None else round(last * 1000)


def register_ahead(clients: Clients, names: TableNames, now: datetime) -> None:
    """Register today and the days after it, if today's or tomorrow's partition is missing."""
    coming = coming_days(names.lake.day_of(now))
    if not set(coming[:2]) <= set(list_partitions(clients, names, names.raw_table, coming[0])):
        register_days(clients, names, coming)


def read_new(clients: Clients, names: TableNames, landed: Landed, before: Readings) -> Sample | None:
    """A sample of what landed since the last time; None where nothing did."""
    new = landed_since(landed, before.landing.newest_landed)
    if not new:
        return None
    schema = read_schema(clients, names)
    sample = read_sample(clients, names, schema, new)
    if schema.extend(sample.observed) == schema:
        return sample  # nobody who publishes has to wait for a look that changes nothing
    return replace(sample, added=add_attributes(clients, names, sample.observed))


def read_lake(
    clients: Clients,
    names: TableNames,
    mark: Watermark,
    landed: Landed,
    sample: Sample | None,
    before: Lake,
    now: datetime,
) -> Lake:
    """What readers see; without the snapshot's run."""
    zone, today = names.lake.zone, names.lake.day_of(now)
    partitions = list_partitions(clients, names, names.typed_table, shift_day(today, -SHOWN_DAYS))
    waiting = plan_waiting(landed, mark, now, names)
    misfits = before.misfits
    if sample is not None or misfits:
        observed = {} if sample is None else sample.observed
        misfits = plan_misfits(read_schema(clients, names), observed, max(landed, default=today), misfits, mark.through)
    return Lake(
        through=mark.through,
        snapshot_compacted=mark.snapshot,
        waiting=waiting,
        waiting_since=min((milliseconds(end_of_day(day, zone)) for day in waiting), default=None),
        days=plan_days(partitions, landed, mark, before.days),
        misfits=misfits,
        added=() if sample is None else sample.added,
    )


def plan_waiting(days: Iterable[str], mark: Watermark, now: datetime, names: TableNames) -> tuple[str, ...]:
    """The closed days that the views still read from JSON. Pure."""
    hours = CompactOptions().closed_after_hours
    return tuple(
        day
        for day in sorted(days)
        if day != SNAPSHOT_DAY and not mark.covers(day) and is_closed(day, now, hours, names.lake.zone)
    )


def reconcile(
    clients: Clients,
    names: TableNames,
    sample: Sample | None,
    landed: Landed,
    readings: Readings,
    targets: Targets,
    items: int,
    *,
    conclude: bool,
) -> Comparison:
    """Clear up what was in doubt, then compare some of the items that landed last with the table."""
    found = readings.comparison
    open_doubts = (*found.doubts, *found.differing)
    if open_doubts:
        schema = read_schema(clients, names)
        objects = landed_since(landed, min(doubt.since for doubt in open_doubts))
        images = read_landed(clients, names, schema.key, open_doubts, objects)
        found = clear_up(found, images, readings.at, targets.freshness_minutes, conclude=conclude)
    if sample is not None:
        chosen = choose(sample.candidates.values(), items, readings.at)
        found = compare(chosen, read_images(clients, names, chosen), found, readings.at)
    return found


def _most(values: list[float], divisor: float) -> float | None:
    return max(values) / divisor if values else None
