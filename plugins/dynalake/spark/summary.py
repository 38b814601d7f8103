"""What a task tells the driver of the objects that it has read."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from dynalake.lake.types import Type, type_from_json, type_to_json


@dataclass
class Summary:
    """Counts, types, the minutes in which the changes were made, rejected lines, and a place for each so many bytes.

    `slow`: why the exact reader had to read what the compiled one was to; '' where it had not.
    """

    read: int = 0
    canaries: int = 0
    size: int = 0
    observed: dict[str, Type] = field(default_factory=dict)
    minutes: set[int] = field(default_factory=set)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    samples: list[bytes] = field(default_factory=list)
    slow: str = ""

    def to_json(self) -> str:
        values = {
            **vars(self),
            "observed": {name: type_to_json(kind) for name, kind in self.observed.items()},
            "minutes": sorted(self.minutes),
            "samples": [sample.hex() for sample in self.samples],
        }
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> Summary:
        values = json.loads(text)
        values["observed"] = {name: type_from_json(kind) for name, kind in values["observed"].items()}
        values["minutes"] = set(values["minutes"])
        values["samples"] = [bytes.fromhex(sample) for sample in values["samples"]]
        return cls(**values)
