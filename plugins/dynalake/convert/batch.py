"""One batch: raw objects become files of new folders, with each change once, and without changes that are live already.

Nothing changes for readers. The result is one object in the state prefix, which is put once: of two attempts at one
batch the first result counts. The other's files are strays in the same folders, and the commit deletes them.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dynalake.convert.once import Changes, LiveRows
from dynalake.convert.options import ReadOptions
from dynalake.convert.plan import Batch
from dynalake.convert.read.quarantine import RejectedLines
from dynalake.convert.read.raw_batch import read_batch
from dynalake.convert.row_day import day_before, with_day
from dynalake.days import SNAPSHOT_DAY
from dynalake.errors import ConflictError, LedgerError
from dynalake.lake.catalog.iceberg import DataFile, Head
from dynalake.lake.catalog.table import Table
from dynalake.lake.columns.schema import DAY, Observed, TableSchema
from dynalake.lake.files.folders import Part, Sums
from dynalake.lake.files.parts import Folder, PartWriter, Writing, parts_of
from dynalake.lake.tables.grow import grow_schema, schema_of
from dynalake.lake.types.layout import extends
from dynalake.lake.working.spool import Spool
from dynalake.lake.working.threads import THREADS, WORTH, are_at_once, prepare_next, write_each

_pa: Any = pa  # its stubs take types only as literals; here they are data

READINGS = 3
"""Maximum readings of a batch: it is read again where a column was widened in the meantime."""


class BatchRows(Protocol):
    """All rows of a batch, each change once, in the order of identity and sequence number (`RawBatch`)."""

    @property
    def observed(self) -> Observed:
        """Types of the values that were read, by attribute."""
        ...

    def tables(self, schema: TableSchema) -> Iterator[pa.Table]:
        """Yield the rows in tables of bounded size, without `dt`, under a schema that extends that of the reading."""
        ...

    @property
    def sums(self) -> Sums:
        """Sums of lines, rows, duplicates, canaries and rejected lines, once `tables` has ended."""
        ...

    @property
    def misfits(self) -> Mapping[str, Any]: ...

    @property
    def rejected(self) -> RejectedLines: ...


Read = Callable[[Table, Batch, TableSchema, Path], BatchRows]
"""A function that reads the raw objects of a batch for a table with this schema; it spills below the directory."""


def read_raw(table: Table, batch: Batch, schema: TableSchema, directory: Path) -> BatchRows:
    """Read a batch. Raises `ConflictError` where an object was replaced since it was listed."""
    return read_batch(table, batch.inputs, schema, ReadOptions(), directory)


@dataclass(frozen=True)
class NewFolder:
    """A folder that a batch has written: its day, its name, its files."""

    day: str
    folder: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class BatchResult:
    """The result of one task for a batch.

    `snapshot`: the table's snapshot with whose live rows the batch was compared. `replaced`: for a named day, file →
    places of the rows that give way, packed (`pack_places`). `misfits`: values that do not fit their column, by
    attribute. `waits`: the reason, where nothing was made.
    """

    batch: Batch
    snapshot: int | None
    folders: tuple[NewFolder, ...]
    sums: Sums
    misfits: Mapping[str, Any] = field(default_factory=dict)
    rejected: RejectedLines = field(default_factory=RejectedLines)
    replaced: Mapping[str, str] = field(default_factory=dict)
    waits: str = ""

    def to_json(self) -> bytes:
        values = {
            "batch": self.batch.to_dict(),
            "snapshot": self.snapshot,
            "folders": [[f.day, f.folder, list(f.parts)] for f in self.folders],
            "sums": asdict(self.sums),
            "misfits": self.misfits,
            "rejected": asdict(self.rejected),
            "replaced": dict(self.replaced),
            "waits": self.waits,
        }
        return json.dumps(values, ensure_ascii=True).encode()

    @classmethod
    def from_json(cls, body: bytes) -> BatchResult:
        values = json.loads(body)
        return cls(
            Batch.from_dict(values["batch"]),
            values["snapshot"],
            tuple(NewFolder(day, name, tuple(Part(*p) for p in parts)) for day, name, parts in values["folders"]),
            Sums(**values["sums"]),
            values["misfits"],
            RejectedLines(**{**values["rejected"], "deleted": tuple(values["rejected"]["deleted"])}),
            values["replaced"],
            values["waits"],
        )


def pack_places(places: Any) -> str:
    """Return ascending places of rows as a short text."""
    return base64.b64encode(zlib.compress(np.diff(places, prepend=0).astype(np.int64).tobytes())).decode()


def unpack_places(text: str) -> Any:
    """Return the places in a text of `pack_places`, as an array."""
    return np.cumsum(np.frombuffer(zlib.decompress(base64.b64decode(text)), np.int64))


def convert_batch(
    table: Table,
    batch: Batch,
    read: Read = read_raw,
    writing: Writing | None = None,
    work_directory: Path | None = None,
) -> BatchResult:
    """Convert a batch into files, keep the result and return it. Return the kept result where there is one already.

    Spills to `work_directory` (default: the system's temporary directory) and leaves nothing there.

    Raises `ConflictError` where a raw object was replaced or the table made again, and `LedgerError` where counts do
    not add up.
    """
    result = read_result(table, batch.plan, batch.number)
    if result is not None:
        return result
    with TemporaryDirectory(dir=work_directory) as directory:
        return _put_result(table, _convert(table, batch, read, writing or Writing(), Path(directory)))


def convert_or_wait(table: Table, batch: Batch, read: Read = read_raw) -> BatchResult:
    """Convert a batch. Where a raw object or the table has changed, return a result that leaves it to the next pass."""
    try:
        return convert_batch(table, batch, read)
    except ConflictError as error:
        return _put_result(table, BatchResult(batch, None, (), Sums(), waits=error.received))


def read_result(table: Table, plan: str, number: int) -> BatchResult | None:
    """Return the result of a batch; None where there is none yet."""
    stored = table.store.read(table.names.conversion_result(plan, number))
    return None if stored is None else BatchResult.from_json(stored.body)


def _put_result(table: Table, result: BatchResult) -> BatchResult:
    """Keep a result. Return the one that counts: the first attempt's."""
    batch = result.batch
    if table.store.create(table.names.conversion_result(batch.plan, batch.number), result.to_json()):
        return result
    first = read_result(table, batch.plan, batch.number)
    if first is None:
        raise ConflictError(
            f"Another attempt at batch {batch.number} of {batch.table} writes its result now, or its run is over",
            action="nothing: the next run plans what is still due",
            table=batch.table,
        )
    return first


def _convert(table: Table, batch: Batch, read: Read, writing: Writing, directory: Path) -> BatchResult:
    head, schema, rows = _read(table, batch, read, directory)
    if head.uuid != batch.uuid:
        raise ConflictError(
            f"The table {head.name} was deleted and made again after this was planned",
            action="plan again from the table as it is now",
            table=batch.table,
        )
    changes = Changes(schema.identity)
    dated = _DatedRows(Spool(directory / "rows"), {batch.day}, {DAY})
    for chunk in prepare_next(rows.tables(schema)):
        changes.add(chunk)
        dated.add(with_day(chunk, batch.day, table.names.lake.zone))
    live = LiveRows(schema.identity, directory)
    if changes.first is not None and batch.day != SNAPSHOT_DAY:
        # No change is in an earlier day (`row_day`). The snapshot's day is the earliest of all and has no changes.
        files = head.files(since=day_before(changes.first, table.names.lake.zone))
        live.gather(head, files, changes, batch.day if batch.again else "")
    if live:
        once = _DatedRows(Spool(directory / "once"), {batch.day}, {DAY})
        for chunk in dated.spool:
            once.add(live.drop(chunk))
        dated = once
    folders = tuple(_write(table, batch, head, dated, writing, directory))
    counts = rows.sums
    sums = Sums(
        counts.lines,
        sum(part.rows for folder in folders for part in folder.parts),
        counts.duplicates,
        live.dropped,
        counts.canaries,
        counts.rejected,
    )
    check_sums(batch, sums)
    replaced = {path: pack_places(places) for path, places in live.replaced.items()}
    return BatchResult(batch, head.snapshot_id, folders, sums, rows.misfits, rows.rejected, replaced)


def check_sums(batch: Batch, sums: Sums) -> None:
    """Raise `LedgerError` where the lines of a batch are not all accounted for."""
    if sums.add_up:
        return
    raise LedgerError(
        f"Batch {batch.number} of {batch.table}, dt={batch.day}, has {sums.lines:,} lines, but they gave "
        f"{sums.rows:,} rows, {sums.duplicates:,} duplicates, {sums.repeats:,} repeats, {sums.canaries:,} canaries and "
        f"{sums.rejected:,} rejected lines",
        allowed="as many lines as all of these together",
        action="report this as a bug; nothing of the batch was committed",
        table=batch.table,
    )


def _read(table: Table, batch: Batch, read: Read, directory: Path) -> tuple[Head, TableSchema, BatchRows]:
    """Return the batch's rows, and the table after its schema got columns for their new values."""
    head = table.changes()
    for number in range(READINGS):
        old = schema_of(head)
        subdirectory = directory / f"reading-{number}"
        subdirectory.mkdir()
        rows = read(table, batch, old, subdirectory)
        head = grow_schema(table, head, rows.observed)
        new = schema_of(head)
        # Another run may have added columns. If it widened one, the values that fit it are decided again.
        if all((c := new.known.get(b.attribute)) is not None and extends(b.type, c.type) for b in old.columns):
            return head, new, rows
    raise ConflictError(
        f"The columns of {head.name} were widened {READINGS} times while batch {batch.number} was read",
        action="try again when other runs are done",
        table=batch.table,
    )


@dataclass
class _DatedRows:
    """Rows with `dt`, the days that they have, and the columns that have a value in some row."""

    spool: Spool
    days: set[str]
    columns: set[str]

    def add(self, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        self.spool.add(rows)
        self.days.update(map(str, rows[DAY].unique().to_pylist()))
        for name, column in zip(rows.column_names, rows.columns, strict=True):
            if name not in self.columns and column.null_count < rows.num_rows:
                self.columns.add(name)

    def of(self, day: str) -> list[Iterator[pa.Table]]:
        """Return the rows of a day in parts, each a range of keys, that are worth a thread and a file of their own."""
        if len(self.days) > 1:
            return [(rows.filter(pc.equal(rows[DAY], _pa.scalar(day))) for rows in self.spool)]
        if self.spool.size < THREADS * WORTH:
            return [iter(self.spool)]
        ends = [self.spool.rows * i // THREADS for i in range(THREADS + 1)]
        return [self.spool.between(start, end) for start, end in pairwise(ends)]


def _write(
    table: Table, batch: Batch, head: Head, dated: _DatedRows, writing: Writing, directory: Path
) -> Iterator[NewFolder]:
    """Yield one folder for each day of the rows, and one for the batch's own day, which names its inputs."""
    # A column that a file leaves out reads as null.
    schema = head.schema.select(*(f.name for f in head.schema.fields if f.name in dated.columns))
    for day in sorted(dated.days):
        folder = Folder(table.names.change_folder(day, batch.folder_of(day)), day)
        subdirectory = directory / f"day-{day}"
        subdirectory.mkdir()
        parts = dated.of(day)
        writers = []
        for number in range(len(parts)):
            own = subdirectory / str(number)
            own.mkdir()
            first, ahead = _PARTS * number, not are_at_once(len(parts), dated.spool.size)
            writers.append(PartWriter(table, head, schema, folder, writing, own, first, ahead=ahead))
        files = write_each(_write_part, [*zip(writers, parts, strict=True)], dated.spool.size)
        yield NewFolder(day, batch.folder_of(day), parts_of(chain.from_iterable(files)))


def _write_part(part: tuple[PartWriter, Iterator[pa.Table]]) -> tuple[DataFile, ...]:
    writer, rows = part
    return writer.write(rows)


_PARTS = 1000
"""Between the numbers of the first files that two threads write: more than one of them writes."""
