"""A column of the lake's tables: its name in the catalog, the attribute it holds, its type; and reserved names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from dynalake.lake.types.budget import COMMENT_CHARACTERS
from dynalake.lake.types.layout import glue_type
from dynalake.lake.types.union import Mixed, Type, type_from_json, type_to_json
from dynalake.record.change import METADATA, OTHER, json_key

DAY = "dt"
"""The partition column."""

KEY = "__key"
"""The whole item key as one text (`key_text`), where the key has a number."""

DELETED = "__deleted"
"""In `{t}_state`: whether the item is gone."""

RESERVED_NAMES = frozenset(
    {
        *METADATA,
        *(OTHER, DAY, KEY, DELETED),
        # Columns that views add, and names that they or later releases may need.
        *("__valid_from", "__valid_to", "__is_current", "__rank", "__run", "__row", "__raw"),
        # Iceberg's metadata columns: Spark refuses to read a table with one of the first seven, and adds the others.
        *("_file", "_pos", "_deleted", "_spec_id", "_partition", "_row_id", "_last_updated_sequence_number"),
        *("_change_type", "_change_ordinal", "_commit_snapshot_id"),
    }
)
"""Names that no attribute's column has, though an attribute may."""


@dataclass(frozen=True)
class Column:
    """A column: its name in the catalog, the attribute it holds, the attribute's type.

    `widened`: how often its type has changed.
    """

    name: str
    attribute: str
    type: Type
    widened: int = 0

    @property
    def key(self) -> str:
        """The attribute's key in a change record."""
        return json_key(self.attribute)

    @property
    def glue_type(self) -> str:
        return glue_type(self.type)

    @property
    def comment(self) -> str:
        """Comment: `JSON text`, and the attribute as a one-line JSON string if the column's name differs from it."""
        parts = ["JSON text"] if isinstance(self.type, Mixed) else []
        if self.name != self.attribute:
            parts.append(f"attribute {json.dumps(self.attribute, ensure_ascii=True)}")
        return "; ".join(parts)[:COMMENT_CHARACTERS]

    def to_json(self) -> list[Any]:
        """Return its attribute, name, type, and how often it was widened, unless never."""
        return [self.attribute, self.name, type_to_json(self.type), *([self.widened] if self.widened else [])]

    @classmethod
    def from_json(cls, values: list[Any]) -> Column:
        """Return the column from what `to_json` returned."""
        attribute, name, of, *widened = values
        return cls(name, attribute, type_from_json(of), *widened)


def compact_json(value: Any) -> str:
    """Return JSON without blanks, in ASCII: its characters are its bytes."""
    return json.dumps(value, separators=(",", ":"))
