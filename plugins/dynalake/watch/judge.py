"""From readings to verdicts: what is wrong with a table, how bad it is, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dynalake.capture.proof.hand_off import STREAM_HOURS
from dynalake.errors import SettingsError, counted, cut
from dynalake.lake.working.findings import ALLOW_CHANGES, MADE_AGAIN
from dynalake.names import STAGE_CONVERT, STAGE_DELIVERY, STAGE_FORWARDER, STAGE_MAPPING
from dynalake.watch.readings import LISTED, Lake, Readings

OK, NEW, ATTENTION, LATE, STOPPED, EXPIRING, DIFFERS, LOST, REPLACED = STATES = (
    "ok", "new", "attention", "late", "stopped", "expiring", "differs", "lost", "replaced",
)  # fmt: skip
"""A table's states, from good to worst; its state is that of its worst verdict."""

ALARMS = frozenset({LATE, STOPPED, EXPIRING, DIFFERS, LOST, REPLACED})
"""The states that fail a table's task."""

SOURCE, READING, DELIVERY, RAW, CHANGES, STATE = "source", "reading", "delivery", "raw", "changes", "state"
"""The places of a change's way at which something can be wrong, as the page draws them."""

_LOSSES = frozenset({"missing-files", "changed-files"})
"""Kinds of findings of lost rows: a version of the bucket's objects has to be restored."""

FIREHOSE_HOURS = 24
"""Hours that Firehose keeps what it cannot deliver: https://docs.aws.amazon.com/firehose/latest/dev/retry.html"""

READS = ("Enabled", "Enabling", "Updating", "Creating")
"""A mapping's states in which it reads the stream, or is about to."""

UNREAD_MINUTES = 5
"""Minutes without reading after which a mapping is reported if the next look finds the same: one failure passes."""

FULL = 0.8
"""Share of the capacity of a Kinesis stream's shards; a higher use is reported before anything is refused."""

TOLD_HOURS = 24
"""Hours for which a change of columns is a verdict."""

_NAMED = 10  # columns or attributes that a verdict names

_LOOK_APART = 1800.0
"""Seconds before records expire at which they count as lost: no later look may come before that."""

_INCREMENTAL = (
    "run dynalake_backfill with export_type incremental over the time in question (without point-in-time recovery: "
    "dynalake_teardown with delete_data, then dynalake_setup)"
)
_STREAMS = {
    "off": "The table's stream is off",
    "another": "The table's stream was turned off and on: the mapping reads the old one",
}
_REDRIVE = "run dynalake_redrive with dry_run to see why, then without"
_REJECTED = {
    STAGE_MAPPING: (READING, "Batches that Lambda gave up", _REDRIVE),
    STAGE_FORWARDER: (READING, "Changes that the forwarder rejected", _REDRIVE),
    STAGE_DELIVERY: (
        DELIVERY,
        "Objects that Firehose could not deliver",
        "read the delivery's log, then put their lines into the raw zone and delete the objects",
    ),
    STAGE_CONVERT: (
        CHANGES,
        "Raw objects with lines that conversion rejected",
        "read the reasons in them; delete them if nothing in them is needed",
    ),
}


@dataclass(frozen=True)
class Targets:
    """The limits by which a table is judged; their names give the units."""

    freshness_minutes: int = 15
    expiring_hours: int = 12
    conversion_minutes: int = 60
    waiting_hours: int = 26

    def __post_init__(self) -> None:
        if not 1 <= self.expiring_hours < STREAM_HOURS:
            raise SettingsError(
                f"expiring_hours is {self.expiring_hours!r}",
                allowed=f"1 to {STREAM_HOURS - 1}: a stream drops a change after {STREAM_HOURS} hours",
                action="set the hours after which somebody must know",
            )


@dataclass(frozen=True)
class Verdict:
    """A verdict about a table: the state that it puts the table in, what is wrong, what to do.

    `place`: where on the way of a change; '' for the whole table. `finding`: the kind of the finding that it is.
    `mail`: the message for others, where `message` has values of items.
    """

    state: str
    message: str
    action: str = ""
    place: str = ""
    finding: str = ""
    mail: str = ""


