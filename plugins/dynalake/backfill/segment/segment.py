"""One segment's parts: items in, gzipped change records out, the same objects for every source of the items.

The source is a segment of a scan, or a group of an export's files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dynalake.backfill.plan.filter import Outcome, show_key
from dynalake.backfill.plan.run import BackfillPlan
from dynalake.backfill.segment.checkpoint import EXAMPLES, Checkpoint, Counts, PartObject
from dynalake.backfill.segment.parts import Part, part_key, segment_prefix
from dynalake.errors import ConflictError, SettingsError
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames
from dynalake.record.key import ItemKey

# A checkpoint comes with each object. Where the filter drops everything there is none, so one comes after this many
# items.
DROPPED_ITEMS = 100_000
_KEPT = (Outcome.KEPT, Outcome.KEPT_WITHOUT, Outcome.KEPT_FUTURE, Outcome.KEPT_INVALID)
_FILTERED = (Outcome.FILTERED, Outcome.FILTERED_WITHOUT, Outcome.FILTERED_INVALID)
_INVALID = (Outcome.KEPT_INVALID, Outcome.FILTERED_INVALID)

Item = Mapping[str, Any]


@dataclass(frozen=True)
class SegmentResult:
    """The result of a segment's task: counts only, a few bytes. `bytes` are gzipped."""

    segment: int
    read: int
    kept: int
    filtered: int
    kept_without: int
    filtered_without: int
    kept_future: int
    kept_invalid: int
    filtered_invalid: int
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


@dataclass(frozen=True)
class Step:
    """The way from a segment's items to parts: `encode` returns an item's line, `keyed` the map with the item's key."""

    plan: BackfillPlan
    key: ItemKey
    encode: Callable[[Any], bytes]
    exported_at: int | None = None
    """Moment at which an export shows the table, in milliseconds; None where items are read now."""
    keyed: Callable[[Any], Item] = lambda item: item

    def next_part(self, table: Table, items: Iterator[Any], checkpoint: Checkpoint) -> Checkpoint:
        """Write one more part from `items` and return the checkpoint after it."""
        plan = self.plan
        outcomes = dict.fromkeys(Outcome, 0)
        item_filter = plan.filter(self.exported_at)
        decide = item_filter.decide if item_filter else None
        last: Item | None = None
        invalid_keys: list[str] = []
        with Part() as part:
            for item in items:
                outcome = decide(item, self.key.names) if decide else Outcome.KEPT
                outcomes[outcome] += 1
                if outcome in _KEPT:
                    part.add(self.encode(item))
                if outcome in _INVALID and len(invalid_keys) < EXAMPLES:
                    invalid_keys.append(show_key(item, self.key.names))
                full = part.size >= plan.target_bytes or part.text_size >= plan.target_text_bytes
                if full or (not part.items and sum(outcomes.values()) >= DROPPED_ITEMS):
                    last = {name: self.keyed(item)[name] for name in self.key.names}
                    break
            counts = Counts(
                read=sum(outcomes.values()),
                kept=sum(outcomes[outcome] for outcome in _KEPT),
                filtered=sum(outcomes[outcome] for outcome in _FILTERED),
                kept_without=outcomes[Outcome.KEPT_WITHOUT],
                filtered_without=outcomes[Outcome.FILTERED_WITHOUT],
                kept_future=outcomes[Outcome.KEPT_FUTURE],
                kept_invalid=outcomes[Outcome.KEPT_INVALID],
                filtered_invalid=outcomes[Outcome.FILTERED_INVALID],
            )
            written = _store(table, plan, checkpoint, part) if part.items else None
        return checkpoint.advanced(counts, written, last, invalid_keys)


def check_segment(names: TableNames, run: str, segment: int, segments: int) -> None:
    """Raise `SettingsError` for a segment that the run does not have."""
    if not 0 <= segment < segments:
        raise SettingsError(
            f"segment is {segment!r}",
            allowed=f"0 to {segments - 1}: the run {run!r} has {segments} segments",
            action="map the task over the plan's segments",
            table=names.table,
            run=run,
        )


def delete_unfinished(table: Table, plan: BackfillPlan, checkpoint: Checkpoint) -> None:
    """Delete objects of a killed attempt that its checkpoint does not list."""
    known = {part.key for part in checkpoint.parts}
    listed = table.store.list(segment_prefix(plan.prefix(table.names), checkpoint.segment))
    table.store.delete_all([entry.key for entry in listed if entry.key not in known])


def _store(table: Table, plan: BackfillPlan, checkpoint: Checkpoint, part: Part) -> PartObject:
    names = table.names
    key = part_key(plan.prefix(names), checkpoint.segment, len(checkpoint.parts))
    sha256 = part.close()
    # The content is gzip, as the ending says. ContentEncoding is not set, or clients would unpack it on the way.
    etag = table.store.create(key, part.file, "application/gzip")
    if etag is None:
        raise ConflictError(
            f"{names.uri(key)} was written by another attempt of this task",
            allowed="one running attempt per segment",
            action="let the task retry: it goes on from the last checkpoint",
            table=names.table,
            run=plan.run,
            key=key,
        )
    return PartObject(key=key, size=part.size, items=part.items, sha256=sha256, etag=etag)
