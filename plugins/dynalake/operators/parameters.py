"""The trigger forms: each DAG parameter described once, for the form, the REST `conf` and the docs."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

from airflow.sdk import Param

from dynalake.compact.options import CODECS, FORMATS, CompactOptions
from dynalake.lake_options import option_fields
from dynalake.names import ENVIRONMENT_PATTERN, TABLE_PATTERN
from dynalake.settings import TableSettings

_RUN = "This run"
_EXPORT = "Export"
_WHERE = "Where"
_FILES = "Files"
_COMPACT = CompactOptions()


def where_parameters() -> dict[str, Param]:
    """Which lake, through which connection."""
    return {
        # The pattern is not in the form's schema: the first task checks it, with a message that says what to do.
        "environment": Param(
            os.environ.get("DYNALAKE_ENVIRONMENT", "dev"),
            type="string",
            title="Environment",
            description_md=f"One lake per environment, account and region: `{ENVIRONMENT_PATTERN}`. "
            "The default comes from `DYNALAKE_ENVIRONMENT` where Airflow's DAG processor has it.",
            examples=["dev", "staging", "prod"],
            section=_WHERE,
        ),
        "aws_conn_id": Param(
            os.environ.get("DYNALAKE_AWS_CONN_ID", "aws_default"),
            type="string",
            title="AWS connection",
            description_md="The Airflow connection whose account, region and role are used.",
            section=_WHERE,
        ),
    }


def table_parameter() -> dict[str, Param]:
    return {
        "table": Param(
            type="string",
            title="DynamoDB table",
            description_md=f"The table's name as DynamoDB shows it: `{TABLE_PATTERN}`.",
            examples=["RECEIPTS"],
        )
    }


def settings_parameters() -> dict[str, Param]:
    """A table's settings, from their own descriptions."""
    return {f.name: _setting_parameter(f.default, dict(f.metadata)) for f in fields(TableSettings) if f.name != "table"}


def _setting_parameter(default: Any, about: dict[str, Any]) -> Param:
    options: dict[str, Any] = {"description_md": about["description"], "section": about["section"]}
    if about["choices"]:
        kind = "integer" if isinstance(default, int) else "string"
        options |= {"type": kind, "enum": list(about["choices"])}
    elif isinstance(default, int):
        options |= {"type": "integer", "minimum": about["minimum"], "maximum": about["maximum"]}
    else:
        options |= {"type": "string"}
    return Param(default, **options)


def lake_parameters() -> dict[str, Param]:
    """The options of the lake; each is empty in the form, which leaves what the lake has."""
    return {f.name: _option_parameter(f.default, dict(f.metadata)) for f in option_fields()}


def _option_parameter(default: Any, about: dict[str, Any]) -> Param:
    kind = "integer" if isinstance(default, int) else "string"
    options: dict[str, Any] = {"type": ["null", kind], "section": f"Lake: {about['section'].lower()}"}
    if about["choices"]:
        options["enum"] = [None, *about["choices"]]
    elif kind == "integer":
        options |= {"minimum": about["minimum"], "maximum": about["maximum"]}
    shown = f"`{default}`" if default != "" else "empty"
    text = f"{about['description']} Left empty, the lake keeps what it has; a new one has {shown}."
    return Param(None, description_md=text, **options)


