"""The folds that were made: each has left what it merged and wrote in the summary of its snapshot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from dynalake.lake.catalog.commit_events import MERGED
from dynalake.lake.catalog.iceberg import Head


@dataclass(frozen=True)
class PastFold:
    """A fold that ended `at` (milliseconds): it merged `changes`, by which `items` have changed.

    `rows`, `bytes` and `files` were written, of a state of `state_bytes` afterwards. Work that a killed run had
    committed before is not counted.
    """

    at: int
    changes: int
    items: int
    rows: int
    bytes: int
    files: int
    state_bytes: int

    @property
    def share(self) -> float:
        """Share of the state's bytes that was written: 1 for the whole table."""
        return min(1.0, self.bytes / self.state_bytes) if self.state_bytes else 0.0


def list_folds(state: Head) -> Iterator[PastFold]:
    """Yield the folds whose snapshots the state still has, the newest first."""
    for snapshot in reversed(state.iceberg.metadata.snapshots):
        summary = {} if snapshot.summary is None else snapshot.summary.additional_properties
        if MERGED in summary:
            merged = json.loads(summary[MERGED])
            yield PastFold(
                at=snapshot.timestamp_ms,
                changes=merged["rows"],
                items=merged["won"],
                rows=merged["written_rows"],
                bytes=merged["written"],
                files=merged["files"],
                state_bytes=int(summary.get("total-files-size") or 0),
            )
