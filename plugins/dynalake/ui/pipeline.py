"""The way of a change as a picture: each stage with its state, its lag, and one line about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dynalake.names import STAGE_CONVERT, STAGE_DELIVERY, STAGE_FORWARDER, STAGE_MAPPING, TableNames
from dynalake.ui.texts import Fact, ago, seconds_text, since, waiting_text
from dynalake.watch.judge import FULL, READS, UNREAD_MINUTES, duration, waits_in_stream
from dynalake.watch.readings import Readings
from dynalake.watch.status import TableStatus

GOOD, WARN, BAD, PLAIN = "good", "warn", "bad", "plain"
_STREAMS = {
    "off": "its stream is off",
    "another": "its stream is a new one",
    "gone": "the table is gone",
    "replaced": "another table of this name",
}


@dataclass(frozen=True)
class Stage:
    """A stage: `tone` is its state's colour, `state` says it in a word, `lag` what waits there, `facts` more."""

    title: str
    about: str
    tone: str
    state: str
    lag: str
    facts: tuple[Fact, ...]


def stages(status: TableStatus, names: TableNames, at: int) -> tuple[Stage, ...]:
    """Return the stages from the DynamoDB table to the state."""
    return (
        _source(status.readings),
        _forwarder(status, at),
        _delivery(status),
        _raw(status, at),
        _changes(status, names, at),
        _state(status, names, at),
    )


def _source(readings: Readings) -> Stage:
    stream, items = readings.capture.stream, readings.source.items
    return Stage(
        "DynamoDB",
        "Your table and its stream, which keeps changes for 24 hours.",
        BAD if stream else GOOD,
        _STREAMS.get(stream, "stream on"),
        "",
        (Fact("items", "–" if items is None else f"{items:,}"),),
    )


def _forwarder(status: TableStatus, at: int) -> Stage:
    readings, target = status.readings, status.targets.freshness_minutes * 60
    capture, waits = readings.capture, waits_in_stream(readings)
    unread = capture.unread_since is not None and at - capture.unread_since > UNREAD_MINUTES * 60_000
    rejected = sum(readings.rejected.get(stage, 0) for stage in (STAGE_MAPPING, STAGE_FORWARDER))
    tone, state = GOOD, "reading"
    if capture.state not in READS:
        tone, state = BAD, (capture.state or "unknown").lower()
    elif unread or waits > target:
        tone, state = BAD, "cannot read" if unread else "late"
    elif rejected or capture.throttles or capture.dropped or capture.last_result.startswith("PROBLEM"):
        tone, state = WARN, "rejected data" if rejected else "throttled" if capture.throttles else "errors"
    return Stage(
        "Stream → Lambda",
        "The forwarder reads the stream and makes one line of JSON of each change.",
        tone,
        state,
        f"waits {seconds_text(waits)}" if capture.invoked else "no changes for 15 min",
        (Fact("rejected", f"{rejected:,}"),),
    )


def _delivery(status: TableStatus) -> Stage:
    readings, landing = status.readings, status.readings.landing
    rejected, direct = readings.rejected.get(STAGE_DELIVERY, 0), _is_direct(readings)
    tone, state, age = GOOD, "delivering", landing.firehose_age_seconds
    if (
        landing.firehose_age_seconds or 0
    ) > status.targets.freshness_minutes * 60 or landing.unlanded_since is not None:
        tone, state = BAD, "late"
    elif rejected:
        tone, state = WARN, "rejected data"
    elif landing.throttled or landing.filled > FULL:
        tone, state = WARN, "throttled" if landing.throttled else "nearly full"
    return Stage(
        "Firehose" if direct else "Kinesis → Firehose",
        "Gathers changes into objects of some minutes.",
        tone,
        state,
        "nothing waits" if age is None else f"oldest {duration(age)}",
        (Fact("rejected", f"{rejected:,}"),) if direct else (Fact("shards used", f"{landing.filled:.0%}"),),
    )


def _is_direct(readings: Readings) -> bool:
    """Return whether changes go to Firehose without a Kinesis stream, as far as is known."""
    return readings.month is not None and readings.month.delivery == "direct"


def _raw(status: TableStatus, at: int) -> Stage:
    seen, landing = status.readings.lake, status.readings.landing
    waited = 0.0 if seen.unconverted_since is None else (at - seen.unconverted_since) / 1000
    late = waited > status.targets.conversion_minutes * 60
    return Stage(
        "S3, raw JSON",
        "What has landed. dynalake_convert brings it into SQL every few minutes.",
        BAD if late else GOOD,
        "conversion late" if late else "landing",
        f"{waiting_text(seen.unconverted, 0)} to convert" if seen.unconverted else "all converted",
        (since("newest change", landing.newest_change, at), Fact("took", seconds_text(landing.lag_seconds))),
    )


def _changes(status: TableStatus, names: TableNames, at: int) -> Stage:
    readings, seen = status.readings, status.readings.lake
    rejected = readings.rejected.get(STAGE_CONVERT, 0)
    tone, state = GOOD, "up to date"
    if seen.fault:
        tone, state = BAD, "cannot be read"
    elif rejected or seen.findings:
        tone, state = WARN, "rejected lines" if rejected else "findings"
    return Stage(
        names.changes_table,
        "Every change once, typed. SQL reads this, and the views over it.",
        tone,
        state,
        f"newest {ago(seen.newest_change, at)}" if seen.newest_change else "empty so far",
        (Fact("changes", f"{seen.changes.rows:,}"), Fact("waits for compaction", waiting_text(0, len(seen.waiting)))),
    )


def _state(status: TableStatus, names: TableNames, at: int) -> Stage:
    seen, longest = status.readings.lake, status.targets.waiting_hours * 3600
    due = 0.0 if seen.fold_due_since is None else (at - seen.fold_due_since) / 1000
    days = any((at - wait.since) / 1000 > longest for wait in seen.waiting)
    tone, state = (WARN, "fold or days wait") if due > longest or days else (GOOD, "folded")
    if seen.snapshot is None:
        tone, state = WARN, "no snapshot yet"
    return Stage(
        names.state_table,
        "One row per item as of the last fold. The view of current items adds newer changes.",
        tone,
        state,
        f"folded up to {ago(seen.folded_to, at)}" if seen.folded_to else "not folded yet",
        (Fact("items", f"{(seen.state.rows if seen.live is None else seen.live):,}"),),
    )
