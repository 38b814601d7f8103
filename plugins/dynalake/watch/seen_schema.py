"""The columns of a table as the page shows them: since when each is there, and what does not fit any of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dynalake.errors import cut
from dynalake.lake.columns.schema import TableSchema
from dynalake.watch.readings import Held, SeenColumn

TYPE_CHARACTERS = 300
"""Characters of a type that are kept: a struct may have some thousand."""
HELD_ATTRIBUTES = 100
"""Attributes of `__other` that are kept by name."""


def see_columns(schema: TableSchema, before: Iterable[SeenColumn], at: int, *, first: bool) -> tuple[SeenColumn, ...]:
    """Return the columns at `at`. `before`: those of the last look; `first`: there was none, so nothing is known."""
    known = {column.attribute: column for column in before}
    return tuple(
        _see(c.name, c.attribute, cut(c.glue_type, TYPE_CHARACTERS), known.get(c.attribute), None if first else at)
        for c in schema.columns
    )


def _see(name: str, attribute: str, of: str, before: SeenColumn | None, at: int | None) -> SeenColumn:
    if before is None:
        return SeenColumn(name, attribute, of, since=at)
    if before.type == of:
        return SeenColumn(name, attribute, of, before.since, before.was, before.changed)
    return SeenColumn(name, attribute, of, before.since, before.type, at)


def see_held(schema: TableSchema, misfits: Mapping[str, Any]) -> tuple[Held, ...]:
    """Return the attributes in `__other`, those with the most values first. `misfits`: those of the manifests."""
    held = (
        Held(
            cut(attribute),
            misfit["count"],
            "" if (column := schema.column(attribute)) is None else cut(column.glue_type, TYPE_CHARACTERS),
        )
        for attribute, misfit in misfits.items()
    )
    return tuple(sorted(held, key=lambda h: (-h.values, h.attribute)))
