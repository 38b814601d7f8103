"""The readings of one table, before anything is judged. Times are milliseconds since the epoch, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dynalake.lake.current.past_folds import PastFold
from dynalake.lake.working.findings import Finding

LISTED = 1_000
"""Objects that are counted in one error prefix, at most: one call."""


@dataclass(frozen=True)
class Capture:
    """The stream's mapping and the forwarder."""

    mapping_id: str = ""
    state: str = ""
    """`Enabled`, `Disabled`…; `gone` where Lambda has no such mapping."""
    last_result: str = ""
    changed_at: int | None = None
    """Last change of the mapping: since when it may have been disabled, if it is."""
    invoked: float = 0.0
    """Changes with which the forwarder was invoked in the last minutes (`RECENT_MINUTES`)."""
    iterator_age_seconds: float | None = None
    """Age of the youngest change of a batch when it was sent, the highest of the last minutes; over all tables, since
    they share the forwarder.
    """
    errors: float = 0.0
    throttles: float = 0.0
    """Throttles of the forwarder, over all tables, in the last hour."""
    dropped: float = 0.0
    """Changes that Lambda could not store anywhere, in the last 24 hours."""
    stream: str = ""
    """Reason why the mapping does not read the table's stream: that is `off`, or `another` one, or the table is `gone`,
    or was `replaced` by another table of its name.
    """
    unread_since: int | None = None
    """Time of the first look that found that the mapping, though it is enabled, cannot read the stream."""
    stream_arn: str = ""
    """Stream that the mapping reads, or has read."""
    read_at: int | None = None
    """Time of the last look that found that the mapping reads the table's stream."""


@dataclass(frozen=True)
class Landing:
    """Kinesis, Firehose, and when the newest raw object landed."""

    firehose_age_seconds: float | None = None
    throttled: float = 0.0
    """Records that Kinesis or Firehose refused for now, in the last hour."""
    newest_landed: int | None = None
    newest_change: int | None = None
    """Time of the newest change in the sample of the last objects."""
    lag_seconds: float | None = None
    """Seconds that this change took from DynamoDB to S3."""
    unlanded_since: int | None = None
    """Time since which the forwarder got changes, but nothing landed."""
    kept_hours: int = 24
    """Hours for which undelivered records are kept: by Firehose, or by the Kinesis stream that it reads."""
    filled: float = 0.0
    """Share of the capacity of the Kinesis stream's shards that the fullest five minutes of the last 24 hours used."""


@dataclass(frozen=True)
class Size:
    """Amounts of something."""

    rows: int = 0
    bytes: int = 0
    files: int = 0


@dataclass(frozen=True)
class Day:
    """A day of `{t}`."""

    day: str
    size: Size


@dataclass(frozen=True)
class Wait:
    """A day that waits for its compaction."""

    day: str
    since: int


@dataclass(frozen=True)
class SeenColumn:
    """A column of `{t}` that holds an attribute.

    `since`: the first look that saw it; None for a column that the first look of all saw. `changed`: the look that saw
    its present type first, if it has had another, `was`.
    """

    name: str
    attribute: str
    type: str
    since: int | None = None
    was: str = ""
    changed: int | None = None


@dataclass(frozen=True)
class Held:
    """An attribute with `values` in `__other`; `type`: the column's that they do not fit, or '' without a column."""

    attribute: str
    values: int
    type: str = ""


