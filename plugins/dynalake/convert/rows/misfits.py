"""The count of the values that some rows have in `__other`: the nightly compaction plans wider types by it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute

from dynalake.convert.read.raw import decode
from dynalake.convert.rows.place import brings_nothing
from dynalake.lake.columns.schema import TableSchema
from dynalake.lake.types.budget import BUDGET, LIMITS
from dynalake.lake.types.union import NULL, Mixed, Type, merge, observe, type_to_json

pc: Any = pyarrow.compute

_LARGEST = 1 << 12
"""Characters of a type's JSON. A larger type is reported as JSON text: a manifest should not hold it."""

_MOST = BUDGET.columns
"""Attributes of which those without a column are counted: a table has no more columns."""


@dataclass
class Misfits:
    """Counts of the values that are not in a column. `types` and `counts`: by attribute, of values that their column
    cannot hold; and, where the columns are closed, of values that may get one once that is allowed. `without`: how many
    values have no column at all.
    """

    types: dict[str, Type] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    without: int = 0

    def add(self, other: Any, schema: TableSchema) -> None:
        """Take the column `__other` of rows under this schema."""
        columns = pa.array(list(schema.known), pa.string())
        never = pa.array(sorted(schema.pins.without), pa.string())
        for chunk in other.chunks:
            if chunk.null_count == len(chunk):
                continue
            # Entries within nulls and outside of a slice do not count.
            entries: Any = chunk.drop_null()
            first, last = entries.offsets[0].as_py(), entries.offsets[-1].as_py()
            keys, values = entries.keys[first:last], entries.items[first:last]
            known = pc.is_in(keys, value_set=columns)
            self.without += len(keys) - (pc.sum(known).as_py() or 0)
            counted = pc.invert(pc.is_in(keys, value_set=never)) if schema.pins.closed else known
            texts = zip(keys.filter(counted).to_pylist(), values.filter(counted).to_pylist(), strict=True)
            for attribute, text in texts:
                if attribute not in self.types and attribute not in schema.known and len(self.types) >= _MOST:
                    continue
                self.counts[attribute] += 1
                seen = self.types.get(attribute, NULL)
                if isinstance(seen, Mixed):
                    continue
                value = decode(text)
                if not brings_nothing(seen, value, LIMITS):
                    self.types[attribute] = merge(seen, observe(value, LIMITS), LIMITS)

    def to_dict(self) -> dict[str, Any]:
        """Return what a folder's manifest keeps: attribute → `{"type": …, "count": …}`."""
        return {
            attribute: {"type": _bounded(of), "count": self.counts[attribute]}
            for attribute, of in sorted(self.types.items())
        }


def _bounded(of: Type) -> Any:
    value = type_to_json(of)
    return value if len(json.dumps(value)) <= _LARGEST else "mixed"
