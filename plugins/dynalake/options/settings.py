"""A table's settings: described, parsed and validated once.

The same fields are the trigger form of `dynalake_setup`, the parameters of the table's CloudFormation stack
(`buffer_seconds` is `BufferSeconds` there) and the JSON in the SSM parameter that the stack keeps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import ClassVar

from dynalake.errors import SettingsError
from dynalake.options.option import Options, option
from dynalake.options.where import table_option

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

OWNER_CHARACTERS = 60

LEAST_HISTORY_DAYS = 31
"""Fewest days for which history is kept: late changes of an open day need it."""

LEAST_RAW_DAYS = 8
"""Fewest days for which raw objects are kept: each conversion lists those of the last days."""


@dataclass(frozen=True)
class TableSettings(Options):
    """How one table is captured. Every field except the table's name has a default; names contain the units."""

    word: ClassVar[str] = "setting"

    table: str = table_option()
    owner: str = option(
        "",
        "Owner",
        "Who answers for the table: a team or a person, such as `checkout`. The page shows the owner and filters by "
        "it, and messages of the watch name it.",
    )
    delivery: str = option(
        "kinesis",
        "Delivery",
        "`kinesis`: Lambda → Kinesis → Firehose, so that other consumers can read the changes too. "
        "`direct`: Lambda → Firehose, cheaper.",
        choices=("kinesis", "direct"),
        section="Delivery",
    )
    stream_mode: str = option(
        "provisioned",
        "Billing of the Kinesis stream",
        "How the Kinesis stream is billed. `provisioned`: by its `shards`. `on_demand`: by its traffic, on top of "
        "about $29 a month; an account may have 50 such streams in a region.",
        choices=("provisioned", "on_demand"),
        section="Delivery",
    )
    shards: int = option(
        0,
        "Shards of the Kinesis stream",
        "Shards of a provisioned Kinesis stream; each takes 1 MB a second. 0: enough for the table's peak of the last "
        "14 days, measured again by each setup.",
        minimum=0,
        maximum=500,
        section="Delivery",
    )
    stream_retention_hours: int = option(
        24,
        "Keep Kinesis records for (hours)",
        "How long Kinesis keeps records, in hours.",
        minimum=24,
        maximum=8760,
        section="Delivery",
    )
    buffer_seconds: int = option(
        60,
        "Write objects after (seconds)",
        "Firehose writes an object after this many seconds, or after `buffer_mb`, whichever comes first.",
        minimum=0,
        maximum=900,
        section="Delivery",
    )
    buffer_mb: int = option(
        64,
        "Write objects after (MB)",
        "Firehose writes an object after this many MB, before compression.",
        minimum=1,
        maximum=128,
        section="Delivery",
    )
    max_record_kb: int = option(
        1000,
        "Largest record (KiB)",
        "The forwarder packs changes into records of up to this many KiB. A longer change becomes its own object in "
        "the raw zone: it bypasses Kinesis and Firehose, which takes no record of more than 1,000 KiB.",
        minimum=5,
        maximum=1000,
        section="Forwarder",
    )
    batch_size: int = option(
        1000,
        "Changes per invocation",
        "The most changes per invocation of the forwarder.",
        minimum=1,
        maximum=10000,
        section="Forwarder",
    )
    batch_window_seconds: int = option(
        1,
        "Gather changes for (seconds)",
        "How long Lambda gathers changes before it invokes the forwarder; at least 1 if `batch_size` is over 10.",
        minimum=0,
        maximum=300,
        section="Forwarder",
    )
    parallelization: int = option(
        1,
        "Concurrent invocations per shard",
        "Concurrent invocations of the forwarder per shard of the table's stream.",
        minimum=1,
        maximum=10,
        section="Forwarder",
    )
    max_retries: int = option(
        -1,
        "Retries of a failing batch",
        "How often a failing batch is retried (and split in two) before it goes to the on-failure destination; -1: "
        "until `max_record_age_seconds`.",
        minimum=-1,
        maximum=10000,
        section="Forwarder",
    )
    max_record_age_seconds: int = option(
        86400,
        "Give up changes older than (seconds)",
        "A change older than this goes to the on-failure destination, whether it was tried or not; a DynamoDB stream "
        "keeps changes for 86,400 seconds.",
        minimum=60,
        maximum=86400,
        section="Forwarder",
    )
    updated_at_attribute: str = option(
        "updatedAt",
        "Updated-at attribute",
        "The attribute that says when an item was last written. The backfill filters by it where items have it.",
        section="Columns",
    )
    columns: str = option(
        "",
        "Rules for columns",
        "Rules for the columns of attributes, as JSON: `never` lists attributes that get no column, `types` fixes the "
        "type of a column (`text`, `json`, `bigint`, `double`, `boolean`, `decimal(38,s)`), `names` sets its name. "
        "Values without a column are in `__other`.",
        section="Columns",
    )
    schema_changes: str = option(
        "add",
        "New columns and wider types",
        "`add`: columns come and become wider with the data. `tell`: the same, and the watch publishes each change. "
        "`refuse`: the columns stay as they are; values that do not fit wait in `__other` until you allow them.",
        choices=("add", "tell", "refuse"),
        section="Columns",
    )
    sort_by: str = option(
        "",
        "Order of rows",
        'The order of rows in compacted days: attributes as a JSON list, such as `["updatedAt"]`, ascending, nulls '
        "last, and then the key. Empty: by key.",
        section="Files and history",
    )
    codec: str = option(
        "zstd",
        "Compression",
        "Compression of Parquet files.",
        choices=("zstd", "snappy", "gzip"),
        section="Files and history",
    )
    part_mb: int = option(
        256,
        "Size of compacted files (MB)",
        "The target size of compacted files, in MB.",
        minimum=1,
        maximum=4096,
        section="Files and history",
    )
    orc_copy: bool = option(
        False,
        "Write an ORC copy",
        "Whether closed days are also written to `{t}_orc`, as ORC.",
        section="Files and history",
    )
    widen_budget_gb: int = option(
        20,
        "Rewrite for wider types up to (GB per night)",
        "The most GB of files that a night rewrites to change the types of columns.",
        minimum=0,
        maximum=100_000,
        section="Files and history",
    )
    fold_at_percent: int = option(
        10,
        "Fold when changes exceed (% of the state)",
        "A night folds the newest changes into `{t}_state` when they exceed this percentage of its bytes.",
        minimum=0,
        maximum=100,
        section="Files and history",
    )
    fold_gb: int = option(
        10,
        "Fold when changes exceed (GB)",
        "Or when they exceed this many GB.",
        minimum=0,
        maximum=100_000,
        section="Files and history",
    )
    fold_every_hours: int = option(
        0,
        "Fold at least every (hours)",
        "Or when the last fold was this many hours ago; 0: never for this reason. To fold more than once a day, "
        "schedule dynalake_compact that often.",
        minimum=0,
        maximum=8760,
        section="Files and history",
    )
    snapshot_days: int = option(
        7,
        "Keep versions of the tables for (days)",
        "How many days a version of the tables can be read (`FOR VERSION AS OF`) and rolled back to.",
        minimum=1,
        maximum=365,
        section="Files and history",
    )
    history_days: int = option(
        0,
        "Keep history for (days)",
        "Days of `{t}` older than this are dropped once `{t}_state` has all their rows. 0: none; otherwise at least "
        "31.",
        minimum=0,
        maximum=36_500,
        section="Files and history",
    )
    freshness_alarm_minutes: int = option(
        15,
        "Alarm when changes are older than (minutes)",
        "Alarm if the oldest change in Firehose is older than this; must be longer than `buffer_seconds`.",
        minimum=1,
        maximum=1440,
        section="Alarms and logs",
    )
    delivery_alarm_percent: int = option(
        100,
        "Alarm when fewer writes succeed than (%)",
        "Alarm if less than this percentage of Firehose's writes succeed, in three of five minutes.",
        minimum=1,
        maximum=100,
        section="Alarms and logs",
    )
    throttles_alarm_count: int = option(
        0,
        "Alarm when more calls are throttled than",
        "Alarm if more writes or reads of a stream than this are throttled within a minute, in three of five minutes.",
        minimum=0,
        maximum=1_000_000,
        section="Alarms and logs",
    )
    failed_alarm_count: int = option(
        0,
        "Alarm when more changes fail than",
        "Alarm if more changes than this fail for good, or are rejected, within a minute.",
        minimum=0,
        maximum=1_000_000,
        section="Alarms and logs",
    )
    log_retention_days: int = option(
        30,
        "Keep Firehose's log for (days)",
        "How many days Firehose's log is kept.",
        choices=LOG_RETENTIONS,
        section="Alarms and logs",
    )

    def conflicts(self) -> Iterator[tuple[str, str]]:
        yield from self._conflicts_of_the_stream()
        if self.batch_size > UNGATHERED and not self.batch_window_seconds:
            yield (
                "batch_window_seconds",
                f"'batch_window_seconds' is 0, but 'batch_size' is more than {UNGATHERED}",
            )
        if self.freshness_alarm_minutes * 60 <= self.buffer_seconds:
            yield (
                "freshness_alarm_minutes",
                "'freshness_alarm_minutes' is not more than 'buffer_seconds': the alarm would never end",
            )
        if 0 < self.history_days < LEAST_HISTORY_DAYS:
            yield "history_days", f"'history_days' is {self.history_days}, fewer than {LEAST_HISTORY_DAYS}"
        if len(self.owner) > OWNER_CHARACTERS or not self.owner.isprintable():
            yield "owner", f"'owner' is {self.owner!r}, not one line of at most {OWNER_CHARACTERS} characters"
        if not _is_list_of_names(self.sort_by):
            yield "sort_by", f"'sort_by' is {self.sort_by!r}, not a JSON list of names, each of them once"

    def _conflicts_of_the_stream(self) -> Iterator[tuple[str, str]]:
        on_demand = self.stream_mode == "on_demand"
        if self.delivery == "direct" and self.shards:
            yield "shards", "'shards' is set, but delivery 'direct' has no Kinesis stream"
        if self.delivery == "direct" and on_demand:
            yield "stream_mode", "'stream_mode' is 'on_demand', but delivery 'direct' has no Kinesis stream"
        if on_demand and self.shards:
            yield "shards", "'shards' is set, but with 'stream_mode' 'on_demand' AWS chooses them"

    @property
    def closed(self) -> bool:
        """Whether no run may change the columns."""
        return self.schema_changes == "refuse"

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