def judge(readings: Readings, targets: Targets) -> tuple[Verdict, ...]:
    """Return what is wrong with the table, the worst first; nothing where all is well."""
    if readings.hand_off is None:
        action = "let dynalake_setup finish; if it failed, check its first failed task"
        return (Verdict(NEW, "The table's setup has not finished: there is no hand-off yet", action),)
    verdicts = [*_pipeline(readings, targets), *_lake(readings, targets)]
    if is_in_time(readings, targets):
        verdicts += _differing(readings)
    return tuple(sorted(verdicts, key=lambda verdict: -STATES.index(verdict.state)))


def worst(verdicts: Iterable[Verdict]) -> str:
    """Return the state of a table with these verdicts."""
    return max((verdict.state for verdict in verdicts), key=STATES.index, default=OK)


def is_in_time(readings: Readings, targets: Targets) -> bool:
    """Return whether changes land as they should: late items may well differ, and nothing is concluded from that."""
    return worst(_pipeline(readings, targets)) not in ALARMS


def is_quiet(readings: Readings, targets: Targets) -> bool:
    """Return whether the newest change is older than the target, and nothing says that a newer one exists."""
    age = _age(readings.at, readings.landing.newest_change)
    return (age is None or age > targets.freshness_minutes * 60) and not list(_late(readings, targets))


def unlanded_since(polled: Iterable[tuple[int, float]], landed: int | None, now: int, seconds: float) -> int | None:
    """Return the start of the first period in which the forwarder got changes, later than the newest object, and longer
    ago than `seconds`; None where there is none. `polled`: (start of the period, changes).
    """
    later = [at for at, changes in polled if changes > 0 and at > (landed or 0) and now - at > seconds * 1000]
    return min(later, default=None)


def losing_until(readings: Readings, dropped: Iterable[tuple[int, float]]) -> int | None:
    """Return the time until which changes are lost, by these readings; None where none are.

    `dropped`: (start of a period, changes that could not be stored anywhere in it). Losses go on until now for a stream
    that nobody has read for 24 hours, for a delivery that has not delivered for as long as it keeps records, and for a
    table whose changes go into no stream, or into one that nobody reads.
    """
    times = [at for at, changes in dropped if changes > 0]
    unread = readings.capture.changed_at if is_stopped(readings) else readings.capture.unread_since
    waits = max(_age(readings.at, unread) or 0.0, waits_in_stream(readings))
    held, kept = readings.landing.firehose_age_seconds or 0.0, readings.landing.kept_hours * 3600
    if waits >= STREAM_HOURS * 3600 or held >= kept - _LOOK_APART or readings.capture.stream in _STREAMS:
        times.append(readings.at)
    return max(times, default=None)


def is_stopped(readings: Readings) -> bool:
    """Return whether nobody reads the table's stream."""
    return readings.capture.state not in READS


def waits_in_stream(readings: Readings) -> float:
    """Return how many seconds even the youngest change of a batch had waited in the stream: others waited longer.

    The metric is the forwarder's, and so may be another table's: it does not count for a table without changes.
    """
    return (readings.capture.iterator_age_seconds or 0.0) if readings.capture.invoked else 0.0


def _pipeline(readings: Readings, targets: Targets) -> Iterator[Verdict]:
    """Yield what is wrong before the raw zone."""
    yield from _capture(readings, targets)
    yield from _late(readings, targets)
    if readings.landing.throttled:
        yield Verdict(
            ATTENTION,
            f"Kinesis or Firehose throttled {readings.landing.throttled:,.0f} records in the last hour",
            "run dynalake_setup, which gives the stream the shards that its peak needs (where you chose shards, raise "
            "them); with delivery direct ask AWS for a higher quota",
            DELIVERY,
        )
    if readings.landing.filled > FULL:
        yield Verdict(
            ATTENTION,
            f"The fullest five minutes of the last 24 hours used {readings.landing.filled:.0%} of the capacity of the "
            "Kinesis stream's shards",
            "run dynalake_setup, which gives the stream the shards that its peak needs (where you chose shards, raise "
            "them): changes that do not fit wait in the table's stream",
            DELIVERY,
        )
    for stage, (place, what, action) in _REJECTED.items():
        count = readings.rejected.get(stage, 0)
        if count:
            yield Verdict(ATTENTION, f"{what}: {count:,}{' or more' if count >= LISTED else ''}", action, place)


