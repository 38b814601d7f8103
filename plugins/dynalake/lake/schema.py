"""The schema of one table: its columns, where they come from, and how it grows.

It is kept as JSON in the property `dynalake.schema` of the Iceberg tables, and changes in the commit that changes their
columns. (First edition: in a parameter of the Glue table `{t}_parquet`; `of_key`, `widen`, `extend`, `unreadable`.)

A value whose attribute has no column, or does not fit its column yet, is in the column `OTHER`, as its exact JSON text;
so columns can be few, and their types right, and no value waits for either.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import TypeAlias

from dynalake.lake.admission import ColumnNames, admit_columns, widen_columns
from dynalake.lake.budget import BUDGET, COLUMN_TYPE_CHARACTERS, Budget, Limits
from dynalake.lake.column import DAY, KEY, Column, compact_json
from dynalake.lake.column_names import fold, give_names, name_fields
from dynalake.lake.layout import files_still_readable, glue_type, narrow, signature, written
from dynalake.lake.pins import Pins
from dynalake.lake.types import (
    MAX_STRUCT_FIELDS,
    MIXED,
    TEXT,
    Boolean,
    Null,
    Number,
    Type,
    merge,
    observe,
    takes,
    tells,
)
from dynalake.record.change import (
    EVENT_TIME,
    EXPIRED,
    METADATA,
    OPERATION,
    OTHER,
    SEQUENCE_NUMBER,
    TYPES,
    attribute_name,
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
    "observe_record",
]

# 8 bytes hold the milliseconds; the rest is text.
METADATA_TYPES: dict[str, Type] = {
    OPERATION: TEXT,
    SEQUENCE_NUMBER: TEXT,
    EVENT_TIME: Number(13, 0, 13, True),
    EXPIRED: Boolean(),
    TYPES: TEXT,
}
# The views need names of their own beside the columns.
RESERVED = (*METADATA, DAY, "__rank", "__misfit", "__misfit1", "__raw")

Observed: TypeAlias = Mapping[str, Type]
"""Attribute name → type: what was seen in some records."""


@dataclass(frozen=True)
class TableSchema:
    """The item key and the attributes' columns, in the order in which they came."""

    key: ItemKey
    columns: tuple[Column, ...] = ()
    pins: Pins = field(default_factory=Pins)

    @classmethod
    def of_new_table(cls, key: ItemKey, pins: Pins | None = None) -> TableSchema:
        """The schema of a table of which nothing but its key is known.

        Keys that are text or binary have their columns. A number's type follows from the first values, when no file
        holds the column yet; until then there is `KEY` (see `identity`). Raises `SettingsError` where the pins do not
        go with the key.
        """
        schema = cls(key).with_pins(pins or Pins())
        texts = [a.name for a in key.attributes if a.type != "N"]
        return replace(schema, columns=tuple(Column(schema.names.of(a), a, TEXT) for a in texts))

    def with_pins(self, pins: Pins) -> TableSchema:
        """This schema with other pins. Columns that are there become as pinned when they are widened (`widen_for`).

        Raises `SettingsError` where they do not go with the key, or a pinned name is another attribute's column.
        """
        schema = replace(self, pins=pins)
        schema.names.check(self.columns)
        return schema

    @cached_property
    def names(self) -> ColumnNames:
        """The names that columns have, or would have."""
        return ColumnNames(self.key, self.pins)

    def admit(self, observed: Observed, budget: Budget = BUDGET) -> TableSchema:
        """This schema with columns, and fields in structs, for what was observed and has no place yet.

        As far as the budget goes; `left_out` names what is beyond. Existing columns keep name, type and place.
        """
        return self._with(admit_columns(self.columns, self.names, dict(observed), budget))

    def widen_for(self, observed: Observed, budget: Budget = BUDGET, numbers: Observed | None = None) -> TableSchema:
        """This schema, with types that hold what was observed, for columns that do not take it yet; and as pinned.

        A column whose type changes (`layout.extends` says no) has to be written again in all files that hold it. After
        `budget.widenings` changes it becomes JSON text. Columns that a pin has since forbidden go. Attributes and
        fields without a place get one, as far as the budget goes.

        `numbers`: the types of what columns do hold, as far as they are known (from the values, or `number_within` the
        bounds of data files); no more than the numbers in them count. Without it a number may be whatever its type
        takes, and an integer column that meets 1.5 becomes a decimal, though all its integers may fit a double.
        """
        widened = widen_columns(self.columns, self.names, dict(observed), dict(numbers or {}), budget)
        return self._with(widened).admit(observed, budget)

    def _with(self, columns: tuple[Column, ...]) -> TableSchema:
        return self if columns == self.columns else replace(self, columns=columns)

    def left_out(self, observed: Observed) -> tuple[str, ...]:
        """The attributes that have values and no column, other than those that are never to have one."""
        return tuple(a for a in observed if a not in self.known and a not in self.pins.without and tells(observed[a]))

    def misfits(self, observed: Observed) -> tuple[str, ...]:
        """The attributes of which values do not fit their columns."""
        return tuple(a for a in observed if a in self.known and not takes(self.known[a].type, observed[a]))

    @classmethod
    def of_key(cls, key: ItemKey) -> TableSchema:
        """The schema of a table of which nothing but its key is known."""
        types = {a.name: Number() if a.type == "N" else TEXT for a in key.attributes}
        return cls(key).widen(types)

    @cached_property
    def known(self) -> dict[str, Column]:
        """The columns by their attributes."""
        return {c.attribute: c for c in self.columns}

    def column(self, attribute: str) -> Column | None:
        """The column of an attribute."""
        return self.known.get(attribute)

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns of the item key, the partition key first; without a number that was never seen."""
        return tuple(self.known[name] for name in self.key.names if name in self.known)

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that tell items apart, all of them text: by these rows are merged, joined, compared and sorted.

        They are the key's own columns where these are text, and `KEY` where the key has a number. A number's column
        cannot do it: it holds the numbers that fit what came first, and others once it is widened; and no type but text
        holds all that DynamoDB knows, 38 digits from 1E-130 to 1E+125.
        """
        if any(a.type == "N" for a in self.key.attributes):
            return (KEY,)
        return tuple(c.name for c in self.key_columns)

    def widen(self, observed: Observed, max_struct_fields: int = MAX_STRUCT_FIELDS) -> TableSchema:
        """This schema, able to hold what was observed: columns are added or widened, never dropped or renamed."""
        return self._grow(observed, lambda old, new: merge(old, new, max_struct_fields))

    def extend(self, observed: Observed, max_struct_fields: int = MAX_STRUCT_FIELDS) -> TableSchema:
        """Only what no file and no reader can mind: new columns. Existing ones keep their types.

        A column of which only nulls are known counts as new: no file holds it yet.
        """
        return self._grow(observed, lambda old, new: new if isinstance(old, Null) else old)

    def _grow(self, observed: Observed, decide: Callable[[Type, Type], Type]) -> TableSchema:
        columns = []
        for column in self.columns:
            seen = observed.get(column.attribute)
            grown = column.type if seen is None else _fit(name_fields(decide(column.type, seen)))
            columns.append(column if grown == column.type else replace(column, type=grown))
        known = {c.attribute: c.name for c in self.columns}
        # The key's columns come first, then the others by name.
        new = sorted(set(observed) - set(known), key=lambda a: (a not in self.key.names, fold(a), a))
        names = give_names(new, known, RESERVED)
        columns += [Column(names[a], a, _fit(name_fields(observed[a]))) for a in new]
        return replace(self, columns=tuple(columns))

    def file_schema(self, observed: Observed) -> TableSchema:
        """The columns that a file with these records holds: those with values, as this schema types them.

        What it leaves out reads as null, so a partition's files do not depend on what other partitions hold.
        """
        columns = []
        for c in self.columns:
            seen = observed.get(c.attribute)
            if c.attribute in self.key.names:
                columns.append(c)
            elif seen is not None and not isinstance(seen, Null):
                columns.append(replace(c, type=written(narrow(c.type, seen))))
        return replace(self, columns=tuple(columns))

    def unreadable(self, files: TableSchema) -> tuple[str, ...]:
        """The columns that files written with the schema `files` cannot give under this schema."""
        mine = {c.attribute: c for c in self.columns}
        return tuple(
            old.name
            for old in files.columns
            if not isinstance(old.type, Null)
            and (
                (new := mine.get(old.attribute)) is None
                or new.name != old.name
                or not files_still_readable(old.type, new.type)
            )
        )

    @property
    def layout(self) -> str:
        """16 hexadecimal digits over names and types as readers see them (`signature`)."""
        text = json.dumps([[c.attribute, c.name, signature(c.type)] for c in self.columns])
        return sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """For the table's property and for manifests. Bounded by the budget."""
        values = {"key": self.key.to_dict(), "columns": [c.to_json() for c in self.columns]}
        return compact_json({**values, "pins": self.pins.to_dict()} if self.pins else values)

    @classmethod
    def from_json(cls, text: str) -> TableSchema:
        """The reverse of `to_json`."""
        values = json.loads(text)
        columns = tuple(map(Column.from_json, values["columns"]))
        return cls(ItemKey.from_dict(values["key"]), columns, Pins.from_dict(values.get("pins", {})))


def merge_observed(parts: Iterable[Observed], limits: Limits | int = MAX_STRUCT_FIELDS) -> dict[str, Type]:
    """The union over several observations, attribute by attribute."""
    merged: dict[str, Type] = {}
    for part in parts:
        for attribute, seen in part.items():
            known = merged.get(attribute)
            merged[attribute] = seen if known is None else merge(known, seen, limits)
    return merged


def observe_record(seen: dict[str, Type], record: dict[str, object], limits: Limits | int) -> None:
    """Widen `seen` by the attributes of one change record; a canary has none."""
    if record.get(OPERATION) == "CANARY":
        return
    for key, value in record.items():
        if key in METADATA:
            continue
        attribute = attribute_name(key)
        known = seen.get(attribute)
        now = observe(value, limits)
        seen[attribute] = now if known is None else merge(known, now, limits)


def _fit(of: Type) -> Type:
    return MIXED if len(glue_type(of)) > COLUMN_TYPE_CHARACTERS else of
