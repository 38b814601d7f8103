"""A day's compaction, Parquet → Parquet, next to the conversion of the same day from raw, and DuckDB's sort.

The day is in a folder for each raw object, as an open day that is converted often has it, or in two large ones.
dynalake works on an S3 and a Glue in the same process (moto), whose work counts as dynalake's; DuckDB reads and writes
the same files as local ones. Rows are compared with the input.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.changes import OBJECTS, RECEIPTS, check_rows
from benchmarks.convert import CORES, DAY, download, landed, size
from benchmarks.harness import Benchmark, BenchmarkError, Column, Competitor, Row
from benchmarks.meter import MEGABYTE, Meter
from dynalake.convert.finish import convert_due
from dynalake.convert.plan import ConvertLimits
from dynalake.lake.catalog.table import Table
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.compaction.day import compact_day

FEW = 2


def now() -> datetime:
    return datetime.now(UTC)


def convert_into(table: Table, folders: int) -> None:
    """Convert the day into that many folders."""
    convert_due(table, now, ConvertLimits(batch_objects=OBJECTS // folders))
    made = len({file.folder for file in table.changes().files() if file.rows})
    if made != folders:
        raise BenchmarkError(f"The day has {made} folders, not {folders}")


def counted(scratch: Path, paths: list[Path]) -> Row:
    return {"rows": check_rows(scratch, paths, unique=True), "bytes": size(paths)}


def convert(meter: Meter, scratch: Path) -> Row:
    """Convert the day from raw, in one batch."""
    with landed(RECEIPTS, scratch / "raw") as table:
        with meter:
            convert_into(table, 1)
        meter.mark_peak()
        return counted(scratch, download(table, scratch / "converted"))


def compact(folders: int) -> Callable[[Meter, Path], Row]:
    def run(meter: Meter, scratch: Path) -> Row:
        with landed(RECEIPTS, scratch / "raw") as table:
            convert_into(table, folders)
            with meter:
                compact_day(table, DAY, CompactOptions(), now)
            meter.mark_peak()
            return counted(scratch, download(table, scratch / f"compacted-{folders}"))

    return run


def duckdb(folders: int) -> Callable[[Meter, Path], Row]:
    def run(meter: Meter, scratch: Path) -> Row:
        import duckdb

        with landed(RECEIPTS, scratch / "raw") as table:
            convert_into(table, folders)
            download(table, scratch / f"before-{folders}")
        connection, out = duckdb.connect(), scratch / f"duckdb-{folders}.parquet"
        connection.execute(f"SET threads = {CORES}")
        source = f"read_parquet('{scratch}/before-{folders}/*.parquet', union_by_name = true)"
        with meter:
            connection.execute(
                f"COPY (SELECT * FROM {source} ORDER BY receiptid, __sequence_number) "
                f"TO '{out}' (FORMAT parquet, COMPRESSION zstd)"
            )
        meter.mark_peak()
        return counted(scratch, [out])

    return run


def derive(rows: list[Row]) -> None:
    """Add each competitor's speed, as a multiple of the conversion's."""
    for row in rows:
        row["speed_wall"] = round(rows[0]["wall_s"] / row["wall_s"], 2)
        row["speed_cpu"] = round(rows[0]["cpu_s"] / row["cpu_s"], 2)


BENCHMARK = Benchmark(
    name="compact",
    title=f"compact: {RECEIPTS.changes:,} RECEIPTS change records of one day, Parquet → Parquet, {CORES} cores",
    competitors=(
        Competitor("dynalake, conversion from raw", convert),
        Competitor(f"dynalake, {OBJECTS} folders", compact(OBJECTS)),
        Competitor(f"dynalake, {FEW} folders", compact(FEW)),
        Competitor(f"DuckDB, {OBJECTS} folders", duckdb(OBJECTS)),
        Competitor(f"DuckDB, {FEW} folders", duckdb(FEW)),
    ),
    columns=(
        Column("", lambda r: str(r["name"])),
        Column("wall s", lambda r: f"{r['wall_s']:.1f}"),
        Column("speed", lambda r: f"{r['speed_wall']:.1f}"),
        Column("CPU s", lambda r: f"{r['cpu_s']:.1f}"),
        Column("speed", lambda r: f"{r['speed_cpu']:.1f}"),
        Column("peak MB", lambda r: f"{r['peak_mb']:,.0f}"),
        Column("Parquet MB", lambda r: f"{r['bytes'] / MEGABYTE:.1f}"),
        Column("rows", lambda r: f"{r['rows']:,}"),
    ),
    prepare=RECEIPTS.prepare,
    derive=derive,
    notes=("Speed: times that of the conversion, by wall and by CPU time.",),
)
