"""What a compaction may be told, and what its result depends on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from dynalake.errors import SettingsError
from dynalake.lake.types import MAX_STRUCT_FIELDS

CONVERSION = 2
"""Goes up when the same input gives other rows or types: every partition is then converted anew."""

WRITER = 3
"""Goes up when the same rows are written as other bytes: they get a path of their own, and nothing else changes."""

FORMATS = ("parquet", "orc")
CODECS = ("zstd", "snappy", "gzip")


@dataclass(frozen=True)
class ReadOptions:
    """How the raw objects of a batch are read. `memory_mb` bounds the rows that are held; more are sorted on disk.

    Fewer MB of raw objects than `compiled_from_mb` are read by Python, which is done before the compiled reader is
    loaded, or even compiled, which takes some twenty seconds after an installation.

    Of what is rejected of an object, `max_quarantined` lines are kept. More of a batch is a finding
    (`RejectedLines.weight`), and stops nothing.
    """

    memory_mb: int = 512
    compiled_from_mb: int = 4
    max_quarantined: int = 100

    def __post_init__(self) -> None:
        for f in fields(self):
            value, least = getattr(self, f.name), 1 if f.name == "memory_mb" else 0
            if not isinstance(value, int) or value < least:
                raise SettingsError(f"{f.name} is {value!r}", allowed=f"a whole number from {least}")


@dataclass(frozen=True)
class CompactOptions:
    """Units stand in the names. `sort_by`: attributes whose order files are in, before key and sequence number.

    `memory_mb` bounds what one conversion holds; what is larger is sorted on disk.

    Fewer MB of raw objects than `compiled_from_mb` are read by Python, which is done before the compiled reader is
    loaded, or even compiled, which takes some twenty seconds after an installation.
    """

    format: str = "parquet"
    codec: str = "zstd"
    part_mb: int = 256
    row_group_mb: int = 64
    memory_mb: int = 512
    compiled_from_mb: int = 4
    max_struct_fields: int = MAX_STRUCT_FIELDS
    max_quarantined: int = 100
    sort_by: tuple[str, ...] = ()
    closed_after_hours: int = 1
    lookback_days: int = 7
    superseded_after_hours: int = 24

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise SettingsError(f"format is {self.format!r}", allowed=" or ".join(FORMATS))
        if self.codec not in CODECS:
            raise SettingsError(f"codec is {self.codec!r}", allowed=", ".join(CODECS))
        for f in fields(self):
            value = getattr(self, f.name)
            least = 0 if f.name in ("max_quarantined", "closed_after_hours", "lookback_days", "compiled_from_mb") else 1
            if isinstance(f.default, int) and (not isinstance(value, int) or value < least):
                raise SettingsError(f"{f.name} is {value!r}", allowed=f"a whole number from {least}")
        if not all(self.sort_by) or len(set(self.sort_by)) < len(self.sort_by):
            raise SettingsError(f"sort_by is {list(self.sort_by)}", allowed="names of attributes, each of them once")

    @property
    def written(self) -> str:
        """How files are written, as JSON: what may differ from partition to partition without changing a row."""
        names = ("codec", "format", "part_mb", "row_group_mb", "sort_by")
        return json.dumps({**{name: getattr(self, name) for name in names}, "writer": WRITER})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CompactOptions:
        return cls(**{**values, "sort_by": tuple(values.get("sort_by", ()))})
