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
            description_md="**export**: DynamoDB exports the table to S3, which costs per GB, takes some minutes, puts "
            "no load on the table, and needs point-in-time recovery. **scan**: reads the table in parallel segments, "
            "which uses read capacity. **auto**: export if point-in-time recovery is on, otherwise scan.",
            section=RUN,
        ),
        "updated_at_attribute": Param(
            None,
            type=["null", "string"],
            title="Updated-at attribute",
            description_md="The attribute that says when an item was last written. Empty: the table's setting. "
            "Epoch seconds, milliseconds, microseconds or ISO-8601, recognised per value; "
            "**a.b[0].c** is a path into maps and lists.",
            examples=["updatedAt", "meta.updatedAt"],
            section=RUN,
        ),
        "updated_before": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Updated before",
            description_md="Leaves out items whose time is at or after this moment. Empty: the hand-off time, after "
            "which the stream has them; items with a time later than when they are read are then kept.",
            section=RUN,
        ),
        "missing_updated_at": Param(
            "keep",
            enum=["keep", "drop"],
            type="string",
            title="Items without the attribute",
            description_md="**keep** and count them, or **drop** them.",
            section=RUN,
        ),
        "invalid_updated_at": Param(
            "keep",
            enum=["keep", "drop", "fail"],
            type="string",
            title="Items whose attribute is not a time",
            description_md="**keep** and count them, which is safe: a snapshot never wins over a change. **drop** and "
            "count them. **fail**: end the run at the first one. The run's note says how many, and names some keys.",
            section=RUN,
        ),
        "segments": Param(
            0,
            type="integer",
            minimum=0,
            maximum=256,
            title="Segments",
            description_md="Parallel segments of the scan; each is a mapped task. 0: depends on the table's size.",
            section=RUN,
        ),
        "max_read_capacity": Param(
            0,
            type="integer",
            minimum=0,
            title="Maximum read capacity (units per second)",
            description_md="The limit for all segments of the scan together, as DynamoDB counts read units. "
            "0: as fast as the table answers.",
            section=RUN,
        ),
        "read_capacity_percent": Param(
            0,
            type="integer",
            minimum=0,
            maximum=100,
            title="Maximum share of the read capacity (%)",
            description_md="Percent of the read capacity that the table has provisioned when the run starts (or of its "
            "maximum, on demand). If both limits are set, the smaller one applies. 0: no such limit.",
            section=RUN,
        ),
        "consistent_read": Param(
            False,
            type="boolean",
            title="Use consistent reads",
            description_md="Reads the latest writes, for twice the read units. A complete lake does not need it: "
            "the stream brings everything that is written after the hand-off.",
            section=RUN,
        ),
        "target_mb": Param(
            64,
            type="integer",
            minimum=1,
            maximum=4096,
            title="Object size (MB)",
            description_md="An object of the snapshot ends at this size, gzipped. A killed task reads again what came "
            "after its last object; with a limited read capacity objects end earlier.",
            section=RUN,
        ),
        "enable_pitr": Param(
            False,
            type="boolean",
            title="Turn on point-in-time recovery",
            description_md="For an export of a table where it is off. It costs per GB and month, and stays on.",
            section=EXPORT,
        ),
        "keep_export": Param(
            False,
            type="boolean",
            title="Keep the export's files",
            description_md="Leaves them in the bucket after the run is committed, under "
            "**{prefix}-state/_/{TABLE}/export/{run}/**.",
            section=EXPORT,
        ),
        "export_type": Param(
            "full",
            enum=["full", "incremental"],
            type="string",
            title="Export type",
            description_md="**full**: the table, as a new snapshot. **incremental**: changes within a window of the "
            "last 35 days, where the stream has lost them. They are added next to the snapshot, which stays as it is.",
            section=EXPORT,
        ),
        "window_from": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Changed from",
            description_md="The start of an incremental export's window: the last change that arrived before the "
            "outage.",
            section=EXPORT,
        ),
        "window_to": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Changed before",
            description_md="The end of the window: some minutes after changes arrived again. Empty: as late as "
            "DynamoDB can export.",
            section=EXPORT,
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Only estimate",
            description_md="Shows what each method would take (items, time, read units and dollars) in the run's note "
            "and the log of the task **plan**. Reads nothing from the table, and writes nothing.",
            section=RUN,
        ),
        **engine_parameters("the snapshot's objects"),
        **where_parameters(),
    }