def _capture(readings: Readings, targets: Targets) -> Iterator[Verdict]:
    capture = readings.capture
    unread = _age(readings.at, capture.unread_since) or 0.0
    enable = f"aws lambda update-event-source-mapping --uuid {capture.mapping_id} --enabled; then check why it stopped"
    if readings.lost_at is not None:
        since = "" if readings.lost_since is None else f" from {moment(readings.lost_since)}"
        dropped = f"; {capture.dropped:,.0f} of the last {STREAM_HOURS} hours could not be stored anywhere"
        what = f"Changes{since} until {moment(readings.lost_at)} did not reach the lake"
        yield Verdict(
            LOST,
            f"{what}{dropped if capture.dropped else ''}",
            f"repair the cause (the mapping, its on-failure destination, the delivery), {_INCREMENTAL}, then run "
            "dynalake_watch with this table in tables and with repaired",
        )
    if capture.stream == "replaced":
        what = (
            "The DynamoDB table was deleted and made again: the lake has the old one, and takes nothing of the new one"
        )
        yield Verdict(REPLACED, what, MADE_AGAIN, SOURCE)
    elif is_stopped(readings):
        since = f" (since {moment(capture.changed_at)})" if capture.changed_at else ""
        stopped = _age(readings.at, capture.changed_at) or 0.0
        what = f"The mapping that reads the stream is {capture.state or 'unknown'}{since}"
        if capture.state == "gone":
            enable = "run dynalake_setup again (delete the table's stack first if it does not make the mapping again)"
        yield from _unread(what, stopped, targets, enable, STOPPED)
    elif capture.stream in _STREAMS:
        yield Verdict(
            LOST, f"{_STREAMS[capture.stream]}: no change arrives", "run dynalake_setup with enable_stream", SOURCE
        )
    elif capture.stream:
        action = "run dynalake_teardown; if the table comes back, run dynalake_setup afterwards"
        yield Verdict(STOPPED, "The DynamoDB table no longer exists", action, SOURCE)
    elif unread > UNREAD_MINUTES * 60:
        since = moment(capture.unread_since or 0)
        what = f"The mapping has been unable to read the stream since {since}: {capture.last_result}"
        action = "grant the forwarder's role what the message names, and check that no policy denies it"
        yield from _unread(what, unread, targets, action, STOPPED)
    elif capture.last_result.startswith("PROBLEM"):
        action = "read the forwarder's log; batches that are given up are under aws/lambda/, for dynalake_redrive"
        yield Verdict(ATTENTION, f"The mapping reports: {capture.last_result}", action, READING)
    if capture.throttles:
        yield Verdict(
            ATTENTION,
            f"The forwarder was throttled {capture.throttles:,.0f} times in the last hour",
            "raise reserved_concurrency, or the account's limit",
            READING,
        )


def _unread(what: str, seconds: float, targets: Targets, action: str, otherwise: str) -> Iterator[Verdict]:
    """Yield a verdict for a stream that nobody reads, or not fast enough: its records expire."""
    if seconds >= STREAM_HOURS * 3600:
        gone = f"{what}: changes older than {STREAM_HOURS} hours are gone from the stream"
        yield Verdict(LOST, gone, action, READING)
    elif seconds >= targets.expiring_hours * 3600:
        left = STREAM_HOURS * 3600 - seconds
        expiring = f"{what}: changes in the stream expire in {duration(left)}, the oldest first"
        yield Verdict(EXPIRING, expiring, action, READING)
    else:
        yield Verdict(otherwise, f"{what}: the stream keeps changes for {STREAM_HOURS} hours", action, READING)


def _late(readings: Readings, targets: Targets) -> Iterator[Verdict]:
    target = targets.freshness_minutes * 60
    landing = readings.landing
    note = f"the target is {targets.freshness_minutes} minutes"
    if (landing.firehose_age_seconds or 0) > target:
        yield Verdict(
            LATE,
            f"The oldest change in Firehose is {duration(landing.firehose_age_seconds or 0)} old; {note}",
            f"check the delivery's log group; waiting changes are kept for {landing.kept_hours} hours, and then lost",
            DELIVERY,
        )
    elif landing.unlanded_since is not None:
        yield Verdict(
            LATE,
            f"The forwarder has received changes since {moment(landing.unlanded_since)}, but nothing has landed since "
            f"{moment(landing.newest_landed)}; {note}",
            "check the forwarder's log, then the delivery's",
            DELIVERY,
        )
    waiting = waits_in_stream(readings)
    if waiting > target and _is_old(readings, targets):
        what = f"The stream is read {duration(waiting)} late; {note}"
        action = "raise parallelization and batch_size, and check the forwarder for throttling and errors"
        yield from _unread(what, waiting, targets, action, LATE)


