"""The work of a redrive: listed, put into chunks, and stored next to the run, so that every retry does the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from dynalake.capture.failed.failed import FailedBatch, Failure, list_failed, summarize
from dynalake.capture.lake.registry import load_settings
from dynalake.errors import NotReadyError
from dynalake.lake.catalog.table import Table

CHUNK_BATCHES = 500
CHUNK_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Chunk:
    """Batches that one task replays."""

    label: str
    stage: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class RedrivePlan:
    """The work of a run."""

    failures: tuple[Failure, ...]
    chunks: tuple[Chunk, ...]

    @property
    def batches(self) -> int:
        return sum(failure.batches for failure in self.failures)

    @property
    def changes(self) -> int:
        return sum(failure.changes for failure in self.failures)

    def to_json(self) -> str:
        """Return the object's content."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RedrivePlan:
        """Return the plan from what `to_json` returned."""
        values = json.loads(text)
        chunks = (Chunk(**{**chunk, "keys": tuple(chunk["keys"])}) for chunk in values["chunks"])
        return cls(tuple(Failure(**failure) for failure in values["failures"]), tuple(chunks))

    def table(self) -> str:
        """Return a table for people: one line per reason."""
        rows = [("stage", "reason", "batches", "changes", "oldest", "newest")]
        rows += [(f.stage, f.reason, f"{f.batches:,}", f"{f.changes:,}", f.oldest, f.newest) for f in self.failures]
        return "\n".join(" | ".join(row) for row in rows)


def plan_redrive(table: Table, batches: Sequence[str] = ()) -> RedrivePlan:
    """Return what can be replayed; write nothing. Raise `SettingsError` for a table or batch that does not exist."""
    load_settings(table)
    failed = list_failed(table, batches)
    return RedrivePlan(summarize(failed), plan_chunks(failed))


def plan_chunks(failed: Iterable[FailedBatch]) -> tuple[Chunk, ...]:
    """Return batches of one stage that travel together, in order; up to `CHUNK_BATCHES` and `CHUNK_BYTES` (pure)."""
    chunks: list[list[FailedBatch]] = []
    size = 0
    for batch in failed:
        last = chunks[-1] if chunks else []
        full = len(last) == CHUNK_BATCHES or size + batch.size > CHUNK_BYTES
        if not last or full or last[0].stage != batch.stage:
            chunks.append([])
            size = 0
        chunks[-1].append(batch)
        size += batch.size
    numbered: dict[str, int] = {}
    labelled = []
    for chunk in chunks:
        stage = chunk[0].stage
        first = numbered.get(stage, 0) + 1
        last_number = numbered[stage] = first + len(chunk) - 1
        changes = sum(batch.changes for batch in chunk)
        label = f"{stage} {first:,}–{last_number:,} ({changes:,} changes)"
        labelled.append(Chunk(label, stage, tuple(batch.key for batch in chunk)))
    return tuple(labelled)


def save_plan(table: Table, run: str, plan: RedrivePlan) -> None:
    """Store a run's plan."""
    table.store.write(_plan_key(table, run), plan.to_json().encode(), "application/json")


def load_plan(table: Table, run: str) -> RedrivePlan:
    """Return a run's plan as it was stored. Raise `NotReadyError` where there is none."""
    stored = table.store.read(_plan_key(table, run))
    if stored is None:
        raise NotReadyError(
            f"The redrive run {run!r} of table {table.names.table!r} has no plan",
            action="trigger dynalake_redrive again",
            table=table.names.table,
        )
    return RedrivePlan.from_json(stored.body.decode())


def _plan_key(table: Table, run: str) -> str:
    return f"{table.names.redrive_state(run)}plan.json"
