"""The way of a change as a picture: each stage with its state, its lag, and one line about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dynalake.names import STAGE_DELIVERY, STAGE_FORWARDER, STAGE_MAPPING, TableNames
from dynalake.ui.texts import Fact, ago, seconds_text, since, waiting_text
from dynalake.ui.view import tone_of
from dynalake.watch.judge import (
    CHANGES,
    DELIVERY,
    NEW,
    OK,
    RAW,
    READING,
    SOURCE,
    STATE,
    duration,
    waits_in_stream,
    worst,
)
from dynalake.watch.status import TableStatus


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
    """Return the stages from the DynamoDB table to the state, each in the state of its worst verdict."""
    return (_source(status), _forwarder(status), _delivery(status), _raw(status, at), *_tables(status, names, at))


def _stage(status: TableStatus, place: str, good: str, title: str, about: str, lag: str, *facts: Fact) -> Stage:
    """Return a stage. `good`: its state's word where nothing is wrong with it."""
    state = worst(verdict for verdict in status.verdicts if verdict.place == place)
    if status.state == NEW:
        state = NEW
    return Stage(title, about, tone_of(state), good if state == OK else state, lag, facts)


def _source(status: TableStatus) -> Stage:
    items = status.readings.source.items
    about = "Your table and its stream, which keeps changes for 24 hours."
    fact = Fact("items", "–" if items is None else f"{items:,}")
    return _stage(status, SOURCE, "stream on", "DynamoDB", about, "", fact)


def _forwarder(status: TableStatus) -> Stage:
    readings = status.readings
    rejected = sum(readings.rejected.get(stage, 0) for stage in (STAGE_MAPPING, STAGE_FORWARDER))
    about = "The forwarder reads the stream and makes one line of JSON of each change."
    waits = f"waits {seconds_text(waits_in_stream(readings))}" if readings.capture.invoked else "no changes for 15 min"
    return _stage(status, READING, "reading", "Stream → Lambda", about, waits, Fact("rejected", f"{rejected:,}"))


def _delivery(status: TableStatus) -> Stage:
    readings, landing = status.readings, status.readings.landing
    # Without a Kinesis stream, as far as is known.
    direct = readings.month is not None and readings.month.delivery == "direct"
    age = landing.firehose_age_seconds
    return _stage(
        status,
        DELIVERY,
        "delivering",
        "Firehose" if direct else "Kinesis → Firehose",
        "Gathers changes into objects of some minutes.",
        "nothing waits" if age is None else f"oldest {duration(age)}",
        Fact("rejected", f"{readings.rejected.get(STAGE_DELIVERY, 0):,}")
        if direct
        else Fact("shards used", f"{landing.filled:.0%}"),
    )


def _raw(status: TableStatus, at: int) -> Stage:
    seen, landing = status.readings.lake, status.readings.landing
    return _stage(
        status,
        RAW,
        "landing",
        "S3, raw JSON",
        "What has landed. dynalake_convert brings it into SQL every few minutes.",
        f"{waiting_text(seen.unconverted, 0)} to convert" if seen.unconverted else "all converted",
        since("newest change", landing.newest_change, at),
        Fact("took", seconds_text(landing.lag_seconds)),
    )


def _tables(status: TableStatus, names: TableNames, at: int) -> Iterator[Stage]:
    seen = status.readings.lake
    yield _stage(
        status,
        CHANGES,
        "up to date",
        names.changes_table,
        "Every change once, typed. SQL reads this, and the views over it.",
        f"newest {ago(seen.newest_change, at)}" if seen.newest_change else "empty so far",
        Fact("changes", f"{seen.changes.rows:,}"),
        Fact("waits for compaction", waiting_text(0, len(seen.waiting))),
    )
    yield _stage(
        status,
        STATE,
        "folded",
        names.state_table,
        "One row per item as of the last fold. The view of current items adds newer changes.",
        f"folded up to {ago(seen.folded_to, at)}" if seen.folded_to else "not folded yet",
        Fact("items", f"{(seen.state.rows if seen.live is None else seen.live):,}"),
    )
