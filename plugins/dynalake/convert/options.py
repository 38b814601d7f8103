"""Options for reading raw objects."""

from __future__ import annotations

from dataclasses import dataclass, fields

from dynalake.errors import SettingsError


@dataclass(frozen=True)
class ReadOptions:
    """Options for reading a batch. `memory_mb` bounds the rows held in memory; more are sorted on disk.

    Python reads fewer MB of raw objects than `compiled_from_mb`: it is done before the compiled reader is loaded, or
    even compiled, which takes some twenty seconds after an installation.

    Of each object, `max_quarantined` rejected lines are kept. More of them in a batch is a finding
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
