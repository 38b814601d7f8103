"""The manifest of a conversion: what it read, what it wrote, and with which types. JSON that a person can read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dynalake.clients import Clients
from dynalake.convert.read.raw import list_objects
from dynalake.lake.schema import TableSchema, merge_observed
from dynalake.lake.types import Type, type_from_json, type_to_json
from dynalake.names import TableNames


@dataclass(frozen=True)
class Part:
    """One object of a version: its key, its rows, its bytes."""

    key: str
    rows: int
    size: int


@dataclass(frozen=True)
class ConvertedPartition:
    """What a conversion made: small and JSON-able; what publishing needs beyond it is in the manifest.

    `reasons`: how many lines are in quarantine for what; `size` in bytes; `reused`: a conversion of the same objects
    was there already.
    """

    table: str
    day: str
    inputs: str
    manifest: str
    objects: int
    lines: int
    rows: int
    duplicates: int
    repeats: int
    canaries: int
    quarantined: int
    parts: int
    size: int
    reasons: dict[str, int] = field(default_factory=dict)
    reused: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ConvertedPartition:
        return cls(**values)


@dataclass(frozen=True)
class Manifest:
    """One version of one day. `observed`: the types of this partition's values; `schema`: that of the files.

    `written`: how the files are written (`CompactOptions.written`). `duplicates` came more than once on this day,
    `repeats` on an earlier one as well. `origin`: what its changes follow from, by which other days know whether these
    have changed: the inputs, or those of the version that they were restored from. `since`, `looked`: the days that it
    was compared with, by their origins; '' where none of its records can have come before.
    """

    table: str
    day: str
    format: str
    written: str
    inputs: str
    version: str
    objects: int
    lines: int
    rows: int
    duplicates: int
    canaries: int
    quarantined: int
    quarantine: str
    reasons: dict[str, int]
    parts: tuple[Part, ...]
    observed: dict[str, Type]
    schema: TableSchema
    repeats: int = 0
    origin: str = ""
    since: str = ""
    looked: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.origin:
            object.__setattr__(self, "origin", self.inputs)

    def key(self, names: TableNames) -> str:
        """`{prefix}-state/{TABLE}/compact/dt=…/{inputs}-{version}.json`"""
        return f"{names.compaction_state(self.day)}{self.inputs}-{self.version}.json"

    def converted(self, names: TableNames, *, reused: bool = False) -> ConvertedPartition:
        """What flows between tasks."""
        return ConvertedPartition(
            table=self.table,
            day=self.day,
            inputs=self.inputs,
            manifest=self.key(names),
            objects=self.objects,
            lines=self.lines,
            rows=self.rows,
            duplicates=self.duplicates,
            repeats=self.repeats,
            canaries=self.canaries,
            quarantined=self.quarantined,
            parts=len(self.parts),
            size=sum(p.size for p in self.parts),
            reasons=self.reasons,
            reused=reused,
        )

    def to_json(self) -> str:
        values: dict[str, Any] = {k: v for k, v in vars(self).items() if k not in ("parts", "observed", "schema")}
        values["parts"] = [[p.key, p.rows, p.size] for p in self.parts]
        values["observed"] = {name: type_to_json(kind) for name, kind in sorted(self.observed.items())}
        values["schema"] = json.loads(self.schema.to_json())
        return json.dumps(values, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        values = json.loads(text)
        values["parts"] = tuple(Part(*p) for p in values["parts"])
        values["observed"] = {name: type_from_json(kind) for name, kind in values["observed"].items()}
        values["schema"] = TableSchema.from_json(json.dumps(values["schema"]))
        return cls(**values)


def read_manifest(clients: Clients, names: TableNames, key: str) -> Manifest:
    """A manifest by its key."""
    with clients.s3.get_object(Bucket=names.lake.bucket, Key=key)["Body"] as body:
        return Manifest.from_json(body.read().decode())


def write_manifest(clients: Clients, names: TableNames, manifest: Manifest) -> None:
    """Put a manifest: the last thing a conversion does."""
    clients.s3.put_object(Bucket=names.lake.bucket, Key=manifest.key(names), Body=manifest.to_json().encode())


def is_complete(clients: Clients, names: TableNames, manifest: Manifest) -> bool:
    """Whether all that the conversion wrote lies there, by names and sizes: one listing."""
    there = list_objects(clients, names.lake.bucket, names.parquet_version(manifest.day, manifest.version))
    return {(o.key, o.size) for o in there} >= {(p.key, p.size) for p in manifest.parts}


def widen_all(table: TableSchema, manifests: Iterable[Manifest], max_struct_fields: int) -> TableSchema:
    """The table's schema, able to hold what all these partitions hold; the same in whatever order they come."""
    ordered = sorted(manifests, key=lambda m: (m.day, m.version))
    return table.widen(merge_observed((m.observed for m in ordered), max_struct_fields), max_struct_fields)
