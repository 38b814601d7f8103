"""The progress of a segment: written after each finished part, read by the retry that goes on from there."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any

from dynalake.aws.s3 import Json
from dynalake.lake.catalog.table import Table
from dynalake.names import TableNames

EXAMPLES = 3
"""Keys of items that are named as examples of one fault."""


@dataclass(frozen=True)
class Counts:
    """Counts of the items that were read, by what happened to them.

    `kept` includes `kept_without`, `kept_invalid` and `kept_future`; `filtered` includes `filtered_without` and
    `filtered_invalid`.
    """

    read: int = 0
    kept: int = 0
    filtered: int = 0
    kept_without: int = 0
    filtered_without: int = 0
    kept_future: int = 0
    kept_invalid: int = 0
    filtered_invalid: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[int, ...]:
        return astuple(self)


@dataclass(frozen=True)
class PartObject:
    """A finished part: its key, its gzipped size in bytes, its records, and what identifies its bytes."""

    key: str
    size: int
    items: int
    sha256: str
    etag: str


@dataclass(frozen=True)
class Checkpoint:
    """One segment up to a point: all parts finished so far, and the key of the last item that was read.

    The next scan starts after `last_key` (`ExclusiveStartKey`); None at the start, and when `finished`.
    `invalid_keys` are the first keys of items whose time is invalid, as a person reads them.
    """

    segment: int
    counts: Counts = Counts()
    parts: tuple[PartObject, ...] = ()
    last_key: Mapping[str, Mapping[str, Any]] | None = None
    finished: bool = False
    invalid_keys: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Gzipped size of all parts."""
        return sum(part.size for part in self.parts)

    def advanced(
        self,
        counts: Counts,
        part: PartObject | None,
        last_key: Mapping[str, Any] | None,
        invalid_keys: Iterable[str] = (),
    ) -> Checkpoint:
        """Return this checkpoint after one more part (or none, if nothing was kept); no `last_key` means the end."""
        return replace(
            self,
            counts=self.counts + counts,
            parts=self.parts if part is None else (*self.parts, part),
            last_key=last_key,
            finished=last_key is None,
            invalid_keys=(*self.invalid_keys, *invalid_keys)[:EXAMPLES],
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "segment": self.segment,
            "finished": self.finished,
            "counts": asdict(self.counts),
            "last_key": None if self.last_key is None else _encode_key(self.last_key),
            "parts": [asdict(part) for part in self.parts],
            "invalid_keys": list(self.invalid_keys),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Checkpoint:
        return cls(
            segment=value["segment"],
            counts=Counts(**value["counts"]),
            parts=tuple(PartObject(**part) for part in value["parts"]),
            last_key=None if value["last_key"] is None else _decode_key(value["last_key"]),
            finished=value["finished"],
            invalid_keys=tuple(value["invalid_keys"]),
        )


def checkpoint_key(names: TableNames, run: str, segment: int) -> str:
    """Return `{prefix}-state/{TABLE}/backfill/{run}/segment-00003.json`"""
    return f"{names.backfill_state(run)}segment-{segment:05d}.json"


def load_checkpoint(table: Table, run: str, segment: int) -> tuple[Checkpoint, Json | None]:
    """Return the segment's checkpoint (its start, if there is none yet) and the stored version it was read from."""
    stored = table.store.read_json(checkpoint_key(table.names, run, segment))
    return (Checkpoint(segment) if stored is None else Checkpoint.from_json(stored.value)), stored


def save_checkpoint(table: Table, run: str, checkpoint: Checkpoint, before: Json | None) -> Json:
    """Store `checkpoint` over the version `before`. Raise `ConflictError` if another attempt came first."""
    key = checkpoint_key(table.names, run, checkpoint.segment)
    return table.store.replace_json(key, checkpoint.to_json(), before)


def _encode_key(key: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    return {
        name: {"B": base64.b64encode(value["B"]).decode()} if isinstance(value.get("B"), bytes) else dict(value)
        for name, value in key.items()
    }


def _decode_key(key: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str | bytes]]:
    return {name: {"B": base64.b64decode(value["B"])} if "B" in value else dict(value) for name, value in key.items()}
