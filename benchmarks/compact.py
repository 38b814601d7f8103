"""A day's compaction and a column's new type, Parquet → Parquet, next to the conversion of the same rows from raw.

The day is in a folder for each raw object, as an open day that is converted often has it, or in two large ones. DuckDB
sorts the same files. For a new type the same changes are spread over ten days, with an integer attribute `visits`,
until the last change brings a decimal number, or a text: then all ten days are written again.

dynalake works on an S3 and a Glue in the same process (moto), whose work counts as dynalake's; DuckDB reads and writes
the same files as local ones. Rows are compared with the input. A conversion has run in the same process before it is
measured, because a process compiles the reader, or loads what was compiled, only once. The compiled reader is used for
batches of any size here, where Python would read those below 4 MB.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pyiceberg.types import DecimalType, LongType, StringType

from benchmarks.changes import OBJECTS, RECEIPTS, check_rows
from benchmarks.convert import CORES, DAY, compile_reader, download, landed, read_compiled, report, size
from benchmarks.harness import Benchmark, BenchmarkError, Column, Competitor, Row
from benchmarks.meter import MEGABYTE, Meter
from dynalake.convert.batch import convert_or_wait
from dynalake.convert.finish import finish_table
from dynalake.convert.plan import ConvertLimits, plan_table
from dynalake.lake.catalog.table import Table
from dynalake.lake.compaction.compact_options import CompactOptions
from dynalake.lake.compaction.day import compact_day
from dynalake.lake.compaction.widen import widen_table

DAY_OF_RECEIPTS = replace(RECEIPTS, usual=100_000)
FEW = 2
DAYS = tuple(f"{date.fromisoformat(DAY) + timedelta(days=number):%Y%m%d}" for number in range(10))
WIDER = {"decimal": ("9007199254740993.5", DecimalType), "text": ('"many"', StringType)}
"""New types of `visits`: the value that needs each, and its type in Iceberg."""
VISITS = "visits"
DAY_FROM_RAW, DAYS_FROM_RAW = "dynalake, conversion from raw", f"dynalake, conversion of {len(DAYS)} days from raw"


@contextmanager
def prepare(scratch: Path) -> Iterator[Mapping[str, str]]:
    """Write the objects; and all of them with `visits`, for each new type."""
    with DAY_OF_RECEIPTS.prepare(scratch) as environment:
        objects = sorted((scratch / "raw").iterdir())
        for name, (last, _) in WIDER.items():
            (scratch / name).mkdir()
            for path in objects:
                add_visits(path, scratch / name / path.name, last if path == objects[-1] else "1")
        yield environment


def add_visits(source: Path, target: Path, last: str) -> None:
    """Write the lines with an integer `visits`, except the last change's, which is `last`.

    A change that has arrived twice is the same line twice: if they differed, only Python could decide which one stays.
    """
    with gzip.open(source) as lines, gzip.open(target, "wb", compresslevel=1) as out:
        texts = lines.readlines()
        numbers = {line: b"%d" % number for number, line in enumerate(texts)} | {texts[-1]: last.encode()}
        for line in texts:
            out.write(b'{"%s":%s,' % (VISITS.encode(), numbers[line]) + line[1:])


def now() -> datetime:
    return datetime.now(UTC)


def convert_all(table: Table, batch_objects: int) -> None:
    """Convert all that is due, that many objects at a time."""
    limits = ConvertLimits(batch_objects=batch_objects)
    while batches := plan_table(table, limits, now()).batches:
        results = {batch.number: convert_or_wait(table, batch, read_compiled) for batch in batches}
        finish_table(table, batches[0].plan, results, limits, now)


def convert_into(table: Table, folders: int) -> None:
    """Convert the day into that many folders."""
    convert_all(table, OBJECTS // folders)
    check_folders(table, folders)


def check_folders(table: Table, folders: int) -> None:
    made = len({file.folder for file in table.changes().files() if file.rows})
    if made != folders:
        raise BenchmarkError(f"The table has {made} folders, not {folders}")


def counted(scratch: Path, paths: list[Path]) -> Row:
    return {"rows": check_rows(scratch, paths, unique=True), "bytes": size(paths)}


def convert(meter: Meter, scratch: Path) -> Row:
    """Convert the day from raw, in one batch."""
    compile_reader(DAY_OF_RECEIPTS, scratch)
    with landed(DAY_OF_RECEIPTS, scratch / "raw") as table:
        with meter:
            convert_into(table, 1)
        meter.mark_peak()
        return counted(scratch, download(table, scratch / "converted"))


def compact(folders: int) -> Callable[[Meter, Path], Row]:
    def run(meter: Meter, scratch: Path) -> Row:
        with landed(DAY_OF_RECEIPTS, scratch / "raw") as table:
            convert_into(table, folders)
            with meter:
                compact_day(table, DAY, CompactOptions(), now)
            meter.mark_peak()
            return counted(scratch, download(table, scratch / f"compacted-{folders}"))

    return run


def duckdb(folders: int) -> Callable[[Meter, Path], Row]:
    def run(meter: Meter, scratch: Path) -> Row:
        import duckdb

        with landed(DAY_OF_RECEIPTS, scratch / "raw") as table:
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


@contextmanager
def all_but_last(objects: Path) -> Iterator[Table]:
    """Yield a table whose days are converted except the last, so that `visits` has integers only."""
    with landed(DAY_OF_RECEIPTS, objects, DAYS) as table:
        names, s3_client = table.names, table.clients.s3
        last = [stored.key for stored in table.store.list(names.raw_day(DAYS[-1]))]
        bodies = {key: s3_client.get_object(Bucket=names.lake.bucket, Key=key)["Body"].read() for key in last}
        for key in last:
            s3_client.delete_object(Bucket=names.lake.bucket, Key=key)
        convert_all(table, OBJECTS)
        check_type(table, LongType)
        for key, body in bodies.items():
            s3_client.put_object(Bucket=names.lake.bucket, Key=key, Body=body)
        report(table, DAYS[-1])
        yield table


def check_type(table: Table, kind: type) -> None:
    found = table.changes().schema.find_field(VISITS).field_type
    if not isinstance(found, kind):
        raise BenchmarkError(f"The column {VISITS} is {found}, not {kind.__name__}")


def convert_days(meter: Meter, scratch: Path) -> Row:
    """Convert all days from raw, each in one batch."""
    compile_reader(DAY_OF_RECEIPTS, scratch)
    with landed(DAY_OF_RECEIPTS, scratch / "decimal", DAYS) as table:
        with meter:
            convert_all(table, OBJECTS)
        meter.mark_peak()
        check_folders(table, len(DAYS))
        return counted_days(scratch, table, "converted-days")


def widen(to: str) -> Callable[[Meter, Path], Row]:
    """Return a run in which all days get another type of `visits`; all of their files are written again."""

    def run(meter: Meter, scratch: Path) -> Row:
        with all_but_last(scratch / to) as table:
            convert_all(table, OBJECTS)
            check_type(table, LongType)
            before = {file.path for file in table.changes().files() if file.rows}
            with meter:
                widen_table(table, CompactOptions(), now)
            meter.mark_peak()
            check_type(table, WIDER[to][1])
            if before & {file.path for file in table.changes().files()}:
                raise BenchmarkError(f"Files were not written again for {VISITS} as {to}")
            return counted_days(scratch, table, f"widened-{to}")

    return run


def counted_days(scratch: Path, table: Table, name: str) -> Row:
    paths = download(table, scratch / name)
    rows, distinct = sum(f.rows for f in table.changes().files()), check_rows(scratch, paths, unique=False)
    if rows != distinct:
        raise BenchmarkError(f"The table has {rows:,} rows, of which {distinct:,} were read")
    return {"rows": rows, "bytes": size(paths)}


def derive(rows: list[Row]) -> None:
    """Add each competitor's speed, as a multiple of that of the conversion of the same rows."""
    conversion = rows[0]
    for row in rows:
        conversion = row if row["name"] == DAYS_FROM_RAW else conversion
        row["speed_wall"] = round(conversion["wall_s"] / row["wall_s"], 2)
        row["speed_cpu"] = round(conversion["cpu_s"] / row["cpu_s"], 2)


BENCHMARK = Benchmark(
    name="compact",
    title=f"compact: {DAY_OF_RECEIPTS.changes:,} RECEIPTS change records, Parquet → Parquet, {CORES} cores",
    competitors=(
        Competitor(DAY_FROM_RAW, convert),
        Competitor(f"dynalake, {OBJECTS} folders", compact(OBJECTS)),
        Competitor(f"dynalake, {FEW} folders", compact(FEW)),
        Competitor(f"DuckDB, {OBJECTS} folders", duckdb(OBJECTS)),
        Competitor(f"DuckDB, {FEW} folders", duckdb(FEW)),
        Competitor(DAYS_FROM_RAW, convert_days),
        *(Competitor(f"dynalake, {len(DAYS)} days: integer → {to}", widen(to)) for to in WIDER),
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
    prepare=prepare,
    derive=derive,
    notes=(
        "Speed: times that of the conversion of the same rows above, by wall and by CPU time. Conversions run with the",
        "compiled reader, after it was compiled or loaded.",
    ),
)
