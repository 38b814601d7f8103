"""One partition from raw JSON to Parquet on a Spark cluster: the twin of `compact.convert`."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from dynalake.catalog.partitions import Partition
from dynalake.catalog.tables import read_schema
from dynalake.clients import Clients
from dynalake.compact.convert import check_ledger, find_conversion, version_digest
from dynalake.compact.look import look_back, origin
from dynalake.compact.manifest import ConvertedPartition, Manifest, Part, read_manifest, widen_all, write_manifest
from dynalake.compact.plan import inputs_digest, list_day
from dynalake.compact.restore import restore_raw
from dynalake.compact.supersede import note_version
from dynalake.convert.options import CompactOptions
from dynalake.convert.read.raw import RawObject
from dynalake.convert.read.records import Rejected, write_rejected
from dynalake.convert.rows.order import check_order
from dynalake.days import check_day
from dynalake.lake.schema import Observed, TableSchema, merge_observed
from dynalake.names import TableNames
from dynalake.spark.order import choose_bounds, range_of
from dynalake.spark.summary import Summary
from dynalake.spark.tasks import LINES, PARTS, MakeClients, ReadObjects, WriteRanges

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)

TASK_BYTES = 32 << 20
"""Raw bytes that one task reads, about; a single object is always one task, because gzip cannot be entered midway."""

PACKED = 8
"""Bytes of JSON that become one byte of Parquet, about: how many parts there will be."""

_SAMPLES = 4096
_SAMPLE_BYTES = 64 << 10
_BATCH_ROWS = 500
"""Rows that pass between the JVM and Python at once: at 400 KB for the largest item, 200 MB at most."""


@dataclass(frozen=True)
class Input:
    """What a conversion reads, its digest, the day as it is published, what is published with it, and the types."""

    objects: list[RawObject]
    digest: str
    shown: Partition | None
    beside: list[Manifest]
    table: TableSchema


def find_input(clients: Clients, names: TableNames, day: str, options: CompactOptions, beside: Iterable[str]) -> Input:
    """One day (or `00000000`) as it lies in S3 now, and the table's schema beside the conversions in `beside`."""
    shown = restore_raw(clients, names, check_day(day))
    objects = list_day(clients, names, day)
    manifests = [read_manifest(clients, names, key) for key in beside]
    table = widen_all(read_schema(clients, names), manifests, options.max_struct_fields)
    return Input(objects, inputs_digest(objects), shown, manifests, table)


def find_done(
    clients: Clients, names: TableNames, day: str, options: CompactOptions, found: Input, force: str
) -> ConvertedPartition | None:
    """The conversion of the same that is there already, by whichever engine."""
    done = None if force else find_conversion(clients, names, day, found.digest, found.table, options, found.beside)
    return None if done is None else done.converted(names, reused=True)


