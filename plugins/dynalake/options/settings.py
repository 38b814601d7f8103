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


def setting(
    default: Any,
    description: str,
    *,
    minimum: int | None = None,
    maximum: int | None = None,
    choices: tuple[str, ...] | tuple[int, ...] = (),
    section: str,
    parameter: str = "",
) -> Any:
    """Return a field of a dataclass with everything that a form, a check and the docs need."""
    return field(
        default=default,
        metadata={
            "description": description,
            "minimum": minimum,
            "maximum": maximum,
            "choices": choices,
            "section": section,
            "parameter": parameter,
        },
    )


# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
LOG_RETENTIONS = (
    1,
    3,
    5,
    7,
    14,
    30,
    60,
    90,
    120,
    150,
    180,
    365,
    400,
    545,
    731,
    1096,
    1827,
    2192,
    2557,
    2922,
    3288,
    3653,
)


UNGATHERED = 10
"""Largest batch that needs no window: https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html"""

LEAST_HISTORY_DAYS = 31
"""Fewest days for which history is kept: late changes of an open day need it."""

LEAST_RAW_DAYS = 8
"""Fewest days for which raw objects are kept: each conversion lists those of the last days."""


@dataclass(frozen=True)
class TableSettings:
    """How one table is captured. Every field except the table's name has a default; names contain the units."""

    table: str = setting("", "The DynamoDB table.", section="Source")
    delivery: str = setting(
        "kinesis",
        "`kinesis`: Lambda → Kinesis → Firehose, so that other consumers can read the changes too. "
        "`direct`: Lambda → Firehose, cheaper.",
        choices=("kinesis", "direct"),
        section="Delivery",
    )
    stream_mode: str = setting(
        "provisioned",
        "How the Kinesis stream is billed. `provisioned`: by its `shards`. `on_demand`: by its traffic, on top of "
        "about $29 a month; an account may have 50 such streams in a region.",
        choices=("provisioned", "on_demand"),
        section="Delivery",
    )
    shards: int = setting(
        0,
        "Shards of a provisioned Kinesis stream; each takes 1 MB a second. 0: enough for the table's peak of the last "
        "14 days, measured again by each setup.",
        minimum=0,
        maximum=500,
        section="Delivery",
    )
    stream_retention_hours: int = setting(
        24, "How long Kinesis keeps records, in hours.", minimum=24, maximum=8760, section="Delivery"
    )
    buffer_seconds: int = setting(
        60,
        "Firehose writes an object after this many seconds, or after `buffer_mb`, whichever comes first.",
        minimum=0,
        maximum=900,
        section="Delivery",
    )
    buffer_mb: int = setting(
        64,
        "Firehose writes an object after this many MB, before compression.",
        minimum=1,
        maximum=128,
        section="Delivery",
    )
    max_record_kb: int = setting(
        1000,
        "The forwarder packs changes into records of up to this many KiB. A longer change becomes its own object in "
        "the raw zone: it bypasses Kinesis and Firehose, which takes no record of more than 1,000 KiB.",
        minimum=5,
        maximum=1000,
        section="Forwarder",
    )
    batch_size: int = setting(
        1000, "The most changes per invocation of the forwarder.", minimum=1, maximum=10000, section="Forwarder"
    )
    batch_window_seconds: int = setting(
        1,
        "How long Lambda gathers changes before it invokes the forwarder; at least 1 if `batch_size` is over 10.",
        minimum=0,
        maximum=300,
        section="Forwarder",
    )
    parallelization: int = setting(
        1,
        "Concurrent invocations of the forwarder per shard of the table's stream.",
        minimum=1,
        maximum=10,
        section="Forwarder",
    )
    max_retries: int = setting(
        -1,
        "How often a failing batch is retried (and split in two) before it goes to the on-failure destination; -1: "
        "until `max_record_age_seconds`.",
        minimum=-1,
        maximum=10000,
        section="Forwarder",
    )
    max_record_age_seconds: int = setting(
        86400,
        "A change older than this goes to the on-failure destination, whether it was tried or not; a DynamoDB stream "
        "keeps changes for 86,400 seconds.",
        minimum=60,
        maximum=86400,
        section="Forwarder",
    )
    updated_at_attribute: str = setting(
        "updatedAt",
        "The attribute that says when an item was last written. The backfill filters by it where items have it.",
        section="Backfill",
    )
    columns: str = setting(
        "",
        "Rules for the columns of attributes, as JSON: `never` lists attributes that get no column, `types` fixes the "
        "type of a column (`text`, `json`, `bigint`, `double`, `boolean`, `decimal(38,s)`), `names` sets its name. "
        "Values without a column are in `__other`.",
        section="Columns",
    )
    sort_by: str = setting(
        "",
        'The order of rows in compacted days: attributes as a JSON list, such as `["updatedAt"]`, ascending, nulls '
        "last, and then the key. Empty: by key.",
        section="Lake",
    )
    codec: str = setting("zstd", "Compression of Parquet files.", choices=("zstd", "snappy", "gzip"), section="Lake")
    part_mb: int = setting(256, "The target size of compacted files, in MB.", minimum=1, maximum=4096, section="Lake")
    orc_copy: bool = setting(False, "Whether closed days are also written to `{t}_orc`, as ORC.", section="Lake")
    widen_budget_gb: int = setting(
        20,
        "The most GB of files that a night rewrites to change the types of columns.",
        minimum=0,
        maximum=100_000,
        section="Lake",
    )
    fold_at_percent: int = setting(
        10,
        "A night folds the newest changes into `{t}_state` when they exceed this percentage of its bytes.",
        minimum=0,
        maximum=100,
        section="Lake",
    )
    fold_gb: int = setting(10, "Or when they exceed this many GB.", minimum=0, maximum=100_000, section="Lake")
    fold_every_hours: int = setting(
        0,
        "Or when the last fold was this many hours ago; 0: never for this reason. To fold more than once a day, "
        "schedule dynalake_compact that often.",
        minimum=0,
        maximum=8760,
        section="Lake",
    )
    snapshot_days: int = setting(
        7,
        "How many days a version of the tables can be read (`FOR VERSION AS OF`) and rolled back to.",
        minimum=1,
        maximum=365,
        section="Lake",
    )
    history_days: int = setting(
        0,
        "Days of `{t}` older than this are dropped once `{t}_state` has all their rows. 0: none; otherwise at least "
        "31.",
        minimum=0,
        maximum=36_500,
        section="Lake",
    )
    freshness_alarm_minutes: int = setting(
        15,
        "Alarm if the oldest change in Firehose is older than this; must be longer than `buffer_seconds`.",
        minimum=1,
        maximum=1440,
        section="Alarms",
    )
    delivery_alarm_percent: int = setting(
        100,
        "Alarm if less than this percentage of Firehose's writes succeed, in three of five minutes.",
        minimum=1,
        maximum=100,
        section="Alarms",
    )
    throttles_alarm_count: int = setting(
        0,
        "Alarm if more writes or reads of a stream than this are throttled within a minute, in three of five minutes.",
        minimum=0,
        maximum=1_000_000,
        section="Alarms",
    )
    failed_alarm_count: int = setting(
        0,
        "Alarm if more changes than this fail for good, or are rejected, within a minute.",
        minimum=0,
        maximum=1_000_000,
        section="Alarms",
    )
    log_retention_days: int = setting(
        30,
        "How many days Firehose's log is kept.",
        choices=LOG_RETENTIONS,
        section="Alarms",
    )

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> TableSettings:
        """Return settings from a form, a REST `conf` or the stored JSON. One error names everything not allowed."""
        known = {f.name: f for f in fields(cls)}
        problems = [f"{name!r} is not a setting" for name in values if name not in known]
        for name, value in values.items():
            if name in known:
                problems += problems_of(known[name], value)
        if not values.get("table"):
            problems.append("'table' is missing")
        if not problems:
            settings = cls(**cast("dict[str, Any]", dict(values)))
            problems += settings._problems_of_the_stream()
            if settings.freshness_alarm_minutes * 60 <= settings.buffer_seconds:
                problems.append(
                    "'freshness_alarm_minutes' is not more than 'buffer_seconds': the alarm would never end"
                )
            if 0 < settings.history_days < LEAST_HISTORY_DAYS:
                problems.append(f"'history_days' is {settings.history_days}, fewer than {LEAST_HISTORY_DAYS}")
            if not _is_list_of_names(settings.sort_by):
                problems.append(f"'sort_by' is {settings.sort_by!r}, not a JSON list of names, each of them once")
        if problems:
            raise SettingsError(
                "Settings that are not allowed: " + "; ".join(problems),
                allowed="; ".join(allowed_by(f) for name, f in known.items() if any(f"'{name}'" in p for p in problems))
                or "one of " + ", ".join(known),
                action="correct them and trigger the DAG again",
                table=str(values.get("table", "")),
            )
        # Each value was checked against its field; the mapping's static type cannot show that.
        return settings

    def _problems_of_the_stream(self) -> list[str]:
        """Return the conflicts between settings of the delivery."""
        problems = []
        on_demand = self.stream_mode == "on_demand"
        if self.delivery == "direct" and self.shards:
            problems.append("'shards' is set, but delivery 'direct' has no Kinesis stream")
        if self.delivery == "direct" and on_demand:
            problems.append("'stream_mode' is 'on_demand', but delivery 'direct' has no Kinesis stream")
        if on_demand and self.shards:
            problems.append("'shards' is set, but with 'stream_mode' 'on_demand' AWS chooses them")
        if self.batch_size > UNGATHERED and not self.batch_window_seconds:
            problems.append(f"'batch_window_seconds' is 0, but 'batch_size' is more than {UNGATHERED}")
        return problems

    @property
    def sort_order(self) -> tuple[str, ...]:
        """Attributes of `sort_by`."""
        return tuple(json.loads(self.sort_by or "[]"))

    @classmethod
    def from_json(cls, text: str) -> TableSettings:
        """Return the settings in the SSM parameter that the table's stack keeps.

        Unknown settings, written by a newer version of dynalake, are left out. Raises `SettingsError` if the text is
        not an object, or a setting is not allowed.
        """
        try:
            stored = json.loads(text)
        except ValueError:
            stored = None
        if not isinstance(stored, dict):
            raise SettingsError(f"The stored settings are {text[:120]!r}", allowed="a JSON object")
        known = {f.name for f in fields(cls)}
        return cls.parse({name: value for name, value in stored.items() if name in known})

    def to_json(self) -> str:
        """Return the text of the SSM parameter: sorted, compact, the same for the same settings."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    def changed_from(self, other: TableSettings) -> dict[str, tuple[object, object]]:
        """Return the differences: `{field: (other's value, own value)}`."""
        new, old = asdict(self), asdict(other)
        return {name: (old[name], new[name]) for name in new if new[name] != old[name]}


def _is_list_of_names(text: str) -> bool:
    try:
        names = json.loads(text or "[]")
    except ValueError:
        return False
    named = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
    return named and len(set(names)) == len(names)


def problems_of(f: Field[Any], value: object) -> list[str]:
    """Return the problems of a value; none if the field allows it."""
    kind = type(f.default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return [f"'{f.name}' is {value!r}"]
    if kind is bool:
        return []
    low, high, choices = f.metadata["minimum"], f.metadata["maximum"], f.metadata["choices"]
    outside = isinstance(value, int) and ((low is not None and value < low) or (high is not None and value > high))
    if outside or (choices and value not in choices):
        return [f"'{f.name}' is {value!r}"]
    return []


def allowed_by(f: Field[Any]) -> str:
    """Return the allowed values of the field, in words."""
    if f.metadata["choices"]:
        return f"{f.name} is one of {', '.join(map(str, f.metadata['choices']))}"
    if isinstance(f.default, bool):
        return f"{f.name} is true or false"
    if isinstance(f.default, int):
        return f"{f.name} is a whole number from {f.metadata['minimum']} to {f.metadata['maximum']}"
    return f"{f.name} is text"
