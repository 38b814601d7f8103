"""What was read about one table, before anything is judged. Times are milliseconds since the epoch, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    """When the mapping was last changed: for one that is disabled, since when it may be."""
    invoked: float = 0.0
    """Changes that the forwarder was invoked with in the last minutes (`RECENT_MINUTES`)."""
    iterator_age_seconds: float | None = None
    """The oldest change in an invocation of the last minutes; over all tables, since they share the forwarder."""
    errors: float = 0.0
    throttles: float = 0.0
    """Of the forwarder, over all tables, in the last hour."""
    dropped: float = 0.0
    """Changes that Lambda could put nowhere, in the last 24 hours."""
    stream: str = ""
    """Why the mapping does not read the table's stream: that is `off`, or `another` one, or the table is `gone`."""
    unread_since: int | None = None
    """When a look first found that the mapping, though it is enabled, cannot read the stream."""


@dataclass(frozen=True)
class Landing:
    """Kinesis, Firehose, and the newest object in the raw zone."""

    firehose_age_seconds: float | None = None
    throttled: float = 0.0
    """Records that Kinesis or Firehose refused for now, in the last hour."""
    newest_object: str = ""
    newest_landed: int | None = None
    newest_change: int | None = None
    """The time of the newest change in what was read of it."""
    lag_seconds: float | None = None
    """How long that change took from DynamoDB to S3."""
    unlanded_since: int | None = None
    """From when on the forwarder got changes, but nothing landed."""
    kept_hours: int = 24
    """How long what Firehose cannot deliver is kept: by Firehose itself, or by the Kinesis stream that it reads."""


@dataclass(frozen=True)
class Day:
    """One day's partition: `rows` is None while it is JSON, whose lines nobody has counted; `size` in bytes."""

    day: str
    rows: int | None
    size: int
    objects: int


@dataclass(frozen=True)
class Misfit:
    """A column that is too narrow for values of a day that is read from JSON: null in the views until it is widened.

    `has` is the type that it has, as readers see it (`layout.signature`), `needs` the Glue type that would fit.
    """

    column: str
    day: str
    has: str
    needs: str


@dataclass(frozen=True)
class Lake:
    """What readers see: the snapshot, the days, the watermark, the columns."""

    through: str = ""
    snapshot: str | None = None
    """The run whose snapshot is shown, if it read the table after the hand-off."""
    snapshot_compacted: bool = False
    waiting: tuple[str, ...] = ()
    """Closed days, and `00000000`, that are still read from JSON."""
    waiting_since: int | None = None
    """When the oldest of these days was over."""
    days: tuple[Day, ...] = ()
    misfits: tuple[Misfit, ...] = ()
    added: tuple[str, ...] = ()
    """Columns that were added now."""


@dataclass(frozen=True)
class Doubt:
    """An item that the table has otherwise than the lake: `image` is a digest of what the table held at `seen`.

    The change that made it so must land. `since`: the time of the change that the lake has; it is not before that.
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
    """One table at one moment. `put_aside` counts objects by stage, `LISTED` meaning that many or more."""

    at: int
    hand_off: int | None = None
    capture: Capture = field(default_factory=Capture)
    landing: Landing = field(default_factory=Landing)
    lake: Lake = field(default_factory=Lake)
    put_aside: Mapping[str, int] = field(default_factory=dict)
    comparison: Comparison = field(default_factory=Comparison)
    lost_at: int | None = None
    """Until when changes were lost. It does not pass by itself."""
    repaired_at: int | None = None
    """When somebody said that what was lost until then is repaired."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Readings:
        """The reverse of `dataclasses.asdict`, after JSON."""
        lake, comparison = dict(values["lake"]), dict(values["comparison"])
        for name in ("waiting", "added"):
            lake[name] = tuple(lake[name])
        lake["misfits"] = tuple(Misfit(**misfit) for misfit in lake["misfits"])
        lake["days"] = tuple(Day(**day) for day in lake["days"])
        for name in ("doubts", "differing"):
            comparison[name] = tuple(Doubt(**doubt) for doubt in comparison[name])
        return cls(
            at=values["at"],
            hand_off=values["hand_off"],
            capture=Capture(**values["capture"]),
            landing=Landing(**values["landing"]),
            lake=Lake(**lake),
            put_aside=dict(values["put_aside"]),
            comparison=Comparison(**comparison),
            lost_at=values["lost_at"],
            repaired_at=values["repaired_at"],
        )