@dataclass(frozen=True)
class Source:
    """The DynamoDB table as DynamoDB counts it, about every six hours; None where it did not say."""

    items: int | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Month:
    """Dollars of a month of the table's pipeline, by service, estimated at `at` from its writes of two weeks."""

    at: int
    delivery: str
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Lake:
    """The two Iceberg tables, `{t}` and `{t}_state`, and the work that waits for them."""

    fault: str = ""
    """Reason why they cannot be read, and in `repair` what to do; then nothing else is known."""
    repair: str = ""
    changes: Size = field(default_factory=Size)
    state: Size = field(default_factory=Size)
    newest_change: int | None = None
    """Time of the newest change in `{t}`."""
    folded_to: int | None = None
    """Time up to which all changes are in `{t}_state`."""
    unfolded: int = 0
    """Bytes of later changes, of the days that are read."""
    fold_due_since: int | None = None
    """Time of the first look that found a fold due that still is."""
    unconverted: int = 0
    """Number of raw objects of the last days that are not in `{t}` yet, and when the oldest of them landed."""
    unconverted_since: int | None = None
    waiting: tuple[Wait, ...] = ()
    run: int = 0
    """Number of the backfill that `{t}` shows."""
    snapshot: str | None = None
    """Its name, if it read the table after the hand-off."""
    days: tuple[Day, ...] = ()
    """Last days of `{t}`, without the snapshot."""
    findings: tuple[Finding, ...] = ()
    """Faults, as of `checked_at`."""
    checked_at: int = 0
    queries: Mapping[str, str] = field(default_factory=dict)
    """SQL of `{t}_current` by dialect, for engines without Presto views."""
    live: int | None = None
    """Items that exist, as of the last fold: `state` has those that are gone, too."""
    columns: tuple[SeenColumn, ...] = ()
    held: tuple[Held, ...] = ()
    """Attributes with values in `__other`, as of `checked_at`; of very many those with the most values."""
    held_attributes: int = 0
    held_values: int = 0
    """Number of all of them, and of their values."""
    schema_changes: str = "add"
    """The setting: whether columns may change, and whether each change is published."""
    folds: tuple[PastFold, ...] = ()
    """Last folds, the newest first."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Lake:
        """Return the lake from the JSON of `dataclasses.asdict`, also from a release that read less."""
        parts = {
            "changes": Size(**values["changes"]),
            "state": Size(**values["state"]),
            "waiting": tuple(Wait(**wait) for wait in values["waiting"]),
            "days": tuple(Day(day["day"], Size(**day["size"])) for day in values["days"]),
            "findings": tuple(map(Finding.from_dict, values["findings"])),
            "columns": tuple(SeenColumn(**column) for column in values.get("columns", ())),
            "held": tuple(Held(**held) for held in values.get("held", ())),
            "folds": tuple(PastFold(**fold) for fold in values.get("folds", ())),
        }
        return cls(**{**values, **parts})


@dataclass(frozen=True)
class Doubt:
    """An item that differs between DynamoDB and the lake: `image` is a digest of what DynamoDB held at `seen`.

    The change that made it so must land. `since`: it lands after this, because the lake's change did.
    """

    key: str
    image: str
    seen: int
    since: int


@dataclass(frozen=True)
class Comparison:
    """Items compared with the table, since the watch began."""

    at: int | None = None
    compared: int = 0
    equal: int = 0
    doubts: tuple[Doubt, ...] = ()
    differing: tuple[Doubt, ...] = ()


@dataclass(frozen=True)
class Readings:
    """One table at one moment. `rejected` counts objects in the error prefixes by stage, up to `LISTED`."""

    at: int
    hand_off: int | None = None
    capture: Capture = field(default_factory=Capture)
    landing: Landing = field(default_factory=Landing)
    lake: Lake = field(default_factory=Lake)
    rejected: Mapping[str, int] = field(default_factory=dict)
    comparison: Comparison = field(default_factory=Comparison)
    lost_at: int | None = None
    """Time until which changes were lost. It does not pass by itself."""
    lost_since: int | None = None
    """Time since which, where it is known: from a pipeline's end to the next one's hand-off."""
    repaired_at: int | None = None
    """Time at which somebody reported that all losses until then are repaired."""
    source: Source = field(default_factory=Source)
    month: Month | None = None
    owner: str = ""
    """The table's setting."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Readings:
        """Return the readings from the JSON of `dataclasses.asdict`, also from a release that read less."""
        comparison = dict(values["comparison"])
        for name in ("doubts", "differing"):
            comparison[name] = tuple(Doubt(**doubt) for doubt in comparison[name])
        return cls(
            at=values["at"],
            hand_off=values["hand_off"],
            capture=Capture(**values["capture"]),
            landing=Landing(**values["landing"]),
            lake=Lake.from_dict(values["lake"]),
            rejected=dict(values["rejected"]),
            comparison=Comparison(**comparison),
            lost_at=values["lost_at"],
            lost_since=values["lost_since"],
            repaired_at=values["repaired_at"],
            source=Source(**values.get("source", {})),
            month=Month(**values["month"]) if values.get("month") else None,
            owner=values.get("owner", ""),
        )