def _lake(readings: Readings, targets: Targets) -> Iterator[Verdict]:
    lake = readings.lake
    if lake.fault:
        yield Verdict(STOPPED, f"{lake.fault}: nothing is converted", lake.repair, CHANGES)
        return
    waited = _age(readings.at, lake.unconverted_since) or 0.0
    if waited > targets.conversion_minutes * 60:
        yield Verdict(
            LATE,
            f"Raw objects waiting for conversion: {lake.unconverted:,}, the oldest for {duration(waited)}",
            "unpause dynalake_convert, or check its last run",
            RAW,
        )
    nightly = "unpause dynalake_compact, or check its last run"
    longest = targets.waiting_hours * 3600
    days = [wait for wait in lake.waiting if (readings.at - wait.since) / 1000 > longest]
    if days:
        waited = (readings.at - min(wait.since for wait in days)) / 1000
        what = f"Days waiting for compaction: {len(days):,}, the first (dt={days[0].day}) for {duration(waited)}"
        yield Verdict(ATTENTION, what, nightly, STATE)
    folding = _age(readings.at, lake.fold_due_since) or 0.0
    if folding > longest:
        what = f"A fold has been due for {duration(folding)}: queries of current items read more and more changes"
        yield Verdict(ATTENTION, what, nightly, STATE)
    if lake.snapshot is None:
        what = "There is no snapshot since the hand-off: items not written since then are not in the lake"
        yield Verdict(ATTENTION, what, "run dynalake_backfill", STATE)
    yield from _contract(readings.at, lake)
    for finding in lake.findings:
        state = LOST if finding.kind in _LOSSES else ATTENTION
        yield Verdict(state, finding.what, finding.plan, CHANGES, finding.kind)


def _contract(at: int, lake: Lake) -> Iterator[Verdict]:
    """Yield what the setting `schema_changes` wants to be known.

    A problem is published once for each text of what to do: here for all columns that one look was the first to see.
    """
    if lake.schema_changes == "refuse" and lake.held:
        names = _some([held.attribute for held in lake.held], lake.held_attributes)
        waiting = f"{counted(lake.held_values, 'value')} of {counted(lake.held_attributes, 'attribute')}"
        what = f"schema_changes is 'refuse', and {waiting} wait in __other"
        yield Verdict(ATTENTION, f"{what}: {names}", ALLOW_CHANGES, CHANGES, "schema-refused", mail=what)
    if lake.schema_changes != "tell":
        return
    looks = {look for c in lake.columns for look in (c.since, c.changed) if look is not None}
    for seen in sorted(look for look in looks if at - look < TOLD_HOURS * 3_600_000):
        new = [f"{c.name} ({c.type})" for c in lake.columns if c.since == seen]
        wider = [f"{c.name} ({c.type}, was {c.was})" for c in lake.columns if c.changed == seen]
        listed = [f"{word}: {_some(names)}" for word, names in (("new", new), ("of another type", wider)) if names]
        action = f"make sure that those who read the table expect it as of {moment(seen)}"
        yield Verdict(ATTENTION, f"Its columns have changed; {'; '.join(listed)}", action, CHANGES, "schema-changed")


def _some(names: Sequence[str], count: int = 0) -> str:
    """Return the first names; `count`: of all, where these are not all."""
    left = max(count, len(names)) - _NAMED
    more = f" and {left:,} more" if left > 0 else ""
    return ", ".join(names[:_NAMED]) + more


def _differing(readings: Readings) -> Iterator[Verdict]:
    differing = readings.comparison.differing
    if differing:
        counts = f"{len(differing):,} of {readings.comparison.compared:,}"
        what = f"{counts} compared items differ between the lake and DynamoDB"
        yield Verdict(
            DIFFERS,
            f"{what}; the first: {cut(differing[0].key)}",
            f"look for rejected changes and replay them; if there are none, {_INCREMENTAL}",
            STATE,
            mail=what,
        )


def _is_old(readings: Readings, targets: Targets) -> bool:
    age = _age(readings.at, readings.landing.newest_change)
    return age is None or age > targets.freshness_minutes * 60


def _age(now: int, then: int | None) -> float | None:
    return None if then is None else (now - then) / 1000


def moment(at: int | None) -> str:
    """Return `2019-05-25 12:00:00 UTC`, or `the beginning`."""
    return "the beginning" if at is None else f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float) -> str:
    """Return `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 120:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"
