"""The schema of one table: its columns, where they come from, and how it grows.

It is kept as JSON in the parameter `dynalake.schema` of the Glue table `{t}_parquet`, which is the single truth: the
parameter and the columns change in one call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TypeAlias

from dynalake.lake.layout import files_still_readable, glue_type, narrow, signature, written
from dynalake.lake.types import (
    MAX_STRUCT_FIELDS,
    MIXED,
    TEXT,
    Boolean,
    Null,
    Number,
    Type,
    fold,
    give_names,
    merge,
    name_fields,
    observe,
    type_from_json,
    type_to_json,
)
from dynalake.record.change import (
    EVENT_TIME,
    EXPIRED,
    METADATA,
    OPERATION,
    SEQUENCE_NUMBER,
    TYPES,
    attribute_name,
    json_key,
)
from dynalake.record.key import ItemKey

DAY = "dt"
"""The partition column."""

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

# https://docs.aws.amazon.com/glue/latest/webapi/API_Column.html
TYPE_LIMIT = 131_072
COMMENT_LIMIT = 255

Observed: TypeAlias = Mapping[str, Type]
"""Attribute name → type: what was seen in some records."""


@dataclass(frozen=True)
class Column:
    """A column: its name in the catalog, the attribute it holds, and the attribute's type."""

    name: str
    attribute: str
    type: Type

    @property
    def key(self) -> str:
        """The attribute's key in a change record."""
        return json_key(self.attribute)

    @property
    def glue_type(self) -> str:
        return glue_type(self.type)

    @property
    def comment(self) -> str:
        """Names the attribute where the column's name does not; a JSON string, so it is always one line."""
        if self.name == self.attribute:
            return ""
        return f"attribute {json.dumps(self.attribute, ensure_ascii=True)}"[:COMMENT_LIMIT]


@dataclass(frozen=True)
class TableSchema:
    """The item key and the attributes' columns, in the order in which they came."""

    key: ItemKey
    columns: tuple[Column, ...] = ()

    @classmethod
    def of_key(cls, key: ItemKey) -> TableSchema:
        """The schema of a table of which nothing but its key is known."""
        types = {a.name: Number() if a.type == "N" else TEXT for a in key.attributes}
        return cls(key).widen(types)

    def column(self, attribute: str) -> Column | None:
        """The column of an attribute."""
        return next((c for c in self.columns if c.attribute == attribute), None)

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns of the item key, the partition key first."""
        by_attribute = {c.attribute: c for c in self.columns}
        return tuple(by_attribute[name] for name in self.key.names)

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
        """For the table's parameter and for manifests."""
        columns = [[c.attribute, c.name, type_to_json(c.type)] for c in self.columns]
        return json.dumps({"key": self.key.to_dict(), "columns": columns}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> TableSchema:
        """The reverse of `to_json`."""
        values = json.loads(text)
        columns = tuple(Column(name, attribute, type_from_json(t)) for attribute, name, t in values["columns"])
        return cls(ItemKey.from_dict(values["key"]), columns)


def merge_observed(parts: Iterable[Observed], max_struct_fields: int = MAX_STRUCT_FIELDS) -> dict[str, Type]:
    """The union over several observations, attribute by attribute."""
    merged: dict[str, Type] = {}
    for part in parts:
        for attribute, seen in part.items():
            known = merged.get(attribute)
            merged[attribute] = seen if known is None else merge(known, seen, max_struct_fields)
    return merged


def observe_record(seen: dict[str, Type], record: dict[str, object], max_struct_fields: int) -> None:
    """Widen `seen` by the attributes of one change record; a canary has none."""
    if record.get(OPERATION) == "CANARY":
        return
    for key, value in record.items():
        if key in METADATA:
            continue
        attribute = attribute_name(key)
        known = seen.get(attribute)
        now = observe(value, max_struct_fields)
        seen[attribute] = now if known is None else merge(known, now, max_struct_fields)


def _fit(of: Type) -> Type:
    return MIXED if len(glue_type(of)) > TYPE_LIMIT else of
