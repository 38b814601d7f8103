"""The state of a certification between its tasks: how much was compared, and which items are in doubt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dynalake.lake.catalog.table import Table

MISSING, EXTRA, DIFFERENT = "missing", "extra", "different"
"""Kinds of differences: the lake lacks the item, it has one that is gone, or both have it with other attributes."""


def difference_kind(in_table: object, in_lake: object) -> str:
    """Return the kind of a difference; None stands for no item (pure)."""
    return MISSING if in_lake is None else EXTRA if in_table is None else DIFFERENT


@dataclass(frozen=True)
class InDoubt:
    """An item that the lake has not shown as DynamoDB did. `image`: its digest in DynamoDB, None without such an item.

    `key`: the parts of its key as text.
    """

    key: tuple[str, ...]
    image: str | None


@dataclass(frozen=True)
class Certification:
    """One run for one table. Times are in milliseconds.

    `items` in DynamoDB and `rows` of items in the lake were compared, as of `since`. `doubts` are open, read again at
    `read_at` (0: not yet); `reread`: how many were. `unread`: kinds of doubts that are too many to read again.
    """

    table: str
    run: str
    method: str
    since: int
    items: int
    rows: int
    doubts: tuple[InDoubt, ...]
    unread: Mapping[str, int] = field(default_factory=dict)
    read_at: int = 0
    reread: int = 0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "doubts": [[doubt.key, doubt.image] for doubt in self.doubts]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Certification:
        doubts = tuple(InDoubt(tuple(key), image) for key, image in value["doubts"])
        return cls(**{**value, "doubts": doubts})


def load_certification(table: Table, run: str) -> Certification | None:
    """Return the certification of a run (its name) as it is now; None where the last one is another run's."""
    stored = table.store.read_json(table.names.certification)
    return None if stored is None or stored.value["run"] != run else Certification.from_json(stored.value)


def save_certification(table: Table, certification: Certification) -> None:
    """Store the certification, which a retry and the next task read."""
    table.store.write_json(table.names.certification, certification.to_json())
