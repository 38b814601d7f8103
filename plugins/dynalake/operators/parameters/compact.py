"""The form of `dynalake_compact`."""

from __future__ import annotations

from airflow.sdk import Param

from dynalake.convert.options import CODECS, FORMATS, CompactOptions
from dynalake.operators.parameters.which import RUN, tables_parameter, where_parameters

FILES = "Files"
DEFAULTS = CompactOptions()


def compact_parameters() -> dict[str, Param]:
    return {
        **tables_parameter(),
        "days": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Days",
            description_md="`YYYYMMDD`, or `00000000` for the snapshot, one per line. Empty: what is due, that "
            "is every closed day, and the snapshot, whose raw objects its Parquet was not made from. "
            "A day that is still open can be named; the views go on reading it from JSON.",
            section=RUN,
        ),
        "force": Param(
            False,
            type="boolean",
            title="Although nothing changed",
            description_md="Converts the named days again even if their Parquet is up to date.",
            section=RUN,
        ),
        "format": Param(
            DEFAULTS.format,
            enum=list(FORMATS),
            type="string",
            title="Format",
            description_md="What this run writes partitions as. What is written already stays, unless its day is "
            "named.",
            section=FILES,
        ),
        "codec": Param(
            DEFAULTS.codec,
            enum=list(CODECS),
            type="string",
            title="Compression",
            description_md="What this run compresses files with.",
            section=FILES,
        ),
        "part_mb": Param(
            DEFAULTS.part_mb,
            type="integer",
            minimum=1,
            maximum=4096,
            title="Size of a file",
            description_md="A partition is written in files of about this many MB.",
            section=FILES,
        ),
        "sort_by": Param(
            list(DEFAULTS.sort_by),
            type="array",
            items={"type": "string"},
            title="Sort order",
            description_md="Attributes, as the items have them, one per line: what this run writes is in their order, "
            "ascending, nulls last, and then by key and sequence number. Empty: by key and sequence number.",
            examples=[["updatedAt", "receiptId"]],
            section=FILES,
        ),
        "max_quarantined": Param(
            DEFAULTS.max_quarantined,
            type="integer",
            minimum=0,
            title="Rejected lines, at most",
            description_md="Lines of a partition that are no JSON object go to quarantine. With more than this many, "
            "the partition is not published.",
            section=RUN,
        ),
        "engine": Param(
            "arrow",
            enum=["arrow", "spark", "auto"],
            type="string",
            title="Engine",
            description_md="`arrow`: each partition on one worker. `spark`: as a run of the lake's AWS Glue job, which "
            "the optional stack `spark` makes. `auto`: Spark for large partitions. Both give the same rows and types.",
            section=RUN,
        ),
        "spark_above_gb": Param(
            20,
            type="integer",
            minimum=0,
            title="Spark above",
            description_md="With the engine `auto`: partitions with more raw data than this many GB, compressed as it "
            "lies there, are converted on Spark.",
            section=RUN,
        ),
        **where_parameters(),
    }
