"""The state of a certification between its tasks: how much was compared, and which items are in doubt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dynalake.lake.catalog.table import Table

MISSING, EXTRA, DIFFERENT = "missing", "extra", "different"
"""Kinds of differences: the lake lacks the item, it has one that is gone, or both have it with other attributes."""


def kind_of(in_table: object, in_lake: object) -> str:
    """Return the kind of a difference; None stands for no item (pure)."""
    return MISSING if in_lake is None else EXTRA if in_table is None else DIFFERENT


@dataclass(frozen=True)
class Doubt:
    """An item that the lake has not shown as DynamoDB did. `image`: its digest in DynamoDB, None without such an item.

    `key`: the parts of its key as text.
    """

    key: tuple[str, ...]
    image: str | None


@dataclass(frozen=True)
class Comparison:
    """One run's comparison. Times are in milliseconds.

    `items` in DynamoDB and `rows` of items in the lake were compared, as of `since`. `doubts` are open, read again at
    `read_at` (0: not yet); `reread`: how many were. `unread`: kinds of doubts that are too many to read again.
    """

    table: str
    run: str
    method: str
    since: int
    items: int
    rows: int
    doubts: tuple[Doubt, ...]
    unread: Mapping[str, int] = field(default_factory=dict)
    read_at: int = 0
    reread: int = 0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "doubts": [[doubt.key, doubt.image] for doubt in self.doubts]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Comparison:
        doubts = tuple(Doubt(tuple(key), image) for key, image in value["doubts"])
        return cls(**{**value, "doubts": doubts})


def load_comparison(table: Table, run: str) -> Comparison | None:
    """Return the comparison of a run (its name) as it is now; None where there is none yet."""
    stored = table.store.read_json(table.names.certifying(run))
    return None if stored is None else Comparison.from_json(stored.value)


def save_comparison(table: Table, comparison: Comparison) -> None:
    """Store the comparison, which a retry and the next task read."""
    table.store.write_json(table.names.certifying(comparison.run), comparison.to_json())
