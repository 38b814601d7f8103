"""A table's settings: described, parsed and validated once.

The same fields are the trigger form of `dynalake_setup`, the parameters of the table's CloudFormation stack
(`buffer_seconds` is `BufferSeconds` there) and the JSON in the SSM parameter that the stack keeps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, cast

from dynalake.errors import SettingsError


def _setting(
    default: Any,
    description: str,
    *,
    minimum: int | None = None,
    maximum: int | None = None,
    choices: tuple[str, ...] = (),
    section: str,
) -> Any:
    return field(
        default=default,
        metadata={
            "description": description,
            "minimum": minimum,
            "maximum": maximum,
            "choices": choices,
            "section": section,
        },
    )


@dataclass(frozen=True)
class TableSettings:
    """How one table is captured. Every field but the table's name has a default; units stand in the names."""

    table: str = _setting("", "The DynamoDB table.", section="Source")
    delivery: str = _setting(
        "kinesis",
        "`kinesis`: Lambda → Kinesis → Firehose, so that other consumers can read the changes too. "
        "`direct`: Lambda → Firehose, cheaper.",
        choices=("kinesis", "direct"),
        section="Delivery",
    )
    shards: int = _setting(
        0,
        "Shards of the Kinesis stream; 0 is on-demand.",
        minimum=0,
        maximum=500,
        section="Delivery",
    )
    stream_retention_hours: int = _setting(
        24, "How long Kinesis keeps records, in hours.", minimum=24, maximum=8760, section="Delivery"
    )
    buffer_seconds: int = _setting(
        60,
        "Firehose writes an object after this many seconds, or after `buffer_mb`, whichever comes first.",
        minimum=0,
        maximum=900,
        section="Delivery",
    )
    buffer_mb: int = _setting(
        64,
        "Firehose writes an object after this many MB, before compression.",
        minimum=1,
        maximum=128,
        section="Delivery",
    )
    max_record_kb: int = _setting(
        1000,
        "The forwarder packs changes into records of up to this many KiB. Kinesis allows 1,024 by default.",
        minimum=5,
        maximum=10240,
        section="Forwarder",
    )
    batch_size: int = _setting(
        1000, "Changes per forwarder invocation, at most.", minimum=1, maximum=10000, section="Forwarder"
    )
    batch_window_seconds: int = _setting(
        1,
        "How long Lambda gathers changes before it invokes the forwarder.",
        minimum=0,
        maximum=300,
        section="Forwarder",
    )
    parallelization: int = _setting(
        1, "Concurrent forwarder invocations per stream shard.", minimum=1, maximum=10, section="Forwarder"
    )
    max_retries: int = _setting(
        10,
        "How often a failing batch is tried again (and bisected) before it goes to the on-failure destination.",
        minimum=0,
        maximum=10000,
        section="Forwarder",
    )
    max_record_age_seconds: int = _setting(
        43200,
        "A change older than this goes to the on-failure destination; a DynamoDB stream keeps it for 86,400 seconds.",
        minimum=60,
        maximum=86400,
        section="Forwarder",
    )
    updated_at_attribute: str = _setting(
        "updatedAt",
        "The attribute that tells when an item was last written; the backfill filters by it where items have it.",
        section="Backfill",
    )

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> TableSettings:
        """Settings from a form, a REST `conf` or the stored JSON; one error names everything that is not allowed."""
        known = {f.name: f for f in fields(cls)}
        problems = [f"{name!r} is no setting" for name in values if name not in known]
        for name, value in values.items():
            if name in known:
                problems += _problems(known[name], value)
        if not values.get("table"):
            problems.append("'table' is missing")
        if not problems and values.get("delivery") == "direct" and values.get("shards", 0):
            problems.append("'shards' is set, but delivery 'direct' has no Kinesis stream")
        if problems:
            raise SettingsError(
                "Settings that are not allowed: " + "; ".join(problems),
                allowed="; ".join(_allowed(f) for name, f in known.items() if any(f"'{name}'" in p for p in problems))
                or "one of " + ", ".join(known),
                action="correct them and trigger the DAG again",
                table=str(values.get("table", "")),
            )
        # Each value was checked against its field above; the mapping's static type cannot say so.
        return cls(**cast("dict[str, Any]", dict(values)))

    @classmethod
    def from_json(cls, text: str) -> TableSettings:
        """Settings from the SSM parameter that the table's stack keeps."""
        return cls.parse(json.loads(text))

    def to_json(self) -> str:
        """The text of the SSM parameter: sorted, compact, the same for the same settings."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    def changed_from(self, other: TableSettings) -> dict[str, tuple[object, object]]:
        """What differs: `{field: (other's value, own value)}`."""
        mine, theirs = asdict(self), asdict(other)
        return {name: (theirs[name], mine[name]) for name in mine if mine[name] != theirs[name]}


def _problems(f: Field[Any], value: object) -> list[str]:
    wanted = type(f.default)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        return [f"'{f.name}' is {value!r}"]
    low, high, choices = f.metadata["minimum"], f.metadata["maximum"], f.metadata["choices"]
    outside = isinstance(value, int) and ((low is not None and value < low) or (high is not None and value > high))
    if outside or (choices and value not in choices):
        return [f"'{f.name}' is {value!r}"]
    return []


def _allowed(f: Field[Any]) -> str:
    if f.metadata["choices"]:
        return f"{f.name} is one of {', '.join(f.metadata['choices'])}"
    if isinstance(f.default, int):
        return f"{f.name} is a whole number from {f.metadata['minimum']} to {f.metadata['maximum']}"
    return f"{f.name} is a text"
