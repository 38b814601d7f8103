"""The schema of one table: its columns, where they come from, and how it grows.

It is kept as JSON in the property `dynalake.schema` of the Iceberg tables, and changes in the commit that changes their
columns.

A value whose attribute has no column, or does not fit its column yet, is in the column `OTHER`, as its exact JSON text;
so there can be few columns, of the right types, and no value waits for one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

from dynalake.lake.columns.admission import ColumnNames, admit_columns, widen_columns
from dynalake.lake.columns.column import DAY, KEY, Column, compact_json
from dynalake.lake.columns.pins import Pins
from dynalake.lake.types.budget import BUDGET, LIMITS, Budget, Limits
from dynalake.lake.types.union import (
    TEXT,
    Boolean,
    Number,
    Type,
    merge,
    takes,
    tells,
)
from dynalake.record.change import (
    EVENT_TIME,
    EXPIRED,
    OPERATION,
    OTHER,
    SEQUENCE_NUMBER,
    TYPES,
)
from dynalake.record.key import ItemKey

__all__ = [
    "DAY",
    "KEY",
    "METADATA_TYPES",
    "OTHER",
    "Column",
    "Observed",
    "TableSchema",
    "merge_observed",
]

# 8 bytes hold the milliseconds; the rest is text.
METADATA_TYPES: dict[str, Type] = {
    OPERATION: TEXT,
    SEQUENCE_NUMBER: TEXT,
    EVENT_TIME: Number(13, 0, 13, True),
    EXPIRED: Boolean(),
    TYPES: TEXT,
}

Observed: TypeAlias = Mapping[str, Type]
"""Attribute name → type that was seen in some records."""


@dataclass(frozen=True)
class TableSchema:
    """The item key and the attributes' columns, in the order in which they came."""

    key: ItemKey
    columns: tuple[Column, ...] = ()
    pins: Pins = field(default_factory=Pins)

    @classmethod
    def of_new_table(cls, key: ItemKey, pins: Pins | None = None) -> TableSchema:
        """Return the schema of a table whose key alone is known.

        Keys that are text or binary have their columns. A number's type follows from the first values, before any file
        holds the column; until then there is `KEY` (see `identity`). Raises `SettingsError` where the pins contradict
        the key.
        """
        schema = cls(key).with_pins(pins or Pins())
        texts = [a.name for a in key.attributes if a.type != "N"]
        return replace(schema, columns=tuple(Column(schema.names.of(a), a, TEXT) for a in texts))

    def with_pins(self, pins: Pins) -> TableSchema:
        """Return this schema with other pins. Existing columns follow them when they are widened (`widen_for`).

        Raises `SettingsError` where they contradict the key, or a pinned name is another attribute's column.
        """
        schema = replace(self, pins=pins)
        schema.names.check(self.columns)
        return schema

    @property
    def opened(self) -> TableSchema:
        """This schema with columns that grow and widen: what a run may do that allows it once."""
        return replace(self, pins=replace(self.pins, closed=False))

    @cached_property
    def names(self) -> ColumnNames:
        """Names that columns have, or would have."""
        return ColumnNames(self.key, self.pins)

    def admit(self, observed: Observed, budget: Budget = BUDGET) -> TableSchema:
        """Return this schema with columns, and fields in structs, for what was observed and has no place yet.

        It goes as far as the budget; `left_out` names the rest. Existing columns keep name, type and place.
        """
        return self._with(admit_columns(self.columns, self.names, dict(observed), budget))

    def widen_for(self, observed: Observed, budget: Budget = BUDGET, numbers: Observed | None = None) -> TableSchema:
        """Return this schema, with wider types for columns that do not take what was observed; and as pinned.

        A column whose type changes (`layout.extends` says no) has to be written again in all files that hold it. After
        `budget.widenings` changes it becomes JSON text. Columns that a pin has since forbidden go. Attributes and
        fields without a place get one, as far as the budget goes.

        `numbers`: the types of what columns do hold, as far as they are known (from the values, or `number_within` the
        bounds of data files); only the numbers in them count. Without it a number may be anything that its type takes,
        and an integer column that meets 1.5 becomes a decimal, though all its integers may fit a double.
        """
        widened = widen_columns(self.columns, self.names, dict(observed), dict(numbers or {}), budget)
        return self._with(widened).admit(observed, budget)

    def _with(self, columns: tuple[Column, ...]) -> TableSchema:
        return self if columns == self.columns else replace(self, columns=columns)

    def left_out(self, observed: Observed) -> tuple[str, ...]:
        """Return the attributes that have values but no column, except those that never get one."""
        return tuple(a for a in observed if a not in self.known and a not in self.pins.without and tells(observed[a]))

    def misfits(self, observed: Observed) -> tuple[str, ...]:
        """Return the attributes with values that do not fit their columns."""
        return tuple(a for a in observed if a in self.known and not takes(self.known[a].type, observed[a]))

    @cached_property
    def known(self) -> dict[str, Column]:
        """Columns by their attributes."""
        return {c.attribute: c for c in self.columns}

    def column(self, attribute: str) -> Column | None:
        """Return the column of an attribute."""
        return self.known.get(attribute)

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """Columns of the item key, the partition key first; without a number that was never seen."""
        return tuple(self.known[name] for name in self.key.names if name in self.known)

    @property
    def identity(self) -> tuple[str, ...]:
        """Columns that tell items apart, all of them text: rows are merged, joined, compared and sorted by them.

        They are the key's own columns where these are text, and `KEY` where the key has a number. A number's column
        cannot do it: it holds the numbers that fit the first ones, and others once it is widened; and only text holds
        all that DynamoDB has, 38 digits from 1E-130 to 1E+125.
        """
        if any(a.type == "N" for a in self.key.attributes):
            return (KEY,)
        return tuple(c.name for c in self.key_columns)

    def to_json(self) -> str:
        """Return the JSON for the table's property and for manifests. The budget bounds it."""
        values = {"key": self.key.to_dict(), "columns": [c.to_json() for c in self.columns]}
        return compact_json({**values, "pins": self.pins.to_dict()} if self.pins else values)

    @classmethod
    def from_json(cls, text: str) -> TableSchema:
        """Return the schema from what `to_json` returned."""
        values = json.loads(text)
        columns = tuple(map(Column.from_json, values["columns"]))
        return cls(ItemKey.from_dict(values["key"]), columns, Pins.from_dict(values.get("pins", {})))


def merge_observed(parts: Iterable[Observed], limits: Limits = LIMITS) -> dict[str, Type]:
    """Return the union over several observations, attribute by attribute."""
    merged: dict[str, Type] = {}
    for part in parts:
        for attribute, seen in part.items():
            known = merged.get(attribute)
            merged[attribute] = seen if known is None else merge(known, seen, limits)
    return merged
