"""What the tasks of a conversion on Spark do, on one core and without Spark: each pass over the lines by either reader.

Between the passes Spark sorts; here Arrow does, and its time is not counted. S3 lives in the same process (moto). The
exact reader gets a part of the objects, because it takes so long.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from dynalake.compact.look import Look
from dynalake.compact.plan import list_day

from benchmarks.changes import CHANGES, OBJECTS, prepare
from benchmarks.compact import DAY, NAMES, s3
from benchmarks.harness import Benchmark, Column, Competitor, Row
from benchmarks.meter import Meter
from dynalake.clients import Clients
from dynalake.convert.options import CompactOptions
from dynalake.lake.schema import TableSchema
from dynalake.spark.convert import observed_columns
from dynalake.spark.summary import Summary
from dynalake.spark.tasks import ReadObjects, WriteRanges
from infra.local.demo.receipts import KEY

SLOW_OBJECTS = 2
_ORDER = ("place", "identity", "event_time", "line")
_BATCH_ROWS = 500


def task(passing: str, compiled: bool) -> Callable[[Meter, Path], Row]:
    """One pass, `read` or `write`, over all of the objects (the exact reader: over `SLOW_OBJECTS`) as one task."""

    def run(meter: Meter, scratch: Path) -> Row:
        with s3(scratch / "raw") as session:
            clients = Clients.of(session)
            objects = list_day(clients, NAMES, DAY)
            _read(clients, objects[:1], compiled=True)  # the reader is compiled, or loaded, before it is measured
            objects = objects if compiled else objects[:SLOW_OBJECTS]
            if passing == "read":
                with meter:
                    lines, summary = _read(clients, objects, compiled)
                return {"records": summary.read}
            lines, summary = _read(clients, objects, compiled=True)
            order: Any = pc.sort_indices(lines, sort_keys=[(name, "ascending") for name in _ORDER])
            given = lines.select(["identity", "line"]).take(order).combine_chunks()
            del lines
            given = given.add_column(0, "part", pa.array([0] * given.num_rows, pa.int32()))
            wide = TableSchema.of_key(KEY).widen(summary.observed)
            read_as = observed_columns(wide, summary.observed) if compiled else None
            schema = wide.file_schema(summary.observed)
            write = WriteRanges(lambda: clients, NAMES, schema, CompactOptions(), Look(), "out/", read_as)
            with meter:
                list(write(given.to_batches(_BATCH_ROWS)))
            return {"records": summary.read}

    return run


def _read(clients: Clients, objects: list[Any], compiled: bool) -> tuple[pa.Table, Summary]:
    asked = json.dumps([[o.key, o.etag, o.size, o.modified] for o in objects])
    table = TableSchema.of_key(KEY)
    read = ReadObjects(lambda: clients, NAMES, table, CompactOptions(), 1 << 20, compiled)
    found = pa.Table.from_batches(list(read([pa.RecordBatch.from_pydict({"objects": [asked]})])))
    summary = Summary.from_json(found["summary"][-1].as_py())
    return found.slice(0, found.num_rows - 1).select(list(_ORDER)), summary


def derive(rows: list[Row]) -> None:
    """Rates."""
    for row in rows:
        row["per_s"] = round(row["records"] / row["cpu_s"])


BENCHMARK = Benchmark(
    name="spark",
    title=f"spark: what the tasks do with {CHANGES:,} RECEIPTS change records in {OBJECTS} gz objects, on one core",
    competitors=(
        Competitor("reading, compiled", task("read", compiled=True)),
        Competitor("writing, compiled", task("write", compiled=True)),
        Competitor("reading, without numba", task("read", compiled=False), rounds=1),
        Competitor("writing, without numba", task("write", compiled=False), rounds=1),
    ),
    columns=(
        Column("", lambda r: str(r["name"])),
        Column("records", lambda r: f"{r['records']:,}"),
        Column("wall s", lambda r: f"{r['wall_s']:.1f}"),
        Column("CPU s", lambda r: f"{r['cpu_s']:.1f}"),
        Column("records per CPU s", lambda r: f"{r['per_s']:,}"),
    ),
    prepare=prepare,
    derive=derive,
    notes=("Gunzip, typing, order of lines; then deduplication, typing, Parquet. What the JVM does comes on top.",),
)