def setup_parameters() -> dict[str, Param]:
    return {
        **table_parameter(),
        "backfill": Param(
            "auto",
            enum=["auto", "export", "scan", "none"],
            type="string",
            title="Backfill",
            description_md="How to bring in what the table already holds, once the pipeline stands. `export`: by "
            "DynamoDB's export to S3, which needs point-in-time recovery. `scan`: by reading the table. `auto`: "
            "`export` where point-in-time recovery is on. `none`: later, by triggering `dynalake_backfill`.",
            section=_RUN,
        ),
        "enable_stream": Param(
            False,
            type="boolean",
            title="Turn the stream on",
            description_md="If the table has no stream, turn it on with both images. This changes your table.",
            section=_RUN,
        ),
        "enable_pitr": Param(
            False,
            type="boolean",
            title="Turn point-in-time recovery on",
            description_md="If it is off, turn it on. It costs per GB and month.",
            section=_RUN,
        ),
        "update_settings": Param(
            False,
            type="boolean",
            title="Change the settings of a table that is already set up",
            description_md="Without it, a run whose settings differ from the table's stops and says which.",
            section=_RUN,
        ),
        "plan_only": Param(
            False,
            type="boolean",
            title="Only show the plan",
            description_md="Shows what CloudFormation would change, and stops.",
            section=_RUN,
        ),
        **where_parameters(),
        **settings_parameters(),
        **lake_parameters(),
    }


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
            section=_RUN,
        ),
        "updated_at_attribute": Param(
            None,
            type=["null", "string"],
            title="Updated-at attribute",
            description_md="The attribute that tells when an item was last written. Empty: the table's setting. "
            "Epoch seconds, milliseconds, microseconds or ISO-8601, recognised per value; "
            "`a.b[0].c` is a path into maps and lists.",
            examples=["updatedAt", "meta.updatedAt"],
            section=_RUN,
        ),
        "updated_before": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Updated before",
            description_md="Items written at or after this moment are left to the stream. Empty: the hand-off time.",
            section=_RUN,
        ),
        "missing_updated_at": Param(
            "keep",
            enum=["keep", "drop"],
            type="string",
            title="Items without the attribute",
            description_md="`keep` and count them, or `drop` them.",
            section=_RUN,
        ),
        "segments": Param(
            0,
            type="integer",
            minimum=0,
            maximum=256,
            title="Segments",
            description_md="Parallel segments of the scan; each is a mapped task. 0: by the table's size.",
            section=_RUN,
        ),
        "max_read_capacity": Param(
            0,
            type="integer",
            minimum=0,
            title="Read capacity, at most",
            description_md="Read units per second over all segments of the scan together, as DynamoDB counts them. "
            "0: as fast as the table answers.",
            section=_RUN,
        ),
        "read_capacity_percent": Param(
            0,
            type="integer",
            minimum=0,
            maximum=100,
            title="Share of the read capacity, at most",
            description_md="Percent of the read capacity that the table has provisioned when the run starts (or of its "
            "maximum, on demand). With both limits the smaller one holds. 0: no such limit.",
            section=_RUN,
        ),
        "consistent_read": Param(
            False,
            type="boolean",
            title="Consistent reads",
            description_md="Reads what was written last, for twice the read units. Not needed for a complete lake: "
            "what is written after the hand-off comes through the stream.",
            section=_RUN,
        ),
        "enable_pitr": Param(
            False,
            type="boolean",
            title="Turn point-in-time recovery on",
            description_md="For an export of a table where it is off. It costs per GB and month, and stays on.",
            section=_EXPORT,
        ),
        "keep_export": Param(
            False,
            type="boolean",
            title="Keep the export's files",
            description_md="Leave them in the bucket once the run is committed, under "
            "`{prefix}-state/{TABLE}/backfill/{run}/export/`.",
            section=_EXPORT,
        ),
        "export_type": Param(
            "full",
            enum=["full", "incremental"],
            type="string",
            title="Export",
            description_md="`full`: the table, as a new snapshot. `incremental`: what changed in a window of the last "
            "35 days, for changes that the stream has lost. They come beside the snapshot and leave it as it is.",
            section=_EXPORT,
        ),
        "window_from": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Changed from",
            description_md="Where the window of an incremental export begins: at the last change that arrived before "
            "the outage.",
            section=_EXPORT,
        ),
        "window_to": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Changed before",
            description_md="Where the window ends: some minutes after changes arrived again. Empty: as late as "
            "DynamoDB can export.",
            section=_EXPORT,
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Only estimate",
            description_md="Says what each method would take: items, time, read units and dollars, in the run's note "
            "and the log of its task. Nothing is read from the table, nothing is written.",
            section=_RUN,
        ),
        **where_parameters(),
    }


