"""The form of `dynalake_backfill`."""

from __future__ import annotations

from airflow.sdk import Param

from dynalake.operators.parameters.engine import engine_parameters
from dynalake.operators.parameters.which import RUN, table_parameter, where_parameters

EXPORT = "Export"


def backfill_parameters() -> dict[str, Param]:
    return {
        **table_parameter(),
        "method": Param(
            "auto",
            enum=["auto", "export", "scan"],
            type="string",
            title="Method",
            description_md="`export`: DynamoDB exports the table to S3, which costs per GB, takes some minutes, puts "
            "no load on the table, and needs point-in-time recovery. `scan`: the table is read in parallel segments, "
            "which uses read capacity. `auto`: `export` where point-in-time recovery is on, else `scan`.",
            section=RUN,
        ),
        "updated_at_attribute": Param(
            None,
            type=["null", "string"],
            title="Updated-at attribute",
            description_md="The attribute that tells when an item was last written. Empty: the table's setting. "
            "Epoch seconds, milliseconds, microseconds or ISO-8601, recognised per value; "
            "`a.b[0].c` is a path into maps and lists.",
            examples=["updatedAt", "meta.updatedAt"],
            section=RUN,
        ),
        "updated_before": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Updated before",
            description_md="Items whose time is at or after this moment are left out. Empty: the hand-off time, after "
            "which the stream has them; items with a time after their reading are then kept.",
            section=RUN,
        ),
        "missing_updated_at": Param(
            "keep",
            enum=["keep", "drop"],
            type="string",
            title="Items without the attribute",
            description_md="`keep` and count them, or `drop` them.",
            section=RUN,
        ),
        "invalid_updated_at": Param(
            "keep",
            enum=["keep", "drop", "fail"],
            type="string",
            title="Items whose attribute is not a time",
            description_md="**keep** and count them, which is safe: a snapshot never wins over a change. **drop** and "
            "count them. **fail**: the run ends at the first one. The run's note says how many, and names some keys.",
            section=RUN,
        ),
        "segments": Param(
            0,
            type="integer",
            minimum=0,
            maximum=256,
            title="Segments",
            description_md="Parallel segments of the scan; each is a mapped task. 0: by the table's size.",
            section=RUN,
        ),
        "max_read_capacity": Param(
            0,
            type="integer",
            minimum=0,
            title="Read capacity, at most",
            description_md="Read units per second over all segments of the scan together, as DynamoDB counts them. "
            "0: as fast as the table answers.",
            section=RUN,
        ),
        "read_capacity_percent": Param(
            0,
            type="integer",
            minimum=0,
            maximum=100,
            title="Share of the read capacity, at most",
            description_md="Percent of the read capacity that the table has provisioned when the run starts (or of its "
            "maximum, on demand). With both limits the smaller one holds. 0: no such limit.",
            section=RUN,
        ),
        "consistent_read": Param(
            False,
            type="boolean",
            title="Consistent reads",
            description_md="Reads what was written last, for twice the read units. Not needed for a complete lake: "
            "what is written after the hand-off comes through the stream.",
            section=RUN,
        ),
        "target_mb": Param(
            64,
            type="integer",
            minimum=1,
            maximum=4096,
            title="Size of an object, MB",
            description_md="An object of the snapshot ends at so many MB, gzipped. A killed task reads again what came "
            "after its last object; with a limited read capacity objects end earlier.",
            section=RUN,
        ),
        "enable_pitr": Param(
            False,
            type="boolean",
            title="Turn point-in-time recovery on",
            description_md="For an export of a table where it is off. It costs per GB and month, and stays on.",
            section=EXPORT,
        ),
        "keep_export": Param(
            False,
            type="boolean",
            title="Keep the export's files",
            description_md="Leave them in the bucket once the run is committed, under "
            "`{prefix}-state/_/{TABLE}/export/{run}/`.",
            section=EXPORT,
        ),
        "export_type": Param(
            "full",
            enum=["full", "incremental"],
            type="string",
            title="Export",
            description_md="`full`: the table, as a new snapshot. `incremental`: what changed in a window of the last "
            "35 days, for changes that the stream has lost. They come beside the snapshot and leave it as it is.",
            section=EXPORT,
        ),
        "window_from": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Changed from",
            description_md="Where the window of an incremental export begins: at the last change that arrived before "
            "the outage.",
            section=EXPORT,
        ),
        "window_to": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Changed before",
            description_md="Where the window ends: some minutes after changes arrived again. Empty: as late as "
            "DynamoDB can export.",
            section=EXPORT,
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Only estimate",
            description_md="Says what each method would take: items, time, read units and dollars, in the run's note "
            "and the log of its task. Nothing is read from the table, nothing is written.",
            section=RUN,
        ),
        **engine_parameters("the snapshot's objects"),
        **where_parameters(),
    }
