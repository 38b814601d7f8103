"""The counts of a run, and the sums that must hold before anything is committed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dynalake.aws.s3 import StoredObject
from dynalake.backfill.export.manifest import Groups
from dynalake.backfill.plan.run import BackfillPlan
from dynalake.backfill.segment.checkpoint import EXAMPLES, Checkpoint, Counts, PartObject
from dynalake.errors import LedgerError, NotReadyError, counted


@dataclass(frozen=True)
class Ledger:
    """One run's plan and the checkpoints of all its segments, in order; for an export also its manifests' sums."""

    plan: BackfillPlan
    segments: tuple[Checkpoint, ...]
    groups: Groups | None = None

    @property
    def expected(self) -> int:
        """Number of segments that the run must have."""
        return self.plan.segments if self.groups is None else len(self.groups.groups)

    @property
    def total(self) -> Counts:
        return sum((segment.counts for segment in self.segments), Counts())

    @property
    def vanished(self) -> int:
        """Removals that no export has: the last group's."""
        return self.segments[-1].counts.read if self.groups is not None and self.groups.vanished else 0

    @property
    def invalid_keys(self) -> list[str]:
        """Some keys of items whose time is invalid."""
        return [key for segment in self.segments for key in segment.invalid_keys][:EXAMPLES]

    @property
    def parts(self) -> tuple[PartObject, ...]:
        return tuple(part for segment in self.segments for part in segment.parts)

    @property
    def bytes(self) -> int:
        """Gzipped size of all objects."""
        return sum(part.size for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """Return the content of `ledger.json`: totals first, then the plan and every segment with its objects."""
        return {**self.counts(), "plan": self.plan.to_json(), "segments": [s.to_json() for s in self.segments]}

    def counts(self) -> dict[str, Any]:
        """Return the totals alone, small enough for an XCom."""
        total = self.total
        return {
            "table": self.plan.table,
            "run": self.plan.run,
            "read": total.read,
            "kept": total.kept,
            "filtered": total.filtered,
            "kept_without": total.kept_without,
            "filtered_without": total.filtered_without,
            "kept_future": total.kept_future,
            "kept_invalid": total.kept_invalid,
            "filtered_invalid": total.filtered_invalid,
            "objects": len(self.parts),
            "bytes": self.bytes,
            **({} if self.groups is None else {"manifest": self.groups.items, "files": self.groups.count}),
            **({} if self.plan.window is None else {"vanished": self.vanished}),
        }

    def headline(self) -> str:
        """Return what the run has brought in, in a few words."""
        what = "changes of the window" if self.plan.window is not None else "items"
        return f"{self.total.kept:,} {what} are brought in, by {self.plan.method}"

    def note(self) -> str:
        """Return the totals in words: short enough for the note of a run in Airflow, which has 1,000 characters."""
        total = self.total
        text = (
            f"Read {total.read:,} = kept {total.kept:,} + filtered "
            f"{total.filtered:,}; {total.kept_without:,} kept and {total.filtered_without:,} dropped without a time. "
            f"{counted(len(self.parts), 'object')}, {counted(self.bytes, 'byte')}."
        )
        if total.kept_future:
            text += f" {total.kept_future:,} kept with a time after their reading."
        if self.groups is not None:
            read = f"{counted(self.groups.items, 'item')} in {counted(self.groups.count, 'file')}"
            text += f" The export's manifests: {read}."
        if self.plan.window is not None:
            text += f" {counted(self.vanished, 'item')} came and went in the window: the run made their removals."
        if self.invalid_keys:
            # This comes last, because the end of a long note is cut.
            text += (
                f" {total.kept_invalid:,} kept and {total.filtered_invalid:,} dropped whose "
                f"{self.plan.updated_at_attribute} is not a time, such as {'; '.join(self.invalid_keys)}."
            )
        return text

    def markdown(self) -> str:
        """Return the ledger as a table, for the run's note: one line per segment and the total."""
        without = "without time"
        rows = [
            _row(name, s.counts, len(s.parts), s.bytes) for name, s in zip(self._names(), self.segments, strict=True)
        ]
        rows.append(_row("**total**", self.total, len(self.parts), self.bytes))
        head = [
            "segment",
            "read",
            "= kept",
            "+ filtered",
            f"kept {without}",
            f"dropped {without}",
            "kept with a future time",
            "kept with an invalid time",
            "dropped with an invalid time",
            "objects",
            "bytes",
        ]
        rule = "|---|" + "---:|" * (len(head) - 1)
        about = f"Backfill of `{self.plan.table}`, run `{self.plan.run}`, method {self.plan.method}"
        if self.plan.filters:
            about += f", `{self.plan.updated_at_attribute}` before {self.plan.updated_before}"
        if self.groups is not None:
            about += (
                f"; {self.groups.items:,} items by the manifests, in {self.groups.count:,} files with the right MD5"
            )
        return "\n".join([about, "", "| " + " | ".join(head) + " |", rule, *rows])

    def _names(self) -> list[str]:
        names = [f"{s.segment}" for s in self.segments]
        if self.groups is not None and self.groups.vanished:
            names[-1] = "came and went"
        return names


def check_finished(ledger: Ledger) -> None:
    """Raise `NotReadyError` if a segment is unfinished."""
    open_segments = [str(s.segment) for s in ledger.segments if not s.finished]
    if open_segments:
        raise NotReadyError(
            f"Backfill run {ledger.plan.run!r} of {ledger.plan.table!r} is unfinished in segment(s) "
            + ", ".join(open_segments),
            allowed=f"all {ledger.expected} segments finished",
            action="let their tasks finish (or clear them: they resume where they were), then commit again",
            table=ledger.plan.table,
            run=ledger.plan.run,
        )


def check_sums(ledger: Ledger, listed: Sequence[StoredObject]) -> None:
    """Raise `LedgerError` with every sum that does not hold; `listed` are the objects in S3, strays included."""
    failed = list(failed_sums(ledger, listed))
    if failed:
        raise LedgerError(
            f"The ledger of backfill run {ledger.plan.run!r} of {ledger.plan.table!r} does not add up: "
            + "; ".join(failed),
            allowed="read = kept + filtered, and every written object in S3 as it was written",
            action="trigger dynalake_backfill again: a new run reads everything again, and the previous snapshot stays "
            "until the run is committed",
            table=ledger.plan.table,
            run=ledger.plan.run,
        )


def failed_sums(ledger: Ledger, listed: Sequence[StoredObject]) -> Iterator[str]:
    """Yield each sum that fails, in words (pure)."""
    numbers = [s.segment for s in ledger.segments]
    if numbers != list(range(ledger.expected)):
        yield f"segments 0 to {ledger.expected - 1} planned, {numbers} found"
    for segment in ledger.segments:
        yield from _failed_counts(f"segment {segment.segment}", segment.counts)
        records = sum(part.items for part in segment.parts)
        if records != segment.counts.kept:
            yield f"segment {segment.segment}: kept {segment.counts.kept:,}, but its objects hold {records:,} records"
    yield from _failed_counts("total", ledger.total)
    if ledger.groups is not None and ledger.total.read - ledger.vanished != ledger.groups.items:
        items = ledger.total.read - ledger.vanished
        yield f"read {items:,} items, but the export's manifests say {ledger.groups.items:,}"
    by_key = {entry.key: entry for entry in listed}
    for part in ledger.parts:
        entry = by_key.get(part.key)
        if entry is None:
            yield f"{part.key} is not in S3"
        elif entry.size != part.size:
            yield f"{part.key} has {entry.size:,} bytes in S3, but {part.size:,} were written"
        elif entry.etag != part.etag:
            yield f"{part.key} differs from the object that was written (ETag {entry.etag}, written {part.etag})"


def strays(ledger: Ledger, listed: Sequence[StoredObject]) -> list[str]:
    """Return keys in S3 that no checkpoint lists: a killed attempt left them (pure)."""
    known = {part.key for part in ledger.parts}
    return [entry.key for entry in listed if entry.key not in known]


def _failed_counts(what: str, counts: Counts) -> Iterator[str]:
    if counts.read != counts.kept + counts.filtered:
        yield f"{what}: read {counts.read:,} ≠ kept {counts.kept:,} + filtered {counts.filtered:,}"
    if counts.kept_without + counts.kept_future + counts.kept_invalid > counts.kept:
        yield (
            f"{what}: {counts.kept_without:,} kept without a time, {counts.kept_future:,} with a future and "
            f"{counts.kept_invalid:,} with an invalid one, of {counts.kept:,} kept"
        )
    if counts.filtered_without + counts.filtered_invalid > counts.filtered:
        yield (
            f"{what}: {counts.filtered_without:,} dropped without a time and {counts.filtered_invalid:,} with an "
            f"invalid one, of {counts.filtered:,} filtered"
        )


def _row(name: str, counts: Counts, objects: int, size: int) -> str:
    numbers = (*counts.values(), objects, size)
    return f"| {name} | " + " | ".join(f"{number:,}" for number in numbers) + " |"