def convert_day(
    spark: SparkSession,
    make_clients: MakeClients,
    names: TableNames,
    day: str,
    options: CompactOptions,
    beside: Iterable[str] = (),
    force: str = "",
) -> ConvertedPartition:
    """What `compact_day` does, spread over Spark's executors; its result is published the same way.

    `make_clients` is called on the driver and in every task, so it must be something that can be pickled.
    Raises what `compact_day` raises; what happens in a task comes as Spark's error, and may be tried again.
    """
    from pyspark import StorageLevel

    clients = make_clients()
    found = find_input(clients, names, day, options, beside)
    done = find_done(clients, names, day, options, found, force)
    if done is not None:
        return done
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", _BATCH_ROWS)
    compiled = sum(o.size for o in found.objects) >= options.compiled_from_mb << 20
    lines = _read(spark, make_clients, names, found, options, compiled).persist(StorageLevel.DISK_ONLY)
    try:
        summaries = [
            Summary.from_json(row[0]) for row in lines.where("summary IS NOT NULL").select("summary").collect()
        ]
        _warn(summaries, names, day)
        rejected = Rejected(options.max_quarantined, sorted((e for s in summaries for e in s.rejected), key=_place))
        quarantine = write_rejected(clients, names, day, found.digest, rejected)
        observed = merge_observed((s.observed for s in summaries), options.max_struct_fields)
        wide = found.table.widen(observed, options.max_struct_fields)
        check_order(wide, options.sort_by)
        schema = wide.file_schema(observed)
        ranges = max(1, -(-sum(s.size for s in summaries) // (PACKED * options.part_mb << 20)))
        look = look_back(clients, names, day, set().union(*(s.minutes for s in summaries)), found.beside)
        version = spark_digest(version_digest(found.digest, look.looked, schema, options, force), ranges)
        note_version(clients, names, day, version)
        bounds = choose_bounds((sample for s in summaries for sample in s.samples), ranges)
        prefix = names.parquet_version(day, version)
        read_as = observed_columns(wide, observed) if compiled else None
        write = WriteRanges(make_clients, names, schema, options, look, prefix, read_as)
        parts = _write(lines, write, bounds)
    finally:
        lines.unpersist()
    if not parts:
        parts = [write.write(clients, 0, ())]
    read, canaries = sum(s.read for s in summaries), sum(s.canaries for s in summaries)
    manifest = Manifest(
        table=names.table,
        day=day,
        format=options.format,
        written=options.written,
        inputs=found.digest,
        version=version,
        objects=len(found.objects),
        lines=read + len(rejected.entries),
        rows=sum(part.rows for part, _, _ in parts),
        duplicates=read - canaries - sum(records for _, records, _ in parts),
        canaries=canaries,
        quarantined=len(rejected.entries),
        quarantine=quarantine,
        reasons=rejected.reasons,
        parts=tuple(part for part, _, _ in parts),
        observed=observed,
        schema=schema,
        repeats=sum(repeats for _, _, repeats in parts),
        origin=origin(found.shown, found.digest, names, day, found.objects),
        since=look.since,
        looked=look.looked,
    )
    check_ledger(manifest)
    note_version(clients, names, day, version)  # its grace period begins when somebody can publish it
    write_manifest(clients, names, manifest)
    return manifest.converted(names)


def spark_digest(version: str, ranges: int) -> str:
    """The `v=` of a version: not that of the other engine, nor of another number of parts.

    Readers read all that lies under it, so what a killed run left there must be what the next one writes.
    """
    return sha256(json.dumps([version, "spark", ranges]).encode()).hexdigest()[:16]


def plan_tasks(objects: Iterable[RawObject], task_bytes: int = TASK_BYTES) -> list[list[RawObject]]:
    """The objects, in their order, in tasks of about `task_bytes`."""
    tasks: list[list[RawObject]] = []
    size = task_bytes
    for found in objects:
        if size + found.size > task_bytes:
            tasks.append([])
            size = 0
        tasks[-1].append(found)
        size += found.size
    return tasks


def _read(
    spark: SparkSession,
    make_clients: MakeClients,
    names: TableNames,
    found: Input,
    options: CompactOptions,
    compiled: bool,
) -> DataFrame:
    tasks = plan_tasks(found.objects)
    sample_bytes = max(_SAMPLE_BYTES, sum(o.size for o in found.objects) // _SAMPLES)
    rows = [(json.dumps([[o.key, o.etag, o.size, o.modified] for o in task]),) for task in tasks]
    given = spark.sparkContext.parallelize(rows, max(1, len(rows)))
    read = ReadObjects(make_clients, names, found.table, options, sample_bytes, compiled)
    return spark.createDataFrame(given, "objects string").mapInArrow(read, LINES)


def observed_columns(wide: TableSchema, observed: Observed) -> TableSchema:
    """The types of all that is in this partition's lines, nulls too, and of nothing else."""
    kept = tuple(c for c in wide.columns if c.attribute in observed or c.attribute in wide.key.names)
    return replace(wide, columns=kept)


def _warn(summaries: Iterable[Summary], names: TableNames, day: str) -> None:
    for reason, tasks in Counter(s.slow for s in summaries if s.slow).items():
        logger.warning(
            "%s %s: %s tasks were read by Python, one record after the other, and the rest will be: %s. The result is "
            "the same, and takes many times as long. Install numba where Spark's workers run (docs/engines.md).",
            names.table,
            day,
            tasks,
            reason,
        )


def _write(lines: DataFrame, write: WriteRanges, bounds: list[bytes]) -> list[tuple[Part, int, int]]:
    """Sort the records over the whole cluster and write each range; the parts in order, with their records and the
    repeats among them."""
    from pyspark.sql import functions as F

    number = F.udf(lambda place: range_of(place, bounds), "int")("place") if bounds else F.lit(0)
    ranges = len(bounds) + 1
    records = lines.where("summary IS NULL")
    if write.options.sort_by:
        # Duplicates may be at different places: only the one that stays is to have one.
        last = F.max(F.struct("event_time", "line", "place")).alias("last")
        records = records.groupBy("identity").agg(last).select("identity", "last.*")
    rows = (
        records.select(number.alias("part"), "place", "identity", "event_time", "line")
        .repartitionByRange(ranges, "part")
        .sortWithinPartitions("part", "place", "identity", "event_time", "line")
        .select("part", "identity", "line")
        .mapInArrow(write, PARTS)
        .collect()
    )
    return [(Part(row.key, row.rows, row.size), row.records, row.repeats) for row in sorted(rows)]


def _place(entry: dict[str, object]) -> tuple[object, object]:
    return entry["object"], entry["line"]
