"""The options of `dynalake_backfill`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dynalake.options.option import Options, dry_run_option, option

ITEMS, READING, EXPORT = "Which items", "Reading", "Export"
METHODS = ("auto", "export", "scan")
MAX_SEGMENTS = 256


@dataclass(frozen=True)
class BackfillOptions(Options):
    """How a run reads the table, and which items."""

    method: str = option(
        "auto",
        "Method",
        "`export`: DynamoDB exports the table to S3, which costs per GB, takes some minutes, puts no load on the "
        "table, and needs point-in-time recovery. `scan`: reads the table in parallel segments, which uses read "
        "capacity. `auto`: export if point-in-time recovery is on, otherwise scan.",
        choices=METHODS,
    )
    updated_at_attribute: str | None = option(
        None,
        "Updated-at attribute",
        "The attribute that says when an item was last written. Empty: the table's setting. Epoch seconds, "
        "milliseconds, microseconds or ISO-8601, recognised per value; `a.b[0].c` is a path into maps and lists.",
        section=ITEMS,
        examples=("updatedAt", "meta.updatedAt"),
    )
    updated_before: str = option(
        "",
        "Updated before",
        "Leaves out items whose time is at or after this moment. Empty: the hand-off time, after which the stream has "
        "them; items with a time later than when they are read are then kept.",
        section=ITEMS,
        format="date-time",
    )
    missing_updated_at: str = option(
        "keep",
        "Items without the attribute",
        "`keep` and count items without the attribute, or `drop` them.",
        section=ITEMS,
        choices=("keep", "drop"),
    )
    invalid_updated_at: str = option(
        "keep",
        "Items whose attribute is not a time",
        "`keep` and count items whose attribute is not a time, which is safe: a snapshot never wins over a change. "
        "`drop` and count them. `fail`: end the run at the first one. The run's note says how many, and names some "
        "keys. An incremental export is not filtered.",
        section=ITEMS,
        choices=("keep", "drop", "fail"),
    )
    segments: int = option(
        0,
        "Segments",
        "Parallel segments of the scan, or groups of the export's files; each is a mapped task. 0: depends on the "
        "table's size.",
        section=READING,
        minimum=0,
        maximum=MAX_SEGMENTS,
    )
    max_read_capacity: int = option(
        0,
        "Maximum read capacity (units per second)",
        "The limit for all segments of the scan together, as DynamoDB counts read units. 0: as fast as the table "
        "answers.",
        section=READING,
        minimum=0,
    )
    read_capacity_percent: int = option(
        0,
        "Maximum share of the read capacity (%)",
        "Percent of the read capacity that the table has provisioned when the run starts (or of its maximum, on "
        "demand). If both limits are set, the smaller one applies. 0: no such limit.",
        section=READING,
        minimum=0,
        maximum=100,
    )
    consistent_read: bool = option(
        False,
        "Use consistent reads",
        "Reads the latest writes, for twice the read units. A complete lake does not need it: the stream brings "
        "everything that is written after the hand-off.",
        section=READING,
    )
    # A form has whole numbers; fractions are for tests.
    target_mb: float = option(
        64,
        "Object size (MB)",
        "An object of the snapshot ends at this size, gzipped. A killed task reads again what came after its last "
        "object; with a limited read capacity objects end earlier.",
        section=READING,
        minimum=1,
        maximum=4096,
    )
    enable_pitr: bool = option(
        False,
        "Turn on point-in-time recovery",
        "Turns on point-in-time recovery for an export, if it is off. It costs per GB and month, and stays on.",
        section=EXPORT,
    )
    keep_export: bool = option(
        False,
        "Keep the export's files",
        "Leaves the export's own files in the bucket after the run is committed, under "
        "`{prefix}-state/_/{TABLE}/export/{run}/`.",
        section=EXPORT,
    )
    export_type: str = option(
        "full",
        "Export type",
        "`full`: the table, as a new snapshot. `incremental`: changes within a window of the last 35 days, where the "
        "stream has lost them. They are added next to the snapshot, which stays as it is.",
        section=EXPORT,
        choices=("full", "incremental"),
    )
    window_from: str = option(
        "",
        "Changed from",
        "The start of an incremental export's window: the last change that arrived before the outage.",
        section=EXPORT,
        format="date-time",
    )
    window_to: str = option(
        "",
        "Changed before",
        "The end of the window: some minutes after changes arrived again. Empty: as late as DynamoDB can export.",
        section=EXPORT,
        format="date-time",
    )
    dry_run: bool = dry_run_option(
        "Shows what each method would take (items, time, read units and dollars) in the run's note and the log of the "
        "task `plan`. Reads nothing from the table, and writes nothing.",
    )

    @property
    def incremental(self) -> bool:
        """True for a run that brings the changes of a past window."""
        return self.export_type == "incremental"

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if self.incremental and self.method == "scan":
            yield "method", "'method' is 'scan', but 'export_type' is 'incremental'"
        if self.window_from and not self.incremental:
            yield "export_type", f"'window_from' is {self.window_from!r}, but 'export_type' is {self.export_type!r}"