def compact_parameters() -> dict[str, Param]:
    return {
        "tables": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Tables",
            description_md="DynamoDB tables, one per line. Empty: every table of the lake.",
            section=_RUN,
        ),
        "days": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Days",
            description_md="`YYYYMMDD`, or `00000000` for the snapshot, one per line. Empty: what is due, that "
            "is every closed day, and the snapshot, whose raw objects its Parquet was not made from. "
            "A day that is still open can be named; the views go on reading it from JSON.",
            section=_RUN,
        ),
        "force": Param(
            False,
            type="boolean",
            title="Although nothing changed",
            description_md="Converts the named days again even if their Parquet is up to date.",
            section=_RUN,
        ),
        "format": Param(
            _COMPACT.format,
            enum=list(FORMATS),
            type="string",
            title="Format",
            description_md="What this run writes partitions as. What is written already stays, unless its day is "
            "named.",
            section=_FILES,
        ),
        "codec": Param(
            _COMPACT.codec,
            enum=list(CODECS),
            type="string",
            title="Compression",
            description_md="What this run compresses files with.",
            section=_FILES,
        ),
        "part_mb": Param(
            _COMPACT.part_mb,
            type="integer",
            minimum=1,
            maximum=4096,
            title="Size of a file",
            description_md="A partition is written in files of about this many MB.",
            section=_FILES,
        ),
        "sort_by": Param(
            list(_COMPACT.sort_by),
            type="array",
            items={"type": "string"},
            title="Sort order",
            description_md="Attributes, as the items have them, one per line: what this run writes is in their order, "
            "ascending, nulls last, and then by key and sequence number. Empty: by key and sequence number.",
            examples=[["updatedAt", "receiptId"]],
            section=_FILES,
        ),
        "max_quarantined": Param(
            _COMPACT.max_quarantined,
            type="integer",
            minimum=0,
            title="Rejected lines, at most",
            description_md="Lines of a partition that are no JSON object go to quarantine. With more than this many, "
            "the partition is not published.",
            section=_RUN,
        ),
        "engine": Param(
            "arrow",
            enum=["arrow", "spark", "auto"],
            type="string",
            title="Engine",
            description_md="`arrow`: each partition on one worker. `spark`: as a run of the lake's AWS Glue job, which "
            "the optional stack `spark` makes. `auto`: Spark for large partitions. Both give the same rows and types.",
            section=_RUN,
        ),
        "spark_above_gb": Param(
            20,
            type="integer",
            minimum=0,
            title="Spark above",
            description_md="With the engine `auto`: partitions with more raw data than this many GB, compressed as it "
            "lies there, are converted on Spark.",
            section=_RUN,
        ),
        **where_parameters(),
    }


def watch_parameters() -> dict[str, Param]:
    return {
        "tables": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Tables",
            description_md="DynamoDB tables, one per line. Empty: every table of the lake.",
            section=_RUN,
        ),
        "freshness_minutes": Param(
            0,
            type="integer",
            minimum=0,
            title="Freshness target",
            description_md="A table whose changes take longer than so many minutes is late. "
            "0: its setting `freshness_alarm_minutes`.",
            section=_RUN,
        ),
        "expiring_hours": Param(
            12,
            type="integer",
            minimum=1,
            maximum=23,
            title="Stream expires, alarm after",
            description_md="Hours that changes may wait in the table's stream; after 24 it drops them.",
            section=_RUN,
        ),
        "waiting_hours": Param(
            26,
            type="integer",
            minimum=1,
            title="Compaction, at most after",
            description_md="Hours that a day which is over may wait for its compaction before it is told.",
            section=_RUN,
        ),
        "compared_items": Param(
            20,
            type="integer",
            minimum=0,
            maximum=100,
            title="Compared items",
            description_md="Items per table and run, out of those that changed last, that are read from DynamoDB "
            "(strongly consistent) and compared with the lake. 0: none.",
            section=_RUN,
        ),
        "repaired": Param(
            False,
            type="boolean",
            title="What was lost is repaired",
            description_md="A table that lost changes stays `lost` until you say here that they were brought back.",
            section=_RUN,
        ),
        **where_parameters(),
    }


def redrive_parameters() -> dict[str, Param]:
    return {
        **table_parameter(),
        "dry_run": Param(
            False,
            type="boolean",
            title="Only list",
            description_md="Shows what failed, by reason and with its keys, and stops.",
            section=_RUN,
        ),
        "batches": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Batches",
            description_md="Keys of failed batches as *Only list* shows them, or prefixes that end in `/`, one per "
            "line. Empty: all of the table.",
            examples=["dynamodb-errors/forwarder/RECEIPTS/dt=20190525/"],
            section=_RUN,
        ),
        **where_parameters(),
    }


def teardown_parameters() -> dict[str, Param]:
    return {
        **table_parameter(),
        "delete_data": Param(
            "",
            type="string",
            title="Delete the data too",
            description_md="Type the table's name, letter by letter, to delete its data in the lake as well: every "
            "version of its objects, and its Glue tables and views. Empty: the data stays and can be queried.",
            section=_RUN,
        ),
        "wait_for_delivery": Param(
            True,
            type="boolean",
            title="Wait for delivery",
            description_md="Remove the pipeline only when what is under way in it has arrived. Turn it off for a "
            "pipeline that cannot deliver any more.",
            section=_RUN,
        ),
        **where_parameters(),
    }
