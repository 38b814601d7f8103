"""The options of a compaction."""

from __future__ import annotations

from dataclasses import dataclass

from dynalake.errors import SettingsError
from dynalake.lake.files.parts import Writing
from dynalake.options.settings import TableSettings

GB = 1 << 30
MB = 1 << 20


@dataclass(frozen=True)
class CompactOptions:
    """Options, with units in their names. `sort_by`: attributes that order the rows, before the item's key.

    `memory_mb` bounds the memory of sorting; more rows are sorted on disk. A day is compacted when it has been over for
    `closed_after_hours`; one run rewrites days of `compact_gb` at most, the oldest first, and files of
    `widen_budget_gb` at most to give columns other types. `orc_copy`: whether closed days are copied to `{t}_orc`.
    """

    codec: str = "zstd"
    part_mb: int = 256
    row_group_mb: int = 64
    memory_mb: int = 512
    sort_by: tuple[str, ...] = ()
    closed_after_hours: int = 1
    compact_gb: int = 100
    widen_budget_gb: int = 20
    orc_copy: bool = False

    def __post_init__(self) -> None:
        Writing(self.codec, self.part_mb, self.row_group_mb)
        for name, least in (("memory_mb", 32), ("closed_after_hours", 0), ("compact_gb", 1), ("widen_budget_gb", 0)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} is {getattr(self, name)!r}", allowed=f"a whole number from {least}")
        if not all(self.sort_by) or len(set(self.sort_by)) < len(self.sort_by):
            raise SettingsError(f"sort_by is {list(self.sort_by)}", allowed="names of attributes, each of them once")

    @property
    def writing(self) -> Writing:
        return Writing(self.codec, self.part_mb, self.row_group_mb)

    @classmethod
    def of_settings(cls, settings: TableSettings) -> CompactOptions:
        """Return the options that the table's settings give."""
        return cls(
            codec=settings.codec,
            part_mb=settings.part_mb,
            sort_by=settings.sort_order,
            widen_budget_gb=settings.widen_budget_gb,
            orc_copy=settings.orc_copy,
        )
